"""Weigh a price change before it is applied: what it does to each card's and customer's usage.

Rule 1: nothing is written; what is weighed may never be applied.
Rule 2: usage of the last days is rated as if each price had been in force all the time, with every customer
on the terms that it has now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.card_change import CardFollowed
from costplus.billing.clock import frozen_time
from costplus.billing.customer import Customer
from costplus.billing.move import SUBSCRIPTIONS_MAX, live_version
from costplus.billing.pinned import card_of
from costplus.billing.rerate import rate_again
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.billing.track import moves_for
from costplus.billing.unpriced import waits
from costplus.catalog.book import PriceChange, RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import every
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.catalog.snapshot import VersionEntry
from costplus.rating.following import decide_follow
from costplus.rating.impact import CardImpact, CustomerImpact, Figures, Impact
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.rating.supposed import Supposed, proposed_price
from costplus.rating.waive import is_tracked

WINDOW_DAYS = 30
PAGE = 1000


def charged_with(
    tx: Tx, customer: str, start: datetime, end: datetime, *, provider: str, model: str
) -> Iterator[ChargedEvent]:
    """Yield the customer's charged events of `[start, end)` that ran on a model, by id."""
    after = ""
    while True:
        page = tx.charged_between(customer, start, end, after=after, limit=PAGE)
        for entry in page:
            if waits(
                entry.charge, entry.event.usage
            ):  # It is charged by the queue of unpriced usage, at its own time's price.
                continue
            if any((line.rate.provider, line.rate.model) == (provider, model) for line in entry.charge.lines):
                yield entry
        if len(page) < PAGE:
            return
        after = page[-1].event.id


def active_subscription(tx: Tx, customer: Customer) -> Subscription | None:
    """Return the customer's subscription, None where it is deleted or has none."""
    if customer.deleted:
        return None
    known = tx.page(Subscription, parent=customer.id, limit=SUBSCRIPTIONS_MAX)
    return next((entry for entry in known if entry.is_live and entry.prices_usage), None)


def users_of(
    tx: Tx, start: datetime, *, provider: str = "", model: str = "", at: datetime
) -> Iterator[tuple[Customer, Subscription, datetime]]:
    """Yield who used a model (or any) since `start` and is subscribed, each with its present."""
    for id in tx.users_since(start, provider=provider, model=model):
        customer = tx.find(Customer, id)
        subscription = active_subscription(tx, customer) if customer else None
        if customer is not None and subscription is not None:
            yield customer, subscription, frozen_time(tx, customer) or at


def impact_of(
    tx: Tx, pricing: Pricing, change: PriceChange, *, at: datetime, days: int = WINDOW_DAYS
) -> Impact:
    """Return what the change means for the usage of the last days; `pricing` holds the prices of now.

    A model's first price has no impact: nothing could be charged before.
    """
    window = timedelta(days=days)
    impact = Impact(change=change.id, provider=change.provider, model=change.model, start=at - window, end=at)
    old = _price_before(pricing.catalogue, change, at=at)
    if old is None:
        return impact
    new = proposed_price(change, like=old)
    now, then = Supposed(pricing, old, at=at), Supposed(pricing, new, at=at, basis=new)
    found: dict[str, list[CustomerImpact]] = defaultdict(list)
    unrated = 0
    for customer, subscription, present in users_of(
        tx, at - window, provider=change.provider, model=change.model, at=at
    ):
        card = card_of(tx, subscription, subscription.pin_at(present))
        figures = Figures()
        for entry in charged_with(
            tx, customer.id, present - window, present, provider=change.provider, model=change.model
        ):
            weighed = _weighed(entry, now, then, card)
            unrated += weighed is None
            figures += weighed or Figures()
        if figures.events:
            found[card.rate_card].append(
                CustomerImpact(customer=customer.id, rate_card_version=card.id, figures=figures)
            )
    cards = tuple(_card_impact(card, found[card]) for card in sorted(found))
    return replace(impact, cards=cards, unrated=unrated)


def _price_before(catalogue: Catalogue, change: PriceChange, *, at: datetime) -> PriceVersion | None:
    """Return the price in force, or what was in force before a change that is applied already."""
    current = catalogue.current(change.provider, change.model, at=at)
    if current is not None and current.id == change.new_version:
        return catalogue.price_version(change.old_version)
    return current


def _weighed(entry: ChargedEvent, now: Supposed, then: Supposed, card: RateCardVersion) -> Figures | None:
    try:
        before = rate_again(entry, pricing=now, card=card)
        after = rate_again(entry, pricing=then, card=card)
    except ModelUnpriced:
        return None
    if is_tracked(entry.charge):  # What is only tracked earns nothing by intent: it is no margin's matter.
        return Figures(events=1)
    return Figures(
        events=1,
        revenue_now_nano=before.price_nano,
        revenue_followed_nano=after.price_nano,
        cost_now_nano=before.cost_nano,
        cost_then_nano=after.cost_nano,
    )


def _card_impact(card: str, customers: Sequence[CustomerImpact]) -> CardImpact:
    return CardImpact(
        rate_card=card,
        figures=sum((entry.figures for entry in customers), Figures()),
        customers=tuple(customers),
        customers_count=len(customers),
    )


def foresee(
    tx: Tx, pricing: Pricing, changes: Sequence[PriceChange], *, at: datetime
) -> tuple[CardFollowed, ...]:
    """Return what each rate card would do if the changes were applied now; no version is made."""
    open_changes = [change for change in changes if not change.new_version]
    catalogue = pricing.catalogue.with_recorded(_as_recorded(change, at=at) for change in open_changes)
    applied = [replace(change, new_version=change.new_version or _supposed_id(change)) for change in changes]
    done = []
    for card in every(tx, RateCard):
        moves = moves_for(catalogue, live_version(tx, card), applied, at=at)
        if not moves:
            continue
        decision = decide_follow(card, moves)
        modes = {entry.mode for entry in decision.accepted}
        done.append(
            CardFollowed(
                rate_card=card.id,
                mode="migrate_all" if "migrate_all" in modes else min(modes, default="disabled"),
                followed=tuple(entry.move.change for entry in decision.accepted),
                left=decision.left,
            )
        )
    return tuple(done)


def _supposed_id(change: PriceChange) -> str:
    return f"pv_{change.id}"


def _as_recorded(change: PriceChange, *, at: datetime) -> RecordedPrice:
    """Return the price that a change would record at `at`."""
    entry = VersionEntry(
        id=_supposed_id(change),
        valid_from=change.effective_at,
        components=change.components,
        multipliers=change.multipliers,
    )
    return RecordedPrice(
        id=entry.id,
        created=at,
        provider=change.provider,
        model=change.model,
        currency="usd",
        version=entry,
        origin="sync",
        change=change.id,
    )
