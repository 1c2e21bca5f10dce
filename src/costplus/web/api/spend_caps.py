"""`spend_caps` of customers and keys: `spend_caps[day][amount]=500` sets one, `spend_caps[day]=` ends it."""

from __future__ import annotations

from costplus.billing.cap_terms import CapTerms, KeyHasNoCustomer, cap_states, set_caps
from costplus.billing.clock import customer_of
from costplus.billing.customer import ApiKey, Customer
from costplus.billing.spend_cap import CAP_MODES, CAP_SPANS, CapSpan
from costplus.billing.store import Tx
from costplus.web.call import Call
from costplus.web.objects.spend import KeyState
from costplus.web.params import Params

PARAM = "spend_caps"


def wanted_caps(params: Params) -> dict[CapSpan, CapTerms | None]:
    """Return what the request says about caps: amounts in minor units, None where one is to go."""
    level = params.within(PARAM)
    wanted: dict[CapSpan, CapTerms | None] = {}
    for span in CAP_SPANS:
        if span not in level:
            continue
        cap = level.within(span)
        if "amount" not in cap and "mode" not in cap:
            wanted[span] = None
            continue
        amount_minor, mode = cap.required_integer("amount"), cap.choice("mode", CAP_MODES) or "hard"
        wanted[span] = CapTerms(amount_minor=amount_minor, mode=mode)
    return wanted


def change_caps(tx: Tx, call: Call, customer: Customer | None, key: ApiKey | None) -> None:
    """Set and remove the caps that the request names; a seller's own key has none."""
    wanted = wanted_caps(call.params)
    if not wanted:
        return
    if customer is None:
        raise KeyHasNoCustomer("A key of the seller's own cannot have spend caps.", param=PARAM)
    set_caps(tx, customer, key, wanted, at=call.present(tx, customer.id))


def key_state(tx: Tx, call: Call, key: ApiKey) -> KeyState:
    """Return a key with how far its caps are used."""
    customer = tx.find(Customer, key.customer) if key.customer else None
    if customer is None or customer.deleted:
        return KeyState(key=key, caps=())
    at = call.present(tx, customer.id)
    return KeyState(key=key, caps=tuple(cap_states(tx, customer, key, at=at)))


def customer_of_key(tx: Tx, key: ApiKey) -> Customer | None:
    """Return the customer whose key it is, or None for the seller's own."""
    return customer_of(tx, key.customer) if key.customer else None
