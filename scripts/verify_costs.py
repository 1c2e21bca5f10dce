"""Check recorded usage blocks against the tokens and the cost they should come to, under their own rates.

    python scripts/verify_costs.py [FILE]

Rule 1: a case is read by the gateway's own reader of its endpoint and rated by the engine; nothing knows a
case by its id, so that any file of the same form can be given.
Rule 2: an endpoint without a reader is rated from the case's own counts and said to be not read yet.
Rule 3: what does not hold is listed with its reason; a wrong figure makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from costplus.catalog.condition import WORDED, Condition, among, window
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.price import Component, Multiplier, PriceVersion
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, Usage, usage_of
from costplus.gateway.served import asked_for, kept_for, served_as
from costplus.gateway.wire import READERS, Reading
from costplus.gateway.wire.anthropic import iteration_usages
from costplus.gateway.wire.request import WireRequest
from costplus.rating.charge import explain, rate
from costplus.rating.rate_card import Adjustment, RateCardVersion
from costplus.rating.sheet import compile_sheet

Case = Mapping[str, Any]

ROOT = Path(__file__).resolve().parent.parent
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AT_COST = RateCardVersion(
    id="at_cost", created=LONG_AGO, rate_card="at_cost", default=Adjustment("markup", Decimal(0))
)

# What the cases call a type of consumption → our leaf, where it is not the leaf's own name.
LEAF_OF = {name: name for name in LEAVES} | {
    **dict.fromkeys(["input_uncached", "input_text", "input_unattributed", "input_tool_use"], "input"),
    "input_document": "input",
    "grounded_request": "web_search",  # The readers count one where the vendor bills the answer.
    **dict.fromkeys(["cache_read", "cache_read_text", "cache_read_document"], "cached_input"),
    "cache_read_audio": "cached_input_audio",
    "cache_read_image": "cached_input_image",
    "output_text": "output",
    "output_reasoning": "reasoning",
}
# An endpoint's wire, by how its name begins: wires are named for what they speak.
WIRE_OF = {
    "openai chat.completions": "openai_chat",
    "openai responses": "openai_responses",
    "openai embeddings": "openai_embeddings",
    "anthropic messages": "anthropic_messages",
    "messages batch": "anthropic_messages",
    "gemini generateContent": "gemini_generate",
    "bedrock converse": "bedrock_converse",
    "cohere chat v2": "cohere_chat",
    "cohere embed v2": "cohere_embed",
    "rerank": "cohere_rerank",
    "images.generations": "openai_images",
    "audio.transcriptions": "openai_transcription",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case: it holds, or `why` not; `wrong` where a figure differs."""

    case: Case
    read: bool
    why: str = ""
    wrong: bool = False

    @property
    def line(self) -> str:
        return f"  {self.case['id']}: {self.why}"


@dataclass(frozen=True, slots=True)
class Part:
    """What one model of a case consumed; the model is empty for the case's own."""

    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Read:
    """What the endpoint's reader and the request's own words say about a case."""

    parts: tuple[Part, ...]
    context: RequestContext
    flags: tuple[str, ...] = ()


def bodies(case: Case) -> Iterator[Mapping[str, Any]]:
    """Yield the answers that the case's usage would have come in; `_…` keys are facts from outside of it."""
    hints = {key: value for key, value in case["usage"].items() if key.startswith("_")}
    usage = {key: value for key, value in case["usage"].items() if key not in hints}
    if isinstance(usage.get("results"), list):
        for result in usage["results"]:
            yield {"id": "r", "type": "message", "model": case["model"], "usage": result}
        return
    items = [{"type": kind} for kind, n in hints.get("_output_items", {}).items() for _ in range(n)]
    grounding = {"webSearchQueries": ["q"]} if hints.get("_grounded") else {}
    body = {
        "id": "r",
        "model": case["model"] or "unnamed",
        "modelVersion": case["model"] or "unnamed",
        "output": items,
        "candidates": [{"groundingMetadata": grounding}] if grounding else [],
    }
    places = {} if "meta" in usage else {"usage": usage, "usageMetadata": usage}
    yield {**body, **places, "meta": usage.get("meta", usage)}


def reading_of(case: Case) -> list[Reading] | None:
    """Return what the endpoint's reader makes of the case; None where there is no reader yet."""
    known = WIRE_OF.get(case["endpoint"])
    wire = next((name for name in sorted(READERS) if known and name.startswith(known)), None)
    if wire is None:
        return None
    readings = []
    for body in bodies(case):
        reader = READERS[wire].json()
        reader.feed(json.dumps(body).encode())
        readings.append(reader.finish())
    return readings


def read(case: Case) -> Read | None:
    """Return the case's usage by model and its context, as the gateway would have understood them."""
    readings = reading_of(case)
    if readings is None:
        return None
    hints = case["usage"]
    request = WireRequest(model="m", stream=False, max_tokens=None, choices_max=1, fields={})
    at = datetime.fromisoformat(hints["_at"]) if "_at" in hints else None
    context = served_as(request, readings[0], asked=asked_for(request, at=at or LONG_AGO))
    changes = {"at": at, "processing": "batch" if "batch" in case["endpoint"] else context.processing}
    context = RequestContext(
        **{field.name: changes.get(field.name, getattr(context, field.name)) for field in fields(context)}
    )
    lifetime = hints.get("_cache_retention", "")
    usages = [(reading.usage and kept_for(reading.usage, lifetime), reading) for reading in readings]
    if any(usage is None for usage, _ in usages):
        return Read((), context, ("unreadable",))
    parts = [part for usage, reading in usages if usage for part in parts_of(usage, reading, case)]
    return Read(tuple(parts), context, tuple(flag for usage, _ in usages if usage for flag in usage.flags))


def parts_of(usage: Usage, reading: Reading, case: Case) -> list[Part]:
    """Return the usage by model, where the case prices several and the reading tells them apart."""
    if not any("@" in name for name in expected_counts(case)):
        return [Part("", usage)]
    return [Part(model or "", run) for model, run in iteration_usages(reading.raw_usage)]


def expected_counts(case: Case) -> dict[str, int]:
    """Return the counts that the case expects, without units that cost nothing."""
    free = {name for name, usd in case.get("unit_prices", {}).items() if Fraction(usd) == 0}
    units = {name: n for name, n in case.get("expected_units", {}).items() if name not in free}
    return {**case["expected_tokens_by_type"], **units}


def leaf_and_model(name: str) -> tuple[str | None, str]:
    """Return the leaf of a type and the model it is for: `advisor_output@m` is output of `m`."""
    kind, at, model = name.partition("@")
    if at:
        kind = kind.partition("_")[2] if kind not in LEAF_OF else kind
    return LEAF_OF.get(kind), model


def by_leaf(counts: Mapping[str, int]) -> Counter[tuple[str, str]]:
    """Sum counts over the leaves of each model; zeros are left out."""
    found: Counter[tuple[str, str]] = Counter()
    for name, count in counts.items():
        leaf, model = leaf_and_model(name)
        if leaf is not None and count:
            found[model, leaf] += count
    return found


def prices_of(case: Case, model: str, context: RequestContext | None) -> PriceVersion:
    """Return the case's rates for one of its models as a price version.

    `context` is what its multiplier depends on; None applies it in any case.
    """
    rates = [(name, usd, 1_000_000) for name, usd in case.get("rates_per_mtok", {}).items()]
    rates += [(name, usd, 1) for name, usd in case.get("unit_prices", {}).items()]
    components = {}
    for name, usd, per in rates:
        leaf, owner = leaf_and_model(name)
        if leaf is not None and owner == model:
            components[leaf] = Component(leaf, Decimal(usd), per)
    factor = case.get("multiplier_on_tokens")
    when = () if context is None else peculiar(context)
    return PriceVersion(
        id="pv",
        provider=case["provider"],
        model=model,
        currency="USD",
        valid_from=LONG_AGO,
        valid_to=None,
        components=tuple(components.values()),
        multipliers=(Multiplier(Decimal(factor), when),) if factor else (),
    )


def peculiar(context: RequestContext) -> tuple[Condition, ...]:
    """Return the conditions that set a context apart from an ordinary one."""
    found = [
        among(field, [getattr(context, field)])
        for field in WORDED
        if getattr(context, field) != getattr(ORDINARY, field)
    ]
    if context.at is not None:
        minute = context.at.hour * 60 + context.at.minute
        found.append(
            among("request_time", [window(str(context.at.isoweekday()), start=minute, end=minute + 1)])
        )
    return tuple(found)


def cost_of(case: Case, parts: Iterable[Part], context: RequestContext | None) -> tuple[Fraction, list[str]]:
    """Return the exact cost of the parts under the case's rates, and the leaves without one."""
    total, unpriced = Fraction(0), list[str]()
    for part in parts:
        sheet = compile_sheet(prices_of(case, part.model, context), AT_COST)
        charge = rate(part.usage, sheet, context=context or ORDINARY)
        total += Fraction(explain(charge).exact_cost)
        unpriced += charge.unpriced
    return total, unpriced


def obstacle(case: Case) -> str:
    """Return why no leaf can carry what the case expects, or nothing."""
    costs: dict[tuple[str, str], set[Fraction]] = {}
    rates = {**case.get("rates_per_mtok", {}), **case.get("unit_prices", {})}
    for name in expected_counts(case):
        leaf, model = leaf_and_model(name)
        if leaf is None:
            return f"no price list knows '{name}': only the provider's own stated cost shows it"
        if name in rates:
            costs.setdefault((model, leaf), set()).add(Fraction(rates[name]))
    torn = [leaf for (_, leaf), found in costs.items() if len(found) > 1]
    return f"one leaf ({torn[0]}) at two rates" if torn else ""


def known_wrong(case: Case) -> list[Fraction]:
    """Return the figures that some system billed for the case by mistake."""
    figure = case.get("known_wrong_cost_usd", [])
    if isinstance(figure, Mapping):
        figure = list(figure.values())
    return [Fraction(str(usd)) for usd in (figure if isinstance(figure, list) else [figure])]


def verdict(case: Case) -> Verdict:
    """Read, count and rate one case."""
    understood = read(case)
    if case.get("expected") == "reject_or_flag":
        if understood is None:
            return Verdict(case, False, "no reader of this endpoint yet", wrong=False)
        ok = bool(understood.flags)
        return Verdict(case, True, "" if ok else "neither refused nor flagged", wrong=not ok)
    if why := obstacle(case):
        return Verdict(case, understood is not None, why)
    expected = by_leaf(expected_counts(case))
    if understood is None:
        grouped: dict[str, dict[str, int]] = {}
        for (model, leaf), count in expected.items():
            grouped.setdefault(model, {})[leaf] = count
        parts: Iterable[Part] = [Part(model, usage_of(leaves)) for model, leaves in grouped.items()]
        return priced(case, parts, None, read=False)
    found: Counter[tuple[str, str]] = Counter()
    for part in understood.parts:
        for leaf, count in part.usage.quantities.items():
            found[part.model, leaf] += count
    if found != expected:
        return Verdict(case, True, f"counted {dict(found)}, expected {dict(expected)}", wrong=True)
    return priced(case, understood.parts, understood.context, read=True)


def priced(case: Case, parts: Iterable[Part], context: RequestContext | None, *, read: bool) -> Verdict:
    """Compare the parts' cost with the case's, where it states one."""
    if "expected_cost_usd" not in case:
        return Verdict(case, read)
    if "multiplier_on_tokens" in case and context is not None and not peculiar(context):
        return Verdict(case, read, "nothing that was read says why a multiplier applies", wrong=True)
    cost, unpriced = cost_of(case, parts, context)
    expected = Fraction(case["expected_cost_usd"])
    if unpriced:
        return Verdict(case, read, f"no rate for {', '.join(unpriced)}", wrong=True)
    if cost != expected:
        return Verdict(
            case, read, f"costs {decimal_text(cost)}, expected {decimal_text(expected)}", wrong=True
        )
    if cost in known_wrong(case):
        return Verdict(case, read, "the known mistake of another system", wrong=True)
    return Verdict(case, read)


def verify(cases: Iterable[Case]) -> list[Verdict]:
    return [verdict(case) for case in cases]


def report(verdicts: list[Verdict]) -> Iterator[str]:
    """Yield the lines to print."""
    holding = [v for v in verdicts if not v.why]
    unread = [v for v in verdicts if not v.read]
    yield f"cost cases: {len(holding)} of {len(verdicts)} hold"
    yield f"  read by the gateway's readers: {sum(v.read for v in holding)} of {len(verdicts) - len(unread)}"
    yield f"  usage not read yet (case's own counts): {sum(not v.read for v in holding)} of {len(unread)}"
    for endpoint, count in sorted(Counter(v.case["endpoint"] for v in unread).items()):
        yield f"    {endpoint}: {count}"
    left = [v for v in verdicts if v.why]
    if left:
        yield f"not holding: {len(left)}"
        yield from (v.line for v in left)


def main() -> int:
    shared = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description="Check usage blocks against their tokens and costs.")
    parser.add_argument("cases", type=Path, nargs="?", default=shared / "data" / "cost_cases.json")
    verdicts = verify(json.loads(parser.parse_args().cases.read_text("utf-8")))
    sys.stdout.writelines(f"{line}\n" for line in report(verdicts))
    return 1 if any(found.wrong for found in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
