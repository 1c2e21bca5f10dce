"""Prove invoices: lines from the charges, totals from the lines, numbers without gaps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from costplus.billing.compose import bills_usage
from costplus.billing.coupon import Coupon
from costplus.billing.finding import Finding
from costplus.billing.invoice import BILLS_USAGE, Invoice
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.top_up import Receipt
from costplus.billing.waived import on_invoices
from costplus.catalog.load import every
from costplus.ledger.balance import Balance
from costplus.rating.item_charge import LIMITS


def invoice_findings(tx: Tx, invoices: Iterable[Invoice]) -> Iterator[Finding]:
    """Yield what is wrong with a customer's invoices by themselves, and against its charges."""
    billed: dict[str, str] = {}
    for invoice in invoices:
        wrongs = [*_total_wrongs(invoice), *_share_wrongs(invoice), *_usage_wrongs(tx, invoice)]
        yield from (Finding("invoice", invoice.id, wrong) for wrong in wrongs)
        if invoice.status == "void":
            continue
        for line in invoice.lines:
            if line.item and line.item in billed:
                yield Finding("invoice", invoice.id, f"item {line.item} is on {billed[line.item]} too")
            if line.item:
                billed[line.item] = invoice.id


def pending_findings(
    balance: Balance, invoices: Iterable[Invoice], *, charged_nano: int
) -> Iterator[Finding]:
    """Compare what no invoice has asked for yet with what is owed and what credit paid of it."""
    final = (i for i in invoices if i.status != "draft" and i.billing_reason in BILLS_USAGE)
    pending_nano = charged_nano - sum(invoice.usage_nano for invoice in final)
    paid_nano = sum(sum(by_grant.values()) for by_grant in balance.paid_nano.values())
    if pending_nano != balance.owed_total_nano + paid_nano:
        wrong = (
            f"{pending_nano} is not invoiced, {balance.owed_total_nano} is owed and {paid_nano} paid of it"
        )
        yield Finding("balance", balance.customer, wrong)
    if any(nano <= 0 for nano in balance.owed_nano.values()):
        yield Finding(
            "balance", balance.customer, f"a period owes nothing or less: {dict(balance.owed_nano)}"
        )


def account_findings(tx: Tx) -> Iterator[Finding]:
    """Yield gaps in the numbers of invoices and receipts, and coupons that were not counted."""
    used: Counter[str] = Counter()
    numbers: list[str] = []
    for invoice in every(tx, Invoice):
        if invoice.number is not None:
            numbers.append(invoice.number)
        if invoice.status != "draft" and invoice.coupon and invoice.discount_minor:
            used[invoice.coupon] += 1
    yield from (Finding("number", name, wrong) for name, wrong in gaps(numbers))
    receipts = [receipt.number for receipt in every(tx, Receipt)]
    yield from (Finding("number", name, wrong) for name, wrong in gaps(receipts))
    for coupon in every(tx, Coupon):
        if coupon.times_redeemed != used[coupon.id]:
            wrong = f"was redeemed {coupon.times_redeemed} times, invoices used it {used[coupon.id]} times"
            yield Finding("coupon", coupon.id, wrong)


def gaps(numbers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield which numbers are there twice or are missing below others, with what is written before them.

    What is written before the numbers of a series may change: then they go on after those of another.
    """
    known: dict[str, list[int]] = defaultdict(list)
    for number in numbers:
        prefix, _, digits = number.rpartition("-")
        known[prefix].append(int(digits))
    going_on = {n for own in known.values() if min(own) > 1 for n in own}
    everywhere = {n for own in known.values() for n in own}
    for prefix, own in sorted(known.items()):
        for n, times in sorted(Counter(own).items()):
            if times > 1:
                yield prefix, f"number {n} was given {times} times"
        others = going_on if min(own) == 1 else everywhere
        if missing := sorted({*range(1, max(own))} - {*own} - others):
            yield prefix, f"number {missing[0]} is missing, and {max(own)} was given"


def _total_wrongs(invoice: Invoice) -> Iterator[str]:
    lines_minor = sum(line.amount_minor for line in invoice.lines)
    if lines_minor != invoice.subtotal_minor:
        yield f"subtotal is {invoice.subtotal_minor}, its lines make {lines_minor}"
    net_minor = invoice.subtotal_minor - invoice.discount_minor - invoice.credit_minor + invoice.tax_minor
    if net_minor - invoice.surplus_minor != invoice.total_minor:
        yield f"total is {invoice.total_minor}, its parts make {net_minor - invoice.surplus_minor}"
    if invoice.total_minor < 0 or invoice.remaining_minor < 0:
        yield f"total is {invoice.total_minor}, of which {invoice.remaining_minor} remains"
    if invoice.status == "paid":
        left_minor = invoice.total_minor - invoice.credited_minor - invoice.paid_minor
        if left_minor:
            yield f"is paid, and {left_minor} remains of it"


def _share_wrongs(invoice: Invoice) -> Iterator[str]:
    """Yield where the shares of lines, coupons, grants and tax rates do not make the invoice's figures."""
    lines = invoice.lines
    on_lines = sum(line.credit_minor for line in lines)
    sums = (
        ("discount_minor", invoice.discount_minor, sum(line.discount_minor for line in lines)),
        ("discount_minor", invoice.discount_minor, sum(share.amount_minor for share in invoice.discounts)),
        ("credit_minor", invoice.credit_minor, sum(share.amount_minor for share in invoice.credits)),
        ("credit_minor", invoice.credit_minor, on_lines or invoice.credit_minor),
        ("tax", invoice.tax_total_minor, sum(t.amount_minor for line in lines for t in line.taxes)),
        ("tax_minor", invoice.tax_minor, sum(t.amount_minor for t in invoice.taxes if not t.inclusive)),
        (
            "inclusive tax",
            invoice.tax_inclusive_minor,
            sum(t.amount_minor for t in invoice.taxes if t.inclusive),
        ),
    )
    for name, kept, made in sums:
        if kept != made:
            yield f"{name} is {kept}, its shares make {made}"


def _usage_wrongs(tx: Tx, invoice: Invoice) -> Iterator[str]:
    subscription = tx.find(Subscription, invoice.subscription) if invoice.subscription else None
    if invoice.status == "draft" or not bills_usage(invoice, subscription):
        return
    window = invoice.usage_period
    totals, usage_nano = tx.usage_totals(invoice.customer, window.start, window.end)
    if usage_nano != invoice.usage_nano:
        yield f"asks for usage of {invoice.usage_nano} nano, its charges make {usage_nano}"
    lines = [line for line in invoice.lines if line.kind == "usage"]
    if (shown_nano := sum(line.amount_nano for line in lines)) != invoice.usage_nano:
        yield f"shows usage of {shown_nano} nano, and asks for {invoice.usage_nano}"
    shown: Counter[tuple[str, str, str]] = Counter()
    made: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        if line.leaf not in LIMITS:  # Those are shown as one amount.
            shown[line.provider, line.model, line.leaf] += line.quantity
    for total in on_invoices(totals):
        if total.rate.leaf not in LIMITS:
            made[total.rate.provider, total.rate.model, total.rate.leaf] += total.quantity
    for key in sorted(shown.keys() | made.keys()):
        if shown[key] != made[key]:
            yield f"shows {shown[key]} units of {' '.join(key)}, its charges make {made[key]}"
