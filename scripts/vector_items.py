"""Runs cases of metered items through reports, late usage, corrections and the invoice of their period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from vector_case import Figures, Given, NotRun, Runner, fraction, whole
from vector_shop import CUSTOMER, DAY, HOUR, TICK, Shop, shop_of, units

from costplus.billing.report import report
from costplus.billing.store import Tx
from costplus.billing.subscription import Pin
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import Snapshot
from costplus.core.ids import new_id
from costplus.core.money import decimal_text
from costplus.core.usage import Usage, usage_of
from costplus.metering.aggregate import Reading, aggregate
from costplus.metering.event import METER, UsageEvent, usage_event
from costplus.metering.meter import Meter
from costplus.rating.item import CardItem, ItemTier
from costplus.rating.pricing import Pricing

CALLS = "api_calls"
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
FORMULAS = ("count", "sum", "avg", "min", "max", "unique", "last")
NO_MODELS = Catalogue(Snapshot(schema=1, taken_on=LONG_AGO.date(), currency="usd", sources={}, providers={}))


def decimal(exact: Fraction) -> Decimal:
    return Decimal(decimal_text(exact))


class ItemShop:
    """A shop whose card sells one item, and the reports of its use."""

    def __init__(self, shop: Shop, kind: str, **fields: Any) -> None:
        item = CardItem(event_name=CALLS, display_name="Calls", kind=kind, **fields)  # type: ignore[arg-type]  # A kind.
        item.check()
        self.shop = shop
        self._pricing = Pricing(NO_MODELS)
        version = replace(
            shop.account.version,
            id=new_id("rcv", at=shop.at),
            created=shop.at,
            priced_as_of=None,
            models_as_of=None,
            items={CALLS: item},
        )
        subscription = shop.subscription().moved(Pin(shop.at, version.id))
        shop.write(lambda tx: tx.save(version))
        shop.write(lambda tx: tx.save(subscription))

    def event(self, count: int, *, at: datetime | None = None) -> UsageEvent:
        event = usage_event(
            customer=CUSTOMER,
            at=at or self.shop.at,
            key=self.shop.number("report"),
            usage=usage_of({"unit": abs(count)}),
            source="meter_events_v2",
            provider=METER,
            model=CALLS,
            meter=CALLS,
        )
        return event if count >= 0 else replace(event, usage=Usage({"unit": count}))

    def use(self, count: int, *, at: datetime | None = None) -> None:
        """Report so many units; below zero takes them back."""
        event = self.event(count, at=at)
        self.shop.write(lambda tx: report(tx, self._pricing, [event], at=self.shop.at))

    def charged(self) -> Fraction:
        """Return what was charged since the start."""
        start = self.shop.period().start

        def verb(tx: Tx) -> int:
            return tx.usage_totals(CUSTOMER, start, start + 400 * DAY)[1]

        return units(self.shop.write(verb))

    def billed(self, *, early: int, late: int = 0) -> Fraction:
        """Return what is invoiced in all for usage within a period and usage that came in its grace."""
        if early:
            self.use(early)
        end = self.shop.period().end
        self.shop.close(end)
        if late:
            self.use(late, at=end - TICK)
        self.shop.close(end + HOUR)
        self.shop.check()
        return Fraction(self.shop.invoices()[0].total_minor, 100)


def tiers_of(given: Given) -> tuple[ItemTier, ...]:
    rows = given.rows("tiers", "up_to", "unit", "flat")
    if rows and rows[-1].get("up_to") is not None:
        raise NotRun("the last tier has an end, and what units beyond it cost is not stated")
    return tuple(
        ItemTier(
            up_to=None if row["up_to"] is None else whole(row["up_to"]),
            unit_amount=decimal(fraction(row.get("unit", 0))),
            flat_amount=decimal(fraction(row.get("flat", 0))),
        )
        for row in rows
    )


def _difference(given: Given, kind: str, **fields: Any) -> Figures:
    """Return what late usage adds to its period's invoice."""
    before, now = given.count("already_billed_qty"), given.count("now_qty")
    both = ItemShop(shop_of(given), kind, **fields).billed(early=before, late=now - before)
    alone = ItemShop(shop_of(given), kind, **fields).billed(early=before)
    return {"amount": both - alone}


def late_per_unit(given: Given) -> Figures:
    return _difference(given, "per_unit", unit_amount=decimal(given.number("unit")))


def late_volume(given: Given) -> Figures:
    return _difference(given, "volume", tiers=tiers_of(given))


def late_graduated(given: Given) -> Figures:
    return _difference(given, "graduated", tiers=tiers_of(given))


def delta_billing(given: Given) -> Figures:
    """Some blocks are billed before; usage that comes late raises the total to what it is in all."""
    block, price, already = given.count("block"), given.number("price"), given.count("already_billed")
    total = (
        sum(whole(part) for part in given.take("usage_parts", kind=list))
        if given.has("usage_parts")
        else given.count("usage_total")
    )
    shop = ItemShop(shop_of(given), "package", package_size=block, package_amount=decimal(price))
    early = min(block * already, total)
    return {"amount": shop.billed(early=early, late=total - early) - already * price}


def capped_per_unit(given: Given) -> Figures:
    """Return a price per unit with a maximum, in cents, as its period's invoice asks for it."""
    if given.take("round", "half_up_to_cent") != "half_up_to_cent":
        raise NotRun("a rounding that is not understood")
    cap = given.optional("cap_cents")
    shop = ItemShop(
        shop_of(given),
        "per_unit",
        unit_amount=decimal(given.number("unit_cents") / 100),
        maximum_amount=None if cap is None else decimal(cap / 100),
    )
    return {"amount": shop.billed(early=given.count("qty")) * 100}


def commitment(given: Given) -> Figures:
    """Return what a line costs after those before it, under the item's minimum and maximum."""
    kind = _kind_of(given)
    word = given.take("line", "single", kind=str)
    if kind == "volume" or word == "last_split":
        before, count = given.count("pre_line_qty", 0), given.count("line_qty" if word != "single" else "qty")
        given.take("billed_before", None)
        shop = ItemShop(shop_of(given), kind, **_price(given), **_limits(given))
        if before:
            shop.use(before)
        was = shop.charged()
        return {"amount": shop.billed(early=count) - was}
    if given.has("gross"):  # Units of what a cap is put on, at 1 each.
        cap = decimal(given.number("tier_cap"))
        capped = ItemShop(shop_of(given), "per_unit", unit_amount=Decimal(1), maximum_amount=cap)
        capped.use(given.count("gross"))
        return {"amount": capped.charged()}
    before = given.count("pre_line_metered" if given.has("pre_line_metered") else "pre_line_qty", 0)
    stated = next((name for name in ("line_metered", "line_qty") if given.has(name)), "qty")
    given.take("billed_before", None)
    net, gross = (
        _line(
            ItemShop(shop_of(given), kind, **_price(given), **limits),
            before=before,
            count=given.count(stated),
        )
        for limits in (_limits(given), {})
    )
    figures = {"line": gross, "gross": gross, "discount": gross - net, "net": net}
    if any((exact * 100).denominator != 1 for exact in figures.values()) and given.follows("line_half_up"):
        figures = {
            name: Fraction((exact * 100 + Fraction(1, 2)) // 1, 100) for name, exact in figures.items()
        }
    return {**figures, "amount": figures["net"]}


def _kind_of(given: Given) -> str:
    if given.has("package_size"):
        return "package"
    if given.has("multiplier") or given.has("gross"):
        return "per_unit"
    return "volume" if given.model == "volume" else "graduated"


def _price(given: Given) -> dict[str, Any]:
    if given.has("package_size"):
        return {
            "package_size": given.count("package_size"),
            "package_amount": decimal(given.number("package_amount")),
        }
    if given.has("multiplier"):  # What is metered is money, sold at the multiplier.
        return {"unit_amount": decimal(given.number("multiplier"))}
    return {"tiers": tiers_of(given)}


def _limits(given: Given) -> dict[str, Decimal]:
    stated = {name: given.optional(name) for name in ("minimum", "maximum")}
    return {f"{name}_amount": decimal(exact) for name, exact in stated.items() if exact is not None}


def _line(shop: ItemShop, *, before: int, count: int) -> Fraction:
    """Return what a line's units add to what the units before it were charged."""
    if before:
        shop.use(before)
    was = shop.charged()
    if count:
        shop.use(count)
    shop.shop.check()
    return shop.charged() - was


def corrections(given: Given) -> Figures:
    """Units that are taken back give back what they were charged; none goes below nothing."""
    count = given.take("qty", kind=int)
    if count > 0:
        raise NotRun("a correction that takes nothing back")
    shop = ItemShop(shop_of(given), "graduated", tiers=tiers_of(given))
    if given.take("allow_negative", kind=bool):
        shop.use(-count)
    was = shop.charged()
    shop.use(count)
    shop.shop.check()
    return {"amount": shop.charged() - was}


def aggregation(given: Given) -> Figures:
    """Return what a meter counts: sold at 1 a unit, it is what is charged."""
    formula, values = given.take("fn"), [whole(value) for value in given.take("values", kind=list)]
    if formula not in FORMULAS:
        raise NotRun(f"a formula called '{formula}' is not understood")
    shop = ItemShop(shop_of(given), "per_unit", unit_amount=Decimal(1))
    at = shop.shop.at
    meter = Meter(id="mtr_1", created=at, updated=at, display_name="", event_name=CALLS, formula=formula)
    shop.shop.write(lambda tx: tx.save(meter))
    for value in values:
        shop.use(1 if formula == "count" else value)
    exact = aggregate(formula, [Reading(LONG_AGO, value) for value in values])
    # A meter bills whole units, a half rounded up; its summary shows the exact figure.
    assert shop.charged() == (exact + Fraction(1, 2)) // 1
    shop.shop.check()
    return {"amount": exact}


RUNNERS: Mapping[tuple[str, str], Runner] = {
    ("late_events", "per_unit"): late_per_unit,
    ("late_events", "volume"): late_volume,
    ("late_events", "graduated"): late_graduated,
    ("late_events", "delta_billing"): delta_billing,
    ("limits", "per_unit"): capped_per_unit,
    ("corrections", "graduated"): corrections,
    **{("commitment", model): commitment for model in ("dynamic_markup", "package", "graduated", "volume")},
    ("metering", "aggregation"): aggregation,
}
