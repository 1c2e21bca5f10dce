"""The hosted invoice: what a customer is asked for, line by line, without the seller's cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.store import Tx
from costplus.billing.tax import TaxRate
from costplus.core.money import nano_per_minor
from costplus.web.context import WebContext
from costplus.web.pages.figures import minor_amount, nano_amount, unit_amount
from costplus.web.pages.links import opens_invoice
from costplus.web.pages.page import html, message

_STATES = {
    "draft": "Draft: the figures may still change",
    "open": "Open: awaiting payment",
    "paid": "Paid",
    "void": "Void: nothing is owed",
    "uncollectible": "Uncollectible",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceView:
    """An invoice with everything that its page says beyond the record, in words."""

    invoice: Invoice
    customer: Customer | None
    state: str
    unit_prices: tuple[str, ...]  # One for each line.
    taxes: tuple[tuple[str, str], ...]  # What each is called, and how much.
    due: str
    exact_total: str
    carried_in: str  # Empty where nothing was.
    carried_out: str


def amount_due_minor(invoice: Invoice) -> int:
    """Return what is still to be paid."""
    return invoice.remaining_minor


def view_of(invoice: Invoice, customer: Customer | None, rates: Sequence[TaxRate] = ()) -> InvoiceView:
    """Return what the page of an invoice says."""
    currency = invoice.currency
    exact_nano = invoice.total_minor * nano_per_minor(currency) + invoice.carried_out_nano
    names = {rate.id: f"{rate.display_name} {rate.percentage} %" for rate in rates}
    return InvoiceView(
        invoice=invoice,
        customer=customer,
        state=_STATES[invoice.status],
        unit_prices=tuple(
            unit_amount(line.unit_price, line.leaf, currency)
            if line.unit_price
            else minor_amount(line.amount_minor, currency)
            for line in invoice.lines
        ),
        taxes=tuple(
            (
                f"{names.get(share.rate, 'Tax')}{' (included)' if share.inclusive else ''}",
                minor_amount(share.amount_minor, currency),
            )
            for share in invoice.taxes
        ),
        due=minor_amount(amount_due_minor(invoice), currency),
        exact_total=nano_amount(exact_nano, currency),
        carried_in=nano_amount(invoice.carried_in_nano, currency) if invoice.carried_in_nano else "",
        carried_out=nano_amount(invoice.carried_out_nano, currency),
    )


def _find(tx: Tx, invoice_id: str) -> tuple[Invoice, Customer | None, list[TaxRate]] | None:
    invoice = tx.find(Invoice, invoice_id)
    if invoice is None:
        return None
    rates = [rate for share in invoice.taxes if (rate := tx.find(TaxRate, share.rate))]
    return invoice, tx.find(Customer, invoice.customer), rates


class InvoicePages:
    """Satisfies `/i/{invoice_id}/{token}`."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def show(self, request: Request) -> Response:
        """Show the invoice to whoever holds its link; say nothing about it to anybody else."""
        invoice_id, token = request.path_params["invoice_id"], request.path_params["token"]
        found = None
        if opens_invoice(invoice_id, token, secret=self._context.link_secret):
            found = await self._context.store.read(lambda tx: _find(tx, invoice_id))
        if found is None:
            return message(
                "Invoice not found",
                "There is no invoice at this address. Ask whoever sent you the link for a new one.",
                status=404,
            )
        return html("invoice.html", view=view_of(*found), livemode=self._context.livemode)
