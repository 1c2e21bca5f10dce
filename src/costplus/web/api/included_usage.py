"""`/v1/token_billing/customers/{id}/included_usage`: what is left of what the customer's plan includes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from costplus.billing.allowance import MILLI
from costplus.billing.clock import customer_of
from costplus.billing.include import Counter, counters_of, included_units
from costplus.billing.pinned import card_of
from costplus.billing.plan import Plan
from costplus.billing.settle import subscription_of
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.core.money import decimal_text
from costplus.core.period import Period
from costplus.web.call import Call, Listing, get
from costplus.web.objects.plan_terms import IncludedPart, IncludedUsage, included_usage_object


def _units(milli: int) -> str:
    return decimal_text(Fraction(milli, MILLI))


def _of_tokens(group: Sequence[Counter], period: Period, *, customer: str) -> IncludedUsage:
    parts = tuple(
        IncludedPart(
            granted_in=counter.terms.period.start,
            expires_at=counter.granted.expires_at,
            used=_units(counter.used_milli(period)),
            remaining=_units(counter.room_milli(period)),
        )
        for counter in group
    )
    remaining = sum(counter.room_milli(period) for counter in group)
    allowance = group[-1].granted.allowance
    return IncludedUsage(
        customer=customer, period=period, allowance=allowance, parts=parts, remaining=_units(remaining)
    )


def _of_units(
    tx: Tx, subscription: Subscription, plan: Plan, meter: str, period: Period, *, at: datetime
) -> IncludedUsage:
    """Return another meter's allowance: how many of its item's units are left for nothing."""
    allowance = next(entry for entry in plan.allowances if entry.meter == meter)
    units = included_units(tx, subscription, plan, meter, period, at=at)
    counted = max(tx.metered(subscription.customer, meter, period.start).units, 0)
    item = card_of(tx, subscription, subscription.pin_at(at)).items.get(meter)
    used = min(int(item.conversion.units(counted)) if item else counted, units)
    part = IncludedPart(
        granted_in=period.start,
        expires_at=period.end,
        used=str(used),
        remaining=str(units - used),
    )
    return IncludedUsage(
        customer=subscription.customer,
        period=period,
        allowance=allowance,
        parts=(part,),
        remaining=str(units - used),
    )


def index(tx: Tx, call: Call) -> Listing:
    """List what the customer's plan includes in the running period, in the order in which it is used."""
    customer = customer_of(tx, call.path["id"], param="id")
    subscription = subscription_of(tx, customer.id)
    plan, period = tx.find(Plan, subscription.plan), subscription.period
    at = call.present(tx, customer.id)
    if plan is None:
        return Listing([], False)
    found = [
        _of_tokens(group, period, customer=customer.id)
        for group in counters_of(tx, subscription, plan, period, at=at)
    ]
    meters = dict.fromkeys(entry.meter for entry in plan.allowances if not entry.is_of_tokens)
    found += [_of_units(tx, subscription, plan, meter, period, at=at) for meter in meters]
    return Listing([included_usage_object(entry, call.context) for entry in found], False)


ENDPOINTS = (get("/v1/token_billing/customers/{id}/included_usage", index, fresh=True, writes=True),)
