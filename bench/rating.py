"""What rating costs: one event, a batch over many models and customers, the load of a large catalogue, and
the same events through another calculator. Run as a program; writes JSON.

Rule 1: CPU time of one core; every figure is measured several times, and ratios are made within a round.
Rule 2: the load is measured in a process of its own, which has imported everything and decoded nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from prices import enlarged, models_in

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.context import ORDINARY, RequestContext, served
from costplus.catalog.snapshot import Snapshot
from costplus.catalog.sources.bundled import bundled_snapshot
from costplus.core.usage import Usage, usage_of
from costplus.rating.charge import rate
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import SheetCache, compile_sheet

AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
ROUNDS, ROUNDS_QUICK = 9, 3
ONE_EVENT_TIMES = 20_000
BATCH = 60_000
THEIRS = 3_000  # Events of the batch that the other calculator rates in each round.
MODELS, CUSTOMERS = 300, 40
TIERED = "gpt-5.6-sol"  # Its prices depend on the prompt's size, the service tier, the region and batch.
LONG_PROMPT = {"input": 280_000, "cached_input": 20_000, "output": 300, "reasoning": 40}
SEED = 20_261_110


@dataclass(frozen=True, slots=True)
class Event:
    """What is known of a call when it is to be rated."""

    provider: str
    requested: str
    card: RateCardVersion
    usage: Usage
    context: RequestContext


def card(number: int) -> RateCardVersion:
    """Return a customer's card: each has a markup of its own."""
    markup = adjustment("markup", Decimal(20 + number) / 2)
    return RateCardVersion(id=f"rcv_{number}", created=AT, rate_card=f"rcd_{number}", default=markup)


def one_event_us(catalogue: Catalogue, *, rounds: int) -> list[float]:
    """Return microseconds for rating one event of four leaves by its conditions, once a round."""
    price, _ = catalogue.price_at("openai", TIERED, at=AT)
    sheet, usage = compile_sheet(price, card(1)), usage_of(LONG_PROMPT)
    context = served(service_tier="priority", region="eu", at=AT)
    charge = rate(usage, sheet, context=context)
    assert len(charge.lines) == len(LONG_PROMPT)
    assert all(line.rate.above_prompt_tokens and line.rate.conditions for line in charge.lines)

    def step() -> None:
        for _ in range(ONE_EVENT_TIMES):
            rate(usage, sheet, context=context)

    return [cpu_s(step) / ONE_EVENT_TIMES * 1e6 for _ in range(rounds)]


def cpu_s(step: Callable[[], object]) -> float:
    """Return the CPU seconds of a step that only computes; what else runs on the machine counts less so."""
    gc.collect()
    began = time.process_time()
    step()
    return time.process_time() - began


def names(catalogue: Catalogue, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return (provider, name) of models that both calculators find; every third name is an alias."""
    found: list[tuple[str, str]] = []
    listed = [
        (provider, model, entry.aliases)
        for provider, models in snapshot.providers.items()
        for model, entry in models.models.items()
        if entry.source == "genai-prices" and provider != "openrouter"
    ]
    for provider, model, aliases in random.Random(SEED).sample(listed, len(listed)):
        name = aliases[0] if aliases and len(found) % 3 == 0 else model
        try:
            calc_price(TheirUsage(input_tokens=1), name, provider_id=theirs_of(provider))
        except LookupError:
            continue
        found.append((provider, name))
    return found[:MODELS]


def theirs_of(provider: str) -> str:
    return {"xai": "x-ai", "bedrock": "aws"}.get(provider, provider)


def events(known: list[tuple[str, str]]) -> Iterator[Event]:
    """Yield calls of random models by random customers; one in five is long, one in five in another tier."""
    chance, cards = random.Random(SEED), [card(number) for number in range(CUSTOMERS)]
    tiers = [
        ORDINARY,
        *(served(service_tier=tier, at=AT) for tier in ("default", "auto", "flex", "priority")),
    ]
    while True:
        provider, requested = chance.choice(known)
        size = 300_000 if chance.random() < 0.2 else 5_000
        quantities = {"input": chance.randrange(size), "cached_input": chance.randrange(size)}
        quantities |= {"output": chance.randrange(2_000), "reasoning": chance.randrange(500)}
        yield Event(provider, requested, chance.choice(cards), usage_of(quantities), chance.choice(tiers))


def rate_all(batch: list[Event], catalogue: Catalogue, sheets: SheetCache) -> int:
    """Rate a batch as a settlement would: resolve each name, find its sheet, rate."""
    nano = 0
    for event in batch:
        price, _ = catalogue.price_at(event.provider, event.requested, at=AT)
        nano += rate(event.usage, sheets.sheet(price, event.card), context=event.context).price_nano
    return nano


def rate_all_with_theirs(batch: list[tuple[str, str, TheirUsage, dict[str, str]]]) -> Decimal:
    total = Decimal(0)
    for provider, requested, usage, asked in batch:
        total += calc_price(
            usage, requested, provider_id=provider, genai_request_timestamp=AT, price_context=asked
        ).total_price
    return total


def as_theirs(event: Event) -> tuple[str, str, TheirUsage, dict[str, str]]:
    usage, tier = event.usage, event.context.service_tier
    counts = TheirUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.quantities.get("cached_input", 0),
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.quantities.get("reasoning", 0),
    )
    return (
        theirs_of(event.provider),
        event.requested,
        counts,
        {} if tier == "standard" else {"service_tier": tier},
    )


def batch_figures(catalogue: Catalogue, snapshot: Snapshot, *, rounds: int) -> dict[str, list[float]]:
    """Return events a second of both calculators and their ratio, once a round; they take turns.

    The first pass finds each name and compiles each sheet, as the first event of a model and a card does.
    """
    batch = list(islice(events(names(catalogue, snapshot)), BATCH))
    theirs = [as_theirs(event) for event in batch[:THEIRS]]
    sheets, fresh = SheetCache(), Catalogue(snapshot)
    pairs = len({(event.provider, event.requested, event.card.id) for event in batch})
    first_us = cpu_s(lambda: rate_all(batch, fresh, sheets)) / pairs * 1e6
    rate_all_with_theirs(theirs)
    found: dict[str, list[float]] = {
        "first_us": [first_us],
        "batch_per_s": [],
        "theirs_per_s": [],
        "ratio": [],
    }
    for _ in range(rounds):
        ours_per_s = BATCH / cpu_s(lambda: rate_all(batch, fresh, sheets))
        theirs_per_s = THEIRS / cpu_s(lambda: rate_all_with_theirs(theirs))
        found["batch_per_s"].append(ours_per_s)
        found["theirs_per_s"].append(theirs_per_s)
        found["ratio"].append(ours_per_s / theirs_per_s)
    return found


def resident_mb() -> float:
    """Return this process's resident memory in MB (10⁶ bytes)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line) * 1024 / 1e6


def load_once(path: Path) -> dict[str, float]:
    """Return what loading a snapshot costs here, and what building every version costs on top."""
    before_mb, began = resident_mb(), time.process_time()
    snapshot = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    catalogue = Catalogue(snapshot)
    loaded = time.process_time()
    loaded_mb = resident_mb() - before_mb
    again = time.process_time()
    versions = sum(
        len(catalogue.versions(provider, model))
        for provider, entry in snapshot.providers.items()
        for model in entry.models
    )
    return {
        "load_ms": (loaded - began) * 1000,
        "load_mb": loaded_mb,
        "build_ms": (time.process_time() - again) * 1000,
        "built_mb": resident_mb() - before_mb,
        "models": models_in(snapshot),
        "versions": versions,
    }


def load_figures(*, rounds: int) -> dict[str, Any]:
    """Return the figures of several fresh processes that load the large snapshot."""
    encoded, origin = enlarged()
    with tempfile.TemporaryDirectory(prefix="costplus-bench-") as folder:
        path = Path(folder) / "prices.json"
        path.write_bytes(encoded)
        runs = []
        for _ in range(rounds):
            command = [sys.executable, __file__, "--load", str(path)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(run.stdout))
    figures: dict[str, Any] = {key: [run[key] for run in runs] for key in runs[0]}
    return {**figures, "origin": origin, "file_mb": len(encoded) / 1e6}


def main() -> None:
    """Measure everything, or one load, and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", type=Path, help="Measure the load of this snapshot in this process.")
    parser.add_argument("--quick", action="store_true", help="Fewer rounds.")
    arguments = parser.parse_args()
    if arguments.load is not None:
        sys.stdout.write(json.dumps(load_once(arguments.load)) + "\n")
        return
    rounds = ROUNDS_QUICK if arguments.quick else ROUNDS
    snapshot = bundled_snapshot()
    catalogue = Catalogue(snapshot)
    for _ in catalogue.models(at=AT):  # Every version is built: the whole catalogue is in memory.
        pass
    figures = {
        "one_event_us": one_event_us(catalogue, rounds=rounds),
        **batch_figures(catalogue, snapshot, rounds=rounds),
        **load_figures(rounds=rounds),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
