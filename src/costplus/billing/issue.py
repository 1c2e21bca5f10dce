"""Issue invoices: make drafts final, take payment, void them, give them up. Each step books what it means.

Rule 1: a draft's figures are provisional; finalising trues items up and computes them again from the charges.
Rule 2: finalising moves what is owed from accrued to receivable, tax to what is payable to its authority,
and takes what the customer's surplus pays; what cannot be asked for is carried.
Rule 3: what an invoice still asks for is receivable while it is open, and written off once it is given up.
Rule 4: a number is given last and never given back: a voided invoice keeps its own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from costplus.billing.agenda import remember_invoice
from costplus.billing.compose import bills_usage, with_figures
from costplus.billing.coupon import Coupon, CustomerDiscount, discount_id
from costplus.billing.credit import reinstate
from costplus.billing.customer import Customer
from costplus.billing.demand import ask_for_payment
from costplus.billing.invoice import BILLS_USAGE, Invoice, InvoiceState
from costplus.billing.invoice_number import number_of
from costplus.billing.levy import policy_of
from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.surplus import note_surplus
from costplus.billing.true_up import true_up
from costplus.core.ids import milliseconds
from costplus.core.money import nano_per_minor
from costplus.ledger import account
from costplus.ledger.post import move
from costplus.ledger.transaction import Kind


def finalize(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Make a draft final: number it, book what it asks for; an invoice over nothing is paid at once.

    Raises `TaxLocationMissing` where its tax cannot be found.
    """
    if invoice.status != "draft":
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status}, not a draft.")
    tx.balance_for_update(invoice.customer)
    subscription = tx.find(Subscription, invoice.subscription) if invoice.subscription else None
    has_usage = bills_usage(invoice, subscription)
    if has_usage and subscription is not None and invoice.billing_period is None:
        true_up(tx, subscription, invoice.period, at=at)
    invoice = with_figures(tx, invoice, at=at, may_fail=False)
    if has_usage:
        _close_usage(tx, invoice)
    _book(tx, invoice, at=at)
    _use_coupon(tx, invoice)
    number = _next_number(tx, invoice, at=at)
    invoice = replace(invoice, status="open", number=number, finalized_at=at, finalizes_at=None, updated=at)
    invoice = ask_for_payment(tx, invoice, at=at)
    days = invoice.days_until_due if invoice.collection_method == "send_invoice" else None
    if invoice.due_date is None and days is not None:
        invoice = replace(invoice, due_date=at + timedelta(days=days))
    tx.save(invoice)
    if invoice.surplus_minor:
        _note_surplus(tx, invoice, gained_minor=-invoice.surplus_minor, at=at)
    remember_invoice(tx, invoice)
    announce(tx, "invoice.finalized", invoice, at=at)
    if invoice.total_minor == 0:
        invoice = replace(invoice, status="paid", paid_at=at)
        tx.save(invoice)
        announce(tx, "invoice.paid", invoice, at=at)
    return invoice


def fail_finalization(tx: Tx, invoice: Invoice, *, reason: str, at: datetime) -> Invoice:
    """Leave a draft that cannot be made final as it is, say why, and wait for a person."""
    invoice = replace(invoice, finalization_error=reason, finalizes_at=None, auto_advance=False, updated=at)
    tx.save(invoice)
    announce(tx, "invoice.finalization_failed", invoice, at=at)
    return invoice


def _next_number(tx: Tx, invoice: Invoice, *, at: datetime) -> str:
    policy, customer = policy_of(tx), tx.find(Customer, invoice.customer)
    own = customer.profile.get("invoice_prefix") if customer else None
    series, prefix = number_of(policy, customer=invoice.customer, own_prefix=own, at=at)
    return f"{prefix}-{tx.next_number(series):06d}"


def _close_usage(tx: Tx, invoice: Invoice) -> None:
    """Take the invoice's usage out of what is owed, carry the rest, and close its time for late usage."""
    whole = invoice.billing_period or invoice.period
    start, window = milliseconds(whole.start), invoice.usage_period
    balance = tx.balance_for_update(invoice.customer)
    owed, paid = dict(balance.owed_nano), {key: dict(each) for key, each in balance.paid_nano.items()}
    left_nano = owed.pop(start, 0) - (invoice.usage_nano - invoice.credit_nano)
    if left_nano:  # Used after the end of an interim invoice.
        owed[start] = left_nano
    by_grant = paid.pop(start, {})
    if window.end < whole.end:
        kept = _after(by_grant, invoice.credit_nano)
        if kept:
            paid[start] = kept
    tx.save_balance(replace(balance, owed_nano=owed, paid_nano=paid, carried_nano=invoice.carried_out_nano))
    subscription = tx.find(Subscription, invoice.subscription)
    if subscription is not None and subscription.finalized_until < window.end:
        tx.save(replace(subscription, finalized_until=window.end))
        tx.touch("config")


def _after(by_grant: dict[str, int], credit_nano: int) -> dict[str, int]:
    """Return what grants paid beyond the first `credit_nano` of it."""
    kept: dict[str, int] = {}
    for grant, nano in by_grant.items():
        taken = min(max(nano, 0), max(credit_nano, 0))
        credit_nano -= taken
        if nano != taken:
            kept[grant] = nano - taken
    return kept


def _book(tx: Tx, invoice: Invoice, *, at: datetime) -> None:
    """Post everything that making the invoice final means, in one transaction."""
    per_minor = nano_per_minor(invoice.currency)
    owed_nano = invoice.usage_nano - invoice.credit_nano - invoice.written_off_nano
    if invoice.billing_reason in BILLS_USAGE:
        settled_nano = owed_nano + invoice.carried_in_nano - invoice.carried_out_nano
    else:
        settled_nano = 0
    asked_nano = invoice.usage_due_minor * per_minor
    fixed_minor = sum(line.amount_minor for line in invoice.fixed_lines)
    revenue_minor = fixed_minor - invoice.discount_minor - invoice.tax_inclusive_minor
    customer = invoice.customer
    postings = [
        (account.accrued(customer), settled_nano + invoice.written_off_nano),
        (account.book("write_offs"), -invoice.written_off_nano),
        # What rounding line by line adds or takes off is the seller's.
        (account.book("revenue"), revenue_minor * per_minor + asked_nano - settled_nano),
        (account.book("tax_payable"), invoice.tax_total_minor * per_minor),
        (account.surplus(customer), -invoice.surplus_minor * per_minor),
        (account.receivable(customer), -invoice.total_minor * per_minor),
    ]
    _post(tx, invoice, "invoice", postings, at=at)


def _post(tx: Tx, invoice: Invoice, kind: Kind, postings: list[tuple[str, int]], *, at: datetime) -> None:
    if any(nano for _, nano in postings):
        move(tx, customer=invoice.customer, kind=kind, reference=invoice.id, postings=postings, at=at)


def _note_surplus(tx: Tx, invoice: Invoice, *, gained_minor: int, at: datetime, back: bool = False) -> None:
    note_surplus(
        tx,
        invoice.customer,
        gained_minor=gained_minor,
        currency=invoice.currency,
        type="unapplied_from_invoice" if back else "applied_to_invoice",
        invoice=invoice.id,
        at=at,
    )


def _use_coupon(tx: Tx, invoice: Invoice) -> None:
    """Count the coupon's use, and end the discount of one that is good for one invoice."""
    coupon = tx.find(Coupon, invoice.coupon) if invoice.coupon and invoice.discount_minor else None
    if coupon is None:
        return
    tx.lock(f"coupon/{coupon.id}")
    coupon = tx.find(Coupon, coupon.id) or coupon
    tx.save(replace(coupon, times_redeemed=coupon.times_redeemed + 1))
    discount = tx.find(CustomerDiscount, discount_id(invoice.customer))
    if coupon.duration == "once" and discount is not None and discount.coupon == coupon.id:
        tx.remove(CustomerDiscount, discount.id)


def pay(tx: Tx, invoice: Invoice, *, at: datetime, amount_minor: int | None = None) -> Invoice:
    """Book a payment: of all that remains, or of `amount_minor`.

    The invoice is paid once nothing remains; what is paid beyond that is the customer's surplus. Paying a
    paid invoice without an amount changes nothing.
    """
    if invoice.status == "paid" and amount_minor is None:
        return invoice
    if invoice.status not in ("open", "uncollectible", "paid"):
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status} and cannot be paid.")
    if amount_minor is not None and amount_minor <= 0:
        raise InvoiceState(f"Invoice {invoice.id} cannot be paid with {amount_minor}.", remedy="Pay above 0.")
    tx.balance_for_update(invoice.customer)
    remaining_minor = invoice.remaining_minor
    amount_minor = remaining_minor if amount_minor is None else amount_minor
    applied_minor = min(amount_minor, remaining_minor)
    over_minor = amount_minor - applied_minor
    per_minor, customer = nano_per_minor(invoice.currency), invoice.customer
    postings = [
        (_asked_in(invoice), applied_minor * per_minor),
        (account.surplus(customer), over_minor * per_minor),
        (account.book("payments"), -amount_minor * per_minor),
    ]
    _post(tx, invoice, "payment", postings, at=at)
    if over_minor:
        note_surplus(
            tx,
            customer,
            gained_minor=over_minor,
            currency=invoice.currency,
            type="invoice_too_large",
            invoice=invoice.id,
            at=at,
            description="Paid beyond what the invoice asked for",
        )
    was_paid = invoice.status == "paid"
    invoice = replace(
        invoice,
        paid_minor=invoice.paid_minor + applied_minor,
        overpaid_minor=invoice.overpaid_minor + over_minor,
        updated=at,
    )
    if was_paid or invoice.remaining_minor:
        tx.save(invoice)
        announce(tx, "invoice.updated", invoice, at=at)
        return invoice
    return settle_paid(tx, invoice, by_payment=True, at=at)


def settle_paid(tx: Tx, invoice: Invoice, *, by_payment: bool, at: datetime) -> Invoice:
    """Mark an invoice of which nothing remains as paid."""
    invoice = replace(invoice, status="paid", paid_at=at, updated=at)
    tx.save(invoice)
    if by_payment:
        announce(tx, "invoice.payment_succeeded", invoice, at=at)
    announce(tx, "invoice.paid", invoice, at=at)
    return invoice


def _asked_in(invoice: Invoice) -> str:
    """Return the account that holds what the invoice still asks for."""
    if invoice.status == "uncollectible":
        return account.book("write_offs")
    return account.receivable(invoice.customer)


def void(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Withdraw an open invoice: what it asked for is no longer owed.

    Its tax is no longer due, and what was paid towards it, from the surplus or in part, is the customer's
    surplus again. Credit that paid its usage stays burnt: the usage happened. Items do not wait again.
    """
    if invoice.status not in ("open", "uncollectible"):
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status} and cannot be voided.")
    tx.balance_for_update(invoice.customer)
    per_minor, customer = nano_per_minor(invoice.currency), invoice.customer
    back_minor = invoice.surplus_minor + invoice.paid_minor - invoice.credited_after_minor
    tax_minor = invoice.tax_total_minor - invoice.credited_tax_minor
    net_minor = invoice.remaining_minor + back_minor - tax_minor
    postings = [
        (_asked_in(invoice), invoice.remaining_minor * per_minor),
        (account.surplus(customer), back_minor * per_minor),
        (account.book("tax_payable"), -tax_minor * per_minor),
        (account.book("revenue"), -net_minor * per_minor),
    ]
    _post(tx, invoice, "invoice_void", postings, at=at)
    if back_minor:
        _note_surplus(tx, invoice, gained_minor=back_minor, at=at, back=True)
    reinstate(tx, invoice, currency=invoice.currency, at=at)
    invoice = replace(invoice, status="void", voided_at=at, updated=at)
    tx.save(invoice)
    announce(tx, "invoice.voided", invoice, at=at)
    return invoice


def mark_uncollectible(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Give up on an open invoice: what remains of it is written off; it may still be paid."""
    if invoice.status != "open":
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status}, not open.")
    nano = invoice.remaining_minor * nano_per_minor(invoice.currency)
    postings = [(account.receivable(invoice.customer), nano), (account.book("write_offs"), -nano)]
    _post(tx, invoice, "write_off", postings, at=at)
    invoice = replace(invoice, status="uncollectible", uncollectible_at=at, updated=at)
    tx.save(invoice)
    announce(tx, "invoice.marked_uncollectible", invoice, at=at)
    return invoice


def send(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Hand an invoice to its customer: a draft is made final first. Who receives webhooks sends the mail."""
    if invoice.status == "draft":
        invoice = finalize(tx, invoice, at=at)
    if invoice.status not in ("open", "paid"):
        raise InvoiceState(f"Invoice {invoice.id} is {invoice.status} and cannot be sent.")
    invoice = replace(invoice, sent_at=at, updated=at)
    tx.save(invoice)
    announce(tx, "invoice.sent", invoice, at=at)
    return invoice


def mark_overdue(tx: Tx, invoice: Invoice, *, at: datetime) -> Invoice:
    """Note that an open invoice's due date has passed."""
    invoice = replace(invoice, overdue_at=at, updated=at)
    tx.save(invoice)
    announce(tx, "invoice.overdue", invoice, at=at)
    return invoice
