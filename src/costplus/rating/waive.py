"""Waive charges: usage that a plan includes or that is only tracked is not asked for, whatever it costs.

Rule 1: a waived rate is a rate of its own: same cost, price 0, what it sells for otherwise (`list_price`) and
why it is not asked for (`waived`). So included and priced units stand on lines of their own.
Rule 2: what remains to be paid is rounded up once, as every charge.
Rule 3: rated again, an event keeps as many units waived as it had: they were given, whatever a price says.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Final

from costplus.core.money import decimal_text, for_ledger
from costplus.rating.charge import Charge, ChargeLine
from costplus.rating.sheet import UnitRate

SHADOW: Final = "shadow"
INCLUDED_BY: Final = "included/"  # Followed by the allowance's id.
SHADOW_TITLE = "cost tracking only"
ATTEMPT: Final = "failed_attempt"
ATTEMPT_TITLE = "failed attempt"
ZERO = Fraction(0)


def included_title(name: str) -> str:
    """Return what an invoice calls units that an allowance covers."""
    return f"included in plan: {name}" if name else "included in plan"


@lru_cache(maxsize=20_000)  # Every waived line is made with one, and there are few of them.
def waived_rate(rate: UnitRate, *, reason: str, title: str) -> UnitRate:
    """Return the rate of the same units where they are not asked for."""
    assert not rate.waived and rate.unit_price >= 0
    named = "\x00".join((rate.id, reason, title, decimal_text(rate.unit_price)))
    return replace(
        rate,
        id="ur_" + hashlib.sha256(named.encode()).hexdigest()[:24],
        unit_price=ZERO,
        conditions=", ".join(text for text in (rate.conditions, title) if text),
        waived=reason,
        list_price=rate.unit_price,
    )


def with_lines(charge: Charge, lines: Iterable[ChargeLine]) -> Charge:
    """Return the charge of the same usage with other lines: its cost stays, what remains is rounded once."""
    kept = tuple(lines)
    due = sum((line.quantity * line.rate.unit_price for line in kept if line.rate.unit_price), ZERO)
    return replace(charge, price_nano=for_ledger(due), lines=kept)


def shadowed(charge: Charge) -> Charge:
    """Return the charge with nothing to pay, all of it kept in view."""
    return _waived(charge, reason=SHADOW, title=SHADOW_TITLE)


def unasked(charge: Charge) -> Charge:
    """Return the charge of an attempt that gave no answer: it cost something, and is not asked for."""
    return _waived(charge, reason=ATTEMPT, title=ATTEMPT_TITLE)


def _waived(charge: Charge, *, reason: str, title: str) -> Charge:
    if not any(line.rate.unit_price for line in charge.lines):
        return charge
    return with_lines(
        charge,
        (
            ChargeLine(line.quantity, waived_rate(line.rate, reason=reason, title=title))
            if line.rate.unit_price
            else line
            for line in charge.lines
        ),
    )


def is_tracked(charge: Charge) -> bool:
    """Return whether the charge's usage is only tracked."""
    return any(line.rate.waived == SHADOW for line in charge.lines)


def list_nano(charge: Charge) -> int:
    """Return what the charge would be if nothing of it were waived."""
    exact = sum((line.quantity * list_price(line.rate) for line in charge.lines), ZERO)
    return for_ledger(exact) if exact >= 0 else -for_ledger(-exact)


def list_price(rate: UnitRate) -> Fraction:
    """Return what one unit sells for, be it asked for or not."""
    return rate.unit_price if rate.list_price is None else rate.list_price


def waived_like(again: Charge, original: Charge) -> Charge:
    """Return a new rating of an event with as many units waived, for the same reasons, as it had."""
    reasons: dict[tuple[str, str, str], list[tuple[UnitRate, int]]] = defaultdict(list)
    for line in original.lines:
        if line.rate.waived:
            rate = line.rate
            reasons[rate.provider, rate.model, rate.leaf].append((rate, line.quantity))
    if not reasons:
        return again
    return with_lines(again, (part for line in again.lines for part in _split(line, reasons)))


def _split(
    line: ChargeLine, reasons: dict[tuple[str, str, str], list[tuple[UnitRate, int]]]
) -> Iterator[ChargeLine]:
    """Yield the parts of a line that are waived, and what is left of it."""
    rest = line.quantity
    if line.rate.waived or rest <= 0:
        yield line
        return
    for was, quantity in reasons.pop((line.rate.provider, line.rate.model, line.rate.leaf), ()):
        part = min(rest, quantity)
        if part > 0:
            title = was.conditions.rpartition(", ")[2]
            yield ChargeLine(part, waived_rate(line.rate, reason=was.waived, title=title))
            rest -= part
    if rest:
        yield ChargeLine(rest, line.rate)
