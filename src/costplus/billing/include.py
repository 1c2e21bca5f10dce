"""Apply what plans include to charges that are about to be settled: allowances, and cost tracking only.

Rule 1: it happens behind the customer's balance lock, so that no included unit is used twice.
Rule 2: usage takes from the period that is billed for it, allowances in the plan's order, and of one
allowance first what expires soonest. What was taken back in a batch is given back before anything is taken.
Rule 3: units are tokens here; those of other meters are free units of their items (`included_units`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.allowance import (
    MILLI,
    ROLLOVER_PERIODS_MAX,
    Allowance,
    Granted,
    PeriodTerms,
    terms_id,
)
from costplus.billing.customer import Customer
from costplus.billing.pinned import card_of
from costplus.billing.plan import Plan
from costplus.billing.shadow import is_on
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.core.period import Period
from costplus.metering.event import METER
from costplus.rating.charge import Charge, ChargeLine
from costplus.rating.item_charge import Metered
from costplus.rating.waive import INCLUDED_BY, included_title, shadowed, waived_rate, with_lines

_NAME_MIN = 101  # No meter's name is that long, so none can be mistaken for a counter of these.


def end_after(subscription: Subscription, period: Period, count: int) -> datetime:
    """Return when the period ends that comes `count` periods after this one."""
    if not count:
        return period.end
    cycle = subscription.cycle
    return cycle.period(cycle.ordinal_at(period.start) + count).end


def begin_period(
    tx: Tx, subscription: Subscription, plan: Plan, period: Period, *, at: datetime, keep: bool = True
) -> PeriodTerms | None:
    """Fix what a period includes and commits to under its plan; None where that is nothing.

    Done again it changes nothing; with another plan, that plan counts from now on (Rule 2 of `allowance`).
    Without `keep` it is only looked at.
    """
    known = tx.find(PeriodTerms, terms_id(subscription.id, period.start))
    if known is not None and known.plan == plan.id:
        return known
    if known is None and not plan.allowances and plan.minimum is None:
        return None
    made = PeriodTerms(
        id=terms_id(subscription.id, period.start),
        created=at,
        subscription=subscription.id,
        plan=plan.id,
        period=period,
        granted=tuple(
            _granted(tx, subscription, allowance, period, known=known.of(allowance.id) if known else None)
            for allowance in plan.allowances
        ),
        minimum=plan.minimum,
    )
    if keep:
        tx.save(made)
    return made


def _granted(
    tx: Tx, subscription: Subscription, allowance: Allowance, period: Period, *, known: Granted | None
) -> Granted:
    if known is not None:
        return replace(known, allowance=allowance, units=max(known.units, allowance.units))
    return Granted(
        allowance=allowance,
        units=allowance.units,
        expires_at=end_after(subscription, period, allowance.rollover.periods),
        rolled_in=0 if allowance.is_of_tokens else _rolled_in(tx, subscription, allowance, period),
    )


def _rolled_in(tx: Tx, subscription: Subscription, allowance: Allowance, period: Period) -> int:
    """Return the units of another meter's allowance that the period before leaves over."""
    before = _terms_before(tx, subscription, period)
    granted = before.of(allowance.id) if before else None
    if before is None or granted is None or before.period.end != period.start:
        return 0
    counted = max(tx.metered(subscription.customer, allowance.meter, before.period.start).units, 0)
    item = card_of(tx, subscription, subscription.pin_at(before.period.start)).items.get(allowance.meter)
    used = int(item.conversion.units(counted)) if item else counted
    unused = granted.units - max(used - granted.rolled_in, 0)
    return max(min(unused, granted.allowance.rollover.cap(granted.units)), 0)


def _terms_before(tx: Tx, subscription: Subscription, period: Period) -> PeriodTerms | None:
    earlier = (
        terms
        for terms in tx.page(PeriodTerms, parent=subscription.id, limit=ROLLOVER_PERIODS_MAX + 2)
        if terms.period.start < period.start
    )
    return max(earlier, key=lambda terms: terms.period.start, default=None)


def included_units(
    tx: Tx,
    subscription: Subscription,
    plan: Plan,
    meter: str,
    period: Period,
    *,
    at: datetime,
    keep: bool = True,
) -> int:
    """Return how many units of another meter than that of tokens a period has for nothing."""
    terms = begin_period(tx, subscription, plan, period, at=at, keep=keep)
    if terms is None or not any(granted.allowance.meter == meter for granted in terms.granted):
        return 0
    following = tx.find(PeriodTerms, terms_id(subscription.id, period.end))
    units = 0
    for granted in terms.granted:
        if granted.allowance.meter == meter:
            later = following.of(granted.allowance.id) if following else None
            units += granted.units + granted.rolled_in - (later.rolled_in if later else 0)
    return units


class Inclusions:
    """Applies the plans of one batch's customers; each plan is read once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._plans: dict[str, Plan | None] = {}
        self._is_any_period_fixed: bool | None = None

    def applied(
        self, customer: Customer, subscription: Subscription, charged: Sequence[ChargedEvent], *, at: datetime
    ) -> Sequence[ChargedEvent]:
        """Return one customer's new charges, in their order, with what is not asked for waived."""
        plan = self.plan(subscription.plan)
        switches = [found for found in (customer.shadow, plan.shadow if plan else ()) if found]
        if switches:
            charged = [
                replace(entry, charge=shadowed(entry.charge))
                if any(is_on(found, entry.event.at) for found in switches)
                else entry
                for entry in charged
            ]
        if plan is None or not self._may_include(plan):
            return charged
        self._tx.balance_for_update(customer.id)
        counting = _Counting(self._tx, subscription, plan, at=at)
        kept = list(charged)
        for index in sorted(range(len(kept)), key=lambda i: not _takes_back(kept[i].charge)):
            entry = kept[index]
            period = subscription.billed_in(entry.billed_at)
            kept[index] = replace(entry, charge=counting.covered(entry.charge, period))
        counting.write()
        return kept

    def _may_include(self, plan: Plan) -> bool:
        """Return whether the plan includes tokens, or some period has begun with terms that still hold."""
        if any(allowance.is_of_tokens for allowance in plan.allowances):
            return True
        if self._is_any_period_fixed is None:
            self._is_any_period_fixed = bool(self._tx.page(PeriodTerms, limit=1))
        return self._is_any_period_fixed

    def plan(self, id: str) -> Plan | None:
        """Return the plan, or None."""
        if id not in self._plans:
            self._plans[id] = self._tx.find(Plan, id)
        return self._plans[id]


def _takes_back(charge: Charge) -> bool:
    return any(line.quantity < 0 for line in charge.lines)


class Counter:
    """How many thousandths of a period's allowance were used, by the period itself and by later ones.

    Beside them stands what the usage would have been charged, in nanos.
    """

    def __init__(self, tx: Tx, subscription: Subscription, terms: PeriodTerms, granted: Granted) -> None:
        self._tx = tx
        self._customer = subscription.customer
        self._start = terms.period.start
        self._names = [
            f"included/{subscription.id}/{granted.allowance.id}/{whose}".ljust(_NAME_MIN, ".")
            for whose in ("own", "later")
        ]
        found = [tx.metered(self._customer, name, self._start) for name in self._names]
        self._taken = [entry.units for entry in found]
        self._added = [0, 0]
        self.terms, self.granted = terms, granted

    def used_milli(self, period: Period) -> int:
        """Return what the usage of a period took: its own, or a later one's."""
        return self._taken[self._whose(period)]

    def room_milli(self, period: Period) -> int:
        """Return what usage that is billed in `period` may still take."""
        own, later = self._taken
        units = self.granted.units * MILLI
        left = max(units - own - later, 0)
        if not self._whose(period):
            return left
        goes_on = min(units - own, self.granted.allowance.rollover.cap(units, scale=MILLI))
        return min(left, max(goes_on - later, 0))

    def add(self, period: Period, milli: int) -> None:
        """Count what usage of a period took, or gave back where that is below zero."""
        whose = self._whose(period)
        self._taken[whose] += milli
        self._added[whose] += milli

    def write(self) -> None:
        """Keep what was counted."""
        for name, added in zip(self._names, self._added, strict=True):
            if added:
                self._tx.add_metered(self._customer, name, self._start, Metered(added, 0))
        self._added = [0, 0]

    def _whose(self, period: Period) -> int:
        return int(period.start > self.terms.period.start)


def counters_of(
    tx: Tx, subscription: Subscription, plan: Plan, period: Period, *, at: datetime
) -> list[list[Counter]]:
    """Return for each allowance of tokens what usage of the period may take from, soonest expiry first."""
    terms = begin_period(tx, subscription, plan, period, at=at)
    if terms is None or not terms.granted:
        return []
    known = tx.page(PeriodTerms, parent=subscription.id, limit=ROLLOVER_PERIODS_MAX + 2)
    earlier = sorted(
        (entry for entry in known if entry.period.start < period.start), key=lambda entry: entry.period.start
    )
    found: list[list[Counter]] = []
    for granted in terms.granted:
        if granted.allowance.is_of_tokens:
            usable = [
                (entry, old)
                for entry in earlier
                if (old := entry.of(granted.allowance.id)) and period.start < old.expires_at
            ]
            pairs = [*usable, (terms, granted)]
            pairs.sort(key=lambda pair: (pair[1].expires_at, pair[0].period.start))
            found.append([Counter(tx, subscription, entry, each) for entry, each in pairs])
    return found


class _Counting:
    """What one customer's plan includes, as one batch uses it up."""

    def __init__(self, tx: Tx, subscription: Subscription, plan: Plan, *, at: datetime) -> None:
        self._tx = tx
        self._subscription = subscription
        self._plan = plan
        self._at = at
        self._periods: dict[datetime, list[list[Counter]]] = {}
        self._known: dict[tuple[datetime, str], Counter] = {}

    def covered(self, charge: Charge, period: Period) -> Charge:
        """Return the charge with what the period includes waived."""
        counters = self._counters(period)
        lines = [part for line in charge.lines for part in self._parts(line, period, counters)]
        return (
            charge
            if len(lines) == len(charge.lines) and tuple(lines) == charge.lines
            else with_lines(charge, lines)
        )

    def write(self) -> None:
        """Keep what was counted."""
        for counter in self._known.values():
            counter.write()

    def _counters(self, period: Period) -> list[list[Counter]]:
        if period.start not in self._periods:
            found = counters_of(self._tx, self._subscription, self._plan, period, at=self._at)
            self._periods[period.start] = [[self._once(counter) for counter in group] for group in found]
        return self._periods[period.start]

    def _once(self, counter: Counter) -> Counter:
        """Return the counter that the batch has of the same units already, or this one."""
        key = (counter.terms.period.start, counter.granted.allowance.id)
        return self._known.setdefault(key, counter)

    def _parts(
        self, line: ChargeLine, period: Period, counters: Sequence[Sequence[Counter]]
    ) -> Iterator[ChargeLine]:
        rate, rest = line.rate, line.quantity
        if rate.waived and rest < 0:
            self._give_back(line, period, counters)
        is_own = rate.adjustment.kind == "own_key"  # The plan includes what it sells.
        if rate.waived or rest <= 0 or rate.provider == METER or not rate.unit_price or is_own:
            yield line
            return
        for group in counters:
            allowance = group[-1].granted.allowance
            if rest and allowance.covers(rate):
                taken = _take(group, period, rest, weight_milli=allowance.weight_milli(rate.leaf))
                if taken:
                    title = included_title(allowance.name)
                    given = waived_rate(rate, reason=INCLUDED_BY + allowance.id, title=title)
                    yield ChargeLine(taken, given)
                    rest -= taken
        if rest:
            yield ChargeLine(rest, rate)

    def _give_back(self, line: ChargeLine, period: Period, counters: Sequence[Sequence[Counter]]) -> None:
        """Return units to where the period may have taken them from, the last in order first."""
        for group in counters:
            allowance = group[-1].granted.allowance
            if line.rate.waived == INCLUDED_BY + allowance.id:
                milli = -line.quantity * allowance.weight_milli(line.rate.leaf)
                for counter in reversed(group):
                    part = min(milli, counter.used_milli(period))
                    counter.add(period, -part)
                    milli -= part


def _take(group: Sequence[Counter], period: Period, quantity: int, *, weight_milli: int) -> int:
    """Take up to `quantity` units from the counters in turn; return how many there were."""
    taken = 0
    for counter in group:
        part = min(quantity - taken, counter.room_milli(period) // weight_milli)
        if part:
            counter.add(period, part * weight_milli)
            taken += part
    return taken
