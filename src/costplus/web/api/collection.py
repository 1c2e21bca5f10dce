"""`/v1/token_billing/collection_settings` and what providers called back with."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.payments.callback import PaymentCallback
from costplus.billing.payments.policy import RETRIES_MAX, CollectionPolicy
from costplus.billing.receive import policy_of
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records

DAYS_MAX = 365
RESULTS = ("counted", "held", "surplus", "unknown", "no_news")


class RetriesInvalid(InvalidRequest):
    """The pauses between attempts cannot be used."""

    code = "retry_days_invalid"
    remedy = f"Give at most {RETRIES_MAX} whole numbers of days from 1 to {DAYS_MAX}; empty retries nothing."


def retrieve(tx: Tx, call: Call) -> CollectionPolicy:
    """Return when declined invoices are tried again, and what follows."""
    return policy_of(tx)


def update(tx: Tx, call: Call) -> CollectionPolicy:
    """Set the pauses after each decline (`retry_days[]`), and what becomes of the invoice at the end."""
    policy, params = policy_of(tx), call.params
    if "retry_days" in params:
        texts = params.texts("retry_days")
        days = [int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0 for text in texts]
        if len(days) > RETRIES_MAX or not all(1 <= day <= DAYS_MAX for day in days):
            raise RetriesInvalid("The pauses cannot be used.", param="retry_days")
        policy = replace(policy, retry_days=tuple(days))
    after = params.choice("after_last_retry", ("leave_open", "mark_uncollectible"))
    if after is not None:
        policy = replace(policy, finally_="leave_open" if after == "leave_open" else "mark_uncollectible")
    tx.save(policy)
    return policy


def callbacks(tx: Tx, call: Call) -> Listing:
    """List what payment providers called back with, newest first, each once."""
    payment = call.params.text("payment")
    result = call.params.choice("result", RESULTS)
    return records(tx, call, PaymentCallback, parent=payment, keep=lambda kept: result in (None, kept.result))


ENDPOINTS = (
    get("/v1/token_billing/collection_settings", retrieve),
    post("/v1/token_billing/collection_settings", update),
    get("/v1/token_billing/callbacks", callbacks),
)
