"""Coupons: a percentage or an amount off what a customer is asked for, before tax.

Rule 1: a coupon takes off at most what is there. `once` ends with the first invoice that used it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record


class NoSuchCoupon(NotFound):
    """The coupon does not exist."""

    code = "resource_missing"


class InvalidCoupon(InvalidRequest):
    """Either a percentage or an amount with its currency."""

    code = "coupon_invalid"
    remedy = "Give percent_off from above 0 to 100, or amount_off with the account's currency."


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon(Record):
    """`percent` (a decimal text) of a subtotal, or `amount_minor` of `currency`."""

    KIND: ClassVar[str] = "coupon"

    name: str | None = None
    percent: str = ""
    amount_minor: int = 0
    currency: str = ""
    duration: Literal["forever", "once"] = "once"
    metadata: Mapping[str, str] = field(default_factory=dict)
    times_redeemed: int = 0

    def off_minor(self, subtotal_minor: int) -> int:
        """Return what it takes off a subtotal; a percentage is rounded half up."""
        if not self.percent:
            return min(self.amount_minor, max(subtotal_minor, 0))
        exact = max(subtotal_minor, 0) * Fraction(self.percent) / 100
        return int((exact + Fraction(1, 2)) // 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDiscount(Record):
    """A customer's coupon (`di_…`); its id is that of the customer with another prefix, so there is one."""

    KIND: ClassVar[str] = "customer_discount"

    customer: str
    coupon: str

    @property
    def parent(self) -> str:
        return self.customer


def discount_id(customer: str) -> str:
    """Return the id of the customer's discount."""
    return "di_" + customer.removeprefix("cus_")
