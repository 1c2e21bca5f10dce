"""`/v1/token_billing/custom_pricing_units`: "credits" of the seller's own, worth so much money at a time."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.pricing_unit import DISPLAY_NAME_MAX, NoSuchPricingUnit, PricingUnit
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.core.money import InvalidAmount
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.params import Params


def unit_of(tx: Tx, id: str, *, param: str = "id") -> PricingUnit:
    """Return the unit, or raise `NoSuchPricingUnit`."""
    unit = tx.find(PricingUnit, id)
    if unit is None:
        raise NoSuchPricingUnit(f"No such custom pricing unit: '{id}'", param=param)
    return unit


def _with_rates(unit: PricingUnit, call: Call) -> PricingUnit:
    for entry in call.params.each("rates"):
        unit = _with_rate(unit, entry, call)
    return unit


def _with_rate(unit: PricingUnit, entry: Params, call: Call) -> PricingUnit:
    rate = entry.decimal("rate")
    if rate is None:
        raise entry.missing("rate")
    if rate <= 0:
        raise InvalidAmount(f"A unit cannot be worth {rate}.", param=entry.name_of("rate"))
    currency = entry.required_text("currency", longest=3).lower()
    return unit.with_rate(currency, rate, since=entry.time("effective_at") or call.at)


def create(tx: Tx, call: Call) -> PricingUnit:
    """Create a unit; without `effective_at` its rates hold from now on."""
    unit = PricingUnit(
        id=new_id("cpu", at=call.at),
        created=call.at,
        display_name=call.params.required_text("display_name", longest=DISPLAY_NAME_MAX),
        metadata=call.params.metadata(),
    )
    unit = _with_rates(unit, call)
    tx.save(unit)
    return unit


def retrieve(tx: Tx, call: Call) -> PricingUnit:
    """Return a unit with its rates."""
    return unit_of(tx, call.path["id"])


def update(tx: Tx, call: Call) -> PricingUnit:
    """Add rates, rename a unit, or stop giving it; what was given keeps its worth."""
    unit = unit_of(tx, call.path["id"])
    params = call.params
    name, active = params.text("display_name", longest=DISPLAY_NAME_MAX), params.flag("active")
    unit = replace(
        unit,
        display_name=name or unit.display_name,
        active=unit.active if active is None else active,
        metadata=params.metadata(unit.metadata),
    )
    unit = _with_rates(unit, call)
    tx.save(unit)
    return unit


def index(tx: Tx, call: Call) -> Listing:
    """List units, newest first."""
    return records(tx, call, PricingUnit)


ENDPOINTS = (
    post("/v1/token_billing/custom_pricing_units", create),
    get("/v1/token_billing/custom_pricing_units", index),
    get("/v1/token_billing/custom_pricing_units/{id}", retrieve),
    post("/v1/token_billing/custom_pricing_units/{id}", update),
)
