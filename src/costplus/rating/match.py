"""Price match: which price a model's name leads to, step by step, and what usage of it would be charged.

Rule 1: it asks what pricing asks: a match is the answer that a call would get, not a likeness of it.
Rule 2: where there is no price, or none that may be sold, it says why and what to do; it never guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.context import ORDINARY, RequestContext, asking
from costplus.catalog.names import split_provider
from costplus.catalog.price import ALWAYS, ModelUnpriced
from costplus.core.errors import BillingError, InvalidRequest
from costplus.core.usage import Usage
from costplus.rating.charge import Charge, rate
from costplus.rating.pricing import Priced, Pricing
from costplus.rating.rate_card import Adjustment, ModelNotOnCard, PriceBelowFloor, RateCardVersion
from costplus.rating.sheet import UnitRate

# What each step of understanding a name did (`catalog.names`, `catalog.catalogue`).
SENTENCES: Mapping[str, str] = {
    "trim": "Spaces around the name were left out.",
    "lower_case": "The name was written in lower case.",
    "resource_path": "The resource path around the model's name was left out.",
    "provider_prefix": "The provider's own name before the slash was left out.",
    "fine_tune": "Whose fine-tune it is was left out: the vendor asks the price of the fine-tuned base.",
    "undated": "The date was left out: the vendor asks the same for the dated and the undated name.",
    "alias": "The price list declares the name as another one of the model.",
    "separators": "Dots and dashes between numbers mean the same to this vendor.",
    "modifier": "The suffix is no part of the name but asks for a mode, which the price must cover.",
    "dearest_region": "The region has no price of its own, so that of the dearest known region counts.",
    "operator_alias": "The operator declared that the name means this model.",
}
AT_COST = RateCardVersion(
    id="", created=ALWAYS, rate_card="", default=Adjustment("markup", Decimal(0))
)  # Where no card is set up yet.


class ProviderMissing(InvalidRequest):
    """The name does not say which provider serves the model; each asks its own price."""

    code = "provider_missing"
    remedy = "Name the provider, as in provider/model."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A name as a caller writes it, when, and perhaps what was used and how it was served."""

    model: str
    at: datetime
    provider: str = ""  # Empty where the name itself says it.
    usage: Usage | None = None
    context: RequestContext = ORDINARY


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMatch:
    """What became of the name: `priced` where it has a price, `reason` where it cannot be sold."""

    asked: Asked
    card: RateCardVersion
    priced: Priced | None = None
    conditions: tuple[str, ...] = ()  # Those of the price that hold, as text.
    rates: tuple[UnitRate, ...] = ()  # Of the leaves that have a price of their own or were used.
    charge: Charge | None = None
    reason: BillingError | None = None
    candidates: tuple[str, ...] = ()  # Where the provider is missing: who has a price for the name.

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        """Each step that led from the name to the model, with its sentence."""
        names = self.priced.name.steps if self.priced else ()
        return tuple((name, SENTENCES[name]) for name in names)


def match(pricing: Pricing, asked: Asked, *, card: RateCardVersion = AT_COST) -> PriceMatch:
    """Return which price the name leads to under the card."""
    provider, model = asked.provider, asked.model
    if not provider:
        named, model = split_provider(model.strip())
        provider = named or ""
    if not provider:
        missing = ProviderMissing(f"'{asked.model}' names no provider.", param="provider")
        sellers = _sellers(pricing.catalogue, model, at=asked.at)
        return PriceMatch(asked=asked, card=card, reason=missing, candidates=sellers)
    try:
        priced = pricing.used(provider, model, card=card, at=asked.at)
    except ModelUnpriced as reason:
        return PriceMatch(asked=asked, card=card, reason=reason)
    return _matched(pricing, asked, priced, card=card)


def _matched(pricing: Pricing, asked: Asked, priced: Priced, *, card: RateCardVersion) -> PriceMatch:
    reason: BillingError | None = None
    try:
        pricing.sold(priced.name.provider, priced.name.model, card=card, at=asked.at).sheet.check_floor()
    except (ModelNotOnCard, PriceBelowFloor) as error:
        reason = error
    sheet, usage = priced.sheet, asked.usage
    context = asking(replace(asked.context, at=asked.at), priced.name.modifiers)
    prompt_tokens = usage.input_tokens if usage else 1
    used = usage.quantities if usage else {}
    by_leaf = sheet.rates_for(prompt_tokens=prompt_tokens, context=context).by_leaf
    return PriceMatch(
        asked=asked,
        card=card,
        priced=priced,
        conditions=tuple(
            condition.text
            for condition in sheet.conditions
            if condition.holds(prompt_tokens=prompt_tokens, context=context)
        ),
        rates=tuple(unit for leaf, (_, _, unit) in by_leaf.items() if unit.priced_as == leaf or leaf in used),
        charge=rate(usage, sheet, context=context) if usage else None,
        reason=reason,
    )


def _sellers(catalogue: Catalogue, model: str, *, at: datetime) -> tuple[str, ...]:
    """Return the names under which providers sell a model of that name."""
    found = []
    for provider in catalogue.providers:
        try:
            price, _ = catalogue.price_at(provider, model, at=at)
        except ModelUnpriced:
            continue
        found.append(f"{price.provider}/{price.model}")
    return tuple(found)
