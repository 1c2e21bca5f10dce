"""Terms: everything that decides whether and how one customer's call may run, gathered once and cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.customer import Customer, OnZeroCredit
from costplus.billing.shadow import Switch, is_on
from costplus.billing.spend_cap import SpendCap
from costplus.billing.subscription import NotSubscribed, Subscription, SubscriptionPaused
from costplus.core.money import NANO_MAX
from costplus.rating.rate_card import RateCardVersion


def check_open(known: Sequence[Subscription], at: datetime) -> None:
    """Refuse usage at `at` that none of a customer's subscriptions, in order of time, takes.

    Raises `NotSubscribed` where none runs then, `SubscriptionPaused` where usage is blocked then.
    """
    begun = [entry for entry in known if entry.begins <= at]
    if not begun and known[0].status != "pending":
        return  # Usage from before the first subscription is priced as it began.
    ends = begun[-1].ends if begun else at
    if ends is not None and ends <= at:
        raise NotSubscribed(
            f"Customer {known[0].customer} is not subscribed to a pricing plan at {at:%Y-%m-%dT%H:%M:%SZ}."
        )
    if begun[-1].pin_at(at).usage == "blocked":
        raise SubscriptionPaused(f"Subscription {begun[-1].id} of {known[0].customer} is paused.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A customer's terms at one configuration state.

    `frozen_time` is its test clock's time, or None where the customer lives in real time.
    """

    customer: Customer
    subscription: Subscription
    cards: tuple[tuple[datetime, RateCardVersion], ...]  # Since when which one prices, in order of time.
    on_zero_credit: OnZeroCredit
    frozen_time: datetime | None
    subscriptions: tuple[Subscription, ...] = ()  # Every one that prices or priced usage, in order of time.
    overage_limit_nano: int | None = None  # How much may be owed beyond credit; None: any amount.
    caps: tuple[SpendCap, ...] = ()  # The hard ones, of the customer and of its keys.
    plan_shadow: tuple[Switch, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether a call that credit does not cover may be refused."""
        return self.on_zero_credit == "block" or self.overage_limit_nano is not None

    @property
    def overdraft_nano(self) -> int:
        """How much the customer may owe beyond its credit when a hold is placed."""
        if self.on_zero_credit == "block":
            return 0
        return NANO_MAX if self.overage_limit_nano is None else self.overage_limit_nano

    def is_tracked(self, at: datetime) -> bool:
        """Return whether usage at `at` is only tracked: nothing is asked for it."""
        return any(is_on(switches, at) for switches in (self.customer.shadow, self.plan_shadow))

    def overdraft_at(self, at: datetime) -> int:
        """Return how much may be owed beyond credit for a hold at `at`: any where usage is only tracked."""
        return NANO_MAX if self.is_tracked(at) else self.overdraft_nano

    def holds(self, at: datetime) -> bool:
        """Return whether a call at `at` needs credit or room under caps: not where it is only tracked."""
        return (self.blocks or bool(self.caps)) and not self.is_tracked(at)

    def card_at(self, at: datetime) -> RateCardVersion:
        """Return the card version that prices usage at `at`.

        Raises `NotSubscribed` where none does then, `SubscriptionPaused` where usage is blocked then.
        """
        check_open(self.subscriptions or (self.subscription,), at)
        for since, card in reversed(self.cards):
            if since <= at:
                return card
        return self.cards[0][1]

    def now(self, real: datetime) -> datetime:
        """Return the customer's present."""
        return self.frozen_time or real
