"""Announced prices: provisional until live sources still state them when they are due.

Rule 1: an announcement is looked at 48 hours before its day and on it, never applied unseen.
Rule 2: only a revision published after the announcement counts, and none that is stale: a frozen list keeps
what was cancelled for ever.
Rule 3: a decrease needs one such source, an increase two; unconfirmed, the old price stays.
Source: spec "prices", §6 (scheduled prices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from costplus.catalog.agreement import (
    BUNDLED,
    QUORUM,
    Parts,
    components_of,
    part_of,
    same_price,
    spoken,
    stand_in,
    standing,
    voters,
)
from costplus.catalog.change import Decision, decide
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.guard import is_stale
from costplus.catalog.price import PriceVersion
from costplus.catalog.statement import ModelKey, SourceName, SourceView, Statement

AHEAD = timedelta(hours=48)

ScheduleState = Literal["waits", "confirmed", "due", "cancelled", "in_force"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A future price as a source first stated it."""

    provider: str
    model: str
    source: SourceName
    revision: str  # Of the source, when it was first stated.
    announced_at: datetime
    price: StatedPrice  # `valid_from` is the day from which it shall count.


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What became of an announcement.

    It waits, is confirmed (to be applied on its day), due and unconfirmed (the old price stays), cancelled,
    or in force already. `sources` still state it.
    """

    state: ScheduleState
    reasons: tuple[str, ...]
    sources: tuple[SourceName, ...] = ()
    decision: Decision | None = None

    def applies(self, announcement: Announcement, at: datetime) -> bool:
        return self.state == "confirmed" and at >= announcement.price.valid_from


def scheduled_due(
    announcement: Announcement,
    *,
    active: PriceVersion,
    views: Iterable[SourceView],
    at: datetime,
    trust: Sequence[SourceName] | None = None,
) -> Due:
    """Return whether an announced price may count on its day, as live sources see it at `at`."""
    key = announcement.provider, announcement.model
    views = tuple(views)
    prices = components_of(active)
    announced = spoken(announcement.price)
    moving = {part: new for part, new in announced.items() if not same_price(prices.get(part), new)}
    telling = moving or announced
    live = _newer(announcement, views, at=at)
    keeping = tuple(
        view.source
        for view in voters(key, live, trust)
        if _states(view.statements[key], telling, announcement)
    )
    if not keeping and _is_taken_back(announcement, key, views, telling):
        return Due(state="cancelled", reasons=("no_longer_stated",))
    if at < announcement.price.valid_from - AHEAD:
        return Due(state="waits", reasons=(), sources=keeping)
    if not moving:
        return Due(state="in_force", reasons=(), sources=keeping)
    moves = [
        standing(
            part,
            old=prices.get(part),
            new=new,
            votes={str(source): new for source in keeping},
            stands_in=stand_in(active.components, part),
        )
        for part, new in sorted(moving.items())
    ]
    needed = QUORUM if any(move.is_increase for move in moves) else 1
    if len(keeping) < needed:
        return Due(state="due", reasons=("scheduled_unconfirmed",), sources=keeping)
    kept = [component for component in active.components if part_of(component) not in announced]
    after = (*kept, *announcement.price.components)
    decision = decide(moves, at=at, before=active.components, after=after)
    state: ScheduleState = "due" if decision.verdict == "hold" else "confirmed"
    return Due(state=state, reasons=decision.reasons, sources=keeping, decision=decision)


def _newer(announcement: Announcement, views: Iterable[SourceView], *, at: datetime) -> Iterator[SourceView]:
    """Yield the live views that were published after the announcement."""
    for view in views:
        is_newer = view.as_of > announcement.announced_at and view.revision != announcement.revision
        if is_newer and view.source != BUNDLED and not is_stale(view, at):
            yield view


def _is_taken_back(
    announcement: Announcement, key: ModelKey, views: Iterable[SourceView], moving: Parts
) -> bool:
    """Return whether the source that announced the price published a revision without it."""
    for view in views:
        if view.source == announcement.source and view.as_of > announcement.announced_at:
            return key not in view.statements or not _states(view.statements[key], moving, announcement)
    return False


def _states(statement: Statement, moving: Parts, announcement: Announcement) -> bool:
    """Return whether a source states the announced price, for its day or as the one in force.

    Of the parts that move it states at least one, and each that it states is the announced one.
    """
    day = announcement.price.valid_from
    later = [known for known in statement.scheduled if known.valid_from == day]
    for stated in (*later, statement.current):
        parts = spoken(stated)
        common = parts.keys() & moving.keys()
        if common and all(same_price(parts[part], moving[part]) for part in common):
            return True
    return False
