"""Gather what the price sources say: ask each one, believe it or not, keep the documents.

Rule 1: a source that cannot be reached or believed changes nothing; what it said last stays.
Rule 2: a document that was accepted is kept, so that a restart knows what each source said before. Where it
is lost, its source is read as if for the first time, but it may still not lose a fifth of its models.
Rule 3: the snapshot of a newer release is one source more, the least trusted; it needs no network.
Source: spec "prices", §6.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, TypeVar

import httpx2

from costplus.catalog.agreement import BUNDLED
from costplus.catalog.book import PriceBase, PriceChange, SourceState
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import SourceRejected
from costplus.catalog.guard import lacks_models, rejection
from costplus.catalog.load import snapshot_of
from costplus.catalog.snapshot import decode_snapshot
from costplus.catalog.sources.archive import Archive, ArchiveDamaged
from costplus.catalog.sources.fetch import Fetched, SourceUnavailable, fetch
from costplus.catalog.sources.registry import SOURCES
from costplus.catalog.statement import ModelKey, SourceView
from costplus.catalog.views import packaged as packaged_view

T = TypeVar("T")

_WHY = {
    "empty_snapshot": "it states no price.",
    "models_missing": "more than a fifth of its models are gone.",
    "mass_change": "more than a tenth of its prices changed at once.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What became of one source: `new` revision, `unchanged`, `unavailable` or `rejected`."""

    source: str
    outcome: Literal["new", "unchanged", "unavailable", "rejected"]
    revision: str = ""
    models: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A source's current view and the one before, with the state to keep of it."""

    state: SourceState
    report: SourceReport
    view: SourceView | None = None
    before: SourceView | None = None  # None where it was never read before.


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the store knows before a synchronisation."""

    revision: int
    catalogue: Catalogue
    states: Mapping[str, SourceState]
    base: PriceBase | None = None
    open_changes: tuple[PriceChange, ...] = ()
    refused: tuple[PriceChange, ...] = ()
    ending: tuple[PriceChange, ...] = ()  # Prices that end soon, and announced rises.
    watched: frozenset[str] = field(default_factory=frozenset)


class Gatherer:
    """Asks the sources that are followed."""

    def __init__(
        self,
        *,
        followed: Mapping[str, str],
        archive: Archive,
        now: Callable[[], datetime],
        packaged: Callable[[], bytes],
    ) -> None:
        self._followed = followed
        self._archive = archive
        self._now = now
        self._reading = asyncio.Lock()
        self._packaged = packaged

    async def gather(
        self, client: httpx2.AsyncClient, known: Known, *, accept: Collection[str]
    ) -> list[Gathered]:
        """Return every source's view; what `accept` names passes the guards as a whole.

        All are asked at once; what they answer is read one after the other.
        """
        states = {
            name: known.states.get(name) or SourceState(id=name, created=self._now())
            for name in self._followed
        }
        found = await asyncio.gather(
            *(
                self._one(client, replace(states[name], url=url), known, accept=name in accept)
                for name, url in self._followed.items()
            )
        )
        released = await self._apart(self._released, known)
        return found if released is None else [*found, released]

    async def _apart(self, work: Callable[..., T], *arguments: object) -> T:
        """Do work beside the event loop, one piece at a time: two would only take turns."""
        async with self._reading:
            return await asyncio.to_thread(work, *arguments)

    async def _one(
        self, client: httpx2.AsyncClient, state: SourceState, known: Known, *, accept: bool
    ) -> Gathered:
        name = state.id
        before = await self._apart(self._kept_view, state, known.catalogue)
        try:
            fetched = await fetch(
                state.url,
                source=name,
                client=client,
                now=self._now,
                etag=state.etag if before else "",
                last_modified=state.last_modified if before else "",
            )
            if before is not None and (fetched.body is None or fetched.sha256 == state.sha256):
                return _unchanged(state, fetched, before)
            view = await self._apart(self._new_view, name, fetched, known.catalogue)
            if not accept:
                await self._apart(_check, view, before, state, known.catalogue)
            await self._apart(self._keep, name, fetched)
        except (SourceUnavailable, SourceRejected) as error:
            return _refused(state, before, error, at=self._now())
        report = SourceReport(source=name, outcome="new", revision=view.revision, models=len(view.statements))
        return Gathered(state=_accepted(state, fetched, view), report=report, view=view, before=before)

    def _kept_view(self, state: SourceState, catalogue: Catalogue) -> SourceView | None:
        """Return what a source said when it was accepted last, None where that is not kept here."""
        if not state.sha256 or state.accepted_at is None:
            return None
        try:
            body = self._archive.read(state.id, state.sha256)
            if body is None:
                return None
            return SOURCES[state.id].view(
                body, catalogue=catalogue, revision=state.revision, as_of=state.accepted_at
            )
        except ArchiveDamaged:
            return None  # It is fetched again, and then replaces the damaged file.
        except SourceRejected:
            return None  # An earlier release accepted what this one does not.

    def _new_view(self, name: str, fetched: Fetched, catalogue: Catalogue) -> SourceView:
        assert fetched.body is not None
        return SOURCES[name].view(
            fetched.body, catalogue=catalogue, revision=fetched.revision, as_of=fetched.fetched_at
        )

    def _keep(self, name: str, fetched: Fetched) -> None:
        """Keep an accepted document."""
        assert fetched.body is not None
        try:
            self._archive.keep(name, fetched.body, at=fetched.fetched_at)
            self._archive.prune(name)
        except OSError as error:
            raise SourceUnavailable(f"Price source '{name}' cannot be kept: {error}.") from error

    def _released(self, known: Known) -> Gathered | None:
        """Return what the packaged snapshot says, None where it is the base of the book or older."""
        body = self._packaged()
        digest = hashlib.sha256(body).hexdigest()
        if known.base is None or known.base.digest == digest:
            return None
        base = snapshot_of(known.base)
        snapshot = decode_snapshot(body)
        if snapshot.taken_on < base.taken_on:
            return None
        view = packaged_view.view(snapshot, revision=f"sha256:{digest}")
        state = known.states.get(BUNDLED) or SourceState(id=BUNDLED, created=self._now())
        state = replace(state, checked_at=self._now(), status="ok", error="")
        if state.sha256 == digest:
            report = SourceReport(
                source=BUNDLED, outcome="unchanged", revision=view.revision, models=len(view.statements)
            )
            return Gathered(state=state, report=report, view=view, before=view)
        before = packaged_view.view(base, revision=f"sha256:{known.base.digest}")
        state = replace(
            state,
            sha256=digest,
            revision=view.revision,
            model_count=len(view.statements),
            unknown_keys=tuple(sorted(view.unmapped)),
            accepted_at=view.as_of,
        )
        report = SourceReport(
            source=BUNDLED, outcome="new", revision=view.revision, models=len(view.statements)
        )
        return Gathered(state=state, report=report, view=view, before=before)


def _check(view: SourceView, before: SourceView | None, state: SourceState, catalogue: Catalogue) -> None:
    """Raise `SourceRejected` where a view as a whole is not believed."""
    tracked: list[ModelKey] = [key for key in view.statements if catalogue.versions(*key)]
    why = rejection(view, before, tracked)
    if why is None and before is None and lacks_models(len(view.statements), of=state.model_count):
        why = "models_missing"
    if why is not None:
        raise SourceRejected(_WHY[why], source=view.source, reason=why)


def _refused(
    state: SourceState,
    before: SourceView | None,
    error: SourceUnavailable | SourceRejected,
    *,
    at: datetime,
) -> Gathered:
    """Return a source as it was, with what is wrong with it now."""
    outcome: Literal["unavailable", "rejected"] = (
        "rejected" if isinstance(error, SourceRejected) else "unavailable"
    )
    report = SourceReport(source=state.id, outcome=outcome, revision=state.revision, why=error.message)
    kept = replace(state, checked_at=at, status=outcome, error=error.message)
    return Gathered(state=kept, report=report, view=before, before=before)


def _unchanged(state: SourceState, fetched: Fetched, before: SourceView) -> Gathered:
    """Return a source that says what it said; its validators may be new all the same."""
    checked = replace(
        state,
        etag=fetched.etag,
        last_modified=fetched.last_modified,
        checked_at=fetched.fetched_at,
        status="ok",
        error="",
    )
    report = SourceReport(
        source=state.id, outcome="unchanged", revision=state.revision, models=state.model_count
    )
    return Gathered(state=checked, report=report, view=before, before=before)


def _accepted(state: SourceState, fetched: Fetched, view: SourceView) -> SourceState:
    return replace(
        state,
        etag=fetched.etag,
        last_modified=fetched.last_modified,
        sha256=fetched.sha256,
        revision=view.revision,
        model_count=len(view.statements),
        unknown_keys=tuple(sorted(view.unmapped)),
        checked_at=fetched.fetched_at,
        accepted_at=fetched.fetched_at,
        status="ok",
        error="",
        stale=False,
    )
