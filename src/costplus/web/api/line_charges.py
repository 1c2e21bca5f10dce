"""`/v1/token_billing/invoices/{id}/lines/{line}/charges`: what an invoice line is made of."""

from __future__ import annotations

from costplus.billing.line_charges import charges_of_line, line_of
from costplus.billing.store import Tx
from costplus.web.api.invoice_params import invoice_of
from costplus.web.call import Call, Listing, get
from costplus.web.listing import LIMIT_DEFAULT, LIMIT_MAX
from costplus.web.objects.invoice_line import line_charge_object


def index(tx: Tx, call: Call) -> Listing:
    """List the charges that make an invoice line, each with its event and its working; oldest first.

    Pages go forward only.
    """
    params = call.params
    limit = params.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
    invoice = invoice_of(tx, call.path["id"])
    line = line_of(invoice, call.path["line"])
    page = charges_of_line(tx, invoice, line, limit=limit + 1, after=params.text("starting_after"))
    shown = [line_charge_object(entry, line, call.context) for entry in page[:limit]]
    return Listing(shown, len(page) > limit)


ENDPOINTS = (get("/v1/token_billing/invoices/{id}/lines/{line}/charges", index, fresh=True),)
