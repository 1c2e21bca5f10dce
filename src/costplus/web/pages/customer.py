"""One customer as the seller sees it: credit in the order it burns, and every charge with its derivation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.clock import frozen_time
from costplus.billing.close import account_settings
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.store import Tx
from costplus.core.ids import from_milliseconds
from costplus.ledger.grant import Grant, burn_key
from costplus.web.pages.rows import EventRow, InvoiceRow, MoneyRow, event_row, invoice_row, money_row

EVENTS_MAX = 50
INVOICES_MAX = 24


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant; `turn` is its place in the burn order, or 0 where it pays nothing now and `state` says why."""

    grant: Grant
    turn: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerView:
    """Everything on the page; `older` is the cursor to the next events, or None."""

    money: MoneyRow
    present: datetime
    on_test_clock: bool
    grants: Sequence[GrantRow]
    owed: Sequence[tuple[datetime, int]]  # Period start → nanos that no invoice has asked for yet.
    events: Sequence[EventRow]
    older: str | None
    invoices: Sequence[InvoiceRow]


def _state(grant: Grant, *, at: datetime) -> str:
    if grant.voided_at is not None:
        return "voided"
    if grant.expired_at is not None or (grant.expires_at is not None and grant.expires_at <= at):
        return "expired"
    if grant.remaining_nano == 0:
        return "used up"
    return "burns" if grant.effective_at <= at else "not yet effective"


def grant_rows(grants: Sequence[Grant], *, at: datetime) -> list[GrantRow]:
    """Return first what pays, in burn order, then the rest, newest first."""
    paying = sorted((grant for grant in grants if grant.is_burnable(at)), key=burn_key)
    rest = [grant for grant in reversed(grants) if not grant.is_burnable(at)]
    rows = [GrantRow(grant, turn, "burns") for turn, grant in enumerate(paying, 1)]
    return rows + [GrantRow(grant, 0, _state(grant, at=at)) for grant in rest]


def customer_view(
    tx: Tx, id: str, *, at: datetime, secret: bytes, older_than: str | None
) -> CustomerView | None:
    """Gather the page of a customer as of its present, or None where there is no such customer."""
    customer = tx.find(Customer, id)
    if customer is None:
        return None
    settings, frozen = account_settings(tx), frozen_time(tx, customer)
    present = frozen or at
    charged = tx.charged_page(customer=id, limit=EVENTS_MAX, older_than=older_than)
    owed = tx.balance(id).owed_nano
    invoices = tx.page(Invoice, parent=id, limit=INVOICES_MAX)
    return CustomerView(
        money=money_row(
            tx, customer, on_zero_default=settings.on_zero_credit if settings else "overage", at=present
        ),
        present=present,
        on_test_clock=frozen is not None,
        grants=grant_rows(tx.grants_of(id), at=present),
        owed=[(from_milliseconds(start), nano) for start, nano in sorted(owed.items())],
        events=[event_row(tx, each) for each in charged],
        older=charged[-1].event.id if len(charged) == EVENTS_MAX else None,
        invoices=[invoice_row(tx, invoice, secret=secret) for invoice in invoices],
    )
