"""True up a period when it ends: volume prices become final, minimums and maximums are met.

Rule 1: a true-up is a usage event of its own (source `true_up`), charged and posted like any usage, so
that charges, postings and invoice lines stay one sum. What it gives back lessens what is owed; the rest is
credit that is named after the item.
Rule 2: what is corrected follows from what was counted and charged: done again, there is nothing to correct.
Rule 3: drafts and previews show the true-ups of their moment; finalising makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from costplus.billing.customer import Customer
from costplus.billing.include import included_units
from costplus.billing.invoice import UsageTotal
from costplus.billing.minimum import COMMITTED, NAME, book_lacking, lacking_line, lacking_nano
from costplus.billing.plan import Plan
from costplus.billing.settle import Settlement, settle_customer
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.period import Period
from costplus.core.usage import Usage
from costplus.ledger.post import credit_for, credit_of
from costplus.metering.event import METER, usage_event
from costplus.rating.charge import Charge, ChargeLine
from costplus.rating.item_charge import PricedItem, corrected, line_order, merged, priced_items
from costplus.rating.rate_card import RateCardVersion

_LAST = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TrueUp:
    """What one item's period is still charged, or given back where the charge is negative."""

    event_name: str
    display_name: str
    charge: Charge


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A period's usage with the true-ups that finalising it now would make."""

    totals: Sequence[UsageTotal]
    usage_nano: int
    owed_nano: int


def true_ups(
    tx: Tx, subscription: Subscription, period: Period, totals: Sequence[UsageTotal], *, at: datetime
) -> list[TrueUp]:
    """Return what corrects the items of a period whose charges make `totals`, as of `at`."""
    cards = versions_of(tx, totals)
    in_force = subscription.pin_at(_moment(period, at=at)).version
    last = cards.get(in_force) or tx.find(RateCardVersion, in_force)
    items = {id: card.items for id, card in cards.items()}
    names = {total.rate.model for total in totals if total.rate.provider == METER} - {COMMITTED}
    plan = tx.find(Plan, subscription.plan)
    found: list[TrueUp] = []
    for name in sorted(names.union(last.items if last else ())):
        billed = [
            ChargeLine(total.quantity, total.rate)
            for total in totals
            if (total.rate.provider, total.rate.model) == (METER, name)
        ]
        metered = tx.metered(subscription.customer, name, period.start)
        free = included_units(tx, subscription, plan, name, period, at=at, keep=False) if plan else 0
        final = PricedItem(last.id, last.items[name]) if last and name in last.items else None
        sold = [priced.with_free(free) for priced in priced_items(name, items)]
        charge = corrected(billed, metered, sold=sold, last=final)
        if charge is not None:
            shown = final or sold[-1]
            found.append(TrueUp(name, shown.item.display_name, charge))
    return found


def versions_of(tx: Tx, totals: Sequence[UsageTotal]) -> dict[str, RateCardVersion]:
    """Return the card versions that items were charged by, oldest first."""
    ids = {total.rate.rate_card_version for total in totals if total.rate.provider == METER}
    found = [card for id in ids if (card := tx.find(RateCardVersion, id)) is not None]
    return {card.id: card for card in sorted(found, key=lambda card: (card.created, card.id))}


def item_names(cards: Mapping[str, RateCardVersion], totals: Sequence[UsageTotal]) -> dict[str, str]:
    """Return what items are called on invoices, by the id of their rates."""
    rates = [total.rate for total in totals if total.rate.provider == METER]
    names = {
        rate.id: cards[rate.rate_card_version].items[rate.model].display_name
        for rate in rates
        if rate.rate_card_version in cards and rate.model in cards[rate.rate_card_version].items
    }
    return names | {rate.id: NAME for rate in rates if rate.model == COMMITTED}


def foresee(
    tx: Tx,
    subscription: Subscription | None,
    period: Period,
    totals: Sequence[UsageTotal],
    *,
    usage_nano: int,
    owed_nano: int,
    at: datetime,
    counted: Sequence[UsageTotal] | None = None,
) -> Foreseen:
    """Return a period's figures as its true-ups will leave them, if they are made at `at`.

    `counted` is the whole period's usage where an earlier invoice asked for a part of it.
    """
    if subscription is None:
        return Foreseen(_in_order(totals), usage_nano, owed_nano)
    payer, worth_nano = subscription.customer, usage_nano
    if counted is not None:
        worth_nano = tx.usage_totals(payer, period.start, period.end)[1]
    made = true_ups(tx, subscription, period, totals if counted is None else counted, at=at)
    if period.end <= at:
        credit_nano = credit_for(tx, payer, used_at=_moment(period, at=at), at=at)
    else:
        credit_nano = credit_of(tx, payer, at=at)
    lines = [ChargeLine(total.quantity, total.rate) for total in totals]
    for owing in made:
        lines += owing.charge.lines
        price_nano = owing.charge.price_nano
        paid_nano = min(max(price_nano, 0), credit_nano)
        credit_nano -= paid_nano
        usage_nano, worth_nano = usage_nano + price_nano, worth_nano + price_nano
        owed_nano = max(owed_nano + price_nano - paid_nano, 0)
    lacking = lacking_nano(tx, subscription, period, usage_nano=worth_nano, at=at)
    if lacking:
        lines.append(lacking_line(subscription, lacking))
        usage_nano, owed_nano = usage_nano + lacking, owed_nano + lacking
    if not made and not lacking:
        return Foreseen(_in_order(totals), usage_nano, owed_nano)
    kept = [UsageTotal(line.rate, line.quantity) for line in merged(lines)]
    return Foreseen(_in_order(kept), usage_nano, owed_nano)


def _in_order(totals: Sequence[UsageTotal]) -> list[UsageTotal]:
    """Return the totals as invoices show them, without those that cancelled out."""
    kept = (total for total in totals if total.quantity)
    return sorted(kept, key=lambda total: line_order(total.rate))


def true_up(tx: Tx, subscription: Subscription, period: Period, *, at: datetime) -> None:
    """Make the true-ups of a period that is about to be invoiced for good."""
    customer = tx.find(Customer, subscription.customer)
    assert customer is not None, subscription.customer
    tx.balance_for_update(customer.id)
    totals, _ = tx.usage_totals(customer.id, period.start, period.end)
    for made in true_ups(tx, subscription, period, totals, at=at):
        event = usage_event(
            customer=customer.id,
            at=_moment(period, at=at),
            key=f"item:{made.event_name}:{period.start.isoformat()}:{subscription.id}",
            usage=Usage({}),
            source="true_up",
            provider=METER,
            model=made.event_name,
            meter="",  # No meter counted it.
        )
        # What units cost is corrected only by asking for more: they were used.
        assert made.charge.price_nano >= 0 or made.charge.cost_nano == 0
        settlement = Settlement(event=event, charge=made.charge, credit_name=f"{made.display_name} · true-up")
        new = tx.append_events([event])
        settle_customer(tx, customer, subscription, [settlement], new, at=at)
    book_lacking(tx, subscription, period, moment=_moment(period, at=at), at=at)


def _moment(period: Period, *, at: datetime) -> datetime:
    """Return the period's last instant, or `at` where it is cut short."""
    return min(at, period.end - _LAST)
