"""Rows that the admin pages share: a charged event, an invoice, a customer's money, ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.close import account_settings
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.plan import Plan
from costplus.billing.store import ChargedEvent, Tx
from costplus.core.money import nano_text
from costplus.ledger.post import credit_of
from costplus.rating.charge import Derivation, explain
from costplus.rating.waive import SHADOW_TITLE, is_tracked, list_nano
from costplus.web.figures import percent
from costplus.web.pages.links import invoice_path

CURRENCY_DEFAULT = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One charged event; `notes` says what is remarkable about it (unpriced, estimated, a fault)."""

    id: str
    at: datetime
    customer: str
    customer_title: str
    model: str
    quantities: Mapping[str, int]
    cost_nano: int
    price_nano: int
    margin_nano: int
    margin: str
    notes: tuple[str, ...]
    derivation: Derivation


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceRow:
    """One invoice with the path of its page."""

    invoice: Invoice
    path: str
    customer_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyRow:
    """What a customer has and owes, in nanos of its currency."""

    customer: Customer
    title: str
    credit_nano: int
    held_nano: int
    owed_nano: int
    carried_nano: int
    on_zero_credit: str

    @property
    def available_nano(self) -> int:
        """What a new call may reserve."""
        return self.credit_nano - self.held_nano


def title_of(customer: Customer | None, id: str) -> str:
    """Return what to call a customer."""
    return (customer.name or customer.email or customer.id) if customer else id


def account_currency(tx: Tx) -> str:
    """Return the currency of the account's plan."""
    settings = account_settings(tx)
    plan = tx.find(Plan, settings.default_plan) if settings and settings.default_plan else None
    return plan.currency if plan else CURRENCY_DEFAULT


def event_row(tx: Tx, charged: ChargedEvent) -> EventRow:
    """Return the row of a charged event."""
    event, charge = charged.event, charged.charge
    margin_nano = charge.price_nano - charge.cost_nano
    notes = [f"unpriced: {reason}" for reason in charge.unpriced]
    if is_tracked(charge):  # Nothing was to be earned by it: it is no loss.
        margin_nano = 0
        notes.append(f"{SHADOW_TITLE}: sells for {nano_text(list_nano(charge))}")
    if event.is_correction:
        notes.append(f"{event.source.replace('_', ' ')} of {event.corrects}")
    return EventRow(
        id=event.id,
        at=event.at,
        customer=event.customer,
        customer_title=title_of(tx.find(Customer, event.customer), event.customer),
        model=f"{event.provider}/{event.model}" if event.provider else event.model,
        quantities=event.usage.quantities,
        cost_nano=charge.cost_nano,
        price_nano=charge.price_nano,
        margin_nano=margin_nano,
        margin=percent(margin_nano, charge.price_nano),
        notes=(*notes, *event.usage.flags),
        derivation=explain(charge),
    )


def invoice_row(tx: Tx, invoice: Invoice, *, secret: bytes) -> InvoiceRow:
    """Return the row of an invoice."""
    return InvoiceRow(
        invoice=invoice,
        path=invoice_path(invoice.id, secret=secret),
        customer_title=title_of(tx.find(Customer, invoice.customer), invoice.customer),
    )


def money_row(tx: Tx, customer: Customer, *, on_zero_default: str, at: datetime) -> MoneyRow:
    """Return what a customer has and owes at `at`, its present."""
    balance = tx.balance(customer.id)
    return MoneyRow(
        customer=customer,
        title=title_of(customer, customer.id),
        credit_nano=credit_of(tx, customer.id, at=at),
        held_nano=balance.held_nano,
        owed_nano=balance.owed_total_nano,
        carried_nano=balance.carried_nano,
        on_zero_credit=customer.on_zero_credit or on_zero_default,
    )
