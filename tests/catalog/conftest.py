"""The price engine's memory for tests: what a job would keep in a store between two fetches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fractions import Fraction

import pytest

from costplus.catalog.agreement import components_of, same_price
from costplus.catalog.change import PartKey, ProposedChange
from costplus.catalog.price import PriceVersion
from costplus.catalog.reconcile import reconcile, settle_soak, with_moves
from costplus.catalog.schedule import Announcement, scheduled_due
from costplus.catalog.statement import ModelKey, SourceName, SourceView


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One decision about one model's price."""

    at: datetime
    change: ProposedChange


@dataclass(slots=True)
class Replay:
    """The engine's memory: active versions, views, open changes. It applies what is decided.

    Whole views are not judged here: each is a slice of 29 models of a list, whose size is not recorded.
    """

    active: dict[ModelKey, PriceVersion] = field(default_factory=dict)
    views: dict[SourceName, SourceView] = field(default_factory=dict)
    open: dict[ModelKey, tuple[ProposedChange, ...]] = field(default_factory=dict)
    announced: dict[tuple[ModelKey, datetime], Announcement] = field(default_factory=dict)
    schedule: list[tuple[datetime, ModelKey, str]] = field(default_factory=list)
    entries: dict[ModelKey, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    history: dict[ModelKey, list[tuple[datetime, PriceVersion]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def accept(self, view: SourceView) -> None:
        """Take in one revision of one source."""
        self.pass_time(view.as_of)
        previous = dict(self.views)
        self.views[view.source] = view
        for key in sorted(view.statements.keys() | self.open.keys()):
            self._reconcile(key, previous, at=view.as_of)
        for key, said in view.statements.items():
            for price in said.scheduled:
                announcement = Announcement(
                    provider=key[0],
                    model=key[1],
                    source=view.source,
                    revision=view.revision,
                    announced_at=view.as_of,
                    price=price,
                )
                self.announced.setdefault((key, price.valid_from), announcement)

    def pass_time(self, until: datetime) -> None:
        """Settle what soaks and look at what is announced, at every instant that is due up to `until`."""
        for key, changes in list(self.open.items()):
            for change in changes:
                due_at = change.decision.due_at
                if due_at is not None and due_at <= until:
                    decision = settle_soak(change, views=self.views.values(), at=due_at)
                    self.open[key] = tuple(known for known in self.open[key] if known is not change)
                    self._take(key, replace(change, decision=decision), at=due_at)
        for key, day in list(self.announced):
            for moment in (day - timedelta(hours=48), day, until):
                if moment <= until and (key, day) in self.announced:
                    self._look(key, day, at=moment)

    def _look(self, key: ModelKey, day: datetime, *, at: datetime) -> None:
        announcement = self.announced[key, day]
        if key not in self.active:
            return
        due = scheduled_due(announcement, active=self.active[key], views=self.views.values(), at=at)
        assert not due.applies(announcement, at), (key, at)  # None of the recorded ones came true.
        if due.state == "cancelled":
            del self.announced[key, day]
        if due.state != "waits":
            self.schedule.append((at, key, due.state))

    def _reconcile(self, key: ModelKey, previous: Mapping[SourceName, SourceView], *, at: datetime) -> None:
        known = self.open.pop(key, ())
        decided = {(change.digest, change.decision) for change in known}
        proposals = reconcile(
            active=self.active.get(key),
            views=self.views.values(),
            previous=previous,
            key=key,
            at=at,
            pending=known,
        )
        for change in proposals:
            if (change.digest, change.decision) in decided:
                self.open[key] = (*self.open.get(key, ()), change)
            else:
                self._take(key, change, at=at)

    def _take(self, key: ModelKey, change: ProposedChange, *, at: datetime) -> None:
        self.entries[key].append(Entry(at=at, change=change))
        if change.decision.verdict == "apply":
            self._apply(key, change, at=at)
        elif change.decision.verdict != "withdrawn":
            self.open[key] = (*self.open.get(key, ()), change)

    def _apply(self, key: ModelKey, change: ProposedChange, *, at: datetime) -> None:
        active = self.active.get(key)
        figures = (change.components, change.multipliers) if active is None else with_moves(active, change)
        self.active[key] = PriceVersion(
            id=change.digest,
            provider=key[0],
            model=key[1],
            currency="USD",
            valid_from=change.counts_from(at),
            valid_to=None,
            components=figures[0],
            multipliers=figures[1],
        )
        self.history[key].append((at, self.active[key]))

    def price(self, key: ModelKey, part: PartKey, *, before: datetime) -> Fraction | None:
        """Return what a part cost just before an instant."""
        known = [version for at, version in self.history[key] if at < before]
        return components_of(known[-1]).get(part) if known else None

    def applied(
        self, key: ModelKey, part: PartKey, cost: Fraction | None, *, since: datetime
    ) -> datetime | None:
        """Return when a part first had a price, from an instant on."""
        for at, version in self.history[key]:
            if at >= since and same_price(components_of(version).get(part), cost):
                return at
        return None

    def last_decision(self, key: ModelKey, part: PartKey, cost: Fraction | None) -> ProposedChange | None:
        """Return the last change that proposed a price for a part."""
        for entry in reversed(self.entries[key]):
            for move in entry.change.moves:
                if move.part == part and same_price(move.new, cost):
                    return entry.change
        return None


@pytest.fixture(scope="session")
def price_engine() -> type[Replay]:
    """Return the class of the engine's memory."""
    return Replay
