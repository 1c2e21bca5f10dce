"""Invoices and their lines, in Stripe's shape and, exact to the last digit, in our own."""

from __future__ import annotations

import hashlib
from fractions import Fraction

from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.core.money import decimal_text, minor_exponent, nano_text, parse_exact
from costplus.web.invoice_pdf import can_make_pdf
from costplus.web.objects.wire import (
    JsonObject,
    Surroundings,
    cut_decimal,
    link_token,
    unix,
    unix_or_none,
)


def _short_id(prefix: str, *parts: str) -> str:
    return f"{prefix}_" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24]


def _unit_price(line: InvoiceLine) -> Fraction:
    """Return what one unit costs, exact, in currency units; a fee is one unit."""
    return parse_exact(line.unit_price) if line.unit_price else Fraction(line.amount_nano, 10**9)


def line_object(line: InvoiceLine, invoice: Invoice, surroundings: Surroundings) -> JsonObject:
    """Return an invoice line as Stripe writes it: line_item."""
    unit_price = _unit_price(line)
    named = (line.provider, line.model, line.leaf) if line.kind == "usage" else ("fee", line.description)
    metadata = {"provider": line.provider, "model": line.model, "token_type": line.leaf}
    return {
        "id": line.id,
        "object": "line_item",
        "amount": line.amount_minor,
        "currency": invoice.currency,
        "description": line.description,
        "discount_amounts": [],
        "discountable": False,
        "discounts": [],
        "invoice": invoice.id,
        "livemode": surroundings.livemode,
        "metadata": metadata if line.kind == "usage" else {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": None,
                "subscription": invoice.subscription,
                "subscription_item": "si_" + invoice.subscription.removeprefix("sub_"),
            },
            "type": "subscription_item_details",
        },
        "period": {"end": unix(line.period.end), "start": unix(line.period.start)},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {
                "price": _short_id("price", *named, decimal_text(unit_price)),
                "product": _short_id("prod", *named),
            },
            "type": "price_details",
            "unit_amount_decimal": cut_decimal(unit_price * 10 ** minor_exponent(invoice.currency)),
        },
        "quantity": line.quantity,
        "quantity_decimal": str(line.quantity),
        "subscription": invoice.subscription,
        "subtotal": line.amount_minor,
        "taxes": [],
    }


def hosted_url(invoice: Invoice, surroundings: Surroundings) -> str | None:
    """Return the address of the invoice's page; drafts, previews and surroundings without links have none."""
    if invoice.status == "draft" or not surroundings.link_secret:
        return None
    token = link_token(invoice.id, secret=surroundings.link_secret)
    return f"{surroundings.base_url}/i/{invoice.id}/{token}"


def _amounts(invoice: Invoice) -> JsonObject:
    credit = {
        "amount": invoice.credit_minor,
        "credit_balance_transaction": None,
        "discount": None,
        "type": "credit_balance_transaction",
    }
    return {
        "amount_due": invoice.total_minor,
        "amount_overpaid": 0,
        "amount_paid": invoice.paid_minor,
        "amount_remaining": invoice.total_minor - invoice.paid_minor,
        "amount_shipping": 0,
        "starting_balance": 0,
        "ending_balance": None if invoice.status == "draft" else 0,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "subtotal": invoice.subtotal_minor,
        "subtotal_excluding_tax": invoice.subtotal_minor,
        "total": invoice.total_minor,
        "total_discount_amounts": [],
        "total_excluding_tax": invoice.total_minor,
        "total_pretax_credit_amounts": [credit] if invoice.credit_minor else [],
        "total_taxes": [],
    }


def _states(invoice: Invoice) -> JsonObject:
    return {
        "status": invoice.status,
        "status_transitions": {
            "finalized_at": unix_or_none(invoice.finalized_at),
            "marked_uncollectible_at": unix_or_none(invoice.uncollectible_at),
            "paid_at": unix_or_none(invoice.paid_at),
            "voided_at": unix_or_none(invoice.voided_at),
        },
        "attempt_count": invoice.attempt_count,
        "attempted": invoice.attempt_count > 0,
        "next_payment_attempt": unix_or_none(invoice.next_payment_attempt),
        "auto_advance": invoice.status == "draft" and invoice.billing_reason != "upcoming",
        "automatically_finalizes_at": unix_or_none(invoice.finalizes_at),
        "effective_at": unix_or_none(invoice.finalized_at),
    }


def invoice_object(invoice: Invoice, surroundings: Surroundings) -> JsonObject:
    """Return an invoice as Stripe writes it."""
    hosted = hosted_url(invoice, surroundings)
    return {
        "id": invoice.id,
        "object": "invoice",
        **_amounts(invoice),
        **_states(invoice),
        "application": None,
        "automatic_tax": {"enabled": False, "disabled_reason": None, "liability": None, "status": None},
        "billing_reason": invoice.billing_reason,
        "collection_method": invoice.collection_method,
        "created": unix(invoice.created),
        "currency": invoice.currency,
        "customer": invoice.customer,
        "customer_account": None,
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "hosted_invoice_url": hosted,
        "invoice_pdf": f"{hosted}/pdf" if hosted and can_make_pdf() else None,
        "issuer": {"type": "self"},
        "lines": {
            "object": "list",
            "data": [line_object(line, invoice, surroundings) for line in invoice.lines],
            "has_more": False,
            "url": f"/v1/invoices/{invoice.id}/lines",
        },
        "livemode": surroundings.livemode,
        "metadata": {},
        "number": invoice.number,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": invoice.subscription},
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": unix(invoice.period.end),
        "period_start": unix(invoice.period.start),
        "test_clock": invoice.test_clock,
        "webhooks_delivered_at": None,
    }


def invoice_explanation(invoice: Invoice, *, charges_nano: int) -> JsonObject:
    """Return every figure of an invoice with all of its digits, in currency units."""
    fees_nano = sum(line.amount_nano for line in invoice.lines if line.kind == "fee")
    lines = []
    for line in invoice.lines:
        unit_price = _unit_price(line)
        lines.append(
            {
                "id": line.id,
                "kind": line.kind,
                "description": line.description,
                "provider": line.provider,
                "model": line.model,
                "token_type": line.leaf,
                "quantity": line.quantity,
                "unit_price": decimal_text(unit_price),
                "exact_amount": decimal_text(line.quantity * unit_price),
                "ledger_amount": nano_text(line.amount_nano),
                "amount_minor": line.amount_minor,
                "working": f"{line.quantity} × {decimal_text(unit_price)}",
            }
        )
    return {
        "object": "token_billing.invoice_explanation",
        "invoice": invoice.id,
        "customer": invoice.customer,
        "currency": invoice.currency,
        "status": invoice.status,
        "usage": nano_text(invoice.usage_nano),
        "charges": nano_text(charges_nano),
        "charges_match": charges_nano == invoice.usage_nano,
        "credit": nano_text(invoice.credit_nano),
        "carried_in": nano_text(invoice.carried_in_nano),
        "carried_out": nano_text(invoice.carried_out_nano),
        "fees": nano_text(fees_nano),
        "due": nano_text(invoice.usage_nano - invoice.credit_nano + invoice.carried_in_nano + fees_nano),
        "subtotal_minor": invoice.subtotal_minor,
        "credit_minor": invoice.credit_minor,
        "total_minor": invoice.total_minor,
        "lines": lines,
    }
