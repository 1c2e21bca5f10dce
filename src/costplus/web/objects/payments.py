"""Payments, top-ups, packs and rules, in the style of `token_billing.…`; amounts are in minor units."""

from __future__ import annotations

from costplus.billing.auto_recharge import AutoRecharge
from costplus.billing.credit_pack import CreditPack
from costplus.billing.payments.callback import PaymentCallback
from costplus.billing.payments.method import PaymentMethod
from costplus.billing.payments.payment import Attempt, Payment
from costplus.billing.payments.policy import CollectionPolicy
from costplus.billing.payments.refund import PaymentRefund
from costplus.billing.top_up import Receipt, TopUp
from costplus.web.invoice_pdf import can_make_pdf
from costplus.web.objects.wire import JsonObject, Surroundings, link_token, plain, unix, unix_or_none


def _attempt(attempt: Attempt) -> JsonObject:
    return {
        "amount": attempt.amount_minor,
        "at": unix(attempt.at),
        "charge": attempt.charge or None,
        "decline_code": attempt.code or None,
        "message": attempt.message or None,
        "number": attempt.number,
        "payment_method": attempt.method,
        "status": attempt.status,
    }


def payment_object(payment: Payment, surroundings: Surroundings) -> JsonObject:
    """Return a payment with every attempt, what came in, and where it went."""
    held = {"amount": payment.stated_minor, "currency": payment.stated_currency, "reason": payment.held}
    return {
        "id": payment.id,
        "object": "token_billing.payment",
        "amount": payment.amount_minor,
        "amount_received": payment.received_minor,
        "amount_refunded": payment.refunded_minor,
        "amount_surplus": payment.surplus_minor,
        "attempts": [_attempt(attempt) for attempt in payment.attempts],
        "canceled_at": unix_or_none(payment.canceled_at),
        "created": unix(payment.created),
        "currency": payment.currency,
        "customer": payment.customer,
        "failure_code": payment.failure_code or None,
        "failure_message": payment.failure_message or None,
        "held": held if payment.held else None,
        "invoice": payment.subject if payment.purpose == "invoice" else None,
        "livemode": surroundings.livemode,
        "next_action": {"url": payment.action_url} if payment.action_url and payment.is_open else None,
        "next_attempt_at": unix_or_none(payment.due_at) if payment.status == "pending" else None,
        "payment_method": payment.method,
        "provider": payment.provider,
        "purpose": payment.purpose,
        "reference": payment.reference or None,
        "status": payment.status,
        "succeeded_at": unix_or_none(payment.succeeded_at),
        "test_clock": payment.test_clock,
        "top_up": payment.subject if payment.purpose == "top_up" else None,
    }


def payment_method_object(method: PaymentMethod, surroundings: Surroundings) -> JsonObject:
    """Return a payment method, without anything that could be charged elsewhere."""
    return {
        "id": method.id,
        "object": "token_billing.payment_method",
        "created": unix(method.created),
        "customer": method.customer,
        "detached_at": unix_or_none(method.detached_at),
        "label": method.label,
        "livemode": surroundings.livemode,
        "provider": method.provider,
        "token": method.token,
        "type": method.kind,
    }


def payment_refund_object(refund: PaymentRefund, surroundings: Surroundings) -> JsonObject:
    """Return a refund of a payment."""
    return {
        "id": refund.id,
        "object": "token_billing.refund",
        "amount": refund.amount_minor,
        "charge": refund.charge,
        "created": unix(refund.created),
        "currency": refund.currency,
        "customer": refund.customer,
        "failure_code": refund.failure_code or None,
        "livemode": surroundings.livemode,
        "payment": refund.payment,
        "status": refund.status,
    }


def payment_callback_object(callback: PaymentCallback, surroundings: Surroundings) -> JsonObject:
    """Return what a provider called back with, and what came of it."""
    return {
        "id": callback.id,
        "object": "token_billing.payment_callback",
        "amount": callback.amount_minor,
        "body": callback.body,
        "created": unix(callback.created),
        "currency": callback.currency,
        "livemode": surroundings.livemode,
        "payment": callback.payment or None,
        "provider": callback.provider,
        "result": callback.result,
        "status": callback.status,
        "type": callback.kind,
    }


def collection_policy_object(policy: CollectionPolicy, surroundings: Surroundings) -> JsonObject:
    """Return how invoices are collected."""
    return {
        "object": "token_billing.collection_settings",
        "after_last_retry": policy.finally_,
        "livemode": surroundings.livemode,
        "retry_days": list(policy.retry_days),
    }


def top_up_object(top_up: TopUp, surroundings: Surroundings) -> JsonObject:
    """Return a top-up with the grants that were made for it."""
    return {
        "id": top_up.id,
        "object": "token_billing.top_up",
        "amount": top_up.amount_minor,
        "amount_granted": top_up.granted_minor,
        "completed_at": unix_or_none(top_up.completed_at),
        "created": unix(top_up.created),
        "credit_grants": [*top_up.grants, *([top_up.promotional_grant] if top_up.promotional_grant else ())],
        "credit_pack": top_up.credit_pack or None,
        "currency": top_up.currency,
        "customer": top_up.customer,
        "livemode": surroundings.livemode,
        "metadata": plain(top_up.metadata),
        "origin": top_up.origin,
        "payment": top_up.payment,
        "promotional_amount": top_up.promotional_minor,
        "receipt": top_up.receipt or None,
        "status": top_up.status,
    }


def receipt_object(receipt: Receipt, surroundings: Surroundings) -> JsonObject:
    """Return a receipt; surroundings without links have no page of it."""
    hosted = None
    if surroundings.link_secret:
        token = link_token(receipt.id, secret=surroundings.link_secret)
        hosted = f"{surroundings.base_url}/r/{receipt.id}/{token}"
    return {
        "id": receipt.id,
        "object": "token_billing.receipt",
        "amount": receipt.amount_minor,
        "created": unix(receipt.created),
        "currency": receipt.currency,
        "customer": receipt.customer,
        "description": receipt.description,
        "hosted_receipt_url": hosted,
        "livemode": surroundings.livemode,
        "number": receipt.number,
        "paid_at": unix(receipt.paid_at),
        "paid_by": receipt.method,
        "payment": receipt.payment,
        "promotional_amount": receipt.promotional_minor,
        "receipt_pdf": f"{hosted}/pdf" if hosted and can_make_pdf() else None,
        "top_up": receipt.top_up,
    }


def credit_pack_object(pack: CreditPack, surroundings: Surroundings) -> JsonObject:
    """Return a credit pack."""
    return {
        "id": pack.id,
        "object": "token_billing.credit_pack",
        "active": pack.is_active,
        "bonus": pack.bonus_minor,
        "bonus_valid_days": pack.bonus_valid_days,
        "created": unix(pack.created),
        "credit": pack.credit_minor,
        "currency": pack.currency,
        "livemode": surroundings.livemode,
        "metadata": plain(pack.metadata),
        "name": pack.name,
        "price": pack.price_minor,
        "valid_days": pack.valid_days,
    }


def auto_recharge_object(rule: AutoRecharge, surroundings: Surroundings) -> JsonObject:
    """Return a customer's rule, with what it is at."""
    return {
        "object": "token_billing.auto_recharge",
        "amount": rule.amount_minor or None,
        "cool_down_seconds": rule.cool_down_s,
        "created": unix(rule.created),
        "currency": rule.currency,
        "customer": rule.id,
        "declines": rule.declines,
        "declines_max": rule.declines_max,
        "enabled": rule.is_enabled,
        "livemode": surroundings.livemode,
        "month": rule.month or None,
        "month_amount": rule.month_minor,
        "monthly_cap": rule.monthly_cap_minor,
        "not_before": unix_or_none(rule.not_before),
        "payment_in_flight": rule.payment or None,
        "payment_method": rule.payment_method or None,
        "stopped": rule.stopped or None,
        "target": rule.target_minor or None,
        "threshold": rule.threshold_minor,
    }
