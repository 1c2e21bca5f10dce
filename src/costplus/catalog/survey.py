"""Survey: everything that follows from what the sources say now, over all models.

Rule 1: pure: views in, findings out; the same views give the same findings, whatever their order.
Rule 2: a model nobody here sells or uses gets no first price and no mark: only `watched` providers do.
Rule 3: an operator's override is not compared; what is under it is kept up to date all the same.
Rule 4: what a person has refused is not found again, neither as it was nor as a part of something else.
Rule 5: what a newer release's packaged snapshot alone says goes the same way; only new models of it are
priced at once, as those of the snapshot were with which the book began.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.catalog.agreement import BUNDLED, components_of, disagreements, voters
from costplus.catalog.book import PriceChange
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.change import Decision, ProposedChange, in_order
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.guard import Retirement, retirements
from costplus.catalog.price import PriceVersion
from costplus.catalog.reconcile import Refusal, reconcile, settle_soak
from costplus.catalog.recorded import components_of_change, move_of, multipliers_of_change, proposed_of
from costplus.catalog.schedule import Announcement, Due, scheduled_due
from costplus.catalog.statement import ModelKey, SourceName, SourceView

UNCONFIRMED = ("first_price", "waits_for_second_source")
RELEASED = ("first_price", "packaged")  # Of a new model that only a newer release's snapshot knows.
_STANDING = frozenset({"soaking", "held", "pending"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an operator may decide about sources.

    `trust` has, per provider, its sources from the most to the least trusted. `protect_margin` takes rises
    that wait for a second source at once: a cost that is thought too high loses nobody a margin.
    """

    trust: Mapping[str, tuple[SourceName, ...]] = field(default_factory=dict)
    protect_margin: bool = False

    def trusted(self, provider: str) -> tuple[SourceName, ...] | None:
        """Return the order for a provider, None for the usual one."""
        return self.trust.get(provider)

    def decided(self, proposed: ProposedChange) -> ProposedChange:
        """Return a proposal as this policy decides about it."""
        reasons = set(proposed.decision.reasons)
        waits = proposed.decision.verdict in ("hold", "soak") and reasons <= _DOUBTS
        if not (self.protect_margin and waits and all(move.is_increase for move in proposed.moves)):
            return proposed
        decision = replace(
            proposed.decision,
            verdict="apply",
            reasons=in_order({"protects_margin", *reasons}),
            due_at=None,
        )
        return replace(proposed, decision=decision)


DEFAULT_POLICY = Policy()
_DOUBTS = frozenset({"sources_disagree", "waits_for_second_source", "scheduled_unconfirmed", "single_source"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One model's proposed change, the price that it changes, and the revisions that say so."""

    proposed: ProposedChange
    old: PriceVersion | None
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Barred:
    """What is not to be proposed again: changes by their digests, and each part's move of them."""

    digests: frozenset[str]
    moves: Mapping[ModelKey, frozenset[Refusal]]

    @classmethod
    def of(cls, refused: Iterable[PriceChange]) -> _Barred:
        digests: set[str] = set()
        moves: dict[ModelKey, frozenset[Refusal]] = {}
        for change in refused:
            digests.add(change.digest)
            if change.kind == "price":
                key = change.provider, change.model
                known = moves.get(key, frozenset())
                moves[key] = known | {(move.part, move.old, move.new) for move in map(move_of, change.moves)}
        return cls(frozenset(digests), moves)


@dataclass(frozen=True, slots=True)
class Announced:
    """A future price that was not known before."""

    announcement: Announcement
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found: changes, open changes that nobody states any more, announcements and their outcome.

    `disputed` has, of the models looked at, the leaves on whose list price sources differ.
    """

    findings: tuple[Finding, ...] = ()
    withdrawn: tuple[PriceChange, ...] = ()
    announced: tuple[Announced, ...] = ()
    due: tuple[tuple[PriceChange, Due], ...] = ()
    retired: Mapping[ModelKey, tuple[Retirement, ...]] = field(default_factory=dict)
    disputed: Mapping[ModelKey, tuple[str, ...]] = field(default_factory=dict)
    is_first: bool = False  # Some source was never read before: that it differs is no news.


def survey(
    catalogue: Catalogue,
    *,
    views: Sequence[SourceView],
    previous: Mapping[SourceName, SourceView],
    open_changes: Iterable[PriceChange] = (),
    refused: Iterable[PriceChange] = (),
    watched: Collection[str] = (),
    policy: Policy = DEFAULT_POLICY,
    at: datetime,
) -> Survey:
    """Return all findings. `previous` has each source's view before its current one (itself where it is new
    to nobody); `refused` what is not to be proposed again; empty `watched` watches every provider."""
    barred = _Barred.of(refused)
    standing: dict[ModelKey, list[PriceChange]] = defaultdict(list)
    scheduled: dict[ModelKey, list[PriceChange]] = defaultdict(list)
    for change in open_changes:
        place = standing if change.status in _STANDING else scheduled
        place[change.provider, change.model].append(change)
    findings: list[Finding] = []
    withdrawn: list[PriceChange] = []
    disputed = {}
    for key in _keys(catalogue, views, previous, standing, watched):
        active = listed(catalogue, key, at=at)
        found = list(_found(key, active, views, previous, standing[key], barred, policy, at))
        findings += found
        again = {finding.proposed.digest for finding in found}
        if active is not None:
            differing = disagreements(key, views)
            disputed[key] = tuple(one.part[0] for one in differing if not one.part[1])
        if voters(key, views):
            withdrawn += [change for change in standing[key] if change.digest not in again]
    return Survey(
        findings=tuple(findings),
        withdrawn=tuple(withdrawn),
        announced=tuple(_announced(catalogue, views, scheduled, barred, watched, at)),
        due=tuple(_due(catalogue, views, scheduled, policy, at)),
        retired=dict(_retired(catalogue, views, previous, watched, at)),
        disputed=disputed,
        is_first=any(view.source not in previous for view in views),
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
    stated = {key for view in views for key in view.statements}
    asked = {key for key in moved | stated if not watched or key[0] in watched}
    unpriced = {key for key in asked if not catalogue.versions(*key)}
    return sorted({key for key in moved if catalogue.versions(*key)} | unpriced | standing.keys())


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
    barred: _Barred,
    policy: Policy,
    at: datetime,
) -> Iterator[Finding]:
    pending = [proposed_of(change) for change in standing]
    refused = barred.moves.get(key, frozenset())
    trust = policy.trusted(key[0])
    for proposed in reconcile(
        active=active,
        views=views,
        previous=previous,
        key=key,
        at=at,
        trust=trust,
        pending=pending,
        refused=refused,
    ):
        if proposed.digest in barred.digests:
            continue
        if proposed.decision.reasons == UNCONFIRMED and _says_only_the_release(key, views):
            proposed = replace(proposed, decision=Decision(verdict="apply", reasons=RELEASED))
        if proposed.decision.verdict == "soak":
            decision = settle_soak(proposed, views=views, at=at, trust=trust)
            proposed = replace(proposed, decision=decision)
        if active is not None:
            proposed = policy.decided(proposed)
        yield Finding(proposed=proposed, old=active, sources=_sources(key, views))


def _says_only_the_release(key: ModelKey, views: Iterable[SourceView]) -> bool:
    return [view.source for view in voters(key, views)] == [BUNDLED]


def _sources(key: ModelKey, views: Iterable[SourceView]) -> dict[str, str]:
    return {view.source: view.revision for view in voters(key, views)}


def _announced(
    catalogue: Catalogue,
    views: Sequence[SourceView],
    scheduled: Mapping[ModelKey, Sequence[PriceChange]],
    barred: _Barred,
    watched: Collection[str],
    at: datetime,
) -> Iterator[Announced]:
    known = {change.digest for changes in scheduled.values() for change in changes} | barred.digests
    for view in sorted(views, key=lambda view: view.source):
        for key, statement in sorted(view.statements.items()):
            if not catalogue.versions(*key) and watched and key[0] not in watched:
                continue
            for price in statement.scheduled:
                digest = _schedule_digest(key, price)
                if price.valid_from > at and digest not in known and view in voters(key, views):
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
    policy: Policy,
    at: datetime,
) -> Iterator[tuple[PriceChange, Due]]:
    """Yield what became of every announcement that no longer just waits."""
    for key in sorted(scheduled):
        active = listed(catalogue, key, at=at)
        for change in scheduled[key]:
            if active is None:
                continue
            announcement, trust = announcement_of(change), policy.trusted(key[0])
            outcome = scheduled_due(announcement, active=active, views=views, at=at, trust=trust)
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
