"""Replay recorded exchanges with providers through a running gateway, each in its provider's own dialect.

    python scripts/verify_gateway.py [FILE] [--verbose]

FILE is what `verify_usage.py` reads. A simulated provider answers each request with its recording; a gateway
with SQLite stands in front of it, and every call is made as a customer's, below `/providers/<name>`.

Rule 1: what the client receives is the recording, byte for byte; what is booked is what the wire's reader
finds in it, to the last leaf and flag.
Rule 2: what is wrong is printed with its id, and the exit status is 1; what is left out is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from exchange_costs import CATALOGUE_NAMES
from verify_usage import CAPTURES, Row, body_of, read, rows_of

from costplus.billing.customer import Customer
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.core.usage import Usage
from costplus.gateway.wire import Reading
from costplus.gateway.wire.route import WireRoute, route_of
from costplus.rating.rate_card import FixedPrice, adjustment
from costplus.storage.sqlite import SqliteStore

MERCHANT_KEY = "sk_test_verify_gateway"
CUSTOMER = "cus_verify"
AT_ONCE = 8
PATIENCE_S = 60
WIRES = {name: name for name in ("anthropic", "google", "vertex", "bedrock", "cohere", "azure")}
# The gateway refuses what is asked to be served at a price that nobody knows.
OWN_REFUSALS = {"service_tier_unpriced": "asks for a tier without a price"}


@dataclass(slots=True)
class Found:
    """What came of the exchanges of one wire."""

    exchanges: int = 0
    identical: int = 0
    metered: int = 0
    estimated: int = 0
    charged: int = 0
    refused: int = 0


@dataclass(slots=True)
class Outcome:
    """Everything that was found."""

    wires: dict[str, Found] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def of(self, wire: str) -> Found:
        return self.wires.setdefault(wire, Found())

    def fault(self, row: Row, what: str) -> None:
        self.faults.append(f"{row['id']} {row['provider']} {row['path']}: {what}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client received."""

    status: int
    body: bytes
    request_id: str


@dataclass(frozen=True, slots=True)
class Booked:
    """What the books hold of a call."""

    quantities: dict[str, int]
    flags: tuple[str, ...]
    price_nano: int


@contextmanager
def running(*arguments: str, folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a costplus command; yield its URL once it is ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTPLUS_")}
    command = [sys.executable, "-m", "costplus", *arguments, "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env={**kept, **(environ or {})}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(command)} did not start.")
        try:
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            process.wait(60)


def _enrol(tx: Tx) -> None:
    at = datetime.now(UTC)
    request = SetUpRequest(
        plan_name="Verification",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
        unpriced="hold",
        fallback={"input": FixedPrice(Decimal(3), 1_000_000), "output": FixedPrice(Decimal(15), 1_000_000)},
    )
    made = set_up(tx, request, at=at)
    customer = Customer(id=CUSTOMER, created=at, on_zero_credit="overage")
    tx.save(customer)
    subscribe(tx, customer, made.plan, at=at)


async def _seed(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.write(_enrol)
    await store.close()


def settings_for(providers: Sequence[str], url: str) -> dict[str, str]:
    """Return the settings of a gateway whose providers are all the simulated one."""
    environ = {
        "COSTPLUS_SECRET_KEY": MERCHANT_KEY,
        "COSTPLUS_LOG_LEVEL": "error",
        "COSTPLUS_PRICES__SYNC": "false",
    }
    for name in providers:
        prefix = f"COSTPLUS_PROVIDERS__{name.upper()}__"
        environ[f"{prefix}BASE_URL"] = url
        environ[f"{prefix}API_KEY"] = "simulated"
        environ[f"{prefix}WIRE"] = WIRES.get(name, "openai")
        environ[f"{prefix}CATALOG"] = CATALOGUE_NAMES.get(name, name)
    return environ


def asked(row: Row, route: WireRoute) -> dict[str, Any]:
    """Return the request; a chat stream asks for usage itself, so that nothing is taken out of it."""
    request: dict[str, Any] = row["request"]
    if route.wire == "openai_chat" and request.get("stream"):
        return {**request, "stream_options": {**(request.get("stream_options") or {}), "include_usage": True}}
    return request


async def replay(url: str, rows: Sequence[tuple[Row, WireRoute]]) -> list[Answer]:
    """Make every call; return the answers in order."""
    gate = asyncio.Semaphore(AT_ONCE)
    headers = {"authorization": f"Bearer {MERCHANT_KEY}", "x-stripe-customer-id": CUSTOMER}

    async with httpx2.AsyncClient(timeout=PATIENCE_S, trust_env=False) as http:

        async def call(row: Row, route: WireRoute) -> Answer:
            async with gate:
                answer = await http.post(
                    f"{url}/providers/{row['provider']}{row['path']}",
                    json=asked(row, route),
                    headers={**headers, "x-capture-id": row["id"]},
                )
            return Answer(answer.status_code, answer.content, answer.headers.get("costplus-request-id", ""))

        return await asyncio.gather(*(call(row, route) for row, route in rows))


def booked_in(path: Path) -> dict[str, Booked]:
    """Return what is booked, by request id."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = database.execute(
            "SELECT e.request_id, e.usage, c.price_nano FROM usage_events e"
            " JOIN charges c ON c.bucket = e.bucket AND c.customer = e.customer AND c.event_id = e.id"
        ).fetchall()
    finally:
        database.close()
    booked = {}
    for request_id, usage, price_nano in found:
        said = json.loads(usage)
        assert request_id not in booked, f"{request_id} is booked twice"
        booked[request_id] = Booked(said["quantities"], tuple(said["flags"]), price_nano)
    return booked


def wait_for(path: Path, request_ids: set[str]) -> dict[str, Booked]:
    """Return what is booked once all of these are, or after a while."""
    until = time.monotonic() + PATIENCE_S
    while True:
        booked = booked_in(path)
        if request_ids <= booked.keys() or time.monotonic() > until:
            return booked
        time.sleep(0.1)


def is_answer(reading: Reading) -> bool:
    """Return whether the recording is one that is billed: a whole answer, or one that began."""
    if reading.usage is None and reading.output_chars == 0:
        return not reading.error and reading.complete
    return True


def judge(row: Row, route: WireRoute, answer: Answer, booked: Booked | None, outcome: Outcome) -> None:
    """Compare what was served and booked with the recording."""
    found, body = outcome.of(route.wire), body_of(row)
    found.exchanges += 1
    code = _code_in(answer)
    if code in OWN_REFUSALS and answer.status >= 400:
        outcome.left_out[OWN_REFUSALS[code]] += 1
        found.exchanges -= 1
        return
    if row["status"] >= 400:
        found.refused += 1
        if row["status"] in (401, 403):
            if answer.status != 503:
                outcome.fault(row, f"the provider refused our key, and {answer.status} was answered")
        elif (answer.status, answer.body) != (row["status"], body):
            outcome.fault(row, f"the provider's refusal ({row['status']}) was answered as {answer.status}")
        if booked is not None:
            outcome.fault(row, "a refusal was billed")
        return
    reading = read(row, route.wire, body, piece_bytes=max(1, len(body)))[1]
    if not is_answer(reading):
        outcome.left_out["no answer: an error, or nothing of it"] += 1
        if booked is not None:
            outcome.fault(row, "what is no answer was billed")
        return
    if answer.status != row["status"] or answer.body != body:
        outcome.fault(row, f"served otherwise than recorded ({answer.status}): {answer.body[:200]!r}")
        return
    found.identical += 1
    if booked is None:
        outcome.fault(row, "it was served and not booked")
        return
    _compare(row, reading, booked, found, outcome)


def _compare(row: Row, reading: Reading, booked: Booked, found: Found, outcome: Outcome) -> None:
    usage = reading.usage
    if usage is None:
        found.estimated += 1
        if "estimated" not in booked.flags or not booked.quantities:
            outcome.fault(row, f"nothing was counted, and {booked.quantities} is not flagged an estimate")
        return
    kept = Usage(booked.quantities, tuple(flag for flag in booked.flags if flag != "served_model_unpriced"))
    if usage.flags and "output_incomplete" in usage.flags:
        found.estimated += 1
    elif dict(usage.quantities) != _without_lifetimes(kept.quantities, usage.quantities):
        outcome.fault(row, f"booked {booked.quantities}, the reader finds {dict(usage.quantities)}")
        return
    elif tuple(usage.flags) != kept.flags:
        outcome.fault(row, f"flags {booked.flags}, the reader's are {usage.flags}")
        return
    found.metered += 1
    found.charged += booked.price_nano > 0


def _without_lifetimes(booked: Mapping[str, int], read_: Mapping[str, int]) -> dict[str, int]:
    """Return the booked leaves with cache writes as the answer has them: the request may say how long."""
    if "cache_write_5m" not in read_ or "cache_write_5m" in booked:
        return dict(booked)
    moved = {name: n for name, n in booked.items() if not name.startswith("cache_write_")}
    return {**moved, "cache_write_5m": sum(n for name, n in booked.items() if name not in moved)}


def _code_in(answer: Answer) -> str:
    try:
        said = json.loads(answer.body)
    except ValueError:
        return ""
    if not isinstance(said, dict):
        return ""
    error = said.get("error") if isinstance(said.get("error"), dict) else said
    details = error.get("details")
    if isinstance(details, list) and details and isinstance(details[0], dict):
        return str(details[0].get("reason") or "")
    return str(error.get("code") or "")


def chosen(file: Path, outcome: Outcome) -> list[tuple[Row, WireRoute]]:
    """Return the exchanges that can be made again, with what their paths speak."""
    rows = []
    for row in rows_of(file):
        if row.get("unreadable"):
            outcome.faults.append(f"{row['id']}: the line holds no exchange")
            continue
        route = route_of(provider=str(row["provider"]), host=str(row["host"]), path=str(row["path"]))
        if route is None:
            outcome.left_out["no wire reads its path"] += 1
        elif not isinstance(row.get("request"), dict):
            outcome.left_out["its request is not recorded"] += 1
        else:
            rows.append((row, route))
    return rows


def verify(file: Path) -> Outcome:
    """Replay the file's exchanges; return what was found."""
    outcome = Outcome()
    rows = chosen(file, outcome)
    providers = sorted({str(row["provider"]) for row, _ in rows})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        data.mkdir()
        asyncio.run(_seed(data / "costplus.db"))
        captures = ("dev-provider", "--captures", str(file.resolve()))
        with running(*captures, folder=folder) as provider:
            environ = settings_for(providers, provider)
            serve = ("serve", "--role", "gateway", "--data-dir", str(data))
            with running(*serve, folder=folder, environ=environ) as url:
                answers = asyncio.run(replay(url, rows))
                served = {answer.request_id for answer in answers if answer.status == 200}
                booked = wait_for(data / "costplus.db", served - {""})
    for (row, route), answer in zip(rows, answers, strict=True):
        judge(row, route, answer, booked.get(answer.request_id), outcome)
    return outcome


def report(outcome: Outcome, *, verbose: bool) -> str:
    """Return the table."""
    columns = ("exchanges", "identical", "metered", "charged", "estimated", "refused")
    lines = [f"{'wire':<22}" + "".join(f"{column:>10}" for column in columns)]
    for wire, found in sorted(outcome.wires.items(), key=lambda entry: -entry[1].exchanges):
        lines.append(f"{wire:<22}" + "".join(f"{getattr(found, column):>10}" for column in columns))
    lines += [f"left out: {count} × {why}" for why, count in outcome.left_out.most_common()]
    shown = outcome.faults if verbose else outcome.faults[:20]
    lines += [f"FAULT {fault}" for fault in shown]
    lines.append(f"{len(outcome.faults)} faults")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Verify a file; 0 where all of it is served and metered as recorded."""
    parser = argparse.ArgumentParser(description="Replay recorded exchanges through a running gateway.")
    parser.add_argument("file", nargs="?", type=Path, default=CAPTURES)
    parser.add_argument("--verbose", action="store_true", help="Print every fault.")
    given = parser.parse_args()
    outcome = verify(given.file)
    sys.stdout.write(report(outcome, verbose=given.verbose))
    return 1 if outcome.faults or not outcome.wires else 0


if __name__ == "__main__":
    sys.exit(main())
