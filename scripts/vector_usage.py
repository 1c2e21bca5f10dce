"""Runs cases of language models: token rates with a markup, shapes of usage blocks, names of models.

Rule 1: charges come from `rating.charge` under a compiled sheet, usage from the gateway's own readers, names
from `catalog.names` over the bundled catalogue.
Rule 2: names never lose what changes their price. A case that drops a region, or calls a listed model by
another model's name, is disputed and not run around.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from vector_case import Figures, Given, NotRun, Runner, fraction, whole
from vector_prices import committed, place_of

from costplus.catalog.names import ProviderNames, canonical_provider, provider_names, resolve, without_region
from costplus.catalog.price import Component, PriceVersion
from costplus.catalog.sources.bundled import bundled_snapshot
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, Usage, usage_of
from costplus.gateway.wire import READERS
from costplus.rating.charge import Charge, explain, rate
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MILLION = 1_000_000
# What cases call the tokens of a leaf.
TOKENS_OF: Mapping[str, str] = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cached_input",
    "cache_write_tokens": "cache_write_5m",
    "audio_input_tokens": "input_audio",
    "audio_output_tokens": "output_audio",
    "reasoning_tokens": "reasoning",
}
# What cases call the leaves of a reading; output counts what is thought as well.
POOL_OF: Mapping[str, str] = {"cached_input": "cache_read", "reasoning": "of_which_reasoning"}
# Vendors that sell models of their own, by whose names other providers call them too.
VENDORS = ("anthropic", "cohere", "deepseek", "mistral", "openai", "xai")


def percent_of(factor: Fraction) -> Decimal:
    """Return the markup, in percent, that multiplies by `factor`."""
    text = decimal_text((factor - 1) * 100)
    if "/" in text:
        raise NotRun(f"a multiplier of {factor} is no finite percentage")
    return Decimal(text)


def sheet_of(rates: Mapping[str, Fraction], *, per: int, markup_percent: Decimal = Decimal(0)) -> RateSheet:
    """Return the sheet of rates by leaf, each for `per` units, sold with a markup."""
    if strange := sorted(set(rates) - set(LEAVES)):
        raise NotRun(f"no leaf is called '{strange[0]}'")
    parts = [Component(leaf, Decimal(decimal_text(usd)), per) for leaf, usd in rates.items()]
    price = PriceVersion("pv", "p", "m", "usd", LONG_AGO, None, tuple(parts))
    adjust = adjustment("markup", markup_percent)
    return compile_sheet(price, RateCardVersion(id="rcv", created=LONG_AGO, rate_card="rcd", default=adjust))


def exact(charge: Charge) -> Fraction:
    """Return the unrounded price of a charge; nothing of it may be without a price."""
    if charge.unpriced:
        raise NotRun(f"no rate for {', '.join(charge.unpriced)}")
    return Fraction(explain(charge).exact_price)


def token_rating_markup(given: Given) -> Figures:
    rates = {"input": given.number("usd_per_million_in"), "output": given.number("usd_per_million_out", 0)}
    markup = Decimal(decimal_text(given.number("markup_percent")))
    used = {leaf: given.count(name, 0) for name, leaf in TOKENS_OF.items()}
    if not any(given.has(name) for name in TOKENS_OF):  # It asks what a million tokens cost.
        return {
            "amount": exact(
                rate(Usage({"input": MILLION}), sheet_of(rates, per=MILLION, markup_percent=markup))
            )
        }
    if given.take("other_rates", None) is not None:
        raise NotRun("input 'other_rates' is not understood")
    without = [leaf for leaf, count in used.items() if count and leaf not in rates]
    if without and given.follows("no_rate_is_free"):
        rates |= dict.fromkeys(without, Fraction(0))
    elif without:
        given.under("ancestors_rate")
    return {"amount": exact(rate(usage_of(used), sheet_of(rates, per=MILLION, markup_percent=markup)))}


def token_rating(given: Given) -> Figures:
    rates = {leaf: fraction(usd) for leaf, usd in given.take("usd_per_million", kind=dict).items()}
    used = {leaf: whole(count) for leaf, count in given.take("tokens", kind=dict).items()}
    if strange := sorted(set(used) - set(LEAVES)):
        raise NotRun(f"no leaf is called '{strange[0]}'")
    return {"amount": exact(rate(usage_of(used), sheet_of(rates, per=MILLION)))}


def sold_at(cost: Fraction, markup_percent: Decimal) -> Fraction:
    """Return what something that costs `cost` is sold for."""
    return exact(rate(Usage({"unit": 1}), sheet_of({"unit": cost}, per=1, markup_percent=markup_percent)))


def gateway_cost_markup(given: Given) -> Figures:
    markup = Decimal(decimal_text(given.number("markup_percent")))
    usd_per_credit = given.number("usd_per_credit")
    if usd_per_credit <= 0:
        raise NotRun("a credit is worth nothing")
    return {"amount": sold_at(given.number("gateway_cost_usd"), markup) / usd_per_credit}


def dynamic_markup(given: Given) -> Figures:
    """Sell metered money at a multiple of it, under a commitment."""
    markup = percent_of(given.number("multiplier"))
    metered = given.first("metered_cost", "line_metered", "qty")
    before = sold_at(given.number("pre_line_metered", 0), markup)
    return committed(given, sold_at(metered, markup), before=before, place=place_of(given))


def dynamic_cost(given: Given) -> Figures:
    """Sell units for an amount that the caller states; the unit rate follows from it."""
    units = given.count("units")
    if not units:
        raise NotRun("no units, so none has a rate")
    charge = rate(
        Usage({"unit": units}), sheet_of({"unit": given.number("precise_total_cents") / 100}, per=units)
    )
    return {"amount": exact(charge), "unit": charge.lines[0].rate.unit_price}


def camel_cased(name: str) -> str:
    """Return the wire's spelling of a field that a library spells with underscores."""
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)


def wire_of(names: Iterable[str]) -> str:
    """Return the wire whose usage block has these fields."""
    found = set(names)
    if any("promptTokenCount" in name for name in found):
        return "gemini_generate"
    if "prompt_tokens" in found:
        return "openai_chat"
    if "inputTokens" in found:
        return "bedrock_converse"
    if found & {"input_tokens_details", "output_tokens_details", "total_tokens"}:
        return "openai_responses"
    if "input_tokens" in found:
        return "anthropic_messages"
    raise NotRun("no wire's usage block has these fields")


def usage_to_pools(given: Given) -> Figures:
    """Read a usage block as the gateway would, and return the counts in the cases' words."""
    raw = given.take("raw_usage", kind=dict)
    if any(name.endswith("_token_count") for name in raw):
        raw = {camel_cased(name): count for name, count in raw.items()}
    body = {"id": "r", "model": "m", "type": "message", "output": [], "usage": raw, "usageMetadata": raw}
    reader = READERS[wire_of(raw)].json()
    reader.feed(json.dumps(body, default=str).encode())
    usage = reader.finish().usage
    if usage is None or usage.flags:
        raise NotRun(
            f"the reader {'found no usage' if usage is None else 'flagged ' + ', '.join(usage.flags)}"
        )
    given.is_listing = True
    pools: dict[str, Any] = dict.fromkeys(("cache_read", "of_which_reasoning"), 0)
    pools |= {POOL_OF.get(leaf, leaf): count for leaf, count in usage.quantities.items()}
    return {**pools, "output": usage.output_tokens, "input": usage.quantities.get("input", 0)}


def normalise_provider(given: Given) -> Figures:
    return {"amount": canonical_provider(given.take("raw", kind=str))}


snapshot_once = functools.cache(bundled_snapshot)


@functools.cache
def names_at(vendor: str) -> ProviderNames:
    entry = snapshot_once().providers[vendor]
    models = {model: listed.aliases for model, listed in entry.models.items()}
    return provider_names(vendor, models, unpriced=entry.unpriced)


def normalise_model(given: Given) -> Figures:
    """Look a name up at the vendors, as if a caller had sent it."""
    raw = given.take("raw", kind=str)
    given.under("vendor_of_the_name")
    if without_region(raw) is not None:
        found = resolve(raw, names=names_at("bedrock"))
        given.dispute = "a region is never dropped: it has prices of its own"
        return {"amount": found.model if found else raw}
    known = [found for vendor in VENDORS if (found := resolve(raw, names=names_at(vendor))) is not None]
    if len({found.model for found in known}) != 1:
        raise NotRun("several vendors have such a model" if known else "no vendor's model is called so")
    if not known[0].steps:
        given.dispute = "it is listed with prices of its own: another name for it would have to be declared"
    return {"amount": known[0].model}


RUNNERS: Mapping[str, Runner] = {
    runner.__name__: runner
    for runner in (
        token_rating_markup,
        token_rating,
        gateway_cost_markup,
        dynamic_markup,
        dynamic_cost,
        usage_to_pools,
        normalise_provider,
        normalise_model,
    )
}
