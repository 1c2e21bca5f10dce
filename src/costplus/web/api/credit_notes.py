"""`/v1/credit_notes`, and the refunds that they ask for at `/v1/refunds`.

Rule 1: the customer's balance is locked before an invoice or a note is read to be changed.
"""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.credit_note import REASONS, CreditNote, InvalidCreditNote, NoSuchCreditNote, Wanted
from costplus.billing.give_back import NoteRequest, issue_note, plan_note, void_note
from costplus.billing.invoice import Invoice
from costplus.billing.refund import NoSuchRefund, Refund
from costplus.billing.send_back import send_back
from costplus.billing.store import Tx
from costplus.web.api.invoice_params import AMOUNT_MAX, invoice_for_update, rounded_half_up
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import in_memory, records
from costplus.web.objects.invoice_extras import credit_note_object
from costplus.web.params import Params

PATH = "/v1/credit_notes"
LINE_TYPES = ("invoice_line_item", "custom_line_item")


def _note_of(tx: Tx, id: str) -> CreditNote:
    note = tx.find(CreditNote, id)
    if note is None:
        raise NoSuchCreditNote(f"No such credit note: '{id}'", param="id")
    return note


def _wanted(params: Params, invoice: Invoice) -> Wanted:
    """Return what one line of the request asks for."""
    named = params.choice("type", LINE_TYPES) or LINE_TYPES[0]
    description = params.text("description") or ""
    line_id = params.text("invoice_line_item") or ""
    quantity = params.integer("quantity", least=1)
    amount = params.integer("amount", least=1, most=AMOUNT_MAX)
    unit = params.decimal("unit_amount_decimal")
    whole = params.integer("unit_amount", least=0, most=AMOUNT_MAX)
    if amount is None and unit is not None:
        amount = rounded_half_up(unit * (quantity or 1))
    if amount is None and whole is not None:
        amount = whole * (quantity or 1)
    line = next((each for each in invoice.lines if each.id == line_id), None)
    if amount is None and line is not None and quantity:
        share = line.amount_minor - line.discount_minor - line.credit_minor
        amount = share * quantity // line.quantity
    if amount is None:
        raise params.missing("amount")
    if named == LINE_TYPES[0] and not line_id:
        raise params.missing("invoice_line_item")
    return Wanted(line_id, description, amount, quantity)


def _request(params: Params, invoice: Invoice) -> NoteRequest:
    amounts = {
        name: params.integer(name, least=0, most=AMOUNT_MAX)
        for name in ("amount", "credit_amount", "refund_amount", "out_of_band_amount")
    }
    wanted = tuple(_wanted(each, invoice) for each in params.each("lines"))
    if not wanted and all(value is None for value in amounts.values()):
        raise params.missing("amount")
    if wanted and amounts["amount"] is not None:
        raise InvalidCreditNote("Send lines or an amount.", param="amount", remedy="Leave one of them out.")
    return NoteRequest(
        wanted=wanted,
        amount_minor=amounts["amount"],
        credit_minor=amounts["credit_amount"],
        refund_minor=amounts["refund_amount"],
        out_of_band_minor=amounts["out_of_band_amount"],
        reason=params.choice("reason", REASONS),
        memo=params.text("memo"),
        effective_at=params.time("effective_at"),
        metadata=params.metadata(),
    )


def create(tx: Tx, call: Call) -> CreditNote:
    """Issue a credit note on an open or paid invoice."""
    call.params.choice("email_type", ("credit_note", "none"))
    invoice = invoice_for_update(tx, call.params.required_text("invoice"), param="invoice")
    request = _request(call.params, invoice)
    at = call.present(tx, invoice.customer)
    note = issue_note(tx, invoice, request, at=at)
    refund = tx.find(Refund, note.refund) if note.refund else None
    if refund is not None:
        send_back(tx, refund, at=at)
    return note


def preview(tx: Tx, call: Call) -> CreditNote:
    """Return the note that a request would make; nothing is kept."""
    invoice = invoice_for_update(tx, call.params.required_text("invoice"), param="invoice")
    return plan_note(tx, invoice, _request(call.params, invoice), at=call.present(tx, invoice.customer))


def retrieve(tx: Tx, call: Call) -> CreditNote:
    """Return a credit note."""
    return _note_of(tx, call.path["id"])


def update(tx: Tx, call: Call) -> CreditNote:
    """Change a note's memo and metadata."""
    note = _note_of(tx, call.path["id"])
    memo = call.params.text("memo") if "memo" in call.params else note.memo
    note = replace(note, memo=memo, metadata=call.params.metadata(note.metadata))
    tx.save(note)
    call.announce(tx, "credit_note.updated", note, at=call.present(tx, note.customer))
    return note


def void(tx: Tx, call: Call) -> CreditNote:
    """Withdraw a note that lowered what an open invoice asks for."""
    tx.balance_for_update(_note_of(tx, call.path["id"]).customer)
    note = _note_of(tx, call.path["id"])
    return void_note(tx, note, at=call.present(tx, note.customer))


def index(tx: Tx, call: Call) -> Listing:
    """List credit notes, newest first."""
    customer, invoice = call.params.text("customer"), call.params.text("invoice")
    return records(tx, call, CreditNote, parent=invoice, keep=lambda note: customer in (None, note.customer))


def lines(tx: Tx, call: Call) -> Listing:
    """List a note's lines."""
    note = _note_of(tx, call.path["id"])
    page = in_memory(call.params, note.lines)
    shown = credit_note_object(note, call.context)["lines"]["data"]
    kept = {entry.id for entry in page.entries if hasattr(entry, "id")}
    return Listing([line for line in shown if line["id"] in kept], page.has_more)


def refund_of(tx: Tx, id: str) -> Refund:
    """Return the refund, or raise `NoSuchRefund`."""
    refund = tx.find(Refund, id)
    if refund is None:
        raise NoSuchRefund(f"No such refund: '{id}'", param="id")
    return refund


def refund(tx: Tx, call: Call) -> Refund:
    """Return a refund."""
    return refund_of(tx, call.path["id"])


def refunds(tx: Tx, call: Call) -> Listing:
    """List refunds, newest first."""
    return records(tx, call, Refund, parent=call.params.text("customer"))


ENDPOINTS = (
    post(PATH, create, fresh=True),
    get(PATH, index),
    get(f"{PATH}/preview", preview, writes=True),
    get(f"{PATH}/{{id}}", retrieve),
    post(f"{PATH}/{{id}}", update),
    post(f"{PATH}/{{id}}/void", void),
    get(f"{PATH}/{{id}}/lines", lines),
    get("/v1/refunds", refunds),
    get("/v1/refunds/{id}", refund),
)
