"""The seller's overview: this month's margin, customers, latest events, what to decide and to do next.

Rule 1: one read gathers all of it, so that its figures belong together.
Rule 2: whatever is still missing names the command that provides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from costplus.billing.clock import frozen_time
from costplus.billing.close import account_settings
from costplus.billing.customer import Customer
from costplus.billing.event import Delivery, Event, WebhookEndpoint
from costplus.billing.invoice import Invoice
from costplus.billing.price_report import Freshness, freshness_of
from costplus.billing.store import Tx
from costplus.billing.waived import waived_of
from costplus.catalog.catalogue import Catalogue
from costplus.core.period import hour_floor
from costplus.core.records import Record
from costplus.web.figures import percent
from costplus.web.pages import commands
from costplus.web.pages.decisions import Decisions, decisions_of
from costplus.web.pages.rows import (
    EventRow,
    InvoiceRow,
    MoneyRow,
    account_currency,
    event_row,
    invoice_row,
    money_row,
)

CUSTOMERS_MAX = 50
EVENTS_MAX = 20
INVOICES_MAX = 10
ANNOUNCED_MAX = 100  # How many announcements are searched for deliveries.
PENDING_MAX = 200
FAILURES_MAX = 20
_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What all customers were charged since the month began, and what it cost."""

    start: datetime
    currency: str
    events: int
    revenue_nano: int
    cost_nano: int  # Of what is billed; what was only tracked stands apart.
    tracked_cost_nano: int = 0
    tracked_list_nano: int = 0  # What that would have been sold for.
    included_list_nano: int = 0  # What plans included would have been sold for; its cost is in `cost_nano`.

    @property
    def margin_nano(self) -> int:
        return self.revenue_nano - self.cost_nano

    @property
    def margin(self) -> str:
        """The gross margin in percent of revenue."""
        return percent(self.margin_nano, self.revenue_nano)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of getting started; `command` does it."""

    title: str
    done: bool
    command: str


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A delivery that failed for good, or that waits for another attempt."""

    delivery: Delivery
    type: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything on the page; `older` is the cursor to the next customers, or None."""

    month: Month
    prices: Freshness
    decisions: Decisions
    customers: Sequence[MoneyRow]
    older: str | None
    events: Sequence[EventRow]
    invoices: Sequence[InvoiceRow]
    failures: Sequence[FailureRow]
    steps: Sequence[Step]

    @property
    def is_started(self) -> bool:
        """Whether nothing of getting started is left."""
        return all(step.done for step in self.steps)


def month_of(tx: Tx, *, at: datetime) -> Month:
    """Sum the calendar month (UTC) that holds `at`."""
    start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = hour_floor(at) + timedelta(hours=1)
    totals = tx.model_totals(None, start, end)
    waived = waived_of(tx.waived_totals(None, start, end))
    return Month(
        start=start,
        currency=account_currency(tx),
        events=sum(total.events for total in totals),
        revenue_nano=sum(total.price_nano for total in totals),
        cost_nano=sum(total.cost_nano for total in totals) - waived.tracked_cost_nano,
        tracked_cost_nano=waived.tracked_cost_nano,
        tracked_list_nano=waived.tracked_list_nano,
        included_list_nano=waived.included_list_nano,
    )


def _exists(tx: Tx, kind: type[Record]) -> bool:
    return bool(tx.page(kind, limit=1))


def _recent_deliveries(tx: Tx) -> list[Delivery]:
    """Return the deliveries of the latest announcements, newest first, and all that are being retried."""
    latest = [d for event in tx.page(Event, limit=ANNOUNCED_MAX) for d in tx.deliveries_of(event.id)]
    known = {delivery.id for delivery in latest}
    return latest + [d for d in tx.due_deliveries(_EVER, limit=PENDING_MAX) if d.id not in known]


def _failures(tx: Tx, deliveries: Sequence[Delivery]) -> list[FailureRow]:
    rows: list[FailureRow] = []
    for delivery in deliveries:
        if delivery.status == "failed" or (delivery.status == "pending" and delivery.attempts):
            event = tx.find(Event, delivery.event)
            endpoint = tx.find(WebhookEndpoint, delivery.endpoint)
            type, url = event.type if event else "", endpoint.url if endpoint else delivery.endpoint
            rows.append(FailureRow(delivery, type, url))
    return rows[:FAILURES_MAX]


def _steps(
    tx: Tx, deliveries: Sequence[Delivery], *, providers: Sequence[str] | None, base_url: str
) -> list[Step]:
    """Return the way from nothing to the first invoice."""
    settings = account_settings(tx)
    called = bool(tx.charged_page(customer=None, limit=1))
    steps = [Step("Set prices: a markup on every model", bool(settings), commands.set_up(base_url))]
    if providers is not None:
        steps.append(Step("Give the gateway a provider's key", bool(providers), commands.provider_key()))
    return [
        *steps,
        Step("Create the first customer", _exists(tx, Customer), commands.create_customer(base_url)),
        Step("Make the first call", called, commands.call(base_url)),
        Step(
            "Answer the first webhook with 2xx",
            any(delivery.status == "delivered" for delivery in deliveries),
            commands.create_endpoint(base_url),
        ),
        Step("Issue the first invoice", _exists(tx, Invoice), commands.preview_invoice(base_url)),
    ]


def overview_of(
    tx: Tx,
    catalogue: Catalogue,
    *,
    price_sources: Mapping[str, str],
    at: datetime,
    secret: bytes,
    base_url: str,
    older_than: str | None,
    providers: Sequence[str] | None,
) -> Overview:
    """Gather the overview as of `at`."""
    settings = account_settings(tx)
    on_zero_default = settings.on_zero_credit if settings else "overage"
    page = tx.page(Customer, limit=CUSTOMERS_MAX, older_than=older_than)
    deliveries = _recent_deliveries(tx)
    prices = freshness_of(tx, catalogue, followed=price_sources, at=at)
    return Overview(
        month=month_of(tx, at=at),
        prices=prices,
        decisions=decisions_of(tx, catalogue, prices, base_url=base_url, at=at),
        customers=[
            money_row(tx, customer, on_zero_default=on_zero_default, at=frozen_time(tx, customer) or at)
            for customer in page
            if not customer.deleted
        ],
        older=page[-1].id if len(page) == CUSTOMERS_MAX else None,
        events=[event_row(tx, charged) for charged in tx.charged_page(customer=None, limit=EVENTS_MAX)],
        invoices=[invoice_row(tx, each, secret=secret) for each in tx.page(Invoice, limit=INVOICES_MAX)],
        failures=_failures(tx, deliveries),
        steps=_steps(tx, deliveries, providers=providers, base_url=base_url),
    )
