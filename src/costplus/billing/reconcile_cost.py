"""Compare what calls cost by our own figures with what providers say they cost, model by model, day by day.

Rule 1: every event is compared once; a model is judged as soon as enough of its requests have come together.
Rule 2: a zero or a negative figure says nothing: another account may have paid.
Rule 3: what differs is announced when it begins to differ, not again while it does.
Source: spec "prices", §6 (cost.reconciliation_mismatch).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import partial
from typing import ClassVar

from costplus.billing.notify import announce
from costplus.billing.store import ChargedEvent, Store, Tx
from costplus.catalog.exchange import MARK
from costplus.core.money import NANO, decimal_text, parse_exact
from costplus.core.records import Record

REQUESTS_MIN = 20
TOLERANCE = Fraction(1, 100)

EXPONENT_MAX = 24  # Figures beyond have no meaning, and only keep the arithmetic busy.
PAGE = 1000
CHECKED = "cost_check"
ModelName = tuple[str, str]  # Provider and model, as the events have them.


@dataclass(frozen=True, slots=True, kw_only=True)
class CostComparison:
    """Requests of one model: what they cost by our figures and by the provider's, both in nano-dollars."""

    requests: int = 0
    computed_nano: int = 0
    reported_nano: Fraction = Fraction(0)

    def plus(self, other: CostComparison) -> CostComparison:
        return CostComparison(
            requests=self.requests + other.requests,
            computed_nano=self.computed_nano + other.computed_nano,
            reported_nano=self.reported_nano + other.reported_nano,
        )

    @property
    def is_enough(self) -> bool:
        return self.requests >= REQUESTS_MIN

    @property
    def differs(self) -> bool:
        """Whether the two are more than the tolerance apart, measured by what the provider says."""
        return abs(self.computed_nano - self.reported_nano) > self.reported_nano * TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class CostCheck(Record):
    """How a model's cost compares; its id is `provider/model`. What was judged last, and what came since."""

    KIND: ClassVar[str] = "cost_check"

    provider: str
    model: str
    is_mismatched: bool = False
    judged_at: datetime | None = None
    judged_requests: int = 0
    judged_computed_nano: int = 0
    judged_reported_nano: str = "0"
    requests: int = 0
    computed_nano: int = 0
    reported_nano: str = "0"

    @property
    def open(self) -> CostComparison:
        """What came since it was judged last."""
        return CostComparison(
            requests=self.requests,
            computed_nano=self.computed_nano,
            reported_nano=parse_exact(self.reported_nano),
        )

    def having(self, further: CostComparison, *, at: datetime) -> CostCheck:
        """Return the record with further requests, judged where they are enough."""
        total = self.open.plus(further)
        reported = decimal_text(total.reported_nano)
        if not total.is_enough:
            return replace(
                self, requests=total.requests, computed_nano=total.computed_nano, reported_nano=reported
            )
        return replace(
            self,
            is_mismatched=total.differs,
            judged_at=at,
            judged_requests=total.requests,
            judged_computed_nano=total.computed_nano,
            judged_reported_nano=reported,
            requests=0,
            computed_nano=0,
            reported_nano="0",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsChecked(Record):
    """Until when all usage was compared; there is one, with the id `cost_check`."""

    KIND: ClassVar[str] = "costs_checked"

    until: datetime


def reported_nano(text: str) -> Fraction | None:
    """Return what a provider's words for a cost come to, None where they say nothing."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount <= 0 or abs(amount.adjusted()) > EXPONENT_MAX:
        return None
    return Fraction(amount) * NANO


def compared(charged: Iterable[ChargedEvent]) -> dict[ModelName, CostComparison]:
    """Return the comparison per model of the events that can be compared: priced in full, cost reported."""
    found: dict[ModelName, CostComparison] = {}
    for entry in charged:
        reported = reported_nano(entry.event.reported_cost)
        if reported is None or entry.charge.unpriced or _is_converted(entry):
            continue
        name = entry.event.provider, entry.event.model
        one = CostComparison(requests=1, computed_nano=entry.charge.cost_nano, reported_nano=reported)
        found[name] = found.get(name, CostComparison()).plus(one)
    return found


def _is_converted(entry: ChargedEvent) -> bool:
    """Return whether the event's cost is in another currency than what its provider reports."""
    return any(MARK in line.rate.conditions for line in entry.charge.lines)


async def check_costs(store: Store, *, at: datetime) -> Mapping[ModelName, CostComparison]:
    """Compare every whole day that has passed since this was done last; return what was found.

    The first time it is the day before; a page of one customer's events is one reading of the store.
    """
    until = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    last = await store.read(lambda tx: tx.find(CostsChecked, CHECKED))
    since = last.until if last else until - timedelta(days=1)
    if since >= until:
        return {}
    found: dict[ModelName, CostComparison] = {}
    for customer in await store.read(lambda tx: tx.users_since(since)):
        after = ""
        while True:
            verb = partial(_page, customer=customer, start=since, end=until, after=after)
            page = await store.read(verb)
            for name, comparison in compared(page).items():
                found[name] = found.get(name, CostComparison()).plus(comparison)
            if len(page) < PAGE:
                break
            after = page[-1].event.id
    await store.write(partial(_keep, found=found, last=last, until=until, at=at))
    return found


def _page(tx: Tx, *, customer: str, start: datetime, end: datetime, after: str) -> Sequence[ChargedEvent]:
    return tx.charged_between(customer, start, end, after=after, limit=PAGE)


def _keep(
    tx: Tx,
    *,
    found: Mapping[ModelName, CostComparison],
    last: CostsChecked | None,
    until: datetime,
    at: datetime,
) -> None:
    """Add what was found and judge; nothing where another process has done so meanwhile."""
    if tx.find(CostsChecked, CHECKED) != last:
        return
    tx.save(CostsChecked(id=CHECKED, created=last.created if last else at, until=until))
    for (provider, model), comparison in sorted(found.items()):
        id = f"{provider}/{model}"
        known = tx.find(CostCheck, id) or CostCheck(id=id, created=at, provider=provider, model=model)
        check = known.having(comparison, at=at)
        tx.save(check)
        if check.is_mismatched and not known.is_mismatched:
            announce(tx, "cost.reconciliation_mismatch", check, at=at)
