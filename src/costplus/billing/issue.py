"""Issue invoices: draft them when a period ends, finalise them after the grace, take payment, void them.

Rule 1: a draft's figures are provisional; finalising trues items up and computes them again from the charges.
Rule 2: finalising moves what is owed from accrued to receivable; what cannot be asked for is carried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.credit import reinstate
from costplus.billing.invoice import Draft, Invoice, InvoiceState, draft
from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.true_up import foresee, item_names, true_up, versions_of
from costplus.core.ids import milliseconds, new_id
from costplus.core.money import nano_per_minor
from costplus.core.period import Period
from costplus.ledger import account
from costplus.ledger.post import move


def figures_of(
    tx: Tx,
    *,
    customer: str,
    currency: str,
    subscription: Subscription | None,
    period: Period,
    fees: Sequence[tuple[str, int, Period]],
    at: datetime,
) -> tuple[Draft, int, int, int]:
    """Return a period's invoice figures now, with (usage, credit, carried-in) in nanos."""
    totals, usage_nano = tx.usage_totals(customer, period.start, period.end)
    balance = tx.balance_for_update(customer)
    owed_nano = balance.owed_nano.get(milliseconds(period.start), 0)
    seen = foresee(tx, subscription, period, totals, usage_nano=usage_nano, owed_nano=owed_nano, at=at)
    usage_nano, owed_nano = seen.usage_nano, seen.owed_nano
    figures = draft(
        seen.totals,
        names=item_names(versions_of(tx, seen.totals), seen.totals),
        line_ids=[new_id("il", at=at) for _ in range(len(seen.totals) + len(fees))],
        period=period,
        currency=currency,
        usage_nano=usage_nano,
        owed_nano=owed_nano,
        carried_in_nano=balance.carried_nano,
        fees=fees,
    )
    return figures, usage_nano, usage_nano - owed_nano, balance.carried_nano


def with_figures(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Return the draft with the figures of this moment."""
    fees = [
        (line.description, line.amount_minor, line.period) for line in invoice.lines if line.kind == "fee"
    ]
    figures, usage_nano, credit_nano, carried_in_nano = figures_of(
        tx,
        customer=invoice.customer,
        currency=invoice.currency,
        subscription=tx.find(Subscription, invoice.subscription),
        period=invoice.period,
        fees=fees,
        at=at,
    )
    return replace(
        invoice,
        lines=figures.lines,
        usage_nano=usage_nano,
        credit_nano=credit_nano,
        carried_in_nano=carried_in_nano,
        carried_out_nano=figures.carried_out_nano,
        subtotal_minor=figures.subtotal_minor,
        credit_minor=figures.credit_minor,
        total_minor=figures.total_minor,
    )


def finalize(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Make a draft final: number it, book what it asks for; an invoice over nothing is paid at once."""
    if invoice.status != "draft":
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status}, not a draft.")
    if invoice.billing_reason == "subscription_cycle":
        subscription = tx.find(Subscription, invoice.subscription)
        if subscription is not None:
            true_up(tx, subscription, invoice.period, at=at)
        invoice = with_figures(tx, invoice, at=at)
        _book_usage(tx, invoice, at=at)
    fees_nano = sum(line.amount_nano for line in invoice.lines if line.kind == "fee")
    if fees_nano:
        postings = [
            (account.receivable(invoice.customer), -fees_nano),
            (account.book("revenue"), fees_nano),
        ]
        move(tx, customer=invoice.customer, kind="invoice", reference=invoice.id, postings=postings, at=at)
    number = tx.next_number("invoice")
    invoice = replace(invoice, status="open", number=f"CP-{number:06d}", finalized_at=at, finalizes_at=None)
    tx.save(invoice)
    announce(tx, "invoice.finalized", invoice, at=at)
    if invoice.total_minor == 0:
        invoice = replace(invoice, status="paid", paid_at=at)
        tx.save(invoice)
        announce(tx, "invoice.paid", invoice, at=at)
    return invoice


def _book_usage(tx: Tx, invoice: Invoice, *, at: datetime) -> None:
    """Move the period's owed usage to receivable, carry the rest, and close the period for late usage."""
    balance = tx.balance_for_update(invoice.customer)
    owed = {
        start: nano
        for start, nano in balance.owed_nano.items()
        if start != milliseconds(invoice.period.start)
    }
    tx.save_balance(replace(balance, owed_nano=owed, carried_nano=invoice.carried_out_nano))
    fees_minor = sum(line.amount_minor for line in invoice.lines if line.kind == "fee")
    asked_nano = (invoice.total_minor - fees_minor) * nano_per_minor(invoice.currency)
    if asked_nano:
        move(
            tx,
            customer=invoice.customer,
            kind="invoice",
            reference=invoice.id,
            postings=[
                (account.accrued(invoice.customer), asked_nano),
                (account.receivable(invoice.customer), -asked_nano),
            ],
            at=at,
        )
    subscription = tx.find(Subscription, invoice.subscription)
    if subscription is not None and subscription.finalized_until < invoice.period.end:
        tx.save(replace(subscription, finalized_until=invoice.period.end))


def pay(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Book the invoice's payment in full. Paying a paid invoice changes nothing."""
    if invoice.status == "paid":
        return invoice
    if invoice.status not in ("open", "uncollectible"):
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status} and cannot be paid.")
    nano = invoice.total_minor * nano_per_minor(invoice.currency)
    move(
        tx,
        customer=invoice.customer,
        kind="payment",
        reference=invoice.id,
        postings=[(account.receivable(invoice.customer), nano), (account.book("payments"), -nano)],
        at=at,
    )
    invoice = replace(invoice, status="paid", paid_minor=invoice.total_minor, paid_at=at)
    tx.save(invoice)
    announce(tx, "invoice.paid", invoice, at=at)
    return invoice


def void(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Withdraw an open invoice: what it asked for is no longer owed."""
    if invoice.status not in ("open", "uncollectible"):
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status} and cannot be voided.")
    nano = invoice.total_minor * nano_per_minor(invoice.currency)
    move(
        tx,
        customer=invoice.customer,
        kind="invoice_void",
        reference=invoice.id,
        postings=[(account.receivable(invoice.customer), nano), (account.book("revenue"), -nano)],
        at=at,
    )
    reinstate(tx, invoice, currency=invoice.currency, at=at)
    invoice = replace(invoice, status="void", voided_at=at)
    tx.save(invoice)
    announce(tx, "invoice.voided", invoice, at=at)
    return invoice


def mark_uncollectible(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Give up on an open invoice; it may still be paid."""
    if invoice.status != "open":
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status}, not open.")
    invoice = replace(invoice, status="uncollectible", uncollectible_at=at)
    tx.save(invoice)
    announce(tx, "invoice.marked_uncollectible", invoice, at=at)
    return invoice
