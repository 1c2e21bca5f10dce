"""What belongs to invoices: items, credit notes, refunds, taxes, coupons, the customer's balance."""

from __future__ import annotations

from fractions import Fraction

from costplus.billing.coupon import Coupon, CustomerDiscount
from costplus.billing.credit_note import CreditNote, NoteLine
from costplus.billing.invoice import TaxShare
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.invoice_policy import InvoicePolicy
from costplus.billing.refund import Refund
from costplus.billing.surplus import SurplusEntry
from costplus.billing.tax import TaxId, TaxRate
from costplus.catalog.exchange import FxRate
from costplus.web.objects.invoice_line import short_id, tax_shares
from costplus.web.objects.wire import JsonObject, Surroundings, cut_decimal, plain, unix, unix_or_none


def invoice_item_object(item: InvoiceItem, surroundings: Surroundings) -> JsonObject:
    """Return an invoice item as Stripe writes it."""
    each = cut_decimal(Fraction(item.amount_minor, item.quantity))
    subscription = {"subscription": item.subscription, "subscription_item": None}
    return {
        "id": item.id,
        "object": "invoiceitem",
        "amount": item.amount_minor,
        "currency": item.currency,
        "customer": item.customer,
        "customer_account": None,
        "date": unix(item.created),
        "description": item.description,
        "discountable": item.discountable,
        "discounts": [],
        "invoice": item.invoice or None,
        "livemode": surroundings.livemode,
        "metadata": plain(item.metadata),
        "parent": {"subscription_details": subscription, "type": "subscription_details"}
        if item.subscription
        else None,
        "period": {"end": unix(item.period.end), "start": unix(item.period.start)},
        "pricing": {
            "price_details": {
                "price": short_id("price", "item", item.description, each),
                "product": short_id("prod", "item", item.description),
            },
            "type": "price_details",
            "unit_amount_decimal": each,
        },
        "proration": item.is_proration,
        "proration_details": None,
        "quantity": item.quantity,
        "quantity_decimal": str(item.quantity),
        "tax_rates": [],
        "test_clock": None,
    }


def tax_rate_object(rate: TaxRate, surroundings: Surroundings) -> JsonObject:
    """Return a tax rate as Stripe writes it, with when it begins and ends, which Stripe has no words for."""
    percentage = float(rate.percentage)
    window = {"effective_at": unix_or_none(rate.effective_at), "ends_at": unix_or_none(rate.ends_at)}
    return {
        "id": rate.id,
        "object": "tax_rate",
        "active": rate.active,
        "country": rate.country or None,
        "created": unix(rate.created),
        "description": rate.description or None,
        "display_name": rate.display_name,
        "effective_percentage": percentage,
        "flat_amount": None,
        "inclusive": rate.inclusive,
        "jurisdiction": rate.jurisdiction or None,
        "jurisdiction_level": "state" if rate.state else "country" if rate.country else None,
        "livemode": surroundings.livemode,
        "metadata": plain(rate.metadata),
        "percentage": percentage,
        "rate_type": "percentage",
        "state": rate.state or None,
        "tax_type": rate.tax_type or None,
        **{name: instant for name, instant in window.items() if instant is not None},
    }


def tax_id_object(tax_id: TaxId, surroundings: Surroundings) -> JsonObject:
    """Return a customer's tax id as Stripe writes it."""
    return {
        "id": tax_id.id,
        "object": "tax_id",
        "country": tax_id.country or None,
        "created": unix(tax_id.created),
        "customer": tax_id.customer,
        "customer_account": None,
        "livemode": surroundings.livemode,
        "owner": {"customer": tax_id.customer, "type": "customer"},
        "type": tax_id.type,
        "value": tax_id.value,
        "verification": {"status": "unavailable", "verified_address": None, "verified_name": None},
    }


def _note_line(line: NoteLine, surroundings: Surroundings) -> JsonObject:
    quantity = line.quantity
    return {
        "id": line.id,
        "object": "credit_note_line_item",
        "amount": line.amount_minor,
        "description": line.description,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": line.invoice_line or None,
        "livemode": surroundings.livemode,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": tax_shares(line.taxes),
        "type": "invoice_line_item" if line.invoice_line else "custom_line_item",
        "unit_amount": None,
        "unit_amount_decimal": cut_decimal(Fraction(line.amount_minor, quantity)) if quantity else None,
    }


def _taxes(note: CreditNote) -> list[TaxShare]:
    """Return the taxes of all lines together, by rate."""
    summed: dict[str, TaxShare] = {}
    for tax in (tax for line in note.lines for tax in line.taxes):
        known = summed.get(tax.rate)
        amount = tax.amount_minor + (known.amount_minor if known else 0)
        base = tax.taxable_minor + (known.taxable_minor if known else 0)
        summed[tax.rate] = TaxShare(tax.rate, amount, base, tax.inclusive, tax.reason)
    return list(summed.values())


def credit_note_object(note: CreditNote, surroundings: Surroundings) -> JsonObject:
    """Return a credit note as Stripe writes it."""
    kind = "pre_payment" if not note.post_payment_minor else "post_payment"
    if note.pre_payment_minor and note.post_payment_minor:
        kind = "mixed"
    refund = {
        "amount_refunded": note.refund_minor,
        "payment_record_refund": None,
        "refund": note.refund,
        "type": "refund",
    }
    inclusive = sum(tax.amount_minor for tax in _taxes(note) if tax.inclusive)
    return {
        "id": note.id,
        "object": "credit_note",
        "amount": note.total_minor,
        "amount_shipping": 0,
        "created": unix(note.created),
        "currency": note.currency,
        "customer": note.customer,
        "customer_account": None,
        "customer_balance_transaction": note.surplus_entry or None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": unix_or_none(note.effective_at),
        "invoice": note.invoice,
        "lines": {
            "object": "list",
            "data": [_note_line(line, surroundings) for line in note.lines],
            "has_more": False,
            "url": f"/v1/credit_notes/{note.id}/lines",
        },
        "livemode": surroundings.livemode,
        "memo": note.memo,
        "metadata": plain(note.metadata),
        "number": note.number,
        "out_of_band_amount": note.out_of_band_minor or None,
        "pdf": "",
        "post_payment_amount": note.post_payment_minor,
        "pre_payment_amount": note.pre_payment_minor,
        "pretax_credit_amounts": [],
        "reason": note.reason,
        "refunds": [refund] if note.refund else [],
        "shipping_cost": None,
        "status": note.status,
        "subtotal": note.subtotal_minor,
        "subtotal_excluding_tax": note.subtotal_minor - inclusive,
        "total": note.total_minor,
        "total_excluding_tax": note.total_minor - note.tax_minor,
        "total_taxes": tax_shares(_taxes(note)),
        "type": kind,
        "voided_at": unix_or_none(note.voided_at),
    }


def refund_object(refund: Refund, surroundings: Surroundings) -> JsonObject:
    """Return a refund as Stripe writes it."""
    return {
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount_minor,
        "balance_transaction": None,
        "charge": None,
        "created": unix(refund.created),
        "currency": refund.currency,
        "customer": refund.customer,
        "customer_account": None,
        "failure_reason": refund.failure_reason,
        "metadata": {**refund.metadata, "invoice": refund.invoice, "credit_note": refund.credit_note},
        "payment_intent": refund.payment or None,
        "payment_method": None,
        "reason": refund.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": refund.status,
        "transfer_reversal": None,
    }


def surplus_entry_object(entry: SurplusEntry, surroundings: Surroundings) -> JsonObject:
    """Return a change of the customer's surplus as Stripe writes it."""
    return {
        "id": entry.id,
        "object": "customer_balance_transaction",
        "amount": entry.amount_minor,
        "checkout_session": None,
        "created": unix(entry.created),
        "credit_note": entry.credit_note or None,
        "currency": entry.currency,
        "customer": entry.customer,
        "customer_account": None,
        "description": entry.description,
        "ending_balance": entry.ending_minor,
        "invoice": entry.invoice or None,
        "livemode": surroundings.livemode,
        "metadata": plain(entry.metadata),
        "type": entry.type,
    }


def coupon_object(coupon: Coupon, surroundings: Surroundings) -> JsonObject:
    """Return a coupon as Stripe writes it."""
    return {
        "id": coupon.id,
        "object": "coupon",
        "amount_off": coupon.amount_minor or None,
        "created": unix(coupon.created),
        "currency": coupon.currency or None,
        "duration": coupon.duration,
        "duration_in_months": None,
        "livemode": surroundings.livemode,
        "max_redemptions": None,
        "metadata": plain(coupon.metadata),
        "name": coupon.name,
        "percent_off": float(coupon.percent) if coupon.percent else None,
        "redeem_by": None,
        "times_redeemed": coupon.times_redeemed,
        "valid": True,
    }


def discount_object(discount: CustomerDiscount, surroundings: Surroundings) -> JsonObject:
    """Return a customer's discount as Stripe writes it."""
    return {
        "id": discount.id,
        "object": "discount",
        "checkout_session": None,
        "customer": discount.customer,
        "customer_account": None,
        "end": None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "source": {"coupon": discount.coupon, "type": "coupon"},
        "start": unix(discount.created),
        "subscription": None,
        "subscription_item": None,
    }


def fx_rate_object(rate: FxRate, surroundings: Surroundings) -> JsonObject:
    """Return an exchange rate."""
    return {
        "id": rate.id,
        "object": "token_billing.fx_rate",
        "base": rate.base,
        "quote": rate.quote,
        "rate": rate.rate,
        "effective_at": unix(rate.effective_at),
        "source": rate.source,
        "stated_on": rate.stated_on,
        "created": unix(rate.created),
        "livemode": surroundings.livemode,
    }


def policy_object(policy: InvoicePolicy, surroundings: Surroundings) -> JsonObject:
    """Return the account's rules for invoices."""
    return {
        "object": "token_billing.invoice_policy",
        "livemode": surroundings.livemode,
        "rounding": policy.rounding,
        "late_usage": policy.late_usage,
        "number_prefix": policy.number_prefix,
        "number_scope": policy.number_scope,
        "number_yearly": policy.number_yearly,
        "collection_method": policy.collection_method,
        "days_until_due": policy.days_until_due,
        "footer": policy.footer,
        "default_tax_rates": list(policy.default_tax_rates),
        "tax_by_address": policy.tax_by_address,
        "tax_scope": policy.tax_scope,
        "tax_rounding": policy.tax_rounding,
        "credit_before_tax": policy.credit_before_tax,
        "upcoming_days": policy.upcoming_days,
    }
