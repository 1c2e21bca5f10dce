"""The floor margin of a rate card, checked when its prices are set and not only when something is sold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.price import chosen, standing_in
from costplus.core.money import decimal_text
from costplus.rating.pricing import sells
from costplus.rating.rate_card import Adjustment, PriceBelowFloor, RateCardVersion


def check_floor(version: RateCardVersion, catalogue: Catalogue, *, at: datetime) -> None:
    """Raise `PriceBelowFloor` where a setting of the card could sell nothing, or a fixed price is too low.

    A fixed price is compared with the list price that is in force at `at` of every model it is for.
    """
    floor = version.floor_margin_percent
    if floor is None:
        return
    for name, adjustment in _adjustments(version):
        if adjustment.margin_percent < floor:
            raise PriceBelowFloor(
                f"The {adjustment.kind} of {name} leaves less than the floor margin of {floor} percent.",
                param="floor_margin_percent",
            )
    least = 1 - Fraction(floor) / 100
    for name, leaf, price, cost in _fixed(version, catalogue, at=at):
        if cost > price * least:
            raise PriceBelowFloor(
                f"{name} {leaf} costs {decimal_text(cost)} and would sell for {decimal_text(price)}: "
                f"less than the floor margin of {floor} percent.",
                param="fixed_prices",
            )


def _adjustments(version: RateCardVersion) -> Iterator[tuple[str, Adjustment]]:
    yield "default", version.default
    for level in (version.providers, version.model_overrides, version.token_types):
        yield from level.items()


def _fixed(
    version: RateCardVersion, catalogue: Catalogue, *, at: datetime
) -> Iterator[tuple[str, str, Fraction, Fraction]]:
    """Yield model, leaf, price and cost of everything that sells at a fixed price."""
    leaves = sorted({key.rpartition(":")[2] for key in version.fixed})
    for price in catalogue.models(at=at) if leaves else ():
        if not sells(catalogue, price.provider, price.model, card=version):
            continue
        for leaf in leaves:
            fixed = version.fixed_for(provider=price.provider, model=price.model, leaf=leaf)
            component = standing_in(chosen(price.components, holding=frozenset()), leaf)
            if fixed is not None and component is not None:
                yield f"{price.provider}/{price.model}", leaf, fixed.unit_price, component.unit_cost
