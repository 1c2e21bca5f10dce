"""`/v1/invoiceitems`: amounts that wait for a customer's next invoice, or are put on a draft at once."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.clock import customer_of
from costplus.billing.customer import Customer
from costplus.billing.edit_draft import add_item, change_item, check_currency, check_draft, remove_item
from costplus.billing.invoice_item import InvoiceItem, NoSuchInvoiceItem
from costplus.billing.store import Tx
from costplus.web.api.invoice_params import ItemReader, invoice_for_update, subscription_named
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.customer import deleted_object
from costplus.web.params import InvalidText

PATH = "/v1/invoiceitems"


def _item_of(tx: Tx, call: Call) -> InvoiceItem:
    """Return the item, its customer's balance locked."""
    tx.balance_for_update(retrieve(tx, call).customer)
    return retrieve(tx, call)


def create(tx: Tx, call: Call) -> InvoiceItem:
    """Create an item: it waits for the customer's next invoice, or goes on the draft that is named."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    at = call.present(tx, customer.id)
    check_currency(customer, params.text("currency", longest=3))
    invoice = ""
    if (named := params.text("invoice")) is not None:
        draft = invoice_for_update(tx, named, param="invoice")
        if draft.customer != customer.id:
            raise InvalidText(
                f"Invoice {draft.id} is another customer's.",
                param="invoice",
                remedy="Name one of this customer's.",
            )
        check_draft(draft)
        invoice = draft.id
    subscription = subscription_named(tx, params, customer=customer.id)
    item = ItemReader(tx, customer, at).new(params, invoice=invoice, subscription=subscription)
    return add_item(tx, item, at=at)


def retrieve(tx: Tx, call: Call) -> InvoiceItem:
    """Return an item."""
    item = tx.find(InvoiceItem, call.path["id"])
    if item is None:
        raise NoSuchInvoiceItem(f"No such invoice item: '{call.path['id']}'", param="id")
    return item


def update(tx: Tx, call: Call) -> InvoiceItem:
    """Change an item that no final invoice asks for."""
    item = _item_of(tx, call)
    customer = tx.find(Customer, item.customer)
    assert customer is not None, item.customer
    at = call.present(tx, customer.id)
    changes = ItemReader(tx, customer, at).changed(call.params, item)
    return change_item(tx, replace(item, **changes), at=at)  # type: ignore[arg-type]  # Its own fields.


def remove(tx: Tx, call: Call) -> object:
    """Delete an item that no final invoice asks for."""
    item = _item_of(tx, call)
    remove_item(tx, item, at=call.present(tx, item.customer))
    return deleted_object("invoiceitem", item.id)


def index(tx: Tx, call: Call) -> Listing:
    """List items, newest first; `pending` says whether they still wait."""
    customer, invoice = call.params.text("customer"), call.params.text("invoice")
    pending = call.params.flag("pending")

    def keep(item: InvoiceItem) -> bool:
        waits = pending is None or pending == (not item.invoice)
        return waits and invoice in (None, item.invoice)

    return records(tx, call, InvoiceItem, parent=customer, keep=keep)


ENDPOINTS = (
    post(PATH, create),
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
    post(f"{PATH}/{{id}}", update),
    delete(f"{PATH}/{{id}}", remove),
)
