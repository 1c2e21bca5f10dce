"""Synchronise prices: ask the sources, survey what they say, keep what follows in one transaction.

Rule 1: a source that cannot be reached or believed changes nothing; what it said last stays, and an event
tells why. Rule 2: the asking and reading is done outside of any transaction; where the book or what is known
of the sources changed meanwhile, all of it is done again. Rule 3: doing it twice changes nothing the second
time.
Source: spec "prices", §6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import httpx2

from costplus.billing.notify import announce
from costplus.billing.price_findings import keep_findings
from costplus.billing.price_gather import Gathered, Gatherer, Known, SourceReport
from costplus.billing.price_reminder import ends_soon, remind
from costplus.billing.store import Store, Tx
from costplus.billing.weigh import impact_of
from costplus.catalog.book import BOOK, PriceBase, PriceChange, SourceState
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import catalogue_of, every, revision_of
from costplus.catalog.recorded import recorded_change
from costplus.catalog.sources.archive import Archive
from costplus.catalog.sources.bundled import bundled_body
from costplus.catalog.sources.registry import SOURCES
from costplus.catalog.statement import SourceName, SourceView
from costplus.catalog.survey import DEFAULT_POLICY, Policy, Survey, survey
from costplus.core.errors import Conflict
from costplus.rating.impact import Impact
from costplus.rating.pricing import Pricing

REFUSED = frozenset({"rejected", "superseded"})  # What a person refused or took back is not found again.
ATTEMPTS = 3
USED_WITHIN = timedelta(days=30)


class BookBusy(Conflict):
    """The price book was written by somebody else each time that this synchronisation was about to."""

    code = "price_book_busy"
    remedy = "Nothing was kept: run the synchronisation again, and let one process do it at a time."


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What a synchronisation found and did: changes by what became of them."""

    at: datetime
    sources: tuple[SourceReport, ...]
    changes: tuple[PriceChange, ...] = ()
    withdrawn: int = 0

    def count(self, status: str) -> int:
        return sum(change.status == status for change in self.changes)


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
        packaged: Callable[[], bytes] = bundled_body,
        policy: Policy = DEFAULT_POLICY,
    ) -> None:
        self._store = store
        self._pricing = pricing
        self._gatherer = Gatherer(followed=followed, archive=archive, now=now, packaged=packaged)
        self._now = now
        self._policy = policy
        self._providers = frozenset(providers)
        self._loaded: tuple[int, Catalogue] | None = None  # The book's revision, and what it stands for.
        self._turn = asyncio.Lock()

    async def run(self, client: httpx2.AsyncClient, *, accept: Collection[str] = ()) -> SyncReport:
        """Ask every source and keep what follows; what `accept` names passes the guards as a whole.

        Raises `BookBusy`.
        """
        async with self._turn:
            for _ in range(ATTEMPTS):
                report = await self._attempt(client, accept)
                if report is not None:
                    self._loaded = await self._store.read(self._load)
                    self._pricing.adopt(self._loaded[1])
                    return report
            raise BookBusy(f"The price book changed during each of {ATTEMPTS} synchronisations.")

    async def _attempt(self, client: httpx2.AsyncClient, accept: Collection[str]) -> SyncReport | None:
        """Return what was found and kept, None where somebody else wrote the book meanwhile."""
        known = await self._store.read(self._read)
        gathered = await self._gatherer.gather(client, known, accept=accept)
        at = self._now()
        found = await asyncio.to_thread(_surveyed, known, gathered, self._policy, at)
        impacts = await self._weigh(known, found, at=at)
        return await self._store.write(
            partial(_write, known=known, gathered=gathered, found=found, impacts=impacts, at=at)
        )

    async def _weigh(self, known: Known, found: Survey, *, at: datetime) -> dict[str, Impact]:
        """Return what each newly found change means for the usage of the last days, where there is any."""
        pricing, old = Pricing(known.catalogue), {change.digest for change in known.open_changes}
        impacts: dict[str, Impact] = {}
        for finding in found.findings:
            digest = finding.proposed.digest
            if finding.old is None or digest in old:
                continue
            change = recorded_change(
                finding.proposed, id=digest, kind="price", old=finding.old, sources=finding.sources, at=at
            )
            impact = await self._store.read(partial(impact_of, pricing=pricing, change=change, at=at))
            if impact.cards or impact.unrated:
                impacts[digest] = impact
        return impacts

    def _load(self, tx: Tx) -> tuple[int, Catalogue]:
        revision = revision_of(tx)
        if self._loaded is not None and self._loaded[0] == revision:
            return self._loaded
        return revision, catalogue_of(tx)

    def _read(self, tx: Tx) -> Known:
        since = self._now() - USED_WITHIN
        used = {total.provider for total in tx.model_totals(None, since, self._now())}
        changes = list(every(tx, PriceChange))
        revision, catalogue = self._load(tx)
        return Known(
            revision=revision,
            catalogue=catalogue,
            states=_states(tx),
            base=tx.find(PriceBase, BOOK),
            open_changes=tuple(change for change in changes if change.is_open),
            ending=tuple(change for change in changes if ends_soon(change, catalogue, at=self._now())),
            refused=tuple(change for change in changes if _is_over(change)),
            watched=self._providers | used,
        )


def _is_over(change: PriceChange) -> bool:
    """Return whether the same proposal is not to be made again; an announcement that applies is over too."""
    return change.status in REFUSED or (change.kind == "scheduled" and change.status == "applied")


def _states(tx: Tx) -> dict[str, SourceState]:
    return {state.id: state for state in every(tx, SourceState)}


def _surveyed(known: Known, gathered: Sequence[Gathered], policy: Policy, at: datetime) -> Survey:
    views = [one.view for one in gathered if one.view is not None]
    previous: dict[SourceName, SourceView] = {
        one.before.source: one.before for one in gathered if one.before is not None
    }
    return survey(
        known.catalogue,
        views=views,
        previous=previous,
        open_changes=known.open_changes,
        refused=known.refused,
        watched=known.watched,
        policy=policy,
        at=at,
    )


def _write(
    tx: Tx,
    *,
    known: Known,
    gathered: Sequence[Gathered],
    found: Survey,
    impacts: Mapping[str, Impact],
    at: datetime,
) -> SyncReport | None:
    """Keep everything, or return None where the book is no longer what was surveyed."""
    if revision_of(tx) != known.revision or _states(tx) != known.states:
        return None
    for one in gathered:
        _keep_state(tx, one, at=at)
    pricing = Pricing(known.catalogue)
    kept = keep_findings(tx, found, pricing=pricing, watched=known.watched, at=at, impacts=impacts)
    remind(tx, known.ending, watched=known.watched, at=at)
    return SyncReport(
        at=at,
        sources=tuple(one.report for one in gathered),
        changes=tuple(kept.changes),
        withdrawn=kept.withdrawn,
    )


def _keep_state(tx: Tx, one: Gathered, *, at: datetime) -> None:
    """Save what is known of a source; say so once where it was rejected, has become stale, or has price keys
    that it had not and that nothing here can express."""
    state, known = one.state, tx.find(SourceState, one.state.id)
    if state.status == "rejected" and (known is None or known.error != state.error):
        announce(tx, "source.rejected", state, at=at)
    if set(state.unknown_keys) - set(known.unknown_keys if known else ()):
        announce(tx, "source.keys_unknown", state, at=at)
    if state.accepted_at is not None and state.id in SOURCES:
        is_stale = at - state.accepted_at > timedelta(days=SOURCES[state.id].stale_after_days)
        if is_stale and not state.stale:
            state = replace(state, stale=True)
            announce(tx, "source.stale", state, at=at)
    tx.save(state)
