"""`/v1/subscriptions`: a subscription's whole life.

Prices are pricing plans (`bpp_…`): `items[0][price]` takes one. Beyond Stripe's parameters, `start_date` lets
a subscription begin at an instant ahead (it is `incomplete` until then), `apply_at=period_end` has a change
of items wait for the period's end, and pausing takes `usage` (blocked or free) and `resumes_at`. Rule: the
customer's balance is locked before its subscription is read to be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from costplus.billing.amend import change_items, keep, schedule_items
from costplus.billing.cancel import cancel as cancel_now
from costplus.billing.cancel import cancel_later
from costplus.billing.clock import customer_of
from costplus.billing.customer import Customer
from costplus.billing.order import Order
from costplus.billing.pause import UnusedFrom
from costplus.billing.pause import pause as pause_now
from costplus.billing.pause import resume as resume_now
from costplus.billing.store import Tx
from costplus.billing.subscribe import start
from costplus.billing.subscription import NoSuchSubscription, PinUsage, Subscription
from costplus.billing.trial import end_trial, move_trial_end
from costplus.web.api.subscription_params import (
    BEHAVIORS,
    accept_payment_options,
    anchor_of,
    behavior_of,
    cancellation_details,
    chosen_items,
    collection_pause,
    kept_items,
    new_item,
    restarts,
    trial_end_of,
    typed_choice,
)
from costplus.web.api.subscription_terms import with_invoice_terms
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.subscription import subscription_state_object
from costplus.web.params import ParametersExclude, Params

STATUSES = ("active", "all", "canceled", "ended", "incomplete", "past_due", "paused", "trialing")
DESCRIPTION_MAX = 500


def subscription_named(tx: Tx, id: str, *, param: str = "id") -> Subscription:
    """Return the subscription, or raise `NoSuchSubscription`."""
    subscription = tx.find(Subscription, id)
    if subscription is None:
        raise NoSuchSubscription(f"No such subscription: '{id}'", param=param)
    return subscription


def for_update(tx: Tx, call: Call, id: str, *, param: str = "id") -> tuple[Subscription, Customer, datetime]:
    """Return the subscription, its customer, whose balance is locked, and the customer's present."""
    customer = customer_of(tx, subscription_named(tx, id, param=param).customer)
    tx.balance_for_update(customer.id)
    return subscription_named(tx, id), customer, call.present(tx, customer.id)


def create(tx: Tx, call: Call) -> Subscription:
    """Subscribe a customer."""
    params = call.params
    customer = customer_of(tx, params.required_text("customer"))
    tx.balance_for_update(customer.id)
    at = call.present(tx, customer.id)
    accept_payment_options(params)
    chosen = [new_item(tx, level) for level in params.each("items")]
    if not chosen:
        raise params.missing("items")
    params.text("currency", longest=3)
    starts = params.time("start_date")
    order = Order(
        chosen=chosen,
        starts=starts,
        anchor=anchor_of(params, customer, starts=starts or at),
        trial_end=trial_end_of(params, chosen, starts=starts or at),
        prorates=behavior_of(params) != "none",
        cancel_at_period_end=params.flag("cancel_at_period_end") or False,
        cancel_at=params.time("cancel_at"),
        description=params.text("description", longest=DESCRIPTION_MAX),
        metadata=params.metadata(),
        terms=lambda begun: with_invoice_terms(tx, params, begun),
    )
    return start(tx, customer, order, at=at)


def retrieve(tx: Tx, call: Call) -> Subscription:
    """Return a subscription."""
    return subscription_named(tx, call.path["id"])


def retrieve_state(tx: Tx, call: Call) -> object:
    """Return what is scheduled for a subscription, pinned, asked for and given back."""
    return subscription_state_object(subscription_named(tx, call.path["id"]), call.context)


def index(tx: Tx, call: Call) -> Listing:
    """List subscriptions, newest first; canceled ones only where they are asked for."""
    customer, plan = call.params.text("customer"), call.params.text("price") or call.params.text("plan")
    status = call.params.choice("status", STATUSES)
    if customer:
        customer_of(tx, customer)

    def keep_it(entry: Subscription) -> bool:
        shown = {"pending": "incomplete"}.get(entry.status, entry.status)
        wanted = {"all": True, "ended": entry.status == "canceled", None: entry.status != "canceled"}
        has_plan = plan is None or any(item.plan == plan for item in entry.every_item)
        return has_plan and wanted.get(status, shown == status)

    return records(tx, call, Subscription, parent=customer, keep=keep_it)


def update(tx: Tx, call: Call) -> Subscription:
    """Change what was sent and leave the rest."""
    params = call.params
    subscription, customer, at = for_update(tx, call, call.path["id"])
    accept_payment_options(params)
    subscription = _with_texts(tx, customer, subscription, params, at=at)
    if "trial_end" in params:
        subscription = _moved_trial(tx, customer, subscription, params, at=at)
    chosen = chosen_items(tx, params, subscription)
    behavior, restart = behavior_of(params), restarts(params)
    if params.choice("apply_at", ("now", "period_end")) == "period_end":
        subscription = schedule_items(tx, customer, subscription, chosen, at=at)
    elif chosen or restart:
        kept = chosen or list(kept_items(tx, subscription).values())
        subscription = change_items(
            tx, customer, subscription, kept, behavior=behavior, restart=restart, at=at
        )
    if "pause_collection" in params:
        subscription = replace(subscription, pause_collection=collection_pause(params))
        subscription = keep(tx, customer, subscription, at=at)
    return _with_ending(tx, customer, subscription, params, at=at)


def _with_texts(
    tx: Tx, customer: Customer, subscription: Subscription, params: Params, *, at: datetime
) -> Subscription:
    """Return the subscription with its description, metadata and terms of invoicing as sent."""
    changed = replace(subscription, metadata=params.metadata(subscription.metadata))
    changed = with_invoice_terms(tx, params, changed)
    if "description" in params:
        changed = replace(changed, description=params.text("description", longest=DESCRIPTION_MAX))
    return changed if changed == subscription else keep(tx, customer, changed, at=at)


def _moved_trial(
    tx: Tx, customer: Customer, subscription: Subscription, params: Params, *, at: datetime
) -> Subscription:
    if params.text("trial_end") == "now":
        return end_trial(tx, customer, subscription, at=at)
    to = params.required_time("trial_end")
    return move_trial_end(tx, customer, subscription, to, at=at)


def _with_ending(
    tx: Tx, customer: Customer, subscription: Subscription, params: Params, *, at: datetime
) -> Subscription:
    """Return the subscription with its end as sent; `false` and an empty text take it back."""
    if "cancel_at_period_end" not in params and "cancel_at" not in params:
        details = cancellation_details(params)
        if details:
            said: Mapping[str, str] = {**subscription.cancellation, **details}
            return keep(tx, customer, replace(subscription, cancellation=said), at=at)
        return subscription
    with_period = params.flag("cancel_at_period_end") or False
    end: datetime | None = None
    if params.text("cancel_at") in ("min_period_end", "max_period_end"):
        with_period = True
    else:
        end = params.time("cancel_at")
    if with_period and end is not None:
        raise ParametersExclude("A subscription ends once.", param="cancel_at")
    return cancel_later(
        tx,
        customer,
        subscription,
        cancel_at=end,
        at_period_end=with_period,
        prorates=params.choice("proration_behavior", BEHAVIORS) in ("create_prorations", "always_invoice"),
        details=cancellation_details(params),
        at=at,
    )


def remove(tx: Tx, call: Call) -> Subscription:
    """Cancel a subscription now; what was used is invoiced, whatever is sent."""
    subscription, customer, at = for_update(tx, call, call.path["id"])
    return cancel_now(
        tx,
        customer,
        subscription,
        prorates=call.params.flag("prorate") or False,
        invoice_now=call.params.flag("invoice_now") or False,
        details=cancellation_details(call.params),
        at=at,
    )


def pause(tx: Tx, call: Call) -> Subscription:
    """Pause a subscription: no fee, no usage (or free usage) until it is resumed."""
    params = call.params
    subscription, customer, at = for_update(tx, call, call.path["id"])
    params.choice("type", ("subscription",))
    bill_for = params.within("bill_for")
    unused: UnusedFrom | None = bill_for.within("unused_time_from").choice(
        "type", ("now", "none", "item_current_period_start")
    )
    usage: PinUsage | None = params.choice("usage", ("blocked", "free"))
    through = bill_for.within("outstanding_usage_through").choice("type", ("now", "none"))
    how = params.choice("invoicing_behavior", ("invoice", "pending_invoice_item"))
    return pause_now(
        tx,
        customer,
        subscription,
        unused_from=unused or "now",
        bill_usage=through != "none",
        invoice_now=how == "invoice",
        resumes_at=params.time("resumes_at"),
        usage=usage,
        at=at,
    )


def resume(tx: Tx, call: Call) -> Subscription:
    """Resume a paused subscription, with a new cycle (`now`) or within the old one (`unchanged`)."""
    subscription, customer, at = for_update(tx, call, call.path["id"])
    anchor = typed_choice(call.params, "billing_cycle_anchor", ("now", "unchanged"))
    call.params.choice("payment_behavior", ("resume_on_payment_attempt", "resume_on_payment_success"))
    return resume_now(
        tx,
        customer,
        subscription,
        anchor="unchanged" if anchor == "unchanged" else "now",
        behavior=behavior_of(call.params),
        at=at,
    )


ENDPOINTS = (
    get("/v1/subscriptions", index),
    post("/v1/subscriptions", create, fresh=True),
    get("/v1/subscriptions/{id}", retrieve),
    post("/v1/subscriptions/{id}", update, fresh=True),
    delete("/v1/subscriptions/{id}", remove),
    post("/v1/subscriptions/{id}/pause", pause, fresh=True),
    post("/v1/subscriptions/{id}/resume", resume, fresh=True),
    get("/v1/token_billing/subscriptions/{id}", retrieve_state),
)
