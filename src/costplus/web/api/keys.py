"""`/v1/token_billing/keys`: the seller's own keys, and a customer's keys for calling models.

Rule 1: a secret is told once and kept as its hash.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from costplus.billing.clock import customer_of
from costplus.billing.customer import ApiKey
from costplus.billing.store import Tx
from costplus.core.errors import NotFound
from costplus.core.ids import new_id
from costplus.web.api.spend_caps import change_caps, customer_of_key, key_state
from costplus.web.auth import digest_of
from costplus.web.call import Call, Listing, Revealed, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.spend import KeyState, key_state_object

HINT_CHARACTERS = 4


class NoSuchKey(NotFound):
    """The API key does not exist."""

    code = "resource_missing"


def create(tx: Tx, call: Call) -> Revealed:
    """Create a key: a customer's where `customer` is given, else the seller's; `spend_caps` limit it."""
    customer = call.params.text("customer")
    if customer:
        customer_of(tx, customer)
    mode = "cust" if customer else "live" if call.context.livemode else "test"
    secret = f"sk_{mode}_{secrets.token_urlsafe(24)}"
    key = ApiKey(
        id=new_id("mk", at=call.at),
        created=call.at,
        digest=digest_of(secret),
        name=call.params.text("name", longest=200) or "",
        customer=customer or "",
        hint=secret[-HINT_CHARACTERS:],
        livemode=call.context.livemode,
    )
    tx.save(key)
    tx.touch("config")
    change_caps(tx, call, customer_of_key(tx, key), key)
    return Revealed(key_state_object(key_state(tx, call, key), call.context) | {"secret": secret})


def _key_of(tx: Tx, id: str) -> ApiKey:
    key = tx.find(ApiKey, id)
    if key is None:
        raise NoSuchKey(f"No such key: '{id}'", param="id")
    return key


def retrieve(tx: Tx, call: Call) -> KeyState:
    """Return a key, without its secret, with how far its caps are used."""
    return key_state(tx, call, _key_of(tx, call.path["id"]))


def update(tx: Tx, call: Call) -> KeyState:
    """Change a key's name and its spend caps; what is not sent stays."""
    key = _key_of(tx, call.path["id"])
    if "name" in call.params:
        key = replace(key, name=call.params.text("name", longest=200) or "")
        tx.save(key)
        tx.touch("config")
    change_caps(tx, call, customer_of_key(tx, key), key)
    return key_state(tx, call, key)


def revoke(tx: Tx, call: Call) -> KeyState:
    """Make a key worthless from now on; revoking it again changes nothing."""
    key = _key_of(tx, call.path["id"])
    if key.revoked_at is None:
        key = replace(key, revoked_at=call.at)
        tx.save(key)
        tx.touch("config")
    return key_state(tx, call, key)


def index(tx: Tx, call: Call) -> Listing:
    """List keys, newest first: a customer's, or all."""
    customer = call.params.text("customer")
    page = records(tx, call, ApiKey, parent=customer)
    shown = [key_state(tx, call, key) for key in page.entries if isinstance(key, ApiKey)]
    return Listing(shown, page.has_more)


ENDPOINTS = (
    post("/v1/token_billing/keys", create),
    get("/v1/token_billing/keys", index, fresh=True),
    get("/v1/token_billing/keys/{id}", retrieve, fresh=True),
    post("/v1/token_billing/keys/{id}", update),
    delete("/v1/token_billing/keys/{id}", revoke),
)
