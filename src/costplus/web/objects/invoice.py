"""Invoices and their lines, in Stripe's shape and, exact to the last digit, in our own."""

from __future__ import annotations

from costplus.billing.coupon import discount_id
from costplus.billing.invoice import Invoice, TaxShare
from costplus.billing.tax import REVERSE_CHARGE_NOTE
from costplus.core.money import decimal_text, nano_text
from costplus.web.invoice_pdf import can_make_pdf
from costplus.web.objects.invoice_line import (
    charges_path,
    credit_shares,
    discount_shares,
    line_object,
    tax_shares,
    unit_price_of,
)
from costplus.web.objects.wire import JsonObject, Surroundings, link_token, plain, unix, unix_or_none


def hosted_url(invoice: Invoice, surroundings: Surroundings) -> str | None:
    """Return the address of the invoice's page; drafts, previews and surroundings without links have none."""
    if invoice.status == "draft" or not surroundings.link_secret:
        return None
    token = link_token(invoice.id, secret=surroundings.link_secret)
    return f"{surroundings.base_url}/i/{invoice.id}/{token}"


def _amounts(invoice: Invoice) -> JsonObject:
    after_minor = invoice.surplus_before_minor - invoice.surplus_minor
    return {
        "amount_due": invoice.total_minor - invoice.credited_minor,
        "amount_overpaid": invoice.overpaid_minor,
        "amount_paid": invoice.paid_minor,
        "amount_remaining": invoice.remaining_minor,
        "amount_shipping": 0,
        "starting_balance": -invoice.surplus_before_minor,
        "ending_balance": None if invoice.status == "draft" else -after_minor,
        "post_payment_credit_notes_amount": invoice.credited_after_minor,
        "pre_payment_credit_notes_amount": invoice.credited_minor,
        "subtotal": invoice.subtotal_minor,
        "subtotal_excluding_tax": invoice.subtotal_minor - invoice.tax_inclusive_minor,
        "total": invoice.gross_minor,
        "total_discount_amounts": discount_shares(invoice.discount_minor, invoice.customer),
        "total_excluding_tax": invoice.gross_minor - invoice.tax_total_minor,
        "total_pretax_credit_amounts": credit_shares(invoice.credits, invoice),
        "total_taxes": tax_shares(invoice.taxes),
    }


def _states(invoice: Invoice) -> JsonObject:
    error = {
        "type": "invalid_request_error",
        "code": "customer_tax_location_invalid",
        "message": invoice.finalization_error,
    }
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
        "auto_advance": invoice.status == "draft" and invoice.finalizes_at is not None,
        "automatically_finalizes_at": unix_or_none(invoice.finalizes_at),
        "effective_at": unix_or_none(invoice.finalized_at),
        "last_finalization_error": error if invoice.finalization_error else None,
    }


def _customer(invoice: Invoice) -> JsonObject:
    """Return what the invoice says of its customer, as it was then."""
    known = invoice.billed_to
    return {
        "customer": invoice.customer,
        "customer_account": None,
        "customer_address": known.get("address"),
        "customer_email": known.get("email"),
        "customer_name": known.get("name"),
        "customer_phone": known.get("phone"),
        "customer_shipping": known.get("shipping"),
        "customer_tax_exempt": known.get("tax_exempt", "none"),
        "customer_tax_ids": list(known.get("tax_ids", [])),
    }


def _parent(invoice: Invoice) -> JsonObject | None:
    if not invoice.subscription:
        return None
    return {
        "quote_details": None,
        "subscription_details": {"metadata": {}, "subscription": invoice.subscription},
        "type": "subscription_details",
    }


def _footer(invoice: Invoice) -> str | None:
    """Return the footer, with the sentence that reverse charge asks for."""
    parts = [invoice.footer or "", REVERSE_CHARGE_NOTE if invoice.is_reverse_charge else ""]
    return "\n".join(part for part in parts if part) or None


def invoice_object(invoice: Invoice, surroundings: Surroundings) -> JsonObject:
    """Return an invoice as Stripe writes it."""
    hosted = hosted_url(invoice, surroundings)
    by_address = invoice.is_taxed_by_address
    tax_status = "requires_location_inputs" if invoice.finalization_error else "complete"
    has_discount = bool(invoice.discount_minor)
    threshold = {"amount_gte": invoice.threshold_minor, "item_reasons": []}
    return {
        "id": invoice.id,
        "object": "invoice",
        **_amounts(invoice),
        **_states(invoice),
        **_customer(invoice),
        "application": None,
        "automatic_tax": {
            "enabled": by_address,
            "disabled_reason": None,
            "liability": None,
            "status": tax_status if by_address or invoice.finalization_error else None,
        },
        "billing_reason": invoice.billing_reason,
        "collection_method": invoice.collection_method,
        "created": unix(invoice.created),
        "currency": invoice.currency,
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": invoice.description,
        "discounts": [discount_id(invoice.customer)] if has_discount else [],
        "due_date": unix_or_none(invoice.due_date),
        "footer": _footer(invoice),
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
        "metadata": plain(invoice.metadata),
        "number": invoice.number,
        "parent": _parent(invoice),
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": unix(invoice.period.end),
        "period_start": unix(invoice.period.start),
        "test_clock": invoice.test_clock,
        "threshold_reason": threshold if invoice.threshold_minor else None,
        "webhooks_delivered_at": None,
    }


def invoice_explanation(invoice: Invoice, *, charges_nano: int) -> JsonObject:
    """Return every figure of an invoice with all of its digits, in currency units."""
    fees_nano = sum(line.amount_nano for line in invoice.lines if line.kind == "fee")
    items_nano = sum(line.amount_nano for line in invoice.lines if line.kind == "item")
    lines = []
    for line in invoice.lines:
        unit_price = unit_price_of(line)
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
                "rate": line.rate or None,
                "charges": charges_path(line, invoice),
                "late": line.is_late,
                "credits": [
                    {"credit_grant": share.grant or None, "amount_minor": share.amount_minor}
                    for share in line.credits
                ],
                "discount_minor": line.discount_minor,
                "taxes": [_tax(share) for share in line.taxes],
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
        "items": nano_text(items_nano),
        "written_off": nano_text(invoice.written_off_nano),
        "due": nano_text(
            invoice.usage_nano
            - invoice.credit_nano
            - invoice.written_off_nano
            + invoice.carried_in_nano
            + fees_nano
            + items_nano
        ),
        "rounding": invoice.rounding,
        "subtotal_minor": invoice.subtotal_minor,
        "discount_minor": invoice.discount_minor,
        "credit_minor": invoice.credit_minor,
        "credits": [
            {"credit_grant": share.grant or None, "amount_minor": share.amount_minor}
            for share in invoice.credits
        ],
        "tax_minor": invoice.tax_minor,
        "tax_inclusive_minor": invoice.tax_inclusive_minor,
        "taxes": [_tax(share) for share in invoice.taxes],
        "surplus_minor": invoice.surplus_minor,
        "total_minor": invoice.total_minor,
        "lines": lines,
    }


def _tax(share: TaxShare) -> JsonObject:
    return {
        "tax_rate": share.rate,
        "amount_minor": share.amount_minor,
        "taxable_minor": share.taxable_minor,
        "inclusive": share.inclusive,
        "reason": share.reason,
    }
