"""What stands in for the price of a model that has none: a card's fallback prices, or nothing for now.

Rule 1: a fallback price is a fixed price per leaf; a leaf that the card does not name sells as its nearest
ancestor, and one without any stays unpriced. What it costs is not known: the cost is 0 and the charge says
`fallback`.
Rule 2: where nothing is charged for now, a call's hold is sized by the fallback prices, else by the dearest
list price of the provider: of each token leaf the highest that any of its models has without conditions. That
is more than any model known today would need, and so refuses whoever could not pay for the dearest.
Rule 3: all of this stands in until the model has a price; `billing.resolve` then charges the real one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from costplus.catalog.price import ALWAYS, Component, PriceVersion
from costplus.core.errors import InvalidRequest
from costplus.core.usage import LEAVES, ancestors
from costplus.rating.rate_card import FixedPrice, RateCardVersion
from costplus.rating.sheet import RateSheet, compile_sheet

NEEDED = ("input", "output")  # Whatever a model counts, nearly all of it is one of these or sells as one.


class FallbackPricesMissing(InvalidRequest):
    """The card is to sell models without a price at fallback prices, and lacks one that every call needs."""

    code = "fallback_prices_missing"
    remedy = "Give fallback_prices for at least input and output, or set unpriced to block or hold."


def check_fallback(card: RateCardVersion) -> None:
    """Raise `FallbackPricesMissing` where the card's rule is `fallback` and input or output has no price."""
    missing = [leaf for leaf in NEEDED if leaf not in card.fallback]
    if card.unpriced == "fallback" and missing:
        raise FallbackPricesMissing(
            f"There is no fallback price for {' and '.join(missing)}.", param="fallback_prices"
        )


def fallback_sheet(card: RateCardVersion, *, provider: str, model: str) -> RateSheet | None:
    """Return the sheet of a model by the card's fallback prices, or None where the card has none."""
    if not card.fallback:
        return None
    price = _standing_in(
        "pv_fallback",
        provider=provider,
        model=model,
        components=tuple(Component(leaf, Decimal(0), 1) for leaf in card.fallback if leaf in LEAVES),
    )
    sheet = compile_sheet(price, replace(card, fixed=_for_every_leaf(card), floor_margin_percent=None))
    return replace(sheet, stands_in="fallback")


def unpriced_sheet(card: RateCardVersion, *, provider: str, model: str) -> RateSheet:
    """Return the sheet of a model that is charged nothing for now."""
    price = _standing_in("pv_unpriced", provider=provider, model=model, components=())
    return replace(compile_sheet(price, card), stands_in="model")


def stand_in(card: RateCardVersion, *, provider: str, model: str) -> RateSheet:
    """Return what charges usage of a model without a price, which happened already."""
    sheet = fallback_sheet(card, provider=provider, model=model) if card.unpriced == "fallback" else None
    return sheet or unpriced_sheet(card, provider=provider, model=model)


def dearest_price(versions: Iterable[PriceVersion], *, provider: str) -> PriceVersion | None:
    """Return a price with each token leaf's highest list price among `versions`, None where there is none."""
    dearest: dict[str, Component] = {}
    currency = ""
    for version in versions:
        currency = version.currency  # A provider's list is in one.
        for component in version.components:
            leaf = LEAVES.get(component.leaf)
            if component.when or leaf is None or leaf.unit != "token":
                continue
            known = dearest.get(leaf.name)
            if known is None or component.unit_cost > known.unit_cost:
                dearest[leaf.name] = component
    if not dearest:
        return None
    components = tuple(dearest[leaf] for leaf in sorted(dearest))
    price = _standing_in("pv_dearest", provider=provider, model="", components=components)
    return replace(price, currency=currency)


def _for_every_leaf(card: RateCardVersion) -> dict[str, FixedPrice]:
    """Return the fallback price of each leaf that has one, its own or that of its nearest ancestor."""
    named = {leaf: next((a for a in ancestors(leaf) if a in card.fallback), None) for leaf in LEAVES}
    return {leaf: card.fallback[name] for leaf, name in named.items() if name is not None}


def _standing_in(
    prefix: str, *, provider: str, model: str, components: tuple[Component, ...]
) -> PriceVersion:
    digest = hashlib.sha256(f"{provider}\x00{model}".encode()).hexdigest()[:24]
    return PriceVersion(
        id=f"{prefix}_{digest}",
        provider=provider,
        model=model,
        currency="",
        valid_from=ALWAYS,
        valid_to=None,
        components=components,
    )
