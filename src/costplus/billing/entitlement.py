"""Terms: everything that decides whether and how one customer's call may run, gathered once and cached."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from costplus.billing.customer import Customer, OnZeroCredit
from costplus.billing.shadow import Switch, is_on
from costplus.billing.subscription import Subscription
from costplus.rating.rate_card import RateCardVersion


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
    plan_shadow: tuple[Switch, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether a call without credit is refused."""
        return self.on_zero_credit == "block"

    def holds(self, at: datetime) -> bool:
        """Return whether a call at `at` needs credit: not where its usage is only tracked."""
        tracked = any(is_on(switches, at) for switches in (self.customer.shadow, self.plan_shadow))
        return self.blocks and not tracked

    def card_at(self, at: datetime) -> RateCardVersion:
        """Return the card version that prices usage at `at`."""
        for since, card in reversed(self.cards):
            if since <= at:
                return card
        return self.cards[0][1]

    def now(self, real: datetime) -> datetime:
        """Return the customer's present."""
        return self.frozen_time or real
