"""Synchronise prices: ask the sources, survey what they say, keep what follows in one transaction.

Rule 1: a source that cannot be reached or believed changes nothing; what it said last stays, and an event
tells why. Rule 2: the reading is done outside of any transaction; where the book changed meanwhile, the
survey is made again. Rule 3: doing it twice changes nothing the second time.
Source: spec "prices", §6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import httpx2

from costplus.billing.notify import announce
from costplus.billing.price_findings import keep_findings
from costplus.billing.store import Store, Tx
from costplus.catalog.book import PriceChange, SourceState
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import SourceRejected
from costplus.catalog.guard import rejection
from costplus.catalog.load import catalogue_of, every, revision_of
from costplus.catalog.sources.archive import Archive, ArchiveDamaged
from costplus.catalog.sources.fetch import Fetched, SourceUnavailable, fetch
from costplus.catalog.sources.registry import SOURCES
from costplus.catalog.statement import SourceName, SourceView
from costplus.catalog.survey import Survey, survey
from costplus.rating.pricing import Pricing

REFUSED = frozenset({"rejected", "superseded"})  # What a person refused or took back is not found again.
ATTEMPTS = 3
USED_WITHIN = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What became of one source: `new` revision, `unchanged`, `unavailable` or `rejected`."""

    source: str
    outcome: Literal["new", "unchanged", "unavailable", "rejected"]
    revision: str = ""
    models: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What a synchronisation found and did: changes by what became of them."""

    at: datetime
    sources: tuple[SourceReport, ...]
    changes: tuple[PriceChange, ...] = ()
    withdrawn: int = 0

    def count(self, status: str) -> int:
        return sum(change.status == status for change in self.changes)


@dataclass(slots=True, kw_only=True)
class _Gathered:
    """A source's current view and the one before, with the state to keep of it."""

    state: SourceState
    report: SourceReport
    view: SourceView | None = None
    before: SourceView | None = None  # None where it was never read before.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the store knows before a synchronisation."""

    revision: int
    catalogue: Catalogue
    states: Mapping[str, SourceState]
    open_changes: tuple[PriceChange, ...]
    refused: frozenset[str]
    watched: frozenset[str] = field(default_factory=frozenset)


class PriceSync:
    """Synchronises the prices of one store from the sources that are followed."""

    def __init__(
        self,
        store: Store,
        pricing: Pricing,
        *,
        followed: Mapping[str, str],
        archive: Archive,
        now: Callable[[], datetime],
        providers: Collection[str] = (),
    ) -> None:
        self._store = store
        self._pricing = pricing
        self._followed = followed
        self._archive = archive
        self._now = now
        self._providers = frozenset(providers)
        self._turn = asyncio.Lock()

    async def run(self, client: httpx2.AsyncClient, *, accept: Collection[str] = ()) -> SyncReport:
        """Ask every source and keep what follows; what `accept` names passes the guards as a whole."""
        async with self._turn:
            known = await self._store.read(self._read)
            gathered = await self._gather(client, known, accept=accept)
            report = await self._keep(known, gathered)
            self._pricing.adopt(await self._store.read(catalogue_of))
            return report

    def _read(self, tx: Tx) -> _Known:
        since = self._now() - USED_WITHIN
        used = {total.provider for total in tx.model_totals(None, since, self._now())}
        changes = list(every(tx, PriceChange))
        return _Known(
            revision=revision_of(tx),
            catalogue=catalogue_of(tx),
            states={state.id: state for state in every(tx, SourceState)},
            open_changes=tuple(change for change in changes if change.is_open),
            refused=frozenset(change.digest for change in changes if change.status in REFUSED),
            watched=self._providers | used,
        )

    async def _gather(
        self, client: httpx2.AsyncClient, known: _Known, *, accept: Collection[str]
    ) -> list[_Gathered]:
        """Return every followed source's view."""
        found = []
        for name, url in self._followed.items():
            state = known.states.get(name) or SourceState(id=name, created=self._now())
            found.append(await self._one(client, replace(state, url=url), known, accept=name in accept))
        return found

    async def _one(
        self, client: httpx2.AsyncClient, state: SourceState, known: _Known, *, accept: bool
    ) -> _Gathered:
        name = state.id
        before = await asyncio.to_thread(self._kept_view, state, known.catalogue)
        try:
            fetched = await fetch(
                state.url,
                source=name,
                client=client,
                now=self._now,
                etag=state.etag if before else "",
                last_modified=state.last_modified if before else "",
            )
            if fetched.body is None or (before and fetched.sha256 == state.sha256):
                checked = replace(state, checked_at=fetched.fetched_at, status="ok", error="")
                report = SourceReport(
                    source=name, outcome="unchanged", revision=state.revision, models=state.model_count
                )
                return _Gathered(state=checked, report=report, view=before, before=before)
            view = await asyncio.to_thread(self._new_view, name, fetched, known.catalogue)
            _check(view, before, known.catalogue, accept=accept)
        except (SourceUnavailable, SourceRejected) as error:
            return _refused(state, before, error, at=self._now())
        accepted = _accepted(state, fetched, view)
        report = SourceReport(source=name, outcome="new", revision=view.revision, models=len(view.statements))
        return _Gathered(state=accepted, report=report, view=view, before=before)

    def _kept_view(self, state: SourceState, catalogue: Catalogue) -> SourceView | None:
        """Return what a source said when it was accepted last, None where that is not kept here."""
        if not state.sha256 or state.accepted_at is None:
            return None
        try:
            body = self._archive.read(state.id, state.sha256)
        except ArchiveDamaged:
            return None
        if body is None:
            return None
        return SOURCES[state.id].view(
            body, catalogue=catalogue, revision=state.revision, as_of=state.accepted_at
        )

    def _new_view(self, name: str, fetched: Fetched, catalogue: Catalogue) -> SourceView:
        """Keep a fetched document and return what it states."""
        assert fetched.body is not None
        view = SOURCES[name].view(
            fetched.body, catalogue=catalogue, revision=fetched.revision, as_of=fetched.fetched_at
        )
        try:
            self._archive.keep(name, fetched.body, at=fetched.fetched_at)
            self._archive.prune(name)
        except OSError as error:
            raise SourceUnavailable(f"Price source '{name}' cannot be kept: {error}.") from error
        return view

    async def _keep(self, known: _Known, gathered: Sequence[_Gathered]) -> SyncReport:
        for _ in range(ATTEMPTS):
            at = self._now()
            found = await asyncio.to_thread(_surveyed, known, gathered, at)
            verb = partial(
                _write, gathered=gathered, found=found, revision=known.revision, watched=known.watched, at=at
            )
            report = await self._store.write(verb)
            if report is not None:
                return report
            known = await self._store.read(self._read)  # Somebody else wrote the book meanwhile.
        return SyncReport(at=at, sources=tuple(one.report for one in gathered))


def _check(view: SourceView, before: SourceView | None, catalogue: Catalogue, *, accept: bool) -> None:
    """Raise `SourceRejected` where a view as a whole is not believed."""
    tracked = [key for key in view.statements if catalogue.versions(*key)]
    why = None if accept else rejection(view, before, tracked)
    if why is not None:
        what = {
            "empty_snapshot": "it states no price.",
            "models_missing": "more than a fifth of its models are gone.",
            "mass_change": "more than a tenth of its prices changed at once.",
        }[why]
        raise SourceRejected(what, source=view.source, reason=why)


def _refused(
    state: SourceState,
    before: SourceView | None,
    error: SourceUnavailable | SourceRejected,
    *,
    at: datetime,
) -> _Gathered:
    """Return a source as it was, with what is wrong with it now."""
    outcome: Literal["unavailable", "rejected"] = (
        "rejected" if isinstance(error, SourceRejected) else "unavailable"
    )
    report = SourceReport(source=state.id, outcome=outcome, revision=state.revision, why=error.message)
    kept = replace(state, checked_at=at, status=outcome, error=error.message)
    return _Gathered(state=kept, report=report, view=before, before=before)


def _accepted(state: SourceState, fetched: Fetched, view: SourceView) -> SourceState:
    return replace(
        state,
        etag=fetched.etag,
        last_modified=fetched.last_modified,
        sha256=fetched.sha256,
        revision=view.revision,
        model_count=len(view.statements),
        checked_at=fetched.fetched_at,
        accepted_at=fetched.fetched_at,
        status="ok",
        error="",
        stale=False,
    )


def _surveyed(known: _Known, gathered: Sequence[_Gathered], at: datetime) -> Survey:
    views = [one.view for one in gathered if one.view is not None]
    previous: dict[SourceName, SourceView] = {
        one.before.source: one.before for one in gathered if one.before is not None
    }
    return survey(
        known.catalogue,
        views=views,
        previous=previous,
        open_changes=known.open_changes,
        rejected=known.refused,
        watched=known.watched,
        at=at,
    )


def _write(
    tx: Tx,
    *,
    gathered: Sequence[_Gathered],
    found: Survey,
    revision: int,
    watched: frozenset[str],
    at: datetime,
) -> SyncReport | None:
    """Keep everything, or return None where the book is no longer what was surveyed."""
    if revision_of(tx) != revision:
        return None
    for one in gathered:
        _keep_state(tx, one, at=at)
    kept = keep_findings(tx, found, watched=watched, at=at)
    return SyncReport(
        at=at,
        sources=tuple(one.report for one in gathered),
        changes=tuple(kept.changes),
        withdrawn=kept.withdrawn,
    )


def _keep_state(tx: Tx, one: _Gathered, *, at: datetime) -> None:
    """Save what is known of a source; say so once where it was rejected or has become stale."""
    state, known = one.state, tx.find(SourceState, one.state.id)
    if state.status == "rejected" and (known is None or known.error != state.error):
        announce(tx, "source.rejected", state, at=at)
    stale_after = timedelta(days=SOURCES[state.id].stale_after_days)
    is_stale = state.accepted_at is not None and at - state.accepted_at > stale_after
    if is_stale and not state.stale:
        state = replace(state, stale=True)
        announce(tx, "source.stale", state, at=at)
    tx.save(state)
