"""Auto-recharge: a customer's rule to buy credit when there is little left.

Rule 1: one purchase is in flight at a time; the next may begin once it has ended and the cool-down is over.
Rule 2: what a month may cost is never exceeded, and after too many declines in a row the rule is off.
Rule 3: credit is what the rule looks at, less what usage already owes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.money import nano_per_minor
from costplus.core.records import Record

DECLINE_PAUSE = timedelta(hours=1)  # A card that was declined is left alone for at least so long.
StopReason = Literal["", "disabled", "declined", "no_payment_method"]


class NoAutoRecharge(NotFound):
    """The customer has no auto-recharge."""

    code = "resource_missing"


class AutoRechargeInvalid(InvalidRequest):
    """The rule cannot work like this."""

    code = "auto_recharge_invalid"
    remedy = "Give a threshold and either an amount or a target above the threshold, and a payment method."


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoRecharge(Record):
    """Buys `amount_minor`, or up to `target_minor`, at `threshold_minor` or below; its id is a customer's."""

    KIND: ClassVar[str] = "auto_recharge"

    currency: str
    threshold_minor: int
    amount_minor: int = 0
    target_minor: int = 0
    cool_down_s: int = 60
    monthly_cap_minor: int | None = None
    declines_max: int = 3
    payment_method: str = ""  # Empty: the customer's default one.
    is_enabled: bool = True
    stopped: StopReason = ""
    payment: str = ""  # In flight.
    not_before: datetime | None = None
    declines: int = 0  # In a row.
    month: str = ""  # Whose purchases `month_minor` sums: `2026-01`.
    month_minor: int = 0
    capped_in: str = ""  # The month in which the cap was told of.

    def is_free(self, at: datetime) -> bool:
        """Return whether a purchase may begin at `at`."""
        return self.is_enabled and not self.payment and (self.not_before is None or self.not_before <= at)

    def wanted_minor(self, net_nano: int) -> int:
        """Return what to buy with so much credit; 0 where there is enough."""
        per_minor = nano_per_minor(self.currency)
        if net_nano > self.threshold_minor * per_minor:
            return 0
        return self.amount_minor or -((net_nano - self.target_minor * per_minor) // per_minor)

    def spent_minor(self, at: datetime) -> int:
        """Return what the purchases of the month of `at` come to."""
        return self.month_minor if self.month == month_of(at) else 0

    def allows(self, amount_minor: int, *, at: datetime) -> bool:
        """Return whether the month's cap leaves room for the amount."""
        return self.monthly_cap_minor is None or (
            self.spent_minor(at) + amount_minor <= self.monthly_cap_minor
        )

    def begun(self, payment: str, amount_minor: int, *, at: datetime) -> AutoRecharge:
        """Return the rule with a purchase in flight."""
        return replace(
            self,
            payment=payment,
            month=month_of(at),
            month_minor=self.spent_minor(at) + amount_minor,
            not_before=at + timedelta(seconds=self.cool_down_s),
        )

    def succeeded(self) -> AutoRecharge:
        """Return the rule after its purchase was paid."""
        return replace(self, payment="", declines=0)

    def failed(self, amount_minor: int, *, is_decline: bool, begun: datetime, at: datetime) -> AutoRecharge:
        """Return the rule after its purchase came to nothing; after the last decline allowed it is off."""
        declines = self.declines + is_decline
        pause = max(timedelta(seconds=self.cool_down_s), DECLINE_PAUSE)
        freed = amount_minor if self.month == month_of(begun) else 0
        rule = replace(
            self,
            payment="",
            declines=declines,
            month_minor=self.month_minor - freed,
            not_before=at + pause,
        )
        if is_decline and declines >= self.declines_max:
            rule = replace(rule, is_enabled=False, stopped="declined")
        return rule


def month_of(at: datetime) -> str:
    """Return the calendar month (UTC) of an instant."""
    return f"{at:%Y-%m}"
