"""Survey: everything that follows from what the sources say now, over all models.

Rule 1: pure: views in, findings out; the same views give the same findings, whatever their order.
Rule 2: a model nobody here sells or uses gets no first price and no mark: only `watched` providers do.
Rule 3: an operator's override is not compared; what is under it is kept up to date all the same.
Rule 4: what a person has rejected is not found again.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.catalog.agreement import components_of, voters
from costplus.catalog.book import PriceChange
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.change import ProposedChange
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.guard import Retirement, retirements
from costplus.catalog.price import PriceVersion
from costplus.catalog.reconcile import reconcile, settle_soak
from costplus.catalog.recorded import components_of_change, multipliers_of_change, proposed_of
from costplus.catalog.schedule import Announcement, Due, scheduled_due
from costplus.catalog.statement import ModelKey, SourceName, SourceView

_STANDING = frozenset({"soaking", "held", "pending"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One model's proposed change, the price that it changes, and the revisions that say so."""

    proposed: ProposedChange
    old: PriceVersion | None
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Announced:
    """A future price that was not known before."""

    announcement: Announcement
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found: changes, open changes that nobody states any more, announcements and their outcome."""

    findings: tuple[Finding, ...] = ()
    withdrawn: tuple[PriceChange, ...] = ()
    announced: tuple[Announced, ...] = ()
    due: tuple[tuple[PriceChange, Due], ...] = ()
    retired: Mapping[ModelKey, tuple[Retirement, ...]] = field(default_factory=dict)


def survey(
    catalogue: Catalogue,
    *,
    views: Sequence[SourceView],
    previous: Mapping[SourceName, SourceView],
    open_changes: Iterable[PriceChange] = (),
    rejected: Collection[str] = (),
    watched: Collection[str] = (),
    at: datetime,
) -> Survey:
    """Return all findings. `previous` has each source's view before its current one (itself where it is new
    to nobody); `rejected` the digests that a person has refused; empty `watched` watches every provider."""
    standing: dict[ModelKey, list[PriceChange]] = defaultdict(list)
    scheduled: dict[ModelKey, list[PriceChange]] = defaultdict(list)
    for change in open_changes:
        place = standing if change.status in _STANDING else scheduled
        place[change.provider, change.model].append(change)
    findings: list[Finding] = []
    withdrawn: list[PriceChange] = []
    for key in _keys(catalogue, views, previous, standing, watched):
        active = listed(catalogue, key, at=at)
        found = list(_found(key, active, views, previous, standing[key], rejected, at))
        findings += found
        again = {finding.proposed.digest for finding in found}
        if voters(key, views):
            withdrawn += [change for change in standing[key] if change.digest not in again]
    return Survey(
        findings=tuple(findings),
        withdrawn=tuple(withdrawn),
        announced=tuple(_announced(catalogue, views, scheduled, rejected, watched, at)),
        due=tuple(_due(catalogue, views, scheduled, at)),
        retired=dict(_retired(catalogue, views, previous, watched, at)),
    )


def listed(catalogue: Catalogue, key: ModelKey, *, at: datetime) -> PriceVersion | None:
    """Return the version in force of a model leaving overrides aside, or None."""
    versions = (v for v in reversed(catalogue.versions(*key)) if v.applies(at) and not v.is_override)
    return next(versions, None)


def announcement_of(change: PriceChange) -> Announcement:
    """Return the announcement that a scheduled change was kept from."""
    (revision,) = change.sources.values()
    return Announcement(
        provider=change.provider,
        model=change.model,
        source=SourceName(change.announced_by),
        revision=revision,
        announced_at=change.announced_at or change.created,
        price=StatedPrice(
            provider=change.provider,
            model=change.model,
            components=components_of_change(change),
            multipliers=multipliers_of_change(change),
            valid_from=change.effective_at,
        ),
    )


def _keys(
    catalogue: Catalogue,
    views: Sequence[SourceView],
    previous: Mapping[SourceName, SourceView],
    standing: Mapping[ModelKey, object],
    watched: Collection[str],
) -> list[ModelKey]:
    """Return the models about which something may be found, in a fixed order."""
    moved = {key for view in views for key in _moved(view, previous.get(view.source))}
    known = {key for key in moved if catalogue.versions(*key) or not watched or key[0] in watched}
    return sorted(known | standing.keys())


def _moved(view: SourceView, before: SourceView | None) -> Iterator[ModelKey]:
    """Yield the models of which a source says something that it did not say before."""
    known = before.statements if before else {}
    for key in view.statements.keys() | known.keys():
        if view.statements.get(key) != known.get(key):
            yield key


def _found(
    key: ModelKey,
    active: PriceVersion | None,
    views: Sequence[SourceView],
    previous: Mapping[SourceName, SourceView],
    standing: Sequence[PriceChange],
    rejected: Collection[str],
    at: datetime,
) -> Iterator[Finding]:
    pending = [proposed_of(change) for change in standing]
    for proposed in reconcile(active=active, views=views, previous=previous, key=key, at=at, pending=pending):
        if proposed.digest in rejected:
            continue
        if proposed.decision.verdict == "soak":
            proposed = replace(proposed, decision=settle_soak(proposed, views=views, at=at))
        yield Finding(proposed=proposed, old=active, sources=_sources(key, views))


def _sources(key: ModelKey, views: Iterable[SourceView]) -> dict[str, str]:
    return {view.source: view.revision for view in voters(key, views)}


def _announced(
    catalogue: Catalogue,
    views: Sequence[SourceView],
    scheduled: Mapping[ModelKey, Sequence[PriceChange]],
    rejected: Collection[str],
    watched: Collection[str],
    at: datetime,
) -> Iterator[Announced]:
    known = {change.digest for changes in scheduled.values() for change in changes} | set(rejected)
    for view in sorted(views, key=lambda view: view.source):
        for key, statement in sorted(view.statements.items()):
            if not catalogue.versions(*key) and watched and key[0] not in watched:
                continue
            for price in statement.scheduled:
                digest = _schedule_digest(key, price)
                if price.valid_from > at and digest not in known:
                    known.add(digest)
                    yield Announced(
                        Announcement(
                            provider=key[0],
                            model=key[1],
                            source=view.source,
                            revision=view.revision,
                            announced_at=view.as_of,
                            price=price,
                        ),
                        digest,
                    )


def _schedule_digest(key: ModelKey, price: StatedPrice) -> str:
    parts = sorted(f"{leaf}\x1f{when}\x1f{cost}" for (leaf, when), cost in components_of(price).items())
    text = "\x1e".join([*key, price.valid_from.isoformat(), *parts])
    return f"sch_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _due(
    catalogue: Catalogue,
    views: Sequence[SourceView],
    scheduled: Mapping[ModelKey, Sequence[PriceChange]],
    at: datetime,
) -> Iterator[tuple[PriceChange, Due]]:
    """Yield what became of every announcement that no longer just waits."""
    for key in sorted(scheduled):
        active = listed(catalogue, key, at=at)
        for change in scheduled[key]:
            if active is None:
                continue
            outcome = scheduled_due(announcement_of(change), active=active, views=views, at=at)
            if outcome.state != "waits":
                yield change, outcome


def _retired(
    catalogue: Catalogue,
    views: Sequence[SourceView],
    previous: Mapping[SourceName, SourceView],
    watched: Collection[str],
    at: datetime,
) -> Iterator[tuple[ModelKey, tuple[Retirement, ...]]]:
    keys = {key for view in (*views, *previous.values()) for key in view.statements}
    for key in sorted(keys):
        if catalogue.versions(*key) and (not watched or key[0] in watched):
            said = retirements(key, views=views, previous=previous, at=at)
            if said:
                yield key, said
