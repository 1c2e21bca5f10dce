"""`/v1/token_billing/customers/{id}`: a customer's balance to the last digit, and what happens at zero."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.adopt import adjust
from costplus.billing.cap_terms import cap_states
from costplus.billing.clock import customer_of
from costplus.billing.customer import CollectionMethod, Customer, OnZeroCredit
from costplus.billing.shadow import switched
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.terms import inherited_on_zero_credit
from costplus.ledger.post import credit_of
from costplus.web.api.card_terms import own_adjustment
from costplus.web.api.spend_caps import change_caps
from costplus.web.call import Call, get, post
from costplus.web.objects.token_billing import CustomerState
from costplus.web.params import InvalidTime

COLLECTION_METHODS: tuple[CollectionMethod, ...] = ("charge_automatically", "send_invoice")


def _state(tx: Tx, call: Call, customer: Customer) -> CustomerState:
    balance = tx.balance(customer.id)
    known = tx.page(Subscription, parent=customer.id)
    active = (entry for entry in known if entry.is_live and entry.prices_usage)
    subscription, at = next(active, None), call.present(tx, customer.id)
    return CustomerState(
        customer=customer,
        subscription=subscription,
        credit_nano=credit_of(tx, customer.id, at=at),
        held_nano=balance.held_nano,
        owed_nano=balance.owed_total_nano,
        carried_nano=balance.carried_nano,
        on_zero_credit_inherited=inherited_on_zero_credit(tx, subscription),
        caps=tuple(cap_states(tx, customer, None, at=at)),
    )


def retrieve(tx: Tx, call: Call) -> CustomerState:
    """Return a customer's balance, subscription and terms."""
    return _state(tx, call, customer_of(tx, call.path["id"], param="id"))


def _track(tx: Tx, call: Call, customer: Customer) -> Customer:
    """Switch to tracking only what the customer's usage costs, or back, from now on or a time ahead."""
    on, present = call.params.flag("cost_tracking_only"), call.present(tx, customer.id)
    since = call.params.time("cost_tracking_since") or present
    if since < present:
        raise InvalidTime(
            f"{since.isoformat()} is past: usage keeps what it was charged.", param="cost_tracking_since"
        )
    customer = replace(customer, shadow=switched(customer.shadow, on=bool(on), since=since))
    tx.save(customer)
    tx.touch("config")
    call.announce(tx, "customer.updated", customer, at=present)
    return customer


def update(tx: Tx, call: Call) -> CustomerState:
    """Set the customer's own markup or margin, its spend caps, what happens at no credit; empty unsets.

    `overage_limit` is how much may be owed beyond credit, in minor units; `cost_tracking_only` asks
    nothing for usage from `cost_tracking_since` on, by default from now.
    """
    customer = customer_of(tx, call.path["id"], param="id")
    if "markup_percent" in call.params or "margin_percent" in call.params:
        adjust(tx, customer, own_adjustment(call.params), at=call.present(tx, customer.id))
    if "collection_method" in call.params:
        method = call.params.choice("collection_method", COLLECTION_METHODS)
        customer = replace(customer, collection_method=method)
        tx.save(customer)
    if "cost_tracking_only" in call.params:
        customer = _track(tx, call, customer)
    if "on_zero_credit" in call.params:
        wanted: OnZeroCredit | None = call.params.choice("on_zero_credit", ("block", "overage"))
        customer = replace(customer, on_zero_credit=wanted)
        tx.save(customer)
        tx.touch("config")
        call.announce(tx, "customer.updated", customer, at=call.present(tx, customer.id))
    if "overage_limit" in call.params:
        customer = replace(customer, overage_limit_minor=call.params.integer("overage_limit"))
        tx.save(customer)
        tx.touch("config")
        call.announce(tx, "customer.updated", customer, at=call.present(tx, customer.id))
    change_caps(tx, call, customer, None)
    return _state(tx, call, customer)


ENDPOINTS = (
    get("/v1/token_billing/customers/{id}", retrieve, fresh=True),
    post("/v1/token_billing/customers/{id}", update, fresh=True),
)
