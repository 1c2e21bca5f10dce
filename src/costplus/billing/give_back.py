"""Give back what an invoice asked for too much: issue and void credit notes.

Rule 1: what remains open is lowered first; the rest must be said to go to the surplus, back, or out of band.
Rule 2: revenue and tax are taken back at once; money moves when the refund does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.billing.credit_note import (
    CreditNote,
    CreditNoteTooLarge,
    InvalidCreditNote,
    NoteLine,
    Reason,
    Wanted,
    creditable_minor,
    line_room_minor,
    part_of_line,
    tax_back,
    taxes_given,
)
from costplus.billing.invoice import Invoice, InvoiceState
from costplus.billing.issue import settle_paid
from costplus.billing.notify import announce
from costplus.billing.refund import Refund
from costplus.billing.store import Tx
from costplus.billing.surplus import note_surplus
from costplus.core.ids import new_id
from costplus.core.money import nano_per_minor
from costplus.ledger import account
from costplus.ledger.post import move

NOTES_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRequest:
    """What a credit note is asked to give back, and by which way; without lines, `amount_minor` in all."""

    wanted: tuple[Wanted, ...] = ()
    amount_minor: int | None = None
    credit_minor: int | None = None
    refund_minor: int | None = None
    out_of_band_minor: int | None = None
    reason: Reason | None = None
    memo: str | None = None
    effective_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def notes_of(tx: Tx, invoice: Invoice) -> Sequence[CreditNote]:
    """Return the invoice's credit notes, newest first."""
    return tx.page(CreditNote, parent=invoice.id, limit=NOTES_MAX)


def plan_note(tx: Tx, invoice: Invoice, request: NoteRequest, *, at: datetime) -> CreditNote:
    """Return the note that the request comes to, kept nowhere. Raises what issuing it would."""
    if invoice.status not in ("open", "paid"):
        raise InvoiceState(
            f"Invoice {invoice.id} is {invoice.status}.",
            remedy="Credit notes are for open and paid invoices.",
        )
    notes = notes_of(tx, invoice)
    find = _by_line if request.wanted else _in_all
    lines = find(invoice, notes, request, at=at)
    total_minor = sum(line.amount_minor + line.added_tax_minor for line in lines)
    room_minor = creditable_minor(invoice)
    if total_minor > room_minor:
        raise CreditNoteTooLarge(
            f"The credit note comes to {total_minor}; "
            f"{room_minor} of invoice {invoice.id} can be given back.",
            param="amount",
        )
    if total_minor <= 0:
        raise InvalidCreditNote("A credit note gives something back.", param="amount", remedy="Ask above 0.")
    before_minor = min(total_minor, invoice.remaining_minor)
    ways = _ways(request, total_minor - before_minor, invoice)
    return CreditNote(
        id=new_id("cn", at=at),
        created=at,
        customer=invoice.customer,
        invoice=invoice.id,
        currency=invoice.currency,
        number=f"{invoice.number}-CN-{len(notes) + 1:02d}",
        lines=tuple(lines),
        total_minor=total_minor,
        tax_minor=sum(tax.amount_minor for line in lines for tax in line.taxes),
        pre_payment_minor=before_minor,
        credit_minor=ways[0],
        refund_minor=ways[1],
        out_of_band_minor=ways[2],
        reason=request.reason,
        memo=request.memo,
        effective_at=request.effective_at or at,
        metadata=request.metadata,
    )


def _by_line(
    invoice: Invoice, notes: Sequence[CreditNote], request: NoteRequest, *, at: datetime
) -> list[NoteLine]:
    """Return the note's lines as the request names them."""
    by_id = {line.id: line for line in invoice.lines}
    lines: list[NoteLine] = []
    for wanted in request.wanted:
        line = by_id.get(wanted.invoice_line)
        if wanted.invoice_line and line is None:
            raise InvalidCreditNote(
                f"Invoice {invoice.id} has no line '{wanted.invoice_line}'.",
                param="lines",
                remedy="Name lines of the invoice by their ids.",
            )
        id = new_id("cnli", at=at)
        if line is None:
            lines.append(NoteLine(id=id, description=wanted.description, amount_minor=wanted.amount_minor))
            continue
        earlier = sum(part.amount_minor for part in lines if part.invoice_line == line.id)
        room_minor = line_room_minor(line, notes) - earlier
        if wanted.amount_minor > room_minor:
            raise CreditNoteTooLarge(
                f"{room_minor} of line {line.id} can be given back, not {wanted.amount_minor}.", param="lines"
            )
        given = taxes_given(line, notes)
        for part in lines:
            if part.invoice_line == line.id:
                for tax in part.taxes:
                    given[tax.rate] = given.get(tax.rate, 0) + tax.amount_minor
        is_rest = wanted.amount_minor == room_minor
        lines.append(
            NoteLine(
                id=id,
                description=wanted.description or line.description,
                amount_minor=wanted.amount_minor,
                invoice_line=line.id,
                quantity=wanted.quantity,
                taxes=tax_back(line, wanted.amount_minor, given=given, is_rest=is_rest),
            )
        )
    return lines


def _in_all(
    invoice: Invoice, notes: Sequence[CreditNote], request: NoteRequest, *, at: datetime
) -> list[NoteLine]:
    """Return lines that come to the amount, tax included, from the invoice's lines in their order."""
    asked = request.amount_minor
    if asked is None:
        said = (request.credit_minor, request.refund_minor, request.out_of_band_minor)
        asked = sum(part or 0 for part in said)
    rest, lines = asked, list[NoteLine]()
    for line in invoice.lines:
        amount, taxes = part_of_line(line, notes, most_minor=rest)
        added = sum(tax.amount_minor for tax in taxes if not tax.inclusive)
        if amount + added > 0:
            rest -= amount + added
            lines.append(
                NoteLine(
                    id=new_id("cnli", at=at),
                    description=line.description,
                    amount_minor=amount,
                    invoice_line=line.id,
                    taxes=taxes,
                )
            )
    if rest > 0:
        raise CreditNoteTooLarge(
            f"{asked - rest} of invoice {invoice.id} can be given back, not {asked}.", param="amount"
        )
    return lines


def _ways(request: NoteRequest, rest_minor: int, invoice: Invoice) -> tuple[int, int, int]:
    """Return how much of what was paid goes to the surplus, back, and was given out of band.

    Where nothing is said it goes to the surplus.
    """
    said = (request.credit_minor, request.refund_minor, request.out_of_band_minor)
    if all(part is None for part in said):
        return rest_minor, 0, 0
    credit, refund, out_of_band = (part or 0 for part in said)
    if credit + refund + out_of_band != rest_minor:
        raise InvalidCreditNote(
            f"{rest_minor} of the credit note is beyond what invoice {invoice.id} still asks for; "
            f"credit, refund and out of band come to {credit + refund + out_of_band}.",
            param="credit_amount",
            remedy="Let credit_amount, refund_amount and out_of_band_amount come to that.",
        )
    given_back = invoice.refunded_minor
    if refund + out_of_band > invoice.paid_minor - given_back:
        raise CreditNoteTooLarge(
            f"{invoice.paid_minor - given_back} was paid and not given back yet.",
            param="refund_amount",
            remedy="Give the rest as credit_amount.",
        )
    return credit, refund, out_of_band


def issue_note(tx: Tx, invoice: Invoice, request: NoteRequest, *, at: datetime) -> CreditNote:
    """Issue a credit note, and with it the refund that it asks for."""
    tx.balance_for_update(invoice.customer)
    note = plan_note(tx, invoice, request, at=at)
    per_minor, customer = nano_per_minor(invoice.currency), invoice.customer
    postings = [
        (account.receivable(customer), note.pre_payment_minor * per_minor),
        (account.surplus(customer), note.credit_minor * per_minor),
        # What leaves, or left already, as money.
        (account.book("payments"), (note.refund_minor + note.out_of_band_minor) * per_minor),
        (account.book("tax_payable"), -note.tax_minor * per_minor),
        (account.book("revenue"), -(note.total_minor - note.tax_minor) * per_minor),
    ]
    move(tx, customer=customer, kind="credit_note", reference=note.id, postings=postings, at=at)
    if note.refund_minor:
        refund = _refund(note, at=at)
        tx.save(refund)
        announce(tx, "refund.created", refund, at=at)
        note = replace(note, refund=refund.id)
    if note.credit_minor:
        entry = note_surplus(
            tx,
            customer,
            gained_minor=note.credit_minor,
            currency=note.currency,
            type="credit_note",
            invoice=invoice.id,
            credit_note=note.id,
            at=at,
        )
        note = replace(note, surplus_entry=entry.id)
    tx.save(note)
    announce(tx, "credit_note.created", note, at=at)
    _credit_invoice(tx, invoice, note, sign=1, at=at)
    return note


def _refund(note: CreditNote, *, at: datetime) -> Refund:
    return Refund(
        id=new_id("re", at=at),
        created=at,
        customer=note.customer,
        currency=note.currency,
        amount_minor=note.refund_minor,
        invoice=note.invoice,
        credit_note=note.id,
        reason="requested_by_customer",
    )


def _credit_invoice(tx: Tx, invoice: Invoice, note: CreditNote, *, sign: int, at: datetime) -> None:
    invoice = replace(
        invoice,
        credited_minor=invoice.credited_minor + sign * note.pre_payment_minor,
        credited_after_minor=invoice.credited_after_minor + sign * note.post_payment_minor,
        credited_tax_minor=invoice.credited_tax_minor + sign * note.tax_minor,
        refunded_minor=invoice.refunded_minor + sign * (note.refund_minor + note.out_of_band_minor),
        updated=at,
    )
    if invoice.status == "open" and invoice.remaining_minor == 0:
        settle_paid(tx, invoice, by_payment=False, at=at)
    else:
        tx.save(invoice)
        announce(tx, "invoice.updated", invoice, at=at)


def void_note(tx: Tx, note: CreditNote, *, at: datetime) -> CreditNote:
    """Withdraw a note that only lowered what an open invoice asks for."""
    tx.balance_for_update(note.customer)
    invoice = tx.find(Invoice, note.invoice)
    assert invoice is not None, note.invoice
    if note.status == "void" or note.post_payment_minor or invoice.status != "open":
        raise InvalidCreditNote(
            f"Credit note {note.id} cannot be voided.",
            remedy="Only notes that lowered what an open invoice asks for can be.",
        )
    per_minor = nano_per_minor(invoice.currency)
    postings = [
        (account.receivable(note.customer), -note.pre_payment_minor * per_minor),
        (account.book("tax_payable"), note.tax_minor * per_minor),
        (account.book("revenue"), (note.total_minor - note.tax_minor) * per_minor),
    ]
    move(tx, customer=note.customer, kind="credit_note", reference=note.id, postings=postings, at=at)
    note = replace(note, status="void", voided_at=at)
    tx.save(note)
    announce(tx, "credit_note.voided", note, at=at)
    _credit_invoice(tx, invoice, note, sign=-1, at=at)
    return note


def fail_refund(tx: Tx, refund: Refund, *, reason: str, at: datetime) -> Refund:
    """Note that a refund could not be sent: the money is the customer's surplus instead."""
    if refund.status != "pending":
        return refund
    tx.balance_for_update(refund.customer)
    nano = refund.amount_minor * nano_per_minor(refund.currency)
    postings = [(account.book("payments"), -nano), (account.surplus(refund.customer), nano)]
    move(tx, customer=refund.customer, kind="refund", reference=refund.id, postings=postings, at=at)
    note_surplus(
        tx,
        refund.customer,
        gained_minor=refund.amount_minor,
        currency=refund.currency,
        type="adjustment",
        invoice=refund.invoice,
        credit_note=refund.credit_note,
        description="A refund that could not be sent",
        at=at,
    )
    refund = replace(refund, status="failed", failure_reason=reason)
    tx.save(refund)
    announce(tx, "refund.failed", refund, at=at)
    return refund


def succeed_refund(tx: Tx, refund: Refund, *, payment: str = "", at: datetime) -> Refund:
    """Note that a refund has been sent."""
    if refund.status != "pending":
        return refund
    refund = replace(refund, status="succeeded", payment=payment or refund.payment)
    tx.save(refund)
    announce(tx, "refund.updated", refund, at=at)
    return refund
