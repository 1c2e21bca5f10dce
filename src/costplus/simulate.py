"""`costplus simulate`: past usage under other terms, from the installation's own database, without a limit.

Rule 1: it only reads, so it may run beside a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from costplus.billing.clock import customer_of
from costplus.billing.offer import account_currency, card_named
from costplus.billing.store import Tx
from costplus.billing.whatif import Progress, Window
from costplus.billing.whatif import simulate as simulated
from costplus.bootstrap import real_now
from costplus.catalog.load import catalogue_of
from costplus.config import OptionInvalid, Settings
from costplus.core.money import nano_text, parse_decimal
from costplus.database import open_existing
from costplus.rating.comparison import Comparison, Simulation, percent_text
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import Adjustment, RateCardVersion, adjustment
from costplus.rating.scenario import Scenario, scenario_of
from costplus.web.params import day_or_instant

DAYS_DEFAULT = timedelta(days=30)
ROWS_MAX = 50  # Of one table for people; programs get all.
HEADINGS = ("events", "revenue", "→", "cost", "→", "margin %", "→")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The command's options as they were written; empty where they were left out."""

    start: str = ""
    end: str = ""
    customer: str = ""
    markup: str = ""
    margin: str = ""
    model_markups: Sequence[str] = ()
    card: str = ""
    prices: Sequence[str] = ()
    factors: Sequence[str] = ()
    pass_on: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The simulation and the currency of its amounts."""

    made: Simulation
    currency: str


async def run(settings: Settings, wanted: Wanted, *, progress: Progress | None = None) -> Outcome:
    """Return what the options suppose. Raises `BillingError` for what cannot be."""
    window = _window(wanted)
    store = await open_existing(settings)

    def look(tx: Tx) -> tuple[Pricing, RateCardVersion | None, str]:
        if window.customer:
            customer_of(tx, window.customer)
        card = card_named(tx, wanted.card) if wanted.card else None
        return Pricing(catalogue_of(tx)), card, account_currency(tx)

    try:
        pricing, card, currency = await store.read(look)
        scenario = _scenario(wanted, pricing, card, at=window.end)
        return Outcome(await simulated(store, pricing, scenario, window, progress=progress), currency)
    finally:
        await store.close()


def _window(wanted: Wanted) -> Window:
    end = day_or_instant(wanted.end, param="--end") if wanted.end else real_now()
    start = day_or_instant(wanted.start, param="--start") if wanted.start else end - DAYS_DEFAULT
    if start >= end:
        raise OptionInvalid("The window ends before it starts.", param="--start")
    return Window(start=start, end=end, customer=wanted.customer)


def _scenario(wanted: Wanted, pricing: Pricing, card: RateCardVersion | None, *, at: datetime) -> Scenario:
    prices: dict[str, dict[str, Decimal]] = {}
    for target, amount in _pairs(wanted.prices, option="--price"):
        name, colon, leaf = target.rpartition(":")
        if not colon or not name:
            raise OptionInvalid(f"--price {target}={amount} names no token type.", param="--price")
        prices.setdefault(name, {})[leaf] = amount
    return scenario_of(
        pricing.catalogue,
        at=at,
        card=card,
        default=_default(wanted),
        overrides={
            name: adjustment("markup", percent)
            for name, percent in _pairs(wanted.model_markups, option="--model-markup")
        },
        prices=prices,
        factors=dict(_pairs(wanted.factors, option="--price-factor")),
        pass_on=wanted.pass_on,
    )


def _default(wanted: Wanted) -> Adjustment | None:
    if wanted.markup and wanted.margin:
        raise OptionInvalid("--markup and --margin exclude each other.", param="--margin")
    if wanted.margin:
        return adjustment("margin", parse_decimal(wanted.margin, param="--margin"))
    return adjustment("markup", parse_decimal(wanted.markup, param="--markup")) if wanted.markup else None


def _pairs(texts: Iterable[str], *, option: str) -> list[tuple[str, Decimal]]:
    """Return what `name=number` options say."""
    found = []
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or not name:
            raise OptionInvalid(f"{option} {text} is not written as NAME=NUMBER.", param=option)
        found.append((name, parse_decimal(number, param=option)))
    return found


def report_text(outcome: Outcome) -> str:
    """Return the simulation as tables for people."""
    made, total = outcome.made, outcome.made.total
    window = f"{made.start:%Y-%m-%d %H:%M} to {made.end:%Y-%m-%d %H:%M} UTC"
    parts = [
        f"{window}, amounts in {outcome.currency.upper()}; first as charged, then (→) as supposed.",
        _table("model", made.by_model, total),
        _table("customer", made.by_customer, total),
    ]
    if total.now.unpriced or total.then.unpriced:
        parts.append(
            f"Events without a price: {total.now.unpriced} → {total.then.unpriced} "
            f"({total.newly_priced} would have one)."
        )
    parts += [f"Not rated: {count} events ({reason})." for reason, count in made.skipped.items()]
    return "\n\n".join(parts)


def _table(named: str, sums: Mapping[str, Comparison], total: Comparison) -> str:
    shown = list(sums.items())[:ROWS_MAX]
    rows = [(named, *HEADINGS), *(_row(name, part) for name, part in shown), _row("total", total)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    left_out = len(sums) - len(shown)
    return "\n".join([*lines, *([f"… and {left_out} more; --json has them all."] if left_out else [])])


def _row(name: str, part: Comparison) -> tuple[str, ...]:
    now, then = part.now, part.then
    return (
        name,
        str(part.events),
        nano_text(now.revenue_nano),
        nano_text(then.revenue_nano),
        nano_text(now.cost_nano),
        nano_text(then.cost_nano),
        percent_text(now.margin_percent) or "-",
        percent_text(then.margin_percent) or "-",
    )
