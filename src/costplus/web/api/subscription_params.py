"""What requests say about subscriptions: items, trials, anchors, endings, pauses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from costplus.billing.customer import Customer
from costplus.billing.order import Chosen, InvalidStart
from costplus.billing.plan import Plan
from costplus.billing.prorate import ProrationBehavior
from costplus.billing.store import Tx
from costplus.billing.subscription import (
    CollectionPause,
    Item,
    NoSuchSubscription,
    PauseCollection,
    Subscription,
)
from costplus.core.cycle import zone_of
from costplus.web.api.pricing_plans import TRIAL_DAYS_MAX, plan_named
from costplus.web.params import ParametersExclude, Params

QUANTITY_MAX = 10**6
BEHAVIORS: tuple[ProrationBehavior, ...] = ("create_prorations", "always_invoice", "none")
COLLECTION: tuple[CollectionPause, ...] = ("keep_as_draft", "mark_uncollectible", "void")
FEEDBACK = (
    "customer_service",
    "low_quality",
    "missing_features",
    "other",
    "switched_service",
    "too_complex",
    "too_expensive",
    "unused",
)


def behavior_of(params: Params) -> ProrationBehavior:
    """Return what becomes of the difference that a change makes within a period."""
    return params.choice("proration_behavior", BEHAVIORS) or "create_prorations"


def accept_payment_options(params: Params) -> None:
    """Read what concerns payment and changes nothing here."""
    params.choice(
        "payment_behavior",
        ("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"),
    )
    params.flag("off_session")


def _plan_of(tx: Tx, level: Params) -> Plan | None:
    """Return the plan that an item names as `price`, `plan` or `pricing_plan`, whichever is given."""
    named = [name for name in ("price", "plan", "pricing_plan") if level.text(name) is not None]
    if len(named) > 1:
        raise ParametersExclude("An item has one price.", param=level.name_of(named[1]))
    if not named:
        return None
    return plan_named(tx, level.required_text(named[0]), param=level.name_of(named[0]))


def new_item(tx: Tx, level: Params) -> Chosen:
    """Return an item that is to be begun."""
    plan = _plan_of(tx, level)
    if plan is None:
        raise level.missing("price")
    quantity = level.integer("quantity", most=QUANTITY_MAX)
    return Chosen(plan, 1 if quantity is None else quantity, level.metadata())


def changed_item(tx: Tx, level: Params, item: Item) -> Chosen:
    """Return an item that exists as it is to be."""
    plan = _plan_of(tx, level) or plan_named(tx, item.plan)
    quantity = level.integer("quantity", most=QUANTITY_MAX)
    return Chosen(
        plan, item.quantity if quantity is None else quantity, level.metadata(item.metadata), item.id
    )


def kept_items(tx: Tx, subscription: Subscription) -> dict[str, Chosen]:
    """Return the items of the subscription as they are, by id."""
    return {
        item.id: Chosen(plan_named(tx, item.plan), item.quantity, item.metadata, item.id)
        for item in subscription.every_item
    }


def chosen_items(tx: Tx, params: Params, subscription: Subscription) -> list[Chosen]:
    """Return all items as the request leaves them; none where none are sent."""
    levels = params.each("items")
    if not levels:
        return []
    known = {item.id: item for item in subscription.every_item}
    kept = kept_items(tx, subscription)
    added: list[Chosen] = []
    for level in levels:
        id = level.text("id")
        if id is None:
            added.append(new_item(tx, level))
            continue
        if id not in known:
            raise NoSuchSubscription(f"No such subscription item: '{id}'", param=level.name_of("id"))
        if level.flag("deleted"):
            kept.pop(id, None)
        else:
            kept[id] = changed_item(tx, level, known[id])
    return [*kept.values(), *added]


def trial_end_of(params: Params, chosen: Sequence[Chosen], *, starts: datetime) -> datetime | None:
    """Return when the trial ends: as the request says, else as the plans do."""
    days = params.integer("trial_period_days", most=TRIAL_DAYS_MAX)
    params.flag("trial_from_plan")
    if params.text("trial_end") == "now":
        return None
    end = params.time("trial_end")
    if end is not None and days is not None:
        raise ParametersExclude("trial_end and trial_period_days cannot be used together.", param="trial_end")
    if end is not None:
        return end
    if days is None:
        days = max((entry.plan.trial_period_days for entry in chosen), default=0)
    return starts + timedelta(days=days) if days else None


def anchor_of(params: Params, customer: Customer, *, starts: datetime) -> datetime | None:
    """Return what the cycle is counted from: an instant, or a day of the month by the customer's clocks."""
    anchor = params.time("billing_cycle_anchor")
    if "billing_cycle_anchor_config" not in params:
        return anchor
    if anchor is not None:
        raise ParametersExclude("Give one anchor.", param="billing_cycle_anchor_config")
    level = params.within("billing_cycle_anchor_config")
    day = level.required_integer("day_of_month", least=1, most=31)
    month = level.integer("month", least=1, most=12)
    local = starts.astimezone(zone_of(customer.timezone))
    hour, minute, second = (
        level.integer(n, most=m) for n, m in (("hour", 23), ("minute", 59), ("second", 59))
    )
    wall = local.replace(
        hour=local.hour if hour is None else hour,
        minute=local.minute if minute is None else minute,
        second=local.second if second is None else second,
        microsecond=0,
        fold=0,
    )
    # In a past month that has the day, so that the 31st returns after short months.
    wall = wall.replace(day=1, month=month or 1, year=wall.year - 1)
    if not _has(wall, day):
        raise InvalidStart(f"Month {month} has no day {day}.", param=level.name_of("day_of_month"))
    return wall.replace(day=day).astimezone(UTC)


def _has(month: datetime, day: int) -> bool:
    following = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (following - timedelta(days=1)).day >= day


def collection_pause(params: Params) -> PauseCollection | None:
    """Return how invoices are treated until further notice; None where an empty text ends that."""
    level = params.within("pause_collection")
    if not level.keys():
        return None
    behavior = level.required_choice("behavior", COLLECTION)
    return PauseCollection(behavior, level.time("resumes_at"))


def cancellation_details(params: Params) -> dict[str, str]:
    """Return what the customer said about why."""
    level = params.within("cancellation_details")
    said = {"comment": level.text("comment"), "feedback": level.choice("feedback", FEEDBACK)}
    return {name: value for name, value in said.items() if value is not None}


def restarts(params: Params) -> bool:
    """Whether a change begins a new cycle: `billing_cycle_anchor` is `now`, plain or as `[type]`."""
    options: tuple[Literal["now", "unchanged"], ...] = ("now", "unchanged")
    return typed_choice(params, "billing_cycle_anchor", options) == "now"


def typed_choice(params: Params, name: str, options: tuple[str, ...]) -> str | None:
    """Return a choice that is written plain or, as newer versions of Stripe's API do, as `[type]`."""
    if params.is_level(name):
        return params.within(name).choice("type", options)
    return params.choice(name, options)
