"""Rate events of meters without tokens by the items of their customer's card, as they are kept.

Rule 1: the period's counter is read behind the customer's balance lock and carried along within a batch:
each event is charged after what came before it, and what was known already moves nothing.
Rule 2: what counts is the period whose invoice asks for the event: a late one goes on where that stands.
Rule 3: an event that no item prices is counted and charged nothing; an item added later goes on from there.
Rule 4: an event is worth what it moves its meter's value by, whatever the formula; below zero it gives back.
Rule 5: what the customer's plan includes of a meter's units is added to what its item includes.
"""

from __future__ import annotations

from datetime import datetime

from costplus.billing.clock import customer_of
from costplus.billing.include import Inclusions, included_units
from costplus.billing.pinned import card_of
from costplus.billing.running_meter import moved_by
from costplus.billing.settle import biller_at, billers_of
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription, SubscriptionPaused
from costplus.core.period import Period
from costplus.metering.event import UsageEvent
from costplus.metering.meter import Meter
from costplus.rating.charge import Charge
from costplus.rating.item_charge import Metered, PricedItem, rate_item
from costplus.rating.rate_card import RateCardVersion

NOTHING = Charge(price_nano=0, cost_nano=0, lines=())


class ItemRater:
    """Rates one batch's events in their order."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._cards: dict[str, RateCardVersion] = {}
        self._counts: dict[tuple[str, str, datetime], Metered] = {}
        self._meters: dict[str, Meter | None] = {}
        self._included: dict[tuple[str, str, datetime], int] = {}
        self._inclusions = Inclusions(tx)
        self.moved: dict[str, int] = {}  # Event → how many units it moved its meter's value by.

    def charge(self, event: UsageEvent) -> Charge:
        """Return the charge of a new event after those before it."""
        subscription = self._subscription(event.customer, event.at)
        period = subscription.billed_in(max(event.at, subscription.finalized_until))
        key = (event.customer, event.meter, period.start)
        if key not in self._counts:
            self._counts[key] = self._tx.metered(*key)
        before = self._counts[key]
        meter = self._meter(event.meter)
        units = moved_by(self._tx, meter, event, period.start, counted=before.units)
        charge = self._rated(event, subscription, period, before, units)
        self._counts[key] = Metered(before.units + units, before.price_nano + charge.price_nano)
        self.moved[event.id] = units
        return charge

    def _rated(
        self, event: UsageEvent, subscription: Subscription, period: Period, before: Metered, units: int
    ) -> Charge:
        pin = subscription.pin_at(event.at)
        if pin.usage == "blocked":
            raise SubscriptionPaused(f"The usage of {event.customer} is blocked.")
        if pin.usage == "free":
            return NOTHING
        if pin.version not in self._cards:
            self._cards[pin.version] = card_of(self._tx, subscription, pin)
        item = self._cards[pin.version].items.get(event.meter)
        if item is None:
            return NOTHING
        free = self._included_units(event, subscription, period)
        return rate_item(PricedItem(pin.version, item).with_free(free), before=before, metered=units)

    def _included_units(self, event: UsageEvent, subscription: Subscription, period: Period) -> int:
        key = (subscription.id, event.meter, period.start)
        if key not in self._included:
            plan = self._inclusions.plan(subscription.plan)
            self._included[key] = (
                included_units(self._tx, subscription, plan, event.meter, period, at=event.at) if plan else 0
            )
        return self._included[key]

    def _subscription(self, customer: str, at: datetime) -> Subscription:
        """Return what bills the customer's usage, its balance locked from here on."""
        if customer not in self._subscriptions:
            customer_of(self._tx, customer)
            self._tx.balance_for_update(customer)
            self._subscriptions[customer] = billers_of(self._tx, customer)
        return biller_at(self._subscriptions[customer], at)

    def _meter(self, event_name: str) -> Meter | None:
        if event_name not in self._meters:
            self._meters[event_name] = self._tx.find_by_lookup(Meter, event_name)
        return self._meters[event_name]
