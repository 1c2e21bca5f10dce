"""The charges that make an invoice line: any amount can be followed down to its events.

Rule 1: a usage line asks for one unit rate; its charges are those billed in the invoice's time that have
units at that rate. Their units make the line's. What came late is on the line that names its period.
Rule 2: they come in order of time; those of before the invoice's time (a true-up of then, usage from before a
subscription began) come last, and are looked for only where the others do not make the whole line.
Rule 3: fees, items and what is written off have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.billing.late_usage import LateUsage, late_in
from costplus.billing.store import ChargedEvent, Tx
from costplus.core.errors import NotFound
from costplus.core.ids import from_milliseconds
from costplus.core.money import NANO, parse_exact
from costplus.core.period import Period
from costplus.rating.charge import Step, explain
from costplus.rating.item_charge import LIMITS

PAGE = 1000
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class NoSuchLine(NotFound):
    """The invoice has no such line, or nothing tells which charges made it."""

    code = "resource_missing"


@dataclass(frozen=True, slots=True)
class LineCharge:
    """One charge's part of a line: so many units at the line's rate, and how its price came about."""

    charged: ChargedEvent
    quantity: int
    steps: tuple[Step, ...]

    @property
    def id(self) -> str:
        return self.charged.event.id


def line_of(invoice: Invoice, id: str) -> InvoiceLine:
    """Return the invoice's line, or raise `NoSuchLine`."""
    for line in invoice.lines:
        if line.id == id:
            return line
    raise NoSuchLine(f"Invoice {invoice.id} has no line '{id}'.", param="line")


def charges_of_line(
    tx: Tx, invoice: Invoice, line: InvoiceLine, *, limit: int, after: str | None = None
) -> Sequence[LineCharge]:
    """Return up to `limit` charges of the line behind the one of event `after`."""
    if line.kind != "usage":
        return []
    if not line.rate:
        raise NoSuchLine(f"Line {line.id} was made before lines kept their rate.", param="line")
    made = _Made(tx, invoice, line)
    found: list[LineCharge] = []
    for entry in made.behind(after):
        found.append(entry)
        if len(found) == limit:
            break
    return found


class _Made:
    """What a line was made of."""

    def __init__(self, tx: Tx, invoice: Invoice, line: InvoiceLine) -> None:
        self._tx = tx
        self._customer = invoice.customer
        self._line = line
        self._window = invoice.usage_period
        self._late = late_in(tx, invoice.customer, self._window.start)

    def behind(self, after: str | None) -> Iterator[LineCharge]:
        """Yield the line's charges behind an event, in their order."""
        if self._line.is_late:
            yield from self._within(self._line.period, after or "")
            return
        before = Period(_FIRST, self._window.start)
        cursor = self._tx.charge_of(self._customer, after) if after else None
        if after and cursor is None:
            raise NoSuchLine(f"No such usage event: '{after}'", param="starting_after")
        if cursor is not None and cursor.event.at < self._window.start:
            yield from self._within(before, after or "")
            return
        yield from self._within(self._window, after or "")
        if sum(entry.quantity for entry in self._within(self._window, "")) != _units(self._line):
            yield from self._within(before, "")

    def _within(self, stretch: Period, after: str) -> Iterator[LineCharge]:
        """Yield the line's charges of events within a stretch of time."""
        while True:
            page = self._tx.charged_between(
                self._customer, stretch.start, stretch.end, after=after, limit=PAGE
            )
            for entry in page:
                if entry.billed_at in self._window and self._is_late(entry) == self._line.is_late:
                    yield from self._part(entry)
            if len(page) < PAGE:
                return
            after = page[-1].event.id

    def _part(self, entry: ChargedEvent) -> Iterator[LineCharge]:
        pairs = zip(entry.charge.lines, explain(entry.charge).steps, strict=True)
        steps = tuple(step for line, step in pairs if line.rate.id == self._line.rate)
        if steps:
            yield LineCharge(entry, sum(step.quantity for step in steps), steps)

    def _is_late(self, entry: ChargedEvent) -> bool:
        """Return whether the charge counts as late usage: the other rule of `late_usage.keep_late`."""
        at = entry.event.at
        if self._late is None or entry.event.source == "true_up" or at >= entry.billed_at:
            return False
        return any(at in period for period in _periods(self._late))


def _periods(late: LateUsage) -> Iterator[Period]:
    for start, end in late.ends.items():
        yield Period(from_milliseconds(start), from_milliseconds(end))


def _units(line: InvoiceLine) -> int:
    """Return the units of a line's charges: those of a limit are nanos."""
    if line.leaf not in LIMITS:
        return line.quantity
    return int(parse_exact(line.unit_price) * NANO)
