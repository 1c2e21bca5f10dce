"""Items: what a rate card sells besides tokens (seats, images, API calls), each under its meter's event name.

Rule 1: an item is plain fields, so that a card version keeps it; `model` builds the price that they say.
Rule 2: units are whole: a conversion that could make parts of a unit says how they are rounded. It counts
from the period's start, so that many events make as many units as one.
Rule 3: included units come first in the period and are free; minimum and maximum are of the item's period.
Rule 4: all that cannot be priced is refused at set-up (`check`). A share of amounts (`percentage`) is not
offered: a meter sums units, and the share needs each transaction's own amount.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from costplus.core.errors import InvalidRequest
from costplus.rating.commitment import Commitment
from costplus.rating.conversion import Conversion, Rounding
from costplus.rating.price_model import Graduated, Package, PerUnit, PriceModel, Tier, Volume

ItemKind = Literal["per_unit", "package", "graduated", "volume"]
NOTHING = Decimal(0)
AMOUNT_MAX = Decimal(10) ** 9
UNITS_MAX = 10**15
DECIMALS_MAX = 12  # As Stripe's `unit_amount_decimal` has them.
LIMIT_DECIMALS_MAX = 9  # A limit is met to the nano.


class InvalidItem(InvalidRequest):
    """The item's fields do not say what its units cost."""

    code = "rate_card_item_invalid"
    remedy = (
        f"Give amounts from 0 to {AMOUNT_MAX:,} with at most {DECIMALS_MAX} decimals (limits "
        f"{LIMIT_DECIMALS_MAX}), and a rounding where units are divided."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemTier:
    """One step of a tiered item: amounts in currency units."""

    up_to: int | None  # The last unit of the tier, inclusive; None for the open-ended last tier.
    unit_amount: Decimal = NOTHING
    flat_amount: Decimal = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class CardItem:
    """One item: how metered quantities become its units, and what they sell for, in currency units."""

    event_name: str
    display_name: str
    kind: ItemKind
    unit_amount: Decimal = NOTHING  # Of `per_unit`.
    package_size: int = 1
    package_amount: Decimal = NOTHING
    tiers: tuple[ItemTier, ...] = ()  # Of `graduated` and `volume`.
    divide_by: Decimal = Decimal(1)
    multiply_by: Decimal = Decimal(1)
    rounding: Rounding = "none"
    included_units: int = 0
    minimum_amount: Decimal | None = None
    maximum_amount: Decimal | None = None
    unit_cost: Decimal = NOTHING  # What one unit costs the seller.

    @property
    def model(self) -> PriceModel:
        """The price of its payable units."""
        if self.kind == "per_unit":
            return PerUnit(Fraction(self.unit_amount))
        if self.kind == "package":
            return Package(size=self.package_size, package_amount=Fraction(self.package_amount))
        tiers = tuple(
            Tier(
                up_to=tier.up_to,
                unit_amount=Fraction(tier.unit_amount),
                flat_amount=Fraction(tier.flat_amount),
            )
            for tier in self.tiers
        )
        return Graduated(tiers) if self.kind == "graduated" else Volume(tiers)

    @property
    def conversion(self) -> Conversion:
        """How metered quantities become units."""
        return Conversion(
            divide_by=Fraction(self.divide_by),
            multiply_by=Fraction(self.multiply_by),
            rounding=self.rounding,
        )

    @property
    def commitment(self) -> Commitment:
        """The least and the most that a period of the item is billed."""
        limits = (self.minimum_amount, self.maximum_amount)
        minimum, maximum = (None if limit is None else Fraction(limit) for limit in limits)
        return Commitment(minimum=minimum, maximum=maximum)

    def check(self) -> None:
        """Raise `InvalidItem` or `InvalidPriceModel` where some quantity would have no price."""
        for name, amount, places in self._amounts():
            if not 0 <= amount <= AMOUNT_MAX or (Fraction(amount) * 10**places).denominator > 1:
                raise InvalidItem(f"The amount {amount} cannot be charged.", param=name)
        if not 0 <= self.included_units <= UNITS_MAX:
            raise InvalidItem(f"{self.included_units} units cannot be included.", param="included_units")
        _, _, conversion = self.model, self.commitment, self.conversion  # Each refuses what it cannot be.
        if conversion.units(1).denominator > 1:
            raise InvalidItem(
                f"Units divided by {self.divide_by} are not whole: say how they are rounded.",
                param="rounding",
            )

    def _amounts(self) -> Iterator[tuple[str, Decimal, int]]:
        yield "unit_amount", self.unit_amount, DECIMALS_MAX
        yield "package_amount", self.package_amount, DECIMALS_MAX
        yield "unit_cost", self.unit_cost, DECIMALS_MAX
        yield "minimum_amount", self.minimum_amount or NOTHING, LIMIT_DECIMALS_MAX
        yield "maximum_amount", self.maximum_amount or NOTHING, LIMIT_DECIMALS_MAX
        for index, tier in enumerate(self.tiers):
            yield f"tiers[{index}][unit_amount]", tier.unit_amount, DECIMALS_MAX
            yield f"tiers[{index}][flat_amount]", tier.flat_amount, DECIMALS_MAX
