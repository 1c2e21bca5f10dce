"""`/v1/customers/{id}/balance_transactions`: the money of a customer's that later invoices use.

Rule 1: signs are Stripe's: below zero is in the customer's favour.
"""

from __future__ import annotations

from costplus.billing.clock import customer_of
from costplus.billing.edit_draft import check_currency
from costplus.billing.store import Tx
from costplus.billing.surplus import NoSuchSurplusEntry, SurplusEntry, adjust_surplus
from costplus.web.api.invoice_params import AMOUNT_MAX
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.params import InvalidInteger

PATH = "/v1/customers/{id}/balance_transactions"


def create(tx: Tx, call: Call) -> SurplusEntry:
    """Change a customer's surplus by hand."""
    params = call.params
    customer = customer_of(tx, call.path["id"], param="id")
    amount = params.required_integer("amount", least=-AMOUNT_MAX, most=AMOUNT_MAX)
    if amount == 0:
        raise InvalidInteger("An amount of 0 changes nothing.", param="amount", remedy="Give another amount.")
    currency = check_currency(customer, params.required_text("currency", longest=3))
    return adjust_surplus(
        tx,
        customer.id,
        gained_minor=-amount,
        currency=currency,
        description=params.text("description"),
        metadata=params.metadata(),
        at=call.present(tx, customer.id),
    )


def index(tx: Tx, call: Call) -> Listing:
    """List what changed a customer's surplus, newest first."""
    customer = customer_of(tx, call.path["id"], param="id")
    invoice = call.params.text("invoice")
    return records(
        tx, call, SurplusEntry, parent=customer.id, keep=lambda entry: invoice in (None, entry.invoice)
    )


def retrieve(tx: Tx, call: Call) -> SurplusEntry:
    """Return one change of a customer's surplus."""
    customer = customer_of(tx, call.path["id"], param="id")
    entry = tx.find(SurplusEntry, call.path["entry"])
    if entry is None or entry.customer != customer.id:
        raise NoSuchSurplusEntry(f"No such balance transaction: '{call.path['entry']}'", param="entry")
    return entry


ENDPOINTS = (
    post(PATH, create),
    get(PATH, index),
    get(f"{PATH}/{{entry}}", retrieve),
)
