"""`/v1/invoices`, and each one's figures explained to the last digit.

Rule 1: the customer's balance is locked before an invoice is read to be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Protocol

from costplus.billing.clock import customer_of
from costplus.billing.customer import Customer, NoSuchCustomer
from costplus.billing.invoice import BILLS_USAGE, Invoice, InvoiceLine, NoSuchInvoice
from costplus.billing.issue import finalize, mark_uncollectible, send, void
from costplus.billing.preview import preview
from costplus.billing.store import Tx
from costplus.web.api.invoice_params import invoice_for_update, invoice_of, time_range
from costplus.web.call import Call, Handler, Listing, customer_in_params, get, post
from costplus.web.listing import in_memory, records
from costplus.web.objects.invoice import invoice_explanation
from costplus.web.objects.invoice_line import line_object

METHODS = ("send_invoice", "charge_automatically")
STATUSES = ("draft", "open", "paid", "uncollectible", "void")


class Step(Protocol):
    """A verb that takes an invoice from one state to another."""

    def __call__(self, tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice: ...


def retrieve(tx: Tx, call: Call) -> Invoice:
    """Return an invoice."""
    return invoice_of(tx, call.path["id"])


def index(tx: Tx, call: Call) -> Listing:
    """List invoices, newest first."""
    params = call.params
    customer, subscription = params.text("customer"), params.text("subscription")
    status, method = params.choice("status", STATUSES), params.choice("collection_method", METHODS)
    created, due = time_range(params, "created"), time_range(params, "due_date")
    if customer and tx.find(Customer, customer) is None:  # A deleted customer's invoices stay listed.
        raise NoSuchCustomer(f"No such customer: '{customer}'", param="customer")

    def keep(invoice: Invoice) -> bool:
        named = status in (None, invoice.status) and subscription in (None, invoice.subscription)
        return (
            named
            and method in (None, invoice.collection_method)
            and created(invoice.created)
            and due(invoice.due_date)
        )

    return records(tx, call, Invoice, parent=customer, keep=keep)


def create_preview(tx: Tx, call: Call) -> Invoice:
    """Return what the customer's running period comes to so far."""
    customer = customer_of(tx, call.params.required_text("customer"))
    wanted = call.params.text("subscription")
    invoice = preview(tx, customer, at=call.present(tx, customer.id))
    if wanted not in (None, invoice.subscription):
        raise NoSuchInvoice(
            f"Customer {customer.id} has no active subscription '{wanted}'.", param="subscription"
        )
    return invoice


def _step(verb: Step, check: Callable[[Call], None] = lambda call: None) -> Handler:
    def handler(tx: Tx, call: Call) -> Invoice:
        check(call)
        invoice = invoice_for_update(tx, call.path["id"])
        return verb(tx, invoice, at=call.present(tx, invoice.customer))

    return handler


def _accept_auto_advance(call: Call) -> None:
    call.params.flag("auto_advance")


def lines(tx: Tx, call: Call) -> Listing:
    """List an invoice's lines in its own order."""
    invoice = invoice_of(tx, call.path["id"])
    page = in_memory(call.params, invoice.lines)
    shown = [
        line_object(line, invoice, call.context) for line in page.entries if isinstance(line, InvoiceLine)
    ]
    return Listing(shown, page.has_more)


def explain(tx: Tx, call: Call) -> object:
    """Return every figure of the invoice exactly, next to the sum of the period's charges as they are now."""
    invoice = invoice_of(tx, call.path["id"])
    charges_nano = 0
    if invoice.billing_reason in BILLS_USAGE:
        asked_for = invoice.usage_period
        _, charges_nano = tx.usage_totals(invoice.customer, asked_for.start, asked_for.end)
    return invoice_explanation(invoice, charges_nano=charges_nano)


def _customer(tx: Tx, call: Call) -> Collection[str]:
    """Return whose invoice the path names."""
    return [invoice_of(tx, call.path["id"]).customer]


ENDPOINTS = (
    get("/v1/invoices", index, fresh=True),
    post(
        "/v1/invoices/create_preview",
        create_preview,
        fresh=True,
        keeps_reply=False,
        customers=customer_in_params,
    ),
    get("/v1/invoices/{id}", retrieve, fresh=True),
    get("/v1/invoices/{id}/lines", lines, fresh=True),
    post(
        "/v1/invoices/{id}/finalize", _step(finalize, _accept_auto_advance), fresh=True, customers=_customer
    ),
    post("/v1/invoices/{id}/send", _step(send), fresh=True, customers=_customer),
    post("/v1/invoices/{id}/void", _step(void), fresh=True, customers=_customer),
    post("/v1/invoices/{id}/mark_uncollectible", _step(mark_uncollectible), fresh=True, customers=_customer),
    get("/v1/token_billing/invoices/{id}/explain", explain, fresh=True),
)
