"""Read recorded exchanges with providers and account for every one of them.

    python scripts/verify_usage.py [FILE] [--verbose]

FILE holds one exchange a line (`.jsonl` or `.jsonl.gz`): provider, host, path, model, status, content_type,
and the response as an object (JSON), a text (events) or base64 (AWS frames).

Rule 1: what is wrong and what nothing explains is printed with its id, and the exit status is 1.
Rule 2: explanations are general rules with a name; none knows an exchange by its id.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import decimal
import gzip
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from exchange_costs import catalogue_provider, compare_cost, price_exchange
from stated_totals import conflicts, explanation, our_totals, stated_totals

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.gateway.wire import READERS, Reading
from costplus.gateway.wire.route import WireRoute, provider_of, route_of

ROOT = Path(__file__).resolve().parent.parent
CAPTURES = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared")) / "data" / "captures.jsonl.gz"
_CREATED = re.compile(rb'"created(?:_at)?"\s*:\s*(\d{10})\b')
_USAGE_KEY = re.compile(
    rb'"(?:usage|usageMetadata|billed_units|inputTextTokenCount|prompt_token_count)"\s*:\s*[{\d]'
)
_UNFINISHED = re.compile(rb'"status"\s*:\s*"(?:queued|in_progress)"')

Row = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """What was found, by heading and reason; `unexplained` decides the exit status."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    models: dict[str, Counter[str]] = field(default_factory=dict)
    unexplained: list[str] = field(default_factory=list)

    def add(self, heading: str, reason: str, *, about: str = "") -> None:
        self.counts.setdefault(heading, Counter())[reason] += 1
        if about:
            self.models.setdefault(f"{heading}: {reason}", Counter())[about] += 1

    def fault(self, row: Row, what: str) -> None:
        self.unexplained.append(
            f"{row.get('id', '?')} {row.get('provider', '?')} {row.get('path', '')}: {what}"
        )

    def total(self, heading: str) -> int:
        return sum(self.counts.get(heading, Counter()).values())


def rows_of(file: Path) -> Iterator[Row]:
    """Yield the exchanges of a file; a line that is none yields what it is instead."""
    content = file.read_bytes()
    lines = (gzip.decompress(content) if file.suffix == ".gz" else content).splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        yield row if isinstance(row, dict) else {"id": f"line {number}", "unreadable": True}


def body_of(row: Row) -> bytes:
    """Return the answer's bytes as they came, as far as the recording keeps them."""
    answer = row.get("response")
    if not isinstance(answer, str):
        return json.dumps(answer).encode()
    if "eventstream" in str(row.get("content_type")):
        try:
            return base64.b64decode(answer, validate=True)
        except binascii.Error:
            return answer.encode()
    return answer.encode()


def read(row: Row, wire: str, body: bytes, *, piece_bytes: int) -> tuple[bytes, Reading]:
    """Return the forwarded bytes and the reading of an answer that arrives in pieces."""
    content_type = str(row.get("content_type") or "")
    is_stream = "event-stream" in content_type or "eventstream" in content_type
    reader = READERS[wire].stream() if is_stream else READERS[wire].json()
    pieces = [reader.feed(body[at : at + piece_bytes]) for at in range(0, len(body), piece_bytes)]
    return b"".join(pieces) + reader.flush(), reader.finish()


def verify(row: Row, catalogue: Catalogue, tally: Tally) -> None:
    """Account for one exchange."""
    if row.get("unreadable"):
        tally.fault(row, "the line holds no exchange")
        return
    provider = str(row.get("provider") or "")
    host, path = str(row.get("host") or ""), str(row.get("path") or "")
    route = route_of(provider=provider, host=host, path=path)
    if route is None:
        tally.add("not read", "unknown wire", about=f"{provider} {host} {path}")
        return
    body = body_of(row)
    forwarded, reading = read(row, route.wire, body, piece_bytes=max(1, len(body)))
    tally.add("read", route.wire)
    if forwarded != body:
        tally.fault(row, "the forwarded bytes are not the received ones")
    # Small answers byte by byte, large ones in pieces that end anywhere.
    if read(row, route.wire, body, piece_bytes=1 if len(body) < 20_000 else 61) != (forwarded, reading):
        tally.fault(row, "cut in pieces, it reads otherwise")
    if reading.usage is None:
        account_for_missing(row, body, reading, tally)
        return
    tally.add("usage found", "estimated" if reading.usage.is_estimated else "by the provider's own counts")
    for flag in reading.usage.flags:
        tally.add("flags", flag)
    check_totals(row, route.wire, reading, tally)
    check_price(row, route, body, reading, catalogue, tally)


def account_for_missing(row: Row, body: bytes, reading: Reading, tally: Tally) -> None:
    """Say why an answer has no usage; a block that was there and not read is a fault."""
    if int(row.get("status") or 0) >= 400:
        tally.add("usage missing", f"the provider refused ({row['status']})")
    elif reading.raw_usage or (_USAGE_KEY.search(body) and not reading.error):
        tally.fault(row, "its usage block was not understood")
    elif reading.error:
        tally.add("usage missing", "the answer is an error")
    elif _UNFINISHED.search(body):
        tally.add("usage missing", "the answer is not finished (a background response)")
    elif not reading.complete:
        tally.add("usage missing", "the stream ended before its usage")
    elif "/invoke" in str(row.get("path")):
        tally.add("usage missing", "the counts are in headers, which the recording lacks")
    else:
        tally.add("usage missing", "the provider sent no usage block")


def check_totals(row: Row, wire: str, reading: Reading, tally: Tally) -> None:
    """Compare our sums with the provider's own."""
    assert reading.usage is not None
    block = json.loads(reading.raw_usage)
    if not isinstance(block, dict):
        return
    usage = reading.usage
    ours = our_totals(usage.quantities, taken=usage.input_tokens, made=usage.output_tokens)
    reasons: list[str] = []
    for stated in stated_totals(wire, block):
        differing = conflicts(stated, ours)
        why = explanation(block, stated, ours) if differing else ""
        if why is None:
            tally.fault(row, f"{' and '.join(differing)}: ours are {tuple(ours)}, stated {tuple(stated)}")
            return
        reasons.append(why)
    explained = next((why for why in reasons if why), None)
    tally.add("totals", f"differ, explained: {explained}" if explained else "agree with the provider's own")


def check_price(
    row: Row, route: WireRoute, body: bytes, reading: Reading, catalogue: Catalogue, tally: Tally
) -> None:
    """Price the reading and compare the cost with the one reported, if there is one."""
    host, path = str(row.get("host") or ""), str(row.get("path") or "")
    provider = catalogue_provider(str(row.get("provider") or "") or provider_of(host) or "", path)
    model = str(reading.model or route.model or row.get("model") or "")
    created = _CREATED.search(body)
    at = (
        datetime.fromtimestamp(int(created[1]), UTC)
        if created
        else datetime.combine(catalogue.taken_on, datetime.min.time(), UTC)
    )
    priced = price_exchange(catalogue, reading, provider=provider, model=model, at=at)
    label = f"{provider}/{model or '?'}"
    if priced.cost is None:
        tally.add("unpriced", priced.reason, about=label)
    else:
        tally.add("priced", "at zero markup, exactly")
    if reading.reported_cost:
        verdict, why = compare_cost(catalogue, reading, priced)
        if verdict == "unexplained":
            tally.fault(row, f"{label}: {why}")
        else:
            tally.add(f"reported cost {verdict}", why, about=label)


HEADINGS = (
    *("not read", "read", "usage found", "usage missing", "flags", "totals", "priced", "unpriced"),
    *("reported cost match", "reported cost differs"),
)


def report(tally: Tally, *, verbose: bool) -> str:
    """Return the figures as text."""
    lines: list[str] = []
    for heading in HEADINGS:
        lines.append(f"{heading:<22}{tally.total(heading):>6}")
        for reason, count in tally.counts.get(heading, Counter()).most_common():
            lines.append(f"{'':<22}{count:>6}  {reason}")
            about = tally.models.get(f"{heading}: {reason}", Counter()) if verbose else Counter[str]()
            lines += [f"{'':<30}{n:>6}  {name}" for name, n in about.most_common()]
    lines.append(f"{'unexplained':<22}{len(tally.unexplained):>6}")
    return "\n".join([*lines, *(f"  {fault}" for fault in tally.unexplained)]) + "\n"


def main() -> int:
    """Verify the file; return 1 where anything is unexplained."""
    parser = argparse.ArgumentParser(description="Account for every recorded exchange of a file.")
    parser.add_argument("file", nargs="?", type=Path, default=CAPTURES)
    parser.add_argument("--verbose", action="store_true", help="name the models behind each reason")
    asked = parser.parse_args()
    decimal.getcontext().traps[decimal.Inexact] = True
    tally, catalogue = Tally(), bundled_catalogue()
    exchanges = 0
    for row in rows_of(asked.file):
        exchanges += 1
        verify(row, catalogue, tally)
    sys.stdout.write(f"{'exchanges':<22}{exchanges:>6}\n{report(tally, verbose=asked.verbose)}")
    return 1 if tally.unexplained or not exchanges else 0


if __name__ == "__main__":
    sys.exit(main())
