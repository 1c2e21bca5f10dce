"""Customers and test clocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from costplus.billing.coupon import CustomerDiscount
from costplus.billing.customer import Customer, TestClock
from costplus.web.objects.invoice_extras import discount_object
from costplus.web.objects.wire import JsonObject, Surroundings, plain, unix

CLOCK_LIFETIME = timedelta(days=30)


def deleted_object(kind: str, id: str) -> JsonObject:
    """Return what a deletion answers."""
    return {"id": id, "object": kind, "deleted": True}


@dataclass(frozen=True, slots=True)
class CustomerView:
    """A customer with what is kept beside it: its surplus in minor units, its discount, what it owes."""

    customer: Customer
    surplus_minor: int
    discount: CustomerDiscount | None
    is_delinquent: bool


def customer_view_object(view: CustomerView, surroundings: Surroundings) -> JsonObject:
    """Return a customer as Stripe writes it, with its balance: below zero is in its favour."""
    shown = customer_object(view.customer, surroundings)
    if view.customer.deleted:
        return shown
    discount = discount_object(view.discount, surroundings) if view.discount else None
    return shown | {
        "balance": -view.surplus_minor,
        "delinquent": view.is_delinquent,
        "discount": discount,
    }


def customer_object(customer: Customer, surroundings: Surroundings) -> JsonObject:
    """Return a customer as Stripe writes it."""
    if customer.deleted:
        return deleted_object("customer", customer.id)
    profile = customer.profile
    return {
        "id": customer.id,
        "object": "customer",
        "address": profile.get("address"),
        "balance": 0,
        "business_name": profile.get("business_name"),
        "created": unix(customer.created),
        "currency": customer.currency,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": customer.description,
        "discount": None,
        "email": customer.email,
        "individual_name": profile.get("individual_name"),
        "invoice_prefix": profile.get("invoice_prefix"),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": customer.default_payment_method or None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": surroundings.livemode,
        "metadata": plain(customer.metadata),
        "name": customer.name,
        "phone": profile.get("phone"),
        "preferred_locales": profile.get("preferred_locales", []),
        "shipping": profile.get("shipping"),
        "tax_exempt": profile.get("tax_exempt", "none"),
        "test_clock": customer.test_clock,
    }


def test_clock_object(clock: TestClock, surroundings: Surroundings) -> JsonObject:
    """Return a test clock as Stripe writes it."""
    return {
        "id": clock.id,
        "object": "test_helpers.test_clock",
        "created": unix(clock.created),
        "deletes_after": unix(clock.created + CLOCK_LIFETIME),
        "frozen_time": unix(clock.frozen_time),
        "livemode": surroundings.livemode,
        "name": clock.name,
        "status": clock.status,
        "status_details": {"advancing": None},
    }
