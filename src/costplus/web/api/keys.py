"""`/v1/token_billing/keys`: the seller's own keys, and a customer's keys for calling models.

Rule 1: a secret is told once and kept as its hash.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

from costplus.billing.clock import customer_of
from costplus.billing.customer import ApiKey
from costplus.billing.key_limits import NO_LIMITS, PER_MINUTE_MAX, KeyLimits, checked_models
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.web.api.spend_caps import change_caps, customer_of_key, key_state
from costplus.web.auth import digest_of
from costplus.web.call import Call, Listing, Revealed, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.spend import KeyState, key_state_object

HINT_CHARACTERS = 4


class LimitsOfSeller(InvalidRequest):
    """Limits are for customers' keys: the seller's are used to administer, too."""

    code = "key_limits_of_seller"
    remedy = "Create a key of a customer's, with `customer`."


class NoSuchKey(NotFound):
    """The API key does not exist."""

    code = "resource_missing"


def create(tx: Tx, call: Call) -> Revealed:
    """Create a key: a customer's where `customer` is given, which may have limits, else the seller's."""
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
    key = _limited(key, call)
    tx.save(key)
    tx.touch("config")
    change_caps(tx, call, customer_of_key(tx, key), key)
    return Revealed(key_state_object(key_state(tx, call, key), call.context) | {"secret": secret})


def _limited(key: ApiKey, call: Call) -> ApiKey:
    """Return the key with the limits that were sent; one that was sent empty is lifted."""
    params, known = call.params, key.limits

    def count(name: str, now: int) -> int:
        if name not in params:
            return now
        return 0 if params.is_unset(name) else params.integer(name, most=PER_MINUTE_MAX) or 0

    models, expires_at = known.models, known.expires_at
    if "models" in params:
        models = () if params.is_unset("models") else checked_models(params.texts("models"))
    if "expires_at" in params:
        expires_at = None if params.is_unset("expires_at") else params.time("expires_at")
    limits = KeyLimits(
        models=models,
        expires_at=expires_at,
        requests_per_minute=count("requests_per_minute", known.requests_per_minute),
        tokens_per_minute=count("tokens_per_minute", known.tokens_per_minute),
        parallel_requests=count("parallel_requests", known.parallel_requests),
    )
    if limits != NO_LIMITS and not key.customer:
        raise LimitsOfSeller("The seller's own keys have no limits.", param="customer")
    return replace(key, limits=limits)


def _key_of(tx: Tx, id: str) -> ApiKey:
    key = tx.find(ApiKey, id)
    if key is None:
        raise NoSuchKey(f"No such key: '{id}'", param="id")
    return key


def retrieve(tx: Tx, call: Call) -> KeyState:
    """Return a key, without its secret, with how far its caps are used."""
    return key_state(tx, call, _key_of(tx, call.path["id"]))


def update(tx: Tx, call: Call) -> KeyState:
    """Change a key's name, its limits and its spend caps; what is not sent stays."""
    known = _key_of(tx, call.path["id"])
    key = _limited(known, call)
    if "name" in call.params:
        key = replace(key, name=call.params.text("name", longest=200) or "")
    if key != known:
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
