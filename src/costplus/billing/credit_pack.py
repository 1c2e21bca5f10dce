"""Credit packs: credit at a price, with a bonus. And what an amount of credit costs.

Rule 1: money that is paid becomes paid credit, one to one; what a pack gives beyond is promotional credit.
Rule 2: a price is rounded once, to the currency's minor unit, and the credit is what the price says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.money import NANO, checked_nano, for_invoice, nano_per_minor
from costplus.core.records import Record


class NoSuchCreditPack(NotFound):
    """The credit pack does not exist."""

    code = "resource_missing"


class CreditPackInvalid(InvalidRequest):
    """The pack would give less credit than it costs."""

    code = "credit_pack_invalid"
    remedy = "Give at least as much credit as the price; a seller's fee belongs on the plan."


class CreditPackRetired(InvalidRequest):
    """The pack is not sold any more."""

    code = "credit_pack_inactive"
    remedy = "Choose an active pack, or set active=true on this one."


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditPack(Record):
    """`credit_minor` and `bonus_minor` of credit for `price_minor`, good for `valid_days` (or for ever)."""

    KIND: ClassVar[str] = "credit_pack"

    name: str
    currency: str
    price_minor: int
    credit_minor: int
    bonus_minor: int = 0
    valid_days: int | None = None
    bonus_valid_days: int | None = None
    is_active: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def promotional_minor(self) -> int:
        """What the pack gives beyond what is paid for it."""
        return self.credit_minor + self.bonus_minor - self.price_minor


def price_minor(units: Decimal | Fraction | int, *, unit_price: Decimal | int, currency: str) -> int:
    """Return what so many units of credit cost, to the nearest minor unit: 17.9699999 at 1 costs 17.97."""
    nano = Fraction(units) * Fraction(unit_price) * NANO
    minor = for_invoice(nano, currency=currency, policy="line_half_up")
    checked_nano(minor * nano_per_minor(currency))
    return minor
