"""`/v1/coupons`, and which of them a customer has: `/v1/customers/{id}/discount`."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from costplus.billing.clock import customer_of
from costplus.billing.coupon import Coupon, CustomerDiscount, InvalidCoupon, NoSuchCoupon, discount_id
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.core.money import decimal_text
from costplus.core.records import RecordImmutable
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.customer import deleted_object
from costplus.web.params import InvalidShape, Params


def coupon_of(tx: Tx, id: str, *, param: str = "id") -> Coupon:
    """Return the coupon, or raise `NoSuchCoupon`."""
    coupon = tx.find(Coupon, id)
    if coupon is None:
        raise NoSuchCoupon(f"No such coupon: '{id}'", param=param)
    return coupon


def discount_named(tx: Tx, params: Params) -> str:
    """Return the coupon that `discounts` names; an empty text is none."""
    levels = params.each("discounts")
    if not levels:
        return ""
    if len(levels) > 1:
        raise InvalidShape("An invoice has one discount.", param="discounts", remedy="Send one coupon.")
    return coupon_of(tx, levels[0].required_text("coupon"), param="discounts[0][coupon]").id


def create(tx: Tx, call: Call) -> Coupon:
    """Create a coupon: a percentage, or an amount in the account's currency."""
    params = call.params
    id = params.text("id", longest=200) or new_id("co", at=call.at).removeprefix("co_")
    if tx.find(Coupon, id) is not None:
        raise RecordImmutable(f"Coupon '{id}' exists already.", param="id")
    percent, amount = params.decimal("percent_off"), params.integer("amount_off", least=1)
    currency = params.text("currency", longest=3)
    if (percent is None) == (amount is None) or (amount is not None and currency is None):
        raise InvalidCoupon("A coupon is a percentage or an amount.", param="percent_off")
    if percent is not None and not Decimal(0) < percent <= 100:
        raise InvalidCoupon(f"Invalid percentage: {percent}.", param="percent_off")
    coupon = Coupon(
        id=id,
        created=call.at,
        name=params.text("name"),
        percent=decimal_text(percent) if percent is not None else "",
        amount_minor=amount or 0,
        currency=(currency or "").lower() if amount else "",
        duration=params.choice("duration", ("once", "forever")) or "once",
        metadata=params.metadata(),
    )
    tx.save(coupon)
    call.announce(tx, "coupon.created", coupon, at=call.at)
    return coupon


def retrieve(tx: Tx, call: Call) -> Coupon:
    """Return a coupon."""
    return coupon_of(tx, call.path["id"])


def update(tx: Tx, call: Call) -> Coupon:
    """Change a coupon's name and metadata; what it takes off never changes."""
    coupon = coupon_of(tx, call.path["id"])
    name = call.params.text("name") if "name" in call.params else coupon.name
    coupon = replace(coupon, name=name, metadata=call.params.metadata(coupon.metadata))
    tx.save(coupon)
    call.announce(tx, "coupon.updated", coupon, at=call.at)
    return coupon


def remove(tx: Tx, call: Call) -> object:
    """Delete a coupon: it takes nothing off any more; final invoices stay as they are."""
    coupon = coupon_of(tx, call.path["id"])
    tx.remove(Coupon, coupon.id)
    call.announce(tx, "coupon.deleted", coupon, at=call.at)
    return deleted_object("coupon", coupon.id)


def index(tx: Tx, call: Call) -> Listing:
    """List coupons, newest first."""
    return records(tx, call, Coupon)


def give(tx: Tx, call: Call) -> CustomerDiscount:
    """Give a customer a coupon, in place of the one that it had."""
    customer = customer_of(tx, call.path["id"], param="id")
    coupon = coupon_of(tx, call.params.required_text("coupon"), param="coupon")
    if coupon.currency not in ("", customer.currency):
        raise InvalidCoupon(
            f"Coupon {coupon.id} is in {coupon.currency}, the customer in {customer.currency}.",
            param="coupon",
        )
    at = call.present(tx, customer.id)
    discount = CustomerDiscount(
        id=discount_id(customer.id), created=at, customer=customer.id, coupon=coupon.id
    )
    tx.save(discount)
    call.announce(tx, "customer.discount.created", discount, at=at)
    return discount


def take_away(tx: Tx, call: Call) -> object:
    """End a customer's discount."""
    customer = customer_of(tx, call.path["id"], param="id")
    discount = tx.find(CustomerDiscount, discount_id(customer.id))
    if discount is None:
        raise NoSuchCoupon(f"Customer {customer.id} has no discount.", param="id")
    tx.remove(CustomerDiscount, discount.id)
    call.announce(tx, "customer.discount.deleted", discount, at=call.present(tx, customer.id))
    return deleted_object("discount", discount.id)


ENDPOINTS = (
    post("/v1/coupons", create),
    get("/v1/coupons", index),
    get("/v1/coupons/{id}", retrieve),
    post("/v1/coupons/{id}", update),
    delete("/v1/coupons/{id}", remove),
    post("/v1/customers/{id}/discount", give),
    delete("/v1/customers/{id}/discount", take_away),
)
