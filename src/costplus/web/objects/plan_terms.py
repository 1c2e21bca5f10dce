"""What plans include and commit to, and how much of it is left: our own shapes, in Stripe's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from costplus.billing.allowance import Allowance, Rollover
from costplus.billing.plan import Plan
from costplus.billing.shadow import Switch
from costplus.core.money import decimal_text
from costplus.core.period import Period
from costplus.metering.event import TOKEN_METER
from costplus.web.objects.wire import JsonObject, Surroundings, unix


def rollover_object(rollover: Rollover, *, of_credit: bool) -> JsonObject | None:
    """Return a rollover, None where nothing rolls over."""
    if not rollover.periods:
        return None
    percent = rollover.most_percent
    shown: JsonObject = {
        "most": rollover.most,
        "most_percent": None if percent is None else decimal_text(percent),
        "periods": rollover.periods,
    }
    if of_credit:
        shown |= {"least": rollover.least, "pays_overage": rollover.pays_overage}
    return shown


def allowance_object(allowance: Allowance) -> JsonObject:
    """Return an allowance; empty lists of models and token types stand for all."""
    return {
        "id": allowance.id,
        "event_name": allowance.meter,
        "models": list(allowance.models),
        "name": allowance.name,
        "rollover": rollover_object(allowance.rollover, of_credit=False),
        "token_types": list(allowance.token_types),
        "units": allowance.units,
        "weights": {leaf: decimal_text(weight) for leaf, weight in sorted(allowance.weights.items())},
    }


def switch_objects(switches: Sequence[Switch]) -> list[JsonObject]:
    """Return since when usage is only tracked, or asked for again."""
    return [{"on": switch.on, "since": unix(switch.since)} for switch in switches]


def plan_terms_objects(plan: Plan) -> JsonObject:
    """Return what a plan's object says about what it includes and commits to."""
    minimum = plan.minimum
    return {
        "allowances": [allowance_object(allowance) for allowance in plan.allowances],
        "cost_tracking_only": switch_objects(plan.shadow),
        "credit_grant_category": plan.credit_terms.category,
        "credit_grant_priority": plan.credit_terms.priority,
        "credit_rollover": rollover_object(plan.credit_terms.rollover, of_credit=True),
        "minimum_spend": None
        if minimum is None
        else {"amount": minimum.amount_minor, "periods": minimum.periods},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludedPart:
    """What usage of the running period may still take from one period's units."""

    granted_in: datetime
    expires_at: datetime
    used: str
    remaining: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncludedUsage:
    """An allowance as a customer has it in its running period, soonest expiry first."""

    customer: str
    period: Period
    allowance: Allowance
    parts: tuple[IncludedPart, ...]
    remaining: str


def included_usage_object(included: IncludedUsage, surroundings: Surroundings) -> JsonObject:
    """Return what is left of an allowance; units are exact decimal text where types weigh differently."""
    return {
        "object": "token_billing.included_usage",
        "allowance": allowance_object(included.allowance),
        "customer": included.customer,
        "livemode": surroundings.livemode,
        "parts": [
            {
                "expires_at": unix(part.expires_at),
                "granted_in": unix(part.granted_in),
                "remaining": part.remaining,
                "used": part.used,
            }
            for part in included.parts
        ],
        "period": {"end": unix(included.period.end), "start": unix(included.period.start)},
        "remaining": included.remaining,
        "unit": "token" if included.allowance.meter == TOKEN_METER else "unit",
    }
