"""Keep what a survey found: new changes, what became of open ones, announcements, marks; and announce it.

Rule 1: a change is kept once (its digest); found again, only what is decided about it may move.
Rule 2: what applies is recorded together, so that a rate card is followed up once per synchronisation.
Rule 3: events are told of watched providers; the others are kept up to date without them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.billing.notice import notice_of
from costplus.billing.notify import announce
from costplus.billing.price_record import NO_IMPACTS, Person, apply_changes
from costplus.billing.store import Tx
from costplus.billing.weigh import foresee
from costplus.catalog.book import ModelMark, PriceChange
from costplus.catalog.guard import Retirement
from costplus.catalog.price import ALWAYS
from costplus.catalog.recorded import decided, recorded_change
from costplus.catalog.schedule import Due
from costplus.catalog.snapshot import component_entry, multiplier_entry
from costplus.catalog.statement import ModelKey
from costplus.catalog.survey import Announced, Finding, Survey
from costplus.core.ids import new_id
from costplus.core.records import Record
from costplus.rating.impact import Impact
from costplus.rating.pricing import Pricing

POLICY = Person(name="policy")


@dataclass(slots=True)
class Kept:
    """What was kept: the changes that are new or moved on, and how many were withdrawn."""

    changes: list[PriceChange] = field(default_factory=list)
    withdrawn: int = 0


@dataclass(frozen=True, slots=True)
class _Desk:
    """One transaction's means to keep and tell."""

    tx: Tx
    watched: Collection[str]
    at: datetime
    disputed: set[ModelKey] = field(default_factory=set)  # What a change already told of.
    news: list[tuple[str, PriceChange]] = field(default_factory=list)  # To be told together.

    def tell(self, type: str, subject: Record, *, provider: str) -> None:
        if self.watched and provider not in self.watched:
            return
        if isinstance(subject, PriceChange):
            self.news.append((type, subject))
        else:
            announce(self.tx, type, subject, at=self.at)

    def tell_news(self, pricing: Pricing, impacts: Mapping[str, Impact]) -> None:
        """Announce the changes with what each rate card would do and what they mean for past usage."""
        changes = {change.id: change for _, change in self.news}
        cards = foresee(self.tx, pricing, list(changes.values()), at=self.at)
        for type, change in self.news:
            notice = notice_of(change, cards=cards, impact=impacts.get(change.digest))
            announce(self.tx, type, notice, at=self.at)


def keep_findings(
    tx: Tx,
    found: Survey,
    *,
    pricing: Pricing,
    watched: Collection[str],
    at: datetime,
    impacts: Mapping[str, Impact] = NO_IMPACTS,
) -> Kept:
    """Keep everything that a survey found; `pricing` holds the prices that it was made with."""
    desk, kept = _Desk(tx, watched, at), Kept()
    applying: list[PriceChange] = []
    for finding in found.findings:
        change = _kept(desk, finding)
        if change is not None:
            (applying if change.status == "applied" else kept.changes).append(change)
    for change in found.withdrawn:
        if _is_as_surveyed(tx, change):
            tx.save(replace(change, status="withdrawn", due_at=None, decided_at=at, decided_by=POLICY.name))
            kept.withdrawn += 1
    kept.changes += [_scheduled(desk, announced) for announced in found.announced]
    for change, outcome in found.due:
        moved = _came_due(desk, change, outcome) if _is_as_surveyed(tx, change) else None
        if moved is not None:
            (applying if moved.status == "applied" else kept.changes).append(moved)
    desk.tell_news(pricing, impacts)
    kept.changes += apply_changes(tx, applying, at=at, by=POLICY, watched=watched, impacts=impacts)
    for key, said in found.retired.items():
        _mark(desk, key, said)
    for key, leaves in found.disputed.items():
        _mark_disputed(desk, key, leaves, is_news=not found.is_first)
    return kept


def _is_as_surveyed(tx: Tx, change: PriceChange) -> bool:
    """Return whether nobody has decided about an open change since it was read."""
    return tx.find(PriceChange, change.id) == change


def _kept(desk: _Desk, finding: Finding) -> PriceChange | None:
    """Keep a finding; return the change where it is new, or where something else is decided about it now."""
    proposed = finding.proposed
    known = desk.tx.find_by_lookup(PriceChange, proposed.digest)
    if known is not None and not known.is_open:
        return None
    if known is None:
        change = recorded_change(
            proposed,
            id=new_id("pchg", at=desk.at),
            kind="new_model" if finding.old is None else "price",
            old=finding.old,
            sources=finding.sources,
            at=desk.at,
        )
        if change.kind == "price":
            desk.tell("price.change_detected", change, provider=change.provider)
        elif not desk.tx.page(PriceChange, parent=change.parent, limit=1):
            desk.tell("model.discovered", change, provider=change.provider)
    else:
        change = replace(decided(known, proposed.decision), sources=dict(finding.sources), moves=known.moves)
        if (change.status, change.reasons) == (known.status, known.reasons):
            return None
    _tell_decision(desk, change, known)
    if change.status != "applied":
        desk.tx.save(change)
    return change


def _tell_decision(desk: _Desk, change: PriceChange, known: PriceChange | None) -> None:
    if change.status == "held" and (known is None or known.status != "held"):
        desk.tell("price.change_held", change, provider=change.provider)
        if "sources_disagree" in change.reasons:
            desk.tell("price.source_disagreement", change, provider=change.provider)
            desk.disputed.add((change.provider, change.model))
    elif change.status == "applied" and change.kind == "price":
        desk.tell("price.change_confirmed", change, provider=change.provider)


def _scheduled(desk: _Desk, found: Announced) -> PriceChange:
    """Keep a price that is announced for later."""
    announcement = found.announcement
    change = PriceChange(
        id=new_id("pchg", at=desk.at),
        created=desk.at,
        provider=announcement.provider,
        model=announcement.model,
        kind="scheduled",
        status="scheduled",
        digest=found.digest,
        components=tuple(component_entry(c) for c in announcement.price.components),
        multipliers=tuple(multiplier_entry(m) for m in announcement.price.multipliers),
        effective_at=announcement.price.valid_from,
        precision="day",
        due_at=announcement.price.valid_from,
        sources={announcement.source: announcement.revision},
        announced_by=announcement.source,
        announced_at=announcement.announced_at,
    )
    desk.tx.save(change)
    desk.tell("price.scheduled", change, provider=change.provider)
    return change


def _came_due(desk: _Desk, change: PriceChange, outcome: Due) -> PriceChange | None:
    """Return an announcement as it is now, None where nothing is new about it."""
    if outcome.state == "confirmed":
        if desk.at < change.effective_at:
            return None
        return replace(change, status="applied", reasons=outcome.reasons)
    moved = replace(change, reasons=outcome.reasons)
    if outcome.state == "cancelled":
        moved = replace(moved, status="cancelled", due_at=None)
        desk.tell("price.schedule_cancelled", moved, provider=change.provider)
    elif outcome.state == "in_force":
        moved = replace(moved, status="superseded", due_at=None)
    if moved == change:
        return None
    if outcome.state == "due":
        desk.tell("price.schedule_due", moved, provider=change.provider)
    desk.tx.save(moved)
    return moved


def _mark(desk: _Desk, key: ModelKey, said: Iterable[Retirement]) -> None:
    """Keep what sources say about a model's end, and tell what is new about it."""
    provider, model = key
    id = f"{provider}/{model}"
    known = desk.tx.find(ModelMark, id)
    mark = known or ModelMark(id=id, created=desk.at, provider=provider, model=model)
    ends = [one for one in said if one.kind in ("deprecated", "ending") and one.at is not None]
    days = sorted(one.at for one in ends if one.at and one.at > ALWAYS)
    is_over = any(one.kind == "deprecated" and one.at in days for one in ends)
    gone = {one.source for one in said if one.kind == "gone"}
    to = next((one.redirect_to for one in said if one.redirect_to), "")
    marked = replace(
        mark,
        deprecated_at=days[0] if days else ALWAYS if ends else mark.deprecated_at,
        is_over=mark.is_over or is_over,
        gone_from=tuple(sorted({*mark.gone_from, *gone})),
        redirect_to=to or mark.redirect_to,
    )
    if marked == known:
        return
    desk.tx.save(marked)
    if marked.deprecated_at != mark.deprecated_at:
        desk.tell("model.deprecation_announced", marked, provider=provider)
    if set(marked.gone_from) - set(mark.gone_from) or marked.is_over > mark.is_over:
        desk.tell("model.retired", marked, provider=provider)
    if marked.redirect_to != mark.redirect_to:
        desk.tell("model.redirected", marked, provider=provider)


def _mark_disputed(desk: _Desk, key: ModelKey, leaves: tuple[str, ...], *, is_news: bool) -> None:
    """Keep on which list prices the sources of a model differ, and tell where they did not before."""
    provider, model = key
    id = f"{provider}/{model}"
    mark = desk.tx.find(ModelMark, id) or ModelMark(id=id, created=desk.at, provider=provider, model=model)
    if mark.disputed == leaves:
        return
    marked = replace(mark, disputed=leaves)
    desk.tx.save(marked)
    if is_news and set(leaves) - set(mark.disputed) and key not in desk.disputed:
        desk.tell("price.source_disagreement", marked, provider=provider)
