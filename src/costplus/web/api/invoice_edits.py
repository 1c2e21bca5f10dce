"""Invoices by hand and the lines of drafts: `POST /v1/invoices`, `/{id}`, `/{id}/add_lines`, …"""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.clock import customer_of
from costplus.billing.customer import Customer
from costplus.billing.edit_draft import (
    LineNotEditable,
    blank_invoice,
    change_draft,
    change_item,
    check_currency,
    check_draft,
    delete_draft,
    item_of_line,
    new_invoice,
    put_on,
    take_off,
)
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem, NoSuchInvoiceItem
from costplus.billing.levy import policy_of
from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest
from costplus.web.api.coupons import discount_named
from costplus.web.api.invoice_params import (
    ItemReader,
    invoice_for_update,
    subscription_named,
    tax_rates_of,
)
from costplus.web.call import Call, delete, post
from costplus.web.errors import NotSupported
from costplus.web.objects.customer import deleted_object
from costplus.web.params import ParametersExclude, Params

METHODS = ("send_invoice", "charge_automatically")
DAYS_MAX = 365


class InvalidDueDate(InvalidRequest):
    """The due date has passed, or payment is not by invoice."""

    code = "invoice_due_date_invalid"
    remedy = "Give a time to come, or days_until_due, with collection_method=send_invoice."


def _changed(tx: Tx, call: Call, invoice: Invoice) -> Invoice:
    """Return the invoice with what the request says about its terms."""
    params = call.params
    at = call.present(tx, invoice.customer)
    changes: dict[str, object] = {}
    for name in ("description", "footer"):
        if name in params:
            changes[name] = params.text(name)
    if (method := params.choice("collection_method", METHODS)) is not None:
        changes["collection_method"] = method
    days, due = params.integer("days_until_due", most=DAYS_MAX), params.time("due_date")
    if days is not None and due is not None:
        raise ParametersExclude("days_until_due and due_date cannot be used together.", param="due_date")
    if due is not None and due <= at:
        raise InvalidDueDate("The due date has passed already.", param="due_date")
    if days is not None:
        changes["days_until_due"] = days
    if due is not None:
        changes["due_date"] = due
    if "default_tax_rates" in params:
        changes["tax_rates"] = tax_rates_of(tx, params, "default_tax_rates")
    if "discounts" in params:
        changes["coupon"] = discount_named(tx, params)
    if (advance := params.flag("auto_advance")) is not None:
        changes["auto_advance"] = advance
    changes["metadata"] = params.metadata(invoice.metadata)
    return replace(invoice, **changes)  # type: ignore[arg-type]  # Its own fields.


def create(tx: Tx, call: Call) -> Invoice:
    """Begin an invoice by hand, with the customer's waiting items where that is asked for."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    at = call.present(tx, customer.id)
    check_currency(customer, params.text("currency", longest=3))
    takes = params.choice("pending_invoice_items_behavior", ("include", "exclude")) == "include"
    subscription = subscription_named(tx, params, customer=customer.id)
    blank = blank_invoice(customer, subscription=subscription, at=at)
    blank = replace(blank, collection_method=policy_of(tx).collection_method)
    return new_invoice(tx, customer, _changed(tx, call, blank), takes_items=takes, at=at)


def update(tx: Tx, call: Call) -> Invoice:
    """Change a draft's terms; of a final invoice its metadata only."""
    before = invoice_for_update(tx, call.path["id"])
    after = _changed(tx, call, before)
    return change_draft(tx, before, after, at=call.present(tx, before.customer))


def remove(tx: Tx, call: Call) -> object:
    """Delete a draft that was begun by hand."""
    invoice = invoice_for_update(tx, call.path["id"])
    delete_draft(tx, invoice, at=call.present(tx, invoice.customer))
    return deleted_object("invoice", invoice.id)


def _lines(call: Call) -> list[Params]:
    lines = call.params.each("lines")
    if not lines:
        raise call.params.missing("lines")
    return lines


def _customer(tx: Tx, invoice: Invoice) -> Customer:
    customer = tx.find(Customer, invoice.customer)
    assert customer is not None, invoice.customer
    return customer


def _refuse_prices(params: Params) -> None:
    for name in ("price_data", "pricing", "tax_amounts", "quantity_decimal"):
        if name in params:
            param = params.name_of(name)
            raise NotSupported(f"{param} is not available on lines.", param=param, remedy="Send amount.")


def add_lines(tx: Tx, call: Call) -> Invoice:
    """Put lines on a draft: items that wait, or new ones."""
    invoice = invoice_for_update(tx, call.path["id"])
    check_draft(invoice)
    customer, at = _customer(tx, invoice), call.present(tx, invoice.customer)
    items: list[InvoiceItem] = []
    for params in _lines(call):
        _refuse_prices(params)
        waiting = params.text("invoice_item")
        if waiting is None:
            item = ItemReader(tx, customer, at).new(params, invoice=invoice.id)
            tx.save(item)
            announce(tx, "invoiceitem.created", item, at=at)
        else:
            found = tx.find(InvoiceItem, waiting)
            if found is None or found.customer != customer.id:
                raise NoSuchInvoiceItem(f"No such invoice item: '{waiting}'", param="lines")
            if found.invoice:
                raise LineNotEditable(
                    f"Invoice item {waiting} is on invoice {found.invoice} already.", param="lines"
                )
            item = found
        items.append(item)
    return put_on(tx, invoice, items, at=at)


def update_lines(tx: Tx, call: Call) -> Invoice:
    """Change lines of a draft that stand for items."""
    invoice = invoice_for_update(tx, call.path["id"])
    check_draft(invoice)
    at = call.present(tx, invoice.customer)
    reader = ItemReader(tx, _customer(tx, invoice), at)
    for params in _lines(call):
        _refuse_prices(params)
        item = item_of_line(tx, invoice, params.required_text("id"))
        changes = reader.changed(params, item)
        change_item(tx, replace(item, **changes), at=at)  # type: ignore[arg-type]  # Its own fields.
    return invoice_for_update(tx, invoice.id)


def remove_lines(tx: Tx, call: Call) -> Invoice:
    """Take lines off a draft; their items are deleted or wait again."""
    invoice = invoice_for_update(tx, call.path["id"])
    lines = [
        (each.required_text("id"), each.required_choice("behavior", ("delete", "unassign")) == "delete")
        for each in _lines(call)
    ]
    return take_off(tx, invoice, lines, at=call.present(tx, invoice.customer))


ENDPOINTS = (
    post("/v1/invoices", create, fresh=True),
    post("/v1/invoices/{id}", update, fresh=True),
    delete("/v1/invoices/{id}", remove),
    post("/v1/invoices/{id}/add_lines", add_lines, fresh=True),
    post("/v1/invoices/{id}/update_lines", update_lines, fresh=True),
    post("/v1/invoices/{id}/remove_lines", remove_lines, fresh=True),
)
