"""`/v1/token_billing/payment_methods`: how customers pay, by their providers' own names of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from costplus.billing.clock import customer_of
from costplus.billing.payments.base import MethodFacts
from costplus.billing.payments.method import MethodDetached, NoSuchPaymentMethod, PaymentMethod
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What is to be attached to whom."""

    customer: str
    provider: str
    token: str
    becomes_default: bool


def _method_of(tx: Tx, call: Call) -> PaymentMethod:
    id = call.path["id"]
    method = tx.find(PaymentMethod, id)
    if method is None:
        raise NoSuchPaymentMethod(f"No such payment method: '{id}'", param="id")
    return method


def attach(tx: Tx, call: Call) -> Attachment:
    """Attach a payment method that the provider knows; the first one becomes the default."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    wanted = params.flag("set_default")
    is_first = not customer.default_payment_method
    return Attachment(
        customer=customer.id,
        provider=params.required_text("provider", longest=40),
        token=params.required_text("token", longest=255),
        becomes_default=is_first if wanted is None else wanted,
    )


def save_method(tx: Tx, call: Call, asked: Attachment, facts: MethodFacts) -> PaymentMethod:
    """Keep a payment method; one that the customer has already is returned."""
    customer = customer_of(tx, asked.customer)
    for known in tx.page(PaymentMethod, parent=customer.id):
        same = (known.provider, known.token) == (asked.provider, asked.token)
        if same and known.detached_at is None:
            method = known
            break
    else:
        at = call.present(tx, customer.id)
        method = PaymentMethod(
            id=new_id("pm", at=at),
            created=at,
            customer=customer.id,
            provider=asked.provider,
            token=asked.token,
            kind=facts.kind,
            label=facts.label,
        )
        tx.save(method)
    if asked.becomes_default:
        tx.save(replace(customer, default_payment_method=method.id))
    return method


async def _attached(call: Call, asked: object) -> PaymentMethod:
    assert isinstance(asked, Attachment)
    facts = await call.context.collector.describe(asked.provider, asked.token)
    return await call.context.store.write(
        partial(save_method, call=call, asked=asked, facts=facts), customers=[asked.customer]
    )


def retrieve(tx: Tx, call: Call) -> PaymentMethod:
    """Return a payment method."""
    return _method_of(tx, call)


def index(tx: Tx, call: Call) -> Listing:
    """List a customer's payment methods, newest first; detached ones are left out."""
    customer = customer_of(tx, call.params.required_text("customer"))
    return records(
        tx, call, PaymentMethod, parent=customer.id, keep=lambda method: method.detached_at is None
    )


def detach(tx: Tx, call: Call) -> PaymentMethod:
    """Take a payment method away: it is never charged again."""
    method = _method_of(tx, call)
    customer = customer_of(tx, method.customer)
    if method.detached_at is None:
        method = replace(method, detached_at=call.present(tx, customer.id))
        tx.save(method)
    if customer.default_payment_method == method.id:
        tx.save(replace(customer, default_payment_method=""))
    return method


def set_default(tx: Tx, call: Call) -> PaymentMethod:
    """Make a payment method the one that invoices and top-ups are charged to."""
    method = _method_of(tx, call)
    if method.detached_at is not None:
        raise MethodDetached(f"Payment method {method.id} is detached.", param="id")
    tx.save(replace(customer_of(tx, method.customer), default_payment_method=method.id))
    return method


PATH = "/v1/token_billing/payment_methods"
ENDPOINTS = (
    post(PATH, attach, finish=_attached),
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
    post(f"{PATH}/{{id}}/detach", detach),
    post(f"{PATH}/{{id}}/set_default", set_default),
)
