"""Invoice lines, and the shares of credit, discount and tax that lines and invoices name, as Stripe does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction

from costplus.billing.coupon import discount_id
from costplus.billing.invoice import CreditShare, Invoice, InvoiceLine, TaxShare
from costplus.billing.line_charges import LineCharge
from costplus.core.money import decimal_text, minor_exponent, nano_text, parse_exact
from costplus.web.objects.wire import JsonObject, Surroundings, cut_decimal, unix


def short_id(prefix: str, *parts: str) -> str:
    """Return an id that follows from the parts."""
    return f"{prefix}_" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


def unit_price_of(line: InvoiceLine) -> Fraction:
    """Return what one unit costs, exact, in currency units; a fee is one unit."""
    return parse_exact(line.unit_price) if line.unit_price else Fraction(line.amount_nano, 10**9)


def applied_id(invoice: str, grant: str) -> str:
    """Return the id of what a grant paid of an invoice, from which both can be found again."""
    return f"cbtxn_{invoice}_{grant}"


def credit_shares(shares: Iterable[CreditShare], invoice: Invoice) -> list[JsonObject]:
    """Return what grants paid, as Stripe writes it."""
    return [
        {
            "amount": share.amount_minor,
            "credit_balance_transaction": applied_id(invoice.id, share.grant) if share.grant else None,
            "discount": None,
            "type": "credit_balance_transaction",
        }
        for share in shares
    ]


def tax_shares(shares: Iterable[TaxShare]) -> list[JsonObject]:
    """Return taxes, as Stripe writes them."""
    return [
        {
            "amount": share.amount_minor,
            "tax_behavior": "inclusive" if share.inclusive else "exclusive",
            "tax_rate_details": {"tax_rate": share.rate},
            "taxability_reason": share.reason,
            "taxable_amount": share.taxable_minor,
            "type": "tax_rate_details",
        }
        for share in shares
    ]


def discount_shares(amount_minor: int, customer: str) -> list[JsonObject]:
    """Return what the customer's discount takes off, as Stripe writes it."""
    return [{"amount": amount_minor, "discount": discount_id(customer)}] if amount_minor else []


def _parent(line: InvoiceLine, invoice: Invoice) -> JsonObject:
    if line.kind == "item" or not invoice.subscription:
        return {
            "invoice_item_details": {
                "invoice_item": line.item,
                "proration": line.is_proration,
                "proration_details": None,
                "subscription": invoice.subscription or None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    return {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": None,
            "proration": False,
            "proration_details": None,
            "subscription": invoice.subscription,
            "subscription_item": "si_" + invoice.subscription.removeprefix("sub_"),
        },
        "type": "subscription_item_details",
    }


def _metadata(line: InvoiceLine) -> dict[str, str]:
    if line.kind != "usage":
        return dict(line.metadata)
    late = {"late_usage": "true"} if line.is_late else {}
    return {"provider": line.provider, "model": line.model, "token_type": line.leaf, **late}


def line_object(line: InvoiceLine, invoice: Invoice, surroundings: Surroundings) -> JsonObject:
    """Return an invoice line as Stripe writes it: line_item."""
    unit_price = unit_price_of(line)
    named = (line.provider, line.model, line.leaf) if line.kind == "usage" else (line.kind, line.description)
    discounts = discount_shares(line.discount_minor, invoice.customer)
    return {
        "id": line.id,
        "object": "line_item",
        "amount": line.amount_minor,
        "currency": invoice.currency,
        "description": line.description,
        "discount_amounts": discounts,
        "discountable": line.discountable and bool(invoice.coupon),
        "discounts": [share["discount"] for share in discounts],
        "invoice": invoice.id,
        "livemode": surroundings.livemode,
        "metadata": _metadata(line),
        "parent": _parent(line, invoice),
        "period": {"end": unix(line.period.end), "start": unix(line.period.start)},
        "pretax_credit_amounts": credit_shares(line.credits, invoice),
        "pricing": {
            "price_details": {
                "price": short_id("price", *named, decimal_text(unit_price)),
                "product": short_id("prod", *named),
            },
            "type": "price_details",
            "unit_amount_decimal": cut_decimal(unit_price * 10 ** minor_exponent(invoice.currency)),
        },
        "quantity": line.quantity,
        "quantity_decimal": str(line.quantity),
        "subscription": invoice.subscription or None,
        "subtotal": line.amount_minor,
        "taxes": tax_shares(line.taxes),
    }


def charges_path(line: InvoiceLine, invoice: Invoice) -> str | None:
    """Return where a line's charges are listed; only usage has some."""
    if line.kind != "usage" or not line.rate:
        return None
    return f"/v1/token_billing/invoices/{invoice.id}/lines/{line.id}/charges"


def line_charge_object(made: LineCharge, line: InvoiceLine, surroundings: Surroundings) -> JsonObject:
    """Return a charge's part of a line: exact as the line has it; what the event came to is rounded up."""
    charged = made.charged
    unit_price = parse_exact(made.steps[0].unit_price)
    return {
        "id": made.id,
        "object": "token_billing.line_charge",
        "at": unix(charged.event.at),
        "billed_at": unix(charged.billed_at),
        "corrects": charged.event.corrects or None,
        "event_price": nano_text(charged.charge.price_nano),
        "exact_price": decimal_text(made.quantity * unit_price),
        "line": line.id,
        "livemode": surroundings.livemode,
        "quantity": made.quantity,
        "request_id": charged.event.request_id or None,
        "source": charged.event.source,
        "transaction": charged.transaction or None,
        "unit_price": decimal_text(unit_price),
        "usage_event": charged.event.id,
        "working": [step.working for step in made.steps],
    }
