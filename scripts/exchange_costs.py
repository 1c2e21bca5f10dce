"""What an exchange costs at zero markup, and how that compares with what the provider says it cost.

Rule 1: one engine: the catalogue's price at the instant, a compiled sheet, the rating that bills customers.
Rule 2: the model that served is priced, never the one that was asked for in its stead.
Rule 3: a difference is explained by a named rule that holds for every exchange of its kind, or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.core.usage import LEAVES, Usage
from costplus.gateway.wire import Reading
from costplus.gateway.wire.anthropic import ITERATIONS, iteration_usages
from costplus.rating.charge import Charge, ChargeLine, rate
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import compile_sheet

NO_MARKUP = RateCardVersion(
    id="rcv_zero",
    created=datetime(1970, 1, 1, tzinfo=UTC),
    rate_card="rc_zero",
    default=adjustment("markup", Decimal(0)),
)
# Providers of a recording by the catalogue's names.
CATALOGUE_NAMES = {"vertex": "google", "voyage": "voyageai"}
# Tiers whose prices are a model's plain prices.
PLAIN_TIERS = frozenset(("", "default", "standard", "on_demand", "provisioned", "auto"))
_ROUTED = re.compile(r"/(?P<backend>[a-z0-9-]+)/")


@dataclass(frozen=True, slots=True)
class Priced:
    """An exchange's exact cost in USD, or the reason why there is none."""

    cost: Fraction | None
    reason: str = ""
    version: PriceVersion | None = None


def catalogue_provider(provider: str, path: str) -> str:
    """Return the catalogue's provider for an exchange: a router's backends have prices of their own."""
    if provider == "huggingface":
        routed = _ROUTED.match(path)
        return f"huggingface_{routed['backend']}" if routed else provider
    return CATALOGUE_NAMES.get(provider, provider)


def price_exchange(
    catalogue: Catalogue, reading: Reading, *, provider: str, model: str, at: datetime
) -> Priced:
    """Return what the reading costs at its provider's price of `model`."""
    assert reading.usage is not None
    version = _version(catalogue, provider, model, at)
    if version is None:
        is_known = provider in catalogue.providers
        return Priced(None, "model not in the catalogue" if is_known else "provider not in the catalogue")
    tier = (reading.service_tier or "").lower()
    if tier not in PLAIN_TIERS:
        return Priced(None, f"tier without prices of its own yet ({tier})")
    charges = [rate(reading.usage, compile_sheet(version, NO_MARKUP))]
    if ITERATIONS in reading.usage.flags:
        runs = iteration_usages(reading.raw_usage)
        charges = []
        for other, usage in runs:
            own = version if other is None else _version(catalogue, provider, other, at)
            if own is None:
                return Priced(None, "model of an iteration not in the catalogue")
            charges.append(rate(usage, compile_sheet(own, NO_MARKUP)))
    unpriced = sorted({leaf for charge in charges for leaf in charge.unpriced})
    if unpriced:
        return Priced(None, f"leaf without price ({', '.join(unpriced)})")
    fees = sorted(flag for flag in reading.usage.flags if flag.startswith("unmetered_"))
    if fees:
        return Priced(None, f"fee that no leaf carries ({', '.join(fees)})")
    return Priced(sum((_exact(charge) for charge in charges), Fraction(0)), "", version)


def _version(catalogue: Catalogue, provider: str, model: str, at: datetime) -> PriceVersion | None:
    try:
        return catalogue.price_at(provider, model, at=at)[0]
    except ModelUnpriced:
        return None


def _exact(charge: Charge) -> Fraction:
    return sum((line.quantity * line.rate.unit_cost for line in charge.lines), Fraction(0))


def compare_cost(catalogue: Catalogue, reading: Reading, priced: Priced) -> tuple[str, str]:
    """Return `match`, `differs` or `unexplained`, with the rule's name, for a reported cost."""
    usage = reading.usage
    assert usage is not None
    reported = Fraction(Decimal(reading.reported_cost))
    block = json.loads(reading.raw_usage, parse_float=Decimal)
    details = block.get("cost_details") or {}
    if priced.cost is None or priced.version is None:
        return "differs", f"we have no price: {priced.reason}"
    if reported == priced.cost:
        return "match", "to the last digit"
    upstream = details.get("upstream_inference_cost")
    if block.get("is_byok") and upstream is not None and Fraction(upstream) == priced.cost:
        return "match", "the upstream cost of a call under the buyer's own key"
    if _significant(reported) == _significant(priced.cost):
        return "match", "but for the provider's binary rounding"
    for version in catalogue.versions(priced.version.provider, priced.version.model):
        if _exact(rate(usage, compile_sheet(version, NO_MARKUP))) == reported:
            return "differs", "another dated version of the price matches: the catalogue dates it otherwise"
    if any(flag.endswith(("_exceeds_input", "_exceeds_output")) for flag in usage.flags):
        return "differs", "the usage block contradicts itself, and is flagged"
    if _has_other_rates(usage, priced.version, details, reported):
        return "differs", "the provider charged another rate than the catalogue's (its backend or its date)"
    return "unexplained", f"reported {reading.reported_cost}, ours {float(priced.cost):.12g}"


def _has_other_rates(
    usage: Usage, version: PriceVersion, details: Mapping[str, Any], reported: Fraction
) -> bool:
    """Whether the provider's own split shows a rate per token that is not the catalogue's.

    The split must add up to what it reports, and each part be our tokens at a rate.
    """
    made = details.get("upstream_inference_completions_cost", details.get("upstream_inference_output_cost"))
    taken = details.get("upstream_inference_prompt_cost", details.get("upstream_inference_input_cost"))
    if made is None or taken is None or Fraction(made) + Fraction(taken) != reported:
        return False
    lines = rate(usage, compile_sheet(version, NO_MARKUP)).lines
    for direction, theirs in (("input", Fraction(taken)), ("output", Fraction(made))):
        side = [line for line in lines if LEAVES[line.rate.leaf].direction == direction]
        if not _is_rate_of(theirs, side):
            return False
    return True


def _is_rate_of(theirs: Fraction, side: Sequence[ChargeLine]) -> bool:
    """Whether `theirs` is our tokens at one other plausible rate, or all our rates times one factor.

    Tokens that were counted wrongly would give a factor and a rate with no end of digits.
    """
    ours = sum((line.quantity * line.rate.unit_cost for line in side), Fraction(0))
    if theirs == ours:
        return True
    if not ours:
        return False
    rates = {line.rate.unit_cost for line in side}
    tokens = sum(line.quantity for line in side)
    per_million = theirs * 1_000_000 / tokens
    return _is_short(theirs / ours) or (len(rates) == 1 and _is_short(per_million))


def _is_short(number: Fraction) -> bool:
    return (number * 10**4).denominator == 1


def _significant(cost: Fraction) -> str:
    """Return the digits that a binary fraction of 64 bits keeps."""
    return f"{float(cost):.14g}"
