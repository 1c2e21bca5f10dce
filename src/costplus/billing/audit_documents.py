"""Prove documents against what moved: invoices, notes, payments, refunds, surplus, write-offs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from costplus.billing.audit_moves import Moves
from costplus.billing.credit_note import CreditNote
from costplus.billing.finding import Finding
from costplus.billing.invoice import BILLS_USAGE, Invoice
from costplus.billing.payments.payment import Payment
from costplus.billing.payments.refund import PaymentRefund
from costplus.billing.refund import Refund
from costplus.billing.store import Tx
from costplus.billing.surplus import SurplusEntry
from costplus.catalog.load import every
from costplus.core.money import nano_per_minor
from costplus.ledger import account
from costplus.ledger.grant import Grant

PAYMENTS, TAX, WRITTEN = account.book("payments"), account.book("tax_payable"), account.book("write_offs")


def document_findings(
    tx: Tx, customer: str, *, invoices: Sequence[Invoice], grants: Sequence[Grant], moves: Moves
) -> Iterator[Finding]:
    """Yield where what documents say is not what moved."""
    money_nano = sum(grant.amount_nano for grant in grants if _is_bought(grant) and not grant.voided_at)
    notes = [note for invoice in invoices for note in every(tx, CreditNote, parent=invoice.id)]
    for invoice in invoices:
        own = [note for note in notes if note.invoice == invoice.id]
        yield from (Finding("invoice", invoice.id, wrong) for wrong in _invoice_wrongs(invoice, own, moves))
        money_nano += (invoice.paid_minor + invoice.overpaid_minor) * nano_per_minor(invoice.currency)
    for note in notes:
        yield from _compared(
            "credit_note", note.id, _of_note(note), moves.documents.get(("credit_note", note.id), {})
        )
        money_nano -= (note.refund_minor + note.out_of_band_minor) * nano_per_minor(note.currency)
    for refund in every(tx, Refund, parent=customer):
        nano = refund.amount_minor * nano_per_minor(refund.currency) if refund.status == "failed" else 0
        made = {PAYMENTS: -nano, account.surplus(customer): nano}
        yield from _compared("refund", refund.id, made, moves.documents.get(("refund", refund.id), {}))
        money_nano += nano
    for payment in every(tx, Payment, parent=customer):
        found, nano = _payment(tx, payment, moves)
        yield from found
        money_nano += nano
    yield from _in_all(customer, invoices, notes, moves, money_nano=money_nano)
    yield from _surplus(tx, customer)


def _is_bought(grant: Grant) -> bool:
    return grant.category == "paid" and grant.source not in ("plan", "rollover", "correction")


def _compared(kind: str, id: str, made: Mapping[str, int], moved: Mapping[str, int]) -> Iterator[Finding]:
    for name, nano in made.items():
        if moved.get(name, 0) != nano:
            yield Finding(kind, id, f"moves {nano} on {name}, its transactions moved {moved.get(name, 0)}")


def _invoice_wrongs(invoice: Invoice, notes: Sequence[CreditNote], moves: Moves) -> Iterator[str]:
    per_minor, customer, is_final = (
        nano_per_minor(invoice.currency),
        invoice.customer,
        invoice.status != "draft",
    )
    settled_nano = 0
    if invoice.billing_reason in BILLS_USAGE:
        settled_nano = invoice.usage_nano - invoice.credit_nano
        settled_nano += invoice.carried_in_nano - invoice.carried_out_nano
    made = {
        account.receivable(customer): -invoice.total_minor * per_minor,
        account.surplus(customer): -invoice.surplus_minor * per_minor,
        account.accrued(customer): settled_nano,
        TAX: invoice.tax_total_minor * per_minor,
        WRITTEN: -invoice.written_off_nano,
    }
    for name, nano in made.items():
        moved = moves.of("invoice", invoice.id, name)
        if moved != (nano if is_final else 0):
            yield f"moves {nano} on {name} once final, its transactions moved {moved}"
    paid_nano = (invoice.paid_minor + invoice.overpaid_minor) * per_minor
    if -moves.of("payment", invoice.id, PAYMENTS) != paid_nano:
        yield f"{paid_nano} was paid, its transactions moved {-moves.of('payment', invoice.id, PAYMENTS)}"
    issued = [note for note in notes if note.status == "issued"]
    credited = (
        ("credited_minor", invoice.credited_minor, sum(note.pre_payment_minor for note in issued)),
        ("credited_after_minor", invoice.credited_after_minor, sum(n.post_payment_minor for n in issued)),
        ("credited_tax_minor", invoice.credited_tax_minor, sum(note.tax_minor for note in issued)),
    )
    for name, kept, made_minor in credited:
        if kept != made_minor:
            yield f"{name} is {kept}, its credit notes make {made_minor}"
    if sum(note.total_minor for note in issued) > max(invoice.gross_minor, 0):
        yield f"its credit notes give back more than the {invoice.gross_minor} that it asked for"


def _of_note(note: CreditNote) -> Mapping[str, int]:
    """Return what the transactions of a note moved: none in all, once it is void."""
    per_minor = nano_per_minor(note.currency) if note.status == "issued" else 0
    return {
        account.receivable(note.customer): note.pre_payment_minor * per_minor,
        account.surplus(note.customer): note.credit_minor * per_minor,
        PAYMENTS: (note.refund_minor + note.out_of_band_minor) * per_minor,
        TAX: -note.tax_minor * per_minor,
    }


def _payment(tx: Tx, payment: Payment, moves: Moves) -> tuple[list[Finding], int]:
    """Return what is wrong with a payment, and the money that came in by it beside its invoice or grants."""
    per_minor, surplus = nano_per_minor(payment.currency), account.surplus(payment.customer)
    found: list[Finding] = []
    refunds = [
        refund
        for refund in every(tx, PaymentRefund, parent=payment.id)
        if refund.currency == payment.currency  # Money in another one was never booked.
    ]
    gained_nano, money_nano, refunded_minor = moves.of("payment", payment.id, surplus), 0, 0
    kept_minor = payment.surplus_minor
    for refund in refunds:
        sign = 0 if refund.status == "failed" else 1
        made = {
            surplus: -refund.from_surplus_minor * per_minor * sign,
            PAYMENTS: refund.amount_minor * per_minor * sign,
            **{account.credit(payment.customer, id): -nano * sign for id, nano in refund.from_grants.items()},
        }
        found += _compared("refund", refund.id, made, moves.documents.get(("refund", refund.id), {}))
        refunded_minor += refund.amount_minor * sign
        kept_minor += refund.from_surplus_minor * sign
        money_nano -= refund.amount_minor * per_minor * sign
    if kept_minor * per_minor != gained_nano:
        wrong = f"left a surplus of {kept_minor * per_minor}, its transactions moved {gained_nano}"
        found.append(Finding("payment", payment.id, wrong))
    if payment.refunded_minor != refunded_minor:
        wrong = f"{payment.refunded_minor} was refunded, its refunds make {refunded_minor}"
        found.append(Finding("payment", payment.id, wrong))
    if not 0 <= payment.refunded_minor <= payment.received_minor:
        wrong = f"{payment.refunded_minor} was refunded of {payment.received_minor} received"
        found.append(Finding("payment", payment.id, wrong))
    return found, money_nano + gained_nano


def _in_all(
    customer: str, invoices: Sequence[Invoice], notes: Sequence[CreditNote], moves: Moves, *, money_nano: int
) -> Iterator[Finding]:
    """Compare what the customer's documents come to with the seller's accounts, and what is receivable."""
    unpaid_nano = written_nano = tax_nano = 0
    for invoice in invoices:
        per_minor = nano_per_minor(invoice.currency)
        if invoice.status == "draft":
            continue
        written_nano += invoice.written_off_nano
        if invoice.status == "open":
            unpaid_nano += invoice.remaining_minor * per_minor
        if invoice.status == "uncollectible":
            written_nano += invoice.remaining_minor * per_minor
        if invoice.status != "void":
            tax_nano += (invoice.tax_total_minor - invoice.credited_tax_minor) * per_minor
    sums = (
        ("receivable", account.receivable(customer), -unpaid_nano, "what open invoices still ask for"),
        ("write_offs", WRITTEN, -written_nano, "what was written off"),
        ("tax", TAX, tax_nano, "the tax of invoices less that of credit notes"),
        ("payments", PAYMENTS, -money_nano, "the money that came in and went out"),
    )
    for kind, name, nano, what in sums:
        if (moved := moves.by_account[name]) != nano:
            yield Finding(kind, customer, f"{name} has {moved} of this customer, {what} makes {nano}")


def _surplus(tx: Tx, customer: str) -> Iterator[Finding]:
    """Compare the surplus with its entries: all of them, and what the last one says."""
    kept_nano = tx.account_balance(customer, account.surplus(customer))
    summed_nano, last_nano = 0, None
    for entry in every(tx, SurplusEntry, parent=customer):
        per_minor = nano_per_minor(entry.currency)
        last_nano = -entry.ending_minor * per_minor if last_nano is None else last_nano
        summed_nano -= entry.amount_minor * per_minor
    if summed_nano != kept_nano:
        yield Finding("surplus", customer, f"its entries make {summed_nano}, its account has {kept_nano}")
    if (last_nano or 0) != kept_nano:
        yield Finding("surplus", customer, f"its last entry says {last_nano}, its account has {kept_nano}")
