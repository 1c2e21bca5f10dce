"""`/v1/token_billing/usage_events`: every event with its cost, its price and how they came about.

An estimate is replaced here once the provider's own counts are known.
"""

from __future__ import annotations

from collections.abc import Sequence

from costplus.billing.clock import customer_of
from costplus.billing.replace_usage import replace_usage
from costplus.billing.store import ChargedEvent, Tx
from costplus.core.errors import NotFound
from costplus.core.usage import LEAVES
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import LIMIT_DEFAULT, LIMIT_MAX


class NoSuchUsageEvent(NotFound):
    """The customer has no such usage event."""

    code = "resource_missing"


def retrieve(tx: Tx, call: Call) -> ChargedEvent:
    """Return one of a customer's events."""
    customer = customer_of(tx, call.params.required_text("customer"))
    charged = tx.charge_of(customer.id, call.path["id"])
    if charged is None:
        raise NoSuchUsageEvent(
            f"No such usage event of customer {customer.id}: '{call.path['id']}'", param="id"
        )
    return charged


def index(tx: Tx, call: Call) -> Listing:
    """List events, of one customer or of all, newest first; corrections name what they correct.

    Pages go back in time only.
    """
    params = call.params
    limit = params.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
    customer = params.text("customer")
    if customer:
        customer_of(tx, customer)
    page: Sequence[ChargedEvent] = tx.charged_page(
        customer=customer, limit=limit + 1, older_than=params.text("starting_after")
    )
    return Listing(page[:limit], len(page) > limit)


def replace(tx: Tx, call: Call) -> ChargedEvent:
    """Replace an estimate by the provider's own counts, per token type: the charge is taken back and made
    anew at the prices of the call's own time. Sent again, it changes nothing."""
    given = call.params.within("quantities")
    quantities = {leaf: given.integer(leaf) or 0 for leaf in LEAVES if leaf in given}
    if not quantities:
        raise call.params.missing("quantities")
    return replace_usage(tx, call.context.pricing, retrieve(tx, call), quantities, at=call.at)


ENDPOINTS = (
    get("/v1/token_billing/usage_events", index, fresh=True),
    get("/v1/token_billing/usage_events/{id}", retrieve, fresh=True),
    post("/v1/token_billing/usage_events/{id}/replace", replace, fresh=True),
)
