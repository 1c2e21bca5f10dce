"""`/v1/customers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from costplus.billing.clock import customer_of
from costplus.billing.close import account_settings
from costplus.billing.coupon import CustomerDiscount, discount_id
from costplus.billing.customer import Customer, TestClock
from costplus.billing.demand import method_of
from costplus.billing.invoice import Invoice
from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.surplus import surplus_of
from costplus.core.cycle import zone_of
from costplus.core.ids import new_id
from costplus.web.api.deletions import delete_customer
from costplus.web.api.test_clocks import clock_of
from costplus.web.call import Call, Listing, customer_in_path, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.customer import CustomerView, deleted_object
from costplus.web.params import Params

_ADDRESS = ("city", "country", "line1", "line2", "postal_code", "state")
_TEXTS = ("name", "email", "description")
_PROFILE_TEXTS = ("phone", "business_name", "individual_name", "invoice_prefix")


def _address(params: Params) -> dict[str, str | None] | None:
    if "address" not in params:
        return None
    level = params.within("address")
    fields = {name: level.text(name) for name in _ADDRESS}
    return fields if any(fields.values()) else None


def _profile(params: Params, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the seller keeps about the customer and billing does not read."""
    profile = dict(known)
    for name in _PROFILE_TEXTS:
        if name in params:
            profile[name] = params.text(name)
    if "address" in params:
        profile["address"] = _address(params)
    if "preferred_locales" in params:
        profile["preferred_locales"] = params.texts("preferred_locales")
    if "tax_exempt" in params:
        profile["tax_exempt"] = params.choice("tax_exempt", ("none", "exempt", "reverse")) or "none"
    if "shipping" in params:
        level = params.within("shipping")
        shipping: dict[str, Any] = {
            name: level.text(name) for name in ("name", "phone", "carrier", "tracking_number")
        }
        shipping["address"] = _address(level)
        profile["shipping"] = shipping if any(shipping.values()) else None
    return profile


def _timezone(params: Params, known: str) -> str:
    """Return the customer's time zone: the periods of subscriptions that it has are counted as they were."""
    if "timezone" not in params:
        return known
    name = params.text("timezone", longest=60) or "UTC"
    zone_of(name)
    return name


def _change(customer: Customer, params: Params) -> Customer:
    texts = {name: params.text(name) for name in _TEXTS if name in params}
    return replace(
        customer,
        **texts,  # type: ignore[arg-type]  # Their names are those of text fields.
        timezone=_timezone(params, customer.timezone),
        profile=_profile(params, customer.profile),
        metadata=params.metadata(customer.metadata),
    )


def view_of(tx: Tx, customer: Customer) -> CustomerView:
    """Return the customer with its surplus and its discount; delinquent is who has an invoice overdue."""
    return CustomerView(
        customer=customer,
        surplus_minor=surplus_of(tx, customer.id, currency=customer.currency),
        discount=tx.find(CustomerDiscount, discount_id(customer.id)),
        is_delinquent=any(
            invoice.status == "open" and invoice.overdue_at is not None
            for invoice in tx.page(Invoice, parent=customer.id)
        ),
    )


def with_default_method(tx: Tx, customer: Customer, params: Params) -> Customer:
    """Return the customer with the payment method that `invoice_settings` makes its default; empty unsets."""
    level = params.within("invoice_settings")
    if "default_payment_method" not in level:
        return customer
    wanted = level.text("default_payment_method") or ""
    if wanted:
        method_of(tx, customer, wanted, param=level.name_of("default_payment_method"))
    return replace(customer, default_payment_method=wanted)


def create(tx: Tx, call: Call) -> Customer:
    """Create a customer and subscribe it to the default plan."""
    clock_id = call.params.text("test_clock")
    clock: TestClock | None = clock_of(tx, clock_id, param="test_clock") if clock_id else None
    at: datetime = clock.frozen_time if clock else call.at
    blank = Customer(id=new_id("cus", at=at), created=at, test_clock=clock.id if clock else None)
    customer = _change(blank, call.params)
    tx.save(customer)
    tx.touch("config")
    call.announce(tx, "customer.created", customer, at=at)
    settings = account_settings(tx)
    subscribes = settings is not None and settings.subscribe_new_customers
    plan = tx.find(Plan, settings.default_plan) if settings and subscribes else None
    if plan is not None and plan.active:
        subscribe(tx, customer, plan, at=at)
    return customer


def retrieve(tx: Tx, call: Call) -> object:
    """Return a customer; of a deleted one, that it is."""
    found = tx.find(Customer, call.path["id"])
    if found is not None and found.deleted:
        return found
    return view_of(tx, customer_of(tx, call.path["id"], param="id"))


def update(tx: Tx, call: Call) -> CustomerView:
    """Change what was sent and leave the rest."""
    customer = _change(customer_of(tx, call.path["id"], param="id"), call.params)
    customer = with_default_method(tx, customer, call.params)
    tx.save(customer)
    tx.touch("config")
    call.announce(tx, "customer.updated", customer, at=call.present(tx, customer.id))
    return view_of(tx, customer)


def remove(tx: Tx, call: Call) -> object:
    """Delete a customer: its subscription ends and its keys stop working; what was billed stays."""
    customer = customer_of(tx, call.path["id"], param="id")
    delete_customer(tx, call, customer)
    return deleted_object("customer", customer.id)


def index(tx: Tx, call: Call) -> Listing:
    """List customers, newest first."""
    email, clock = call.params.text("email"), call.params.text("test_clock")

    def keep(customer: Customer) -> bool:
        return not customer.deleted and (email is None or customer.email == email)

    page = records(tx, call, Customer, parent=clock, keep=keep)
    shown = [view_of(tx, entry) for entry in page.entries if isinstance(entry, Customer)]
    return Listing(shown, page.has_more)


ENDPOINTS = (
    post("/v1/customers", create),
    get("/v1/customers", index),
    get("/v1/customers/{id}", retrieve),
    post("/v1/customers/{id}", update, customers=customer_in_path),
    delete("/v1/customers/{id}", remove, customers=customer_in_path),
)
