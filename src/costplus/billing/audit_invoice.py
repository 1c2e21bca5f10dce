"""Prove invoices: lines from the charges, totals from the lines, what is unpaid from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from costplus.billing.finding import Finding
from costplus.billing.invoice import Invoice
from costplus.billing.store import Tx
from costplus.core.money import nano_per_minor
from costplus.ledger import account

PAGE = 500


def every_invoice(tx: Tx, customer: str) -> Iterator[Invoice]:
    """Yield all of the customer's invoices, newest first."""
    cursor: str | None = None
    while True:
        page = tx.page(Invoice, parent=customer, limit=PAGE, older_than=cursor)
        yield from page
        if len(page) < PAGE:
            return
        cursor = page[-1].id


def invoice_findings(tx: Tx, customer: str) -> Iterator[Finding]:
    """Yield what is wrong with a customer's invoices."""
    unpaid_nano = 0
    for invoice in every_invoice(tx, customer):
        for wrong in _wrongs(tx, invoice):
            yield Finding("invoice", invoice.id, wrong)
        if invoice.status in ("open", "uncollectible"):
            unpaid_nano += (invoice.total_minor - invoice.paid_minor) * nano_per_minor(invoice.currency)
    receivable_nano = -tx.account_balance(customer, account.receivable(customer))
    if receivable_nano != unpaid_nano:
        wrong = f"invoices ask for {unpaid_nano}, the account of what is to be received has {receivable_nano}"
        yield Finding("receivable", customer, wrong)


def _wrongs(tx: Tx, invoice: Invoice) -> Iterator[str]:
    lines_minor = sum(line.amount_minor for line in invoice.lines)
    if lines_minor != invoice.subtotal_minor:
        yield f"subtotal is {invoice.subtotal_minor}, its lines make {lines_minor}"
    if (net_minor := invoice.subtotal_minor - invoice.credit_minor) != invoice.total_minor:
        yield f"total is {invoice.total_minor}, subtotal less credit is {net_minor}"
    if invoice.status == "draft" or invoice.billing_reason != "subscription_cycle":
        return
    totals, usage_nano = tx.usage_totals(invoice.customer, invoice.period.start, invoice.period.end)
    if usage_nano != invoice.usage_nano:
        yield f"asks for usage of {invoice.usage_nano} nano, its charges make {usage_nano}"
    shown: Counter[tuple[str, str, str]] = Counter()
    made: Counter[tuple[str, str, str]] = Counter()
    for line in invoice.lines:
        if line.kind == "usage":
            shown[line.provider, line.model, line.leaf] += line.quantity
    for total in totals:
        made[total.rate.provider, total.rate.model, total.rate.leaf] += total.quantity
    for key in sorted(shown.keys() | made.keys()):
        if shown[key] != made[key]:
            yield f"shows {shown[key]} units of {' '.join(key)}, its charges make {made[key]}"
