"""End a subscription's open period: its invoice is drafted, with the fees of what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from costplus.billing.account import account_settings
from costplus.billing.compose import open_draft, with_figures
from costplus.billing.compose import waiting_items as items_for
from costplus.billing.customer import Customer
from costplus.billing.interim import finalize_or_fail
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_policy import GRACE_MAX_S
from costplus.billing.issue import mark_uncollectible, void
from costplus.billing.plan import Plan
from costplus.billing.prorate import waiting_items
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscribe import Fee, fee_invoice, plan_of
from costplus.billing.subscription import Subscription
from costplus.core.ids import milliseconds, new_id
from costplus.core.period import Period
from costplus.metering.event import METER, TOKEN_METER
from costplus.rating.item_charge import Metered

AHEAD_OF_ALL = datetime(9000, 1, 1, tzinfo=UTC)


def grace_of(tx: Tx, subscription: Subscription, plan: Plan, period: Period) -> timedelta:
    """Return how long an ended period's draft waits for late usage: by the subscription, its plan or the
    account; never longer than the period itself."""
    settings = account_settings(tx)
    grace_s = settings.invoice_grace_s if settings else 0
    for own in (plan.invoice_grace_s, subscription.invoice_grace_s):
        grace_s = grace_s if own is None else own
    return min(timedelta(seconds=min(grace_s, GRACE_MAX_S)), period.end - period.start)


def draft_period(
    tx: Tx,
    customer: Customer,
    subscription: Subscription,
    period: Period,
    *,
    fees: Sequence[Fee],
    keeps_empty: bool = True,
    at: datetime,
) -> Invoice | None:
    """Draft the invoice of a period of `subscription` that ends at `at`, and have it finalised after the
    grace.

    None where there is nothing that it could ever ask for: no usage to be priced, no fee, no waiting item.
    Without `keeps_empty` also where it would ask for nothing as of now.
    """
    if not subscription.prices_usage and not fees and not waiting_items(tx, subscription):
        return None
    plan = plan_of(tx, subscription.every_item[0])
    is_kept = subscription.pause_collection and subscription.pause_collection.behavior == "keep_as_draft"
    invoice = replace(
        fee_invoice(customer, subscription, plan, fees, at=at),
        id=new_id("in", at=at),
        period=period,
        billing_reason="subscription_cycle",
        finalizes_at=None if is_kept else at + grace_of(tx, subscription, plan, period),
    )
    if not keeps_empty and not with_figures(tx, invoice, at=at).lines and not any(items_for(tx, invoice)):
        return None
    return open_draft(tx, invoice, at=at)


def divide_usage(tx: Tx, customer: str, period: Period, *, at: datetime) -> None:
    """Let what was used at `at` or later, settled before the period was cut there, count in the next period.

    Credit pays the oldest usage first: what is owed is the newest.
    """
    first, second = milliseconds(period.start), milliseconds(at)
    later = list(_charged_since(tx, customer, at))
    price_nano = sum(entry.charge.price_nano for entry in later)
    balance = tx.balance_for_update(customer)
    moved = min(balance.owed_nano.get(first, 0), max(price_nano, 0))
    if moved and first != second:
        owed = dict(balance.owed_nano)
        owed[first] -= moved
        owed[second] = owed.get(second, 0) + moved
        tx.save_balance(replace(balance, owed_nano={start: nano for start, nano in owed.items() if nano}))
    for entry in later:
        event = entry.event
        if event.provider == METER and event.meter != TOKEN_METER:
            units, nano = event.usage.quantities.get("unit", 0), entry.charge.price_nano
            tx.add_metered(customer, event.model, period.start, Metered(-units, -nano))
            tx.add_metered(customer, event.model, at, Metered(units, nano))


def _charged_since(tx: Tx, customer: str, at: datetime) -> Iterator[ChargedEvent]:
    """Yield the customer's charged events of `at` and later."""
    after = ""
    while page := tx.charged_between(customer, at, AHEAD_OF_ALL, after=after):
        yield from page
        after = page[-1].event.id


def issue(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Finalise a draft as its subscription's collection has it: asked for, given up, or withdrawn at once."""
    invoice = finalize_or_fail(tx, invoice, at=at)
    subscription = tx.find(Subscription, invoice.subscription)
    pause = subscription.pause_collection if subscription else None
    if pause is None or invoice.status != "open":
        return invoice
    if pause.behavior == "void":
        return void(tx, invoice, at=at)
    return mark_uncollectible(tx, invoice, at=at)
