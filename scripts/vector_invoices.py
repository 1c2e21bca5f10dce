"""Runs cases of whole invoices: fees, usage, discounts, tax, credit and credit notes in one total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from vector_case import Figures, Given, NotRun, Runner, fraction
from vector_shop import CUSTOMER, Shop, shop_of

from costplus.billing.coupon import Coupon, CustomerDiscount, discount_id
from costplus.billing.customer import Customer
from costplus.billing.edit_draft import add_item, blank_invoice, new_invoice
from costplus.billing.give_back import NoteRequest, issue_note
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.issue import finalize, pay
from costplus.billing.levy import policy_of
from costplus.billing.store import Tx
from costplus.billing.surplus import adjust_surplus
from costplus.billing.tax import TaxRate
from costplus.core.ids import new_id
from costplus.core.money import decimal_text
from costplus.core.period import Period


def policy(shop: Shop, **changes: Any) -> None:
    """Change how the account's invoices are made."""
    shop.write(lambda tx: tx.save(replace(policy_of(tx), **changes)))


def tax_at(shop: Shop, percent: Fraction, **changes: Any) -> None:
    """Have every invoice taxed."""
    rate = TaxRate(
        id="txr_1", created=shop.at, display_name="VAT", percentage=decimal_text(percent), inclusive=False
    )
    shop.write(lambda tx: tx.save(rate))
    policy(shop, default_tax_rates=(rate.id,), **changes)


def discount(shop: Shop, amount_minor: int) -> None:
    coupon = Coupon(id="co_1", created=shop.at, amount_minor=amount_minor, duration="forever")
    held = CustomerDiscount(id=discount_id(CUSTOMER), created=shop.at, customer=CUSTOMER, coupon=coupon.id)
    shop.write(lambda tx: tx.save(coupon))
    shop.write(lambda tx: tx.save(held))


def bill(shop: Shop, amount_minor: int) -> Invoice:
    """Return a final invoice over one item."""

    def verb(tx: Tx) -> Invoice:
        customer = tx.find(Customer, CUSTOMER)
        assert customer is not None
        item = InvoiceItem(
            id=new_id("ii", at=shop.at),
            created=shop.at,
            customer=CUSTOMER,
            currency=customer.currency,
            description="Set-up",
            amount_minor=amount_minor,
            period=Period(shop.at, shop.at),
        )
        add_item(tx, item, at=shop.at)
        blank = blank_invoice(customer, subscription="", at=shop.at)
        draft = new_invoice(tx, customer, blank, takes_items=True, at=shop.at)
        return finalize(tx, draft, at=shop.at)

    return shop.write(verb)


def cents(exact: Fraction) -> int:
    if exact.denominator != 1:
        raise NotRun(f"{exact} is no whole number of cents")
    return int(exact)


def invoice_total(given: Given) -> Figures:
    """Amounts are cents: coupons, then tax, then credit notes, then prepaid credit."""
    is_after = given.follows("credit_after_tax")
    shop = shop_of(given)
    tax_at(shop, given.number("tax_percent", 0), credit_before_tax=not is_after)
    if given.has("coupon"):
        discount(shop, cents(given.number("coupon")))
    if given.has("prepaid_credits"):
        shop.give(given.number("prepaid_credits") / 100)
    if given.has("credit_notes"):  # As a credit note on a paid invoice leaves it.
        gained = cents(given.number("credit_notes"))
        shop.write(lambda tx: adjust_surplus(tx, CUSTOMER, gained_minor=gained, currency="usd", at=shop.at))
    for number, fee in enumerate(given.take("fees", kind=list)):
        shop.use(fraction(fee) / 100, model=f"m{number}")
    invoice = shop.month()
    shop.check()
    net = invoice.subtotal_minor - invoice.discount_minor
    return {"subtotal": net, "with_tax": net + invoice.tax_minor, "due": invoice.total_minor}


def tax(given: Given) -> Figures:
    """Amounts are units of currency, as any other net amount would be."""
    shop = shop_of(given)
    tax_at(shop, given.number("tax_percent"))
    invoice = bill(shop, cents(given.number("net") * 100))
    shop.check()
    return {"amount": Fraction(invoice.tax_minor, 100)}


def invoice_rounding(given: Given) -> Figures:
    """Fees of usage, each below a cent or not, on one invoice; a wallet pays what they come to."""
    shop = shop_of(given)
    word = "line_half_up" if given.follows("round_each_fee") else "exact"
    is_after = given.follows("credit_after_tax")
    changes = {"rounding": word} if word != "exact" else {}
    tax_at(shop, given.number("tax_percent", 0), credit_before_tax=not is_after, **changes)
    if given.has("wallet_cents"):
        shop.give(given.number("wallet_cents") / 100)
    for number, fee in enumerate(given.take("fees_precise_cents", kind=list)):
        shop.use(fraction(fee) / 100, model=f"m{number}")
    invoice = shop.month()
    shop.check()
    total = invoice.subtotal_minor + invoice.tax_minor
    return {
        "fees_cents": invoice.subtotal_minor,
        "tax_cents": invoice.tax_minor,
        "total_cents": total,
        "credit_cents": invoice.credit_minor,
    }


def credit_note(given: Given) -> Figures:
    """What a period leaves unused is given back with its tax, by a note on the paid invoice."""
    shop, days = shop_of(given), given.count("days")
    tax_at(shop, given.number("tax_percent"))
    invoice = bill(shop, given.count("period_cents"))
    shop.write(lambda tx: pay(tx, invoice, at=shop.at))
    net = given.count("period_cents") * (days - given.count("days_used")) // days
    gross = net + int(net * given.number("tax_percent") / 100 + Fraction(1, 2))
    request = NoteRequest(amount_minor=gross)

    def give_back(tx: Tx) -> Any:
        paid = tx.find(Invoice, invoice.id)
        assert paid is not None
        return issue_note(tx, paid, request, at=shop.at)

    note = shop.write(give_back)
    shop.check()
    return {"net": note.total_minor - note.tax_minor, "tax": note.tax_minor, "total": note.total_minor}


def credit_then_invoice(given: Given) -> Figures:
    invoice = _usage_invoice(given, given.number("charge"), credit=given.number("credit_balance"))
    return {
        "credits_used": Fraction(invoice.credit_minor, 100),
        "invoiced": Fraction(invoice.total_minor, 100),
    }


def metered_line(given: Given) -> Figures:
    unit = given.number("unit_cents") / 100
    charge, credit = given.number("units") * unit, given.number("credited", 0) * unit
    return {"amount": _usage_invoice(given, charge, credit=credit).total_minor}


def hybrid(given: Given) -> Figures:
    charge = given.number("overage_units") * given.first("overage_price", "price")
    invoice = _usage_invoice(given, charge, fee_minor=cents(given.number("base", 0) * 100))
    return {"amount": Fraction(invoice.total_minor, 100)}


def _usage_invoice(
    given: Given, charge: Fraction, *, credit: Fraction = Fraction(0), fee_minor: int = 0
) -> Invoice:
    """Return the first month's invoice over usage, with the next month's fee."""
    shop = shop_of(given, fee_minor=fee_minor)
    if credit:
        shop.give(credit)
    shop.use(charge)
    invoice = shop.month()
    shop.check()
    return invoice


RUNNERS: Mapping[tuple[str, str], Runner] = {
    ("invoice", "invoice_total"): invoice_total,
    ("invoice", "tax"): tax,
    ("invoice", "hybrid"): hybrid,
    ("invoice", "metered_line"): metered_line,
    ("rounding", "invoice_rounding"): invoice_rounding,
    ("proration", "credit_note"): credit_note,
    ("credits", "credit_then_invoice"): credit_then_invoice,
}
