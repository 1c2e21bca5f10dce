"""What a subscription consists of and begins with, checked before anything is made of it.

Rule 1: one subscription at a time prices a customer's usage, the one whose plan has a rate card. What would
make two of them is refused; subscriptions to fees may stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from costplus.billing.agenda import every_of
from costplus.billing.plan import NoSuchPlan, Plan, PlanArchived
from costplus.billing.store import Tx
from costplus.billing.subscription import Item, Subscription
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.rating.rate_card import RateCard

ITEMS_MAX = 20  # Of one subscription, as Stripe has it.
QUANTITY_MAX = 10**6
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class UsageAmbiguous(InvalidRequest):
    """Two subscriptions or items would price the customer's usage at the same time."""

    code = "subscription_usage_ambiguous"
    remedy = (
        "Change the plan of the one that it has, or cancel it first; plans that are a fee only may be added."
    )


class SubscriptionItemsInvalid(InvalidRequest):
    """The items cannot be billed together."""

    code = "subscription_items_invalid"
    remedy = "Give one item per plan, all of one currency and one interval, and at most one with a rate card."


class InvalidStart(InvalidRequest):
    """An anchor, trial or start that does not lie where it has to."""

    code = "subscription_start_invalid"
    remedy = "An anchor lies within the first period, a trial's end and a start ahead, at most two years."


@dataclass(frozen=True, slots=True)
class Chosen:
    """A plan to be an item of, and how many."""

    plan: Plan
    quantity: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    id: str = ""  # Of an item that exists already.


def unchanged(subscription: Subscription) -> Subscription:
    """Return the subscription as it is."""
    return subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a subscription begins with.

    `starts`: at an instant ahead. `anchor`: where its cycle is counted from; before that lies a stub, or by
    `prorates` none that is asked for.
    """

    chosen: Sequence[Chosen]
    starts: datetime | None = None
    anchor: datetime | None = None
    trial_end: datetime | None = None
    prorates: bool = True
    cancel_at_period_end: bool = False
    cancel_at: datetime | None = None
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    # What it is to say about its invoices.
    terms: Callable[[Subscription], Subscription] = field(default=unchanged, repr=False)


def check_chosen(tx: Tx, chosen: Sequence[Chosen], *, known: Sequence[Item] = ()) -> Plan | None:
    """Return the plan that prices the usage, if any, where the choice can be billed together.

    Plans of items that are `known` may be archived. Raises `SubscriptionItemsInvalid`, `PlanArchived`,
    `UsageAmbiguous`, `NoSuchPlan`.
    """
    plans = [entry.plan for entry in chosen]
    terms = {(plan.currency, plan.interval, plan.interval_count) for plan in plans}
    if not plans or len(plans) > ITEMS_MAX or len({plan.id for plan in plans}) < len(plans) or len(terms) > 1:
        raise SubscriptionItemsInvalid("These items cannot make one subscription.", param="items")
    kept = {item.plan for item in known}
    for entry in chosen:
        if not entry.plan.active and entry.plan.id not in kept:
            raise PlanArchived(f"Pricing plan {entry.plan.id} is archived.", param="items")
        if not 0 <= entry.quantity <= QUANTITY_MAX:
            raise SubscriptionItemsInvalid(f"A quantity of {entry.quantity} cannot be billed.", param="items")
    pricing = [plan for plan in plans if plan.rate_card]
    if len(pricing) > 1:
        raise UsageAmbiguous("Two of the items have a rate card.", param="items")
    for plan in pricing:
        live_version_of(tx, plan)
    return pricing[0] if pricing else None


def check_alone(tx: Tx, subscription: Subscription) -> None:
    """Raise `UsageAmbiguous` where another subscription prices the customer's usage at the same time."""
    begins, ends = subscription.begins, subscription.ends
    for other in every_of(tx, Subscription, subscription.customer):
        if other.id == subscription.id or not other.prices_usage or other.status == "canceled":
            continue
        other_ends = other.ends
        if (other_ends is None or begins < other_ends) and (ends is None or other.begins < ends):
            raise UsageAmbiguous(
                f"Subscription {other.id} prices the usage of {subscription.customer}.", param="items"
            )


def ended_until(tx: Tx, customer: str) -> datetime:
    """Return where the last subscription that priced the customer's usage ended, long ago if none did."""
    known = every_of(tx, Subscription, customer)
    ends = (entry.ended_at for entry in known if entry.status == "canceled" and entry.prices_usage)
    return max((at for at in ends if at is not None), default=LONG_AGO)


def live_version_of(tx: Tx, plan: Plan) -> str:
    """Return the id of the card version that new subscriptions to the plan get."""
    card = tx.find(RateCard, plan.rate_card)
    if card is None:
        raise NoSuchPlan(f"Pricing plan {plan.id} has no rate card.")
    return card.live_version


def new_items(chosen: Sequence[Chosen], *, id: str, at: datetime) -> tuple[Item, ...]:
    """Return the items of a subscription; an item's id tells the subscription's."""
    own = f"si_{id.removeprefix('sub_')}"
    is_first = all(entry.id != own for entry in chosen)
    ids = [f"{own}_{new_id('i', at=at)[-8:]}" for _ in chosen]
    if is_first and chosen and not chosen[0].id:
        ids[0] = own
    return tuple(
        Item(
            id=entry.id or made,
            fee_minor=entry.plan.fee_minor,
            currency=entry.plan.currency,
            plan=entry.plan.id,
            quantity=entry.quantity,
            covered_minor=0,
            metadata=entry.metadata,
        )
        for made, entry in zip(ids, chosen, strict=True)
    )
