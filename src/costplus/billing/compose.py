"""Compose invoices: open a draft, take waiting items up, and work its figures out as of a moment.

Rule 1: a draft's usage, credit, tax and surplus are those of the moment; its fees and items stay.
Rule 2: a draft takes up every item that waits for its customer, or for its subscription, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from costplus.billing.agenda import remember_invoice
from costplus.billing.coupon import Coupon, CustomerDiscount, discount_id
from costplus.billing.customer import Customer
from costplus.billing.invoice import BILLS_USAGE, DiscountShare, Draft, Invoice, InvoiceLine, draft
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.invoice_policy import InvoicePolicy
from costplus.billing.invoice_total import credit_shares, totalled
from costplus.billing.late_usage import late_in, set_apart
from costplus.billing.levy import levy_of, policy_of
from costplus.billing.notify import announce
from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.surplus import surplus_of
from costplus.billing.tax import Levy, TaxId, TaxLocationMissing
from costplus.billing.true_up import foresee, item_names, versions_of
from costplus.billing.waived import on_invoices
from costplus.core.ids import milliseconds, new_id
from costplus.core.money import decimal_text, minor_exponent, nano_per_minor
from costplus.core.period import Period

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePart:
    """What an invoice's usage comes to, exactly: charged, not paid by credit, written off, and who paid."""

    figures: Draft
    usage_nano: int
    owed_nano: int
    written_off_nano: int
    paid_nano: Mapping[str, int]


def bills_usage(invoice: Invoice, subscription: Subscription | None) -> bool:
    """Return whether the invoice asks for usage: not where its subscription is a fee only."""
    return invoice.billing_reason in BILLS_USAGE and (subscription is None or subscription.prices_usage)


def usage_period(subscription: Subscription | None, period: Period) -> Period:
    """Return what of a period no interim invoice has asked for yet."""
    if subscription is None or not period.start < subscription.finalized_until < period.end:
        return period
    return Period(subscription.finalized_until, period.end)


def usage_part(
    tx: Tx, invoice: Invoice, subscription: Subscription | None, policy: InvoicePolicy, *, at: datetime
) -> UsagePart:
    """Return the figures of the invoice's usage as of `at`."""
    customer, window = invoice.customer, invoice.usage_period
    whole = invoice.billing_period or invoice.period
    balance = tx.balance_for_update(customer)
    totals, usage_nano = tx.usage_totals(customer, window.start, window.end)
    owed_nano = balance.owed_nano.get(milliseconds(whole.start), 0)
    after_nano = tx.usage_totals(customer, window.end, whole.end)[1] if window.end < whole.end else 0
    owed_nano -= min(owed_nano, max(after_nano, 0))  # Credit paid what came first.
    if invoice.billing_reason != "subscription_threshold" or whole == invoice.period:
        counted = tx.usage_totals(customer, whole.start, whole.end)[0] if window != whole else None
        found = {"usage_nano": usage_nano, "owed_nano": owed_nano}
        seen = foresee(tx, subscription, whole, totals, **found, at=at, counted=counted)
        totals, usage_nano, owed_nano = seen.totals, seen.usage_nano, seen.owed_nano
    late = late_in(tx, customer, window.start)
    apart = set_apart(on_invoices(totals), late)
    written_nano = 0
    if late is not None and _late_rule(tx, subscription, policy) == "write_off":
        written_nano = max(min(owed_nano, sum(late.price_nano.values())), 0)
    figures = draft(
        apart,
        names=item_names(versions_of(tx, totals), totals),
        line_ids=[f"il_{milliseconds(at):012x}{invoice.id[-12:]}{n:04x}" for n in range(len(apart))],
        period=window,
        currency=invoice.currency,
        usage_nano=usage_nano,
        owed_nano=owed_nano,
        carried_in_nano=balance.carried_nano,
        rounding=invoice.rounding,
        written_off_nano=written_nano,
    )
    return UsagePart(
        figures=figures,
        usage_nano=usage_nano,
        owed_nano=owed_nano,
        written_off_nano=written_nano,
        paid_nano=balance.paid_nano.get(milliseconds(whole.start), {}),
    )


def _late_rule(tx: Tx, subscription: Subscription | None, policy: InvoicePolicy) -> str:
    """Return what becomes of late usage: by the subscription, its plan, or the account."""
    plan = tx.find(Plan, subscription.plan) if subscription else None
    own = subscription.late_usage if subscription else None
    return own or (plan.late_usage if plan else None) or policy.late_usage


def with_figures(tx: Tx, invoice: Invoice, *, at: datetime, may_fail: bool = True) -> Invoice:
    """Return the draft with the figures of this moment.

    Where its tax cannot be found it says so and is composed without; unless it `may_fail`: then that raises.
    """
    policy = policy_of(tx)
    subscription = tx.find(Subscription, invoice.subscription) if invoice.subscription else None
    usage_lines: tuple[InvoiceLine, ...] = ()
    credit_minor, paid_nano = 0, dict[str, int]()
    if bills_usage(invoice, subscription):
        invoice = replace(invoice, usage_from=_usage_from(invoice, subscription))
        part = usage_part(tx, invoice, subscription, policy, at=at)
        usage_lines, credit_minor = part.figures.lines, part.figures.credit_minor
        paid_nano = dict(part.paid_nano)
        invoice = replace(
            invoice,
            usage_nano=part.usage_nano,
            credit_nano=part.usage_nano - part.owed_nano,
            carried_in_nano=tx.balance_for_update(invoice.customer).carried_nano,
            carried_out_nano=part.figures.carried_out_nano,
            usage_due_minor=part.figures.usage_due_minor,
            written_off_nano=part.written_off_nano,
        )
    lines = (*usage_lines, *invoice.fixed_lines)
    levy, problem = Levy(), ""
    try:
        levy = levy_of(tx, invoice, lines=lines, policy=policy)
    except TaxLocationMissing as error:
        if not may_fail:
            raise
        problem = error.sentence
    coupon = tx.find(Coupon, invoice.coupon) if invoice.coupon else None
    surplus_minor = surplus_of(tx, invoice.customer, currency=invoice.currency)
    made = totalled(
        lines,
        credits=credit_shares(credit_minor, paid_nano),
        coupon=coupon,
        levy=levy,
        policy=policy,
        surplus_minor=surplus_minor,
    )
    return replace(
        invoice,
        billed_to=_billed_to(tx, invoice.customer, known=invoice.billed_to),
        lines=made.lines,
        subtotal_minor=made.subtotal_minor,
        credit_minor=made.credit_minor,
        credits=credit_shares(credit_minor, paid_nano),
        discount_minor=made.discount_minor,
        discounts=(DiscountShare(invoice.coupon, made.discount_minor),) if made.discount_minor else (),
        taxes=made.taxes,
        tax_minor=made.tax_minor,
        tax_inclusive_minor=made.tax_inclusive_minor,
        is_taxed_by_address=levy.by_address,
        is_reverse_charge=levy.exempt == "reverse" and bool(made.taxes),
        surplus_minor=made.surplus_minor,
        surplus_before_minor=surplus_minor,
        total_minor=made.total_minor,
        finalization_error=problem,
    )


def _billed_to(tx: Tx, customer: str, *, known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an invoice says of its customer."""
    record = tx.find(Customer, customer)
    if record is None or record.deleted:
        return known
    tax_ids = [{"type": each.type, "value": each.value} for each in reversed(tx.page(TaxId, parent=customer))]
    profile = record.profile
    return {
        "name": profile.get("business_name") or record.name,
        "email": record.email,
        "phone": profile.get("phone"),
        "address": profile.get("address"),
        "shipping": profile.get("shipping"),
        "tax_exempt": profile.get("tax_exempt") or "none",
        "tax_ids": tax_ids,
    }


def _usage_from(invoice: Invoice, subscription: Subscription | None) -> datetime | None:
    if invoice.billing_reason == "subscription_threshold":
        return invoice.usage_from
    start = usage_period(subscription, invoice.period).start
    return start if start != invoice.period.start else None


def open_draft(tx: Tx, invoice: Invoice, *, at: datetime, takes_items: bool = True) -> Invoice:
    """Begin a draft by the account's rules, with the items that wait for it and its figures; announce it."""
    invoice = prepared(tx, invoice)
    invoice = with_figures(tx, invoice, at=at)
    if takes_items and (items := list(waiting_items(tx, invoice))):
        lines = [item_line(item, at=at) for item in items]
        invoice = with_figures(tx, replace(invoice, lines=(*invoice.lines, *lines)), at=at)
        for item in items:
            tx.save(replace(item, invoice=invoice.id))
    tx.save(invoice)
    remember_invoice(tx, invoice)
    announce(tx, "invoice.created", invoice, at=at)
    return invoice


def prepared(tx: Tx, invoice: Invoice) -> Invoice:
    """Return a new draft with what the account, the subscription and the customer say about invoices."""
    policy = policy_of(tx)
    subscription = tx.find(Subscription, invoice.subscription) if invoice.subscription else None
    discount = tx.find(CustomerDiscount, discount_id(invoice.customer))
    method, days = policy.collection_method, policy.days_until_due
    if invoice.billing_reason == "manual":
        method = invoice.collection_method
    elif subscription is not None:
        method = subscription.collection_method or method
    if subscription is not None:
        days = subscription.days_until_due if subscription.days_until_due is not None else days
    named = subscription.default_tax_rates if subscription else ()
    return replace(
        invoice,
        rounding=policy.rounding,
        footer=invoice.footer or policy.footer,
        collection_method=method,
        days_until_due=days if invoice.days_until_due is None else invoice.days_until_due,
        coupon=invoice.coupon or (discount.coupon if discount else ""),
        tax_rates=invoice.tax_rates or named,
    )


def waiting_items(tx: Tx, invoice: Invoice) -> Iterator[InvoiceItem]:
    """Yield the items that the invoice may take up, oldest first."""
    found: list[InvoiceItem] = []
    cursor: str | None = None
    while True:
        page = tx.page(InvoiceItem, parent=invoice.customer, limit=PAGE, older_than=cursor)
        found += [item for item in page if _is_for(item, invoice)]
        if len(page) < PAGE:
            break
        cursor = page[-1].id
    yield from reversed(found)


def _is_for(item: InvoiceItem, invoice: Invoice) -> bool:
    return (
        not item.invoice
        and item.subscription in ("", invoice.subscription)
        and item.currency == invoice.currency
    )


def item_line(item: InvoiceItem, *, at: datetime) -> InvoiceLine:
    """Return the line that stands for an item."""
    nano = item.amount_minor * nano_per_minor(item.currency)
    each = Fraction(item.amount_minor, item.quantity * 10 ** minor_exponent(item.currency))
    return InvoiceLine(
        id=new_id("il", at=at),
        description=item.description,
        amount_minor=item.amount_minor,
        amount_nano=nano,
        period=item.period,
        kind="item",
        quantity=item.quantity,
        unit_price=decimal_text(each),
        item=item.id,
        is_proration=item.is_proration,
        discountable=item.discountable and item.amount_minor > 0 and not item.is_proration,
        tax_rates=item.tax_rates,
        metadata=item.metadata,
    )
