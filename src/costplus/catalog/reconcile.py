"""Reconcile: what sources say now and said before, against the active price: the changes that follow.

Rule 1: a part may change where two sources state another price, where a source moved away from what it said
(or speaks of the part for the first time), or, when a source is first read at all, where the most trusted
one of those that state the part differs. A disagreement in which nobody moves changes nothing.
Rule 2: silence is no removal: a part is removed by a source that stated it and still states the model.
Rule 3: what two sources confirm does not wait for the rest: it is a change of its own. Of the rest, what the
same sources say stands or falls together.
Rule 4: what is held or soaks stays proposed for as long as a source states it (`pending`).
Rule 5: where a source is outvoted on a list price, what it alone says under conditions is held for removal:
hours that were once cheaper would sell below the new list price.
Rule 6: a first price takes, where sources differ on a part, the dearest: there is no active price to keep.
Source: spec "prices", §6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from costplus.catalog.agreement import (
    components_of,
    confirmed_price,
    part_of,
    same_price,
    spoken,
    stand_in,
    standing,
    voters,
)
from costplus.catalog.change import (
    Decision,
    Move,
    PartKey,
    Precision,
    ProposedChange,
    decide,
    faults,
)
from costplus.catalog.feeds.stated import StatedPrice, component_order
from costplus.catalog.price import ALWAYS, Component, Multiplier, PriceVersion
from costplus.catalog.statement import ModelKey, SourceName, SourceView

FEED_CURRENCY = "USD"  # Every public list is in it.

Priced = Component | Multiplier
Refusal = tuple[PartKey, Fraction | None, Fraction | None]  # A part, and from what to what it was to move.
_Price = tuple[tuple[Component, ...], tuple[Multiplier, ...]]
Parts = Mapping[PartKey, Fraction]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Voice:
    """What one independent source says of the model now and said before."""

    source: SourceName
    stated: StatedPrice
    parts: Parts
    before: Parts | None  # None where the source was never read.
    unmapped_before: tuple[str, ...]
    dated_before: datetime | None

    def brings(self, part: PartKey, *, is_most_trusted: bool) -> Fraction | None:
        """Return the price that the source newly states for a part, None where it brings none."""
        cost = self.parts.get(part)
        if self.before is None:
            return cost if is_most_trusted else None
        return None if same_price(cost, self.before.get(part)) else cost

    @property
    def names_a_day(self) -> bool:
        """Whether its price has a day that it did not have before."""
        return self.stated.valid_from not in (ALWAYS, self.dated_before)

    def drops(self, part: PartKey) -> bool:
        return self.before is not None and part in self.before and part not in self.parts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One model at one instant, with all that is known about it."""

    key: ModelKey
    at: datetime
    active: PriceVersion
    prices: Parts  # Of the active version.
    voices: tuple[_Voice, ...]
    pending: tuple[ProposedChange, ...]


def reconcile(
    *,
    active: PriceVersion | None,
    views: Iterable[SourceView],
    previous: Mapping[SourceName, SourceView],
    key: ModelKey,
    at: datetime,
    trust: Sequence[SourceName] | None = None,
    pending: Sequence[ProposedChange] = (),
    refused: Collection[Refusal] = (),
) -> tuple[ProposedChange, ...]:
    """Return the changes that the sources propose now, those that may apply first.

    `previous` has each source's view accepted before its current one, `pending` the model's changes that are
    held or soak. What of `pending` is not proposed again is no longer stated by anyone. `refused` moves are
    left out.
    """
    voices = tuple(_voices(key, voters(key, views, trust), previous))
    if not voices:
        return ()
    if active is None:
        return (_first_price(key, voices, at=at),)
    prices = components_of(active)
    case = _Case(key=key, at=at, active=active, prices=prices, voices=voices, pending=tuple(pending))
    parts = {part for voice in voices for part in voice.parts} | prices.keys()
    moves = [move for part in sorted(parts) if (move := _move(part, case)) is not None]
    return tuple(_changes([m for m in moves if (m.part, m.old, m.new) not in refused], case))


def with_moves(active: PriceVersion, change: ProposedChange) -> _Price:
    """Return the components and multipliers of `active` with a change's moves, and nothing else, applied.

    For a change that was decided against an earlier price than the active one.
    """
    moved = {move.part for move in change.moves}
    return _merged((active.components, active.multipliers), moved, (*change.components, *change.multipliers))


def settle_soak(
    change: ProposedChange,
    *,
    views: Iterable[SourceView],
    at: datetime,
    trust: Sequence[SourceName] | None = None,
) -> Decision:
    """Return what becomes of a soaking change: applied when due and nobody contradicts, else held.

    It is withdrawn where no source states it any more, and applied at once where a second one confirms it.
    """
    assert change.decision.verdict == "soak" and change.decision.due_at is not None, change.digest
    speaking = voters((change.provider, change.model), views, trust)
    said = {view.source: spoken(view.statements[change.provider, change.model].current) for view in speaking}
    standings = []
    for move in change.moves:
        votes = {str(source): parts[move.part] for source, parts in said.items() if move.part in parts}
        removed_by = [source for source in move.removed_by if source in said and source not in votes]
        if move.new is None and not removed_by:
            return Decision(verdict="withdrawn", reasons=("no_longer_stated",))
        if move.new is not None and not any(same_price(move.new, cost) for cost in votes.values()):
            return Decision(verdict="withdrawn", reasons=("no_longer_stated",))
        judged = standing(move.part, old=move.old, new=move.new, votes=votes, removed_by=removed_by)
        standings.append(judged.standing)
    large = change.decision.large
    if "disputed" in standings:
        return Decision(verdict="hold", reasons=("sources_disagree",), large=large)
    if all(one == "confirmed" for one in standings):
        return Decision(verdict="apply", reasons=("two_sources_agree",), large=large)
    if at >= change.decision.due_at:
        return Decision(verdict="apply", reasons=("single_source", "soak_passed"), large=large)
    return change.decision


def _voices(
    key: ModelKey, speaking: Sequence[SourceView], previous: Mapping[SourceName, SourceView]
) -> Iterator[_Voice]:
    for view in speaking:
        stated = view.statements[key].current
        parts = spoken(stated)
        earlier = previous.get(view.source)
        known = earlier.statements.get(key) if earlier else None
        before: Parts | None = None
        if earlier is not None:
            before = {} if known is None else parts if known.current == stated else spoken(known.current)
        yield _Voice(
            source=view.source,
            stated=stated,
            parts=parts,
            before=before,
            unmapped_before=known.current.unmapped if known else stated.unmapped,
            dated_before=known.current.valid_from if known else None,
        )


def _votes(part: PartKey, voices: Iterable[_Voice]) -> dict[str, Fraction]:
    return {str(voice.source): voice.parts[part] for voice in voices if part in voice.parts}


def _move(part: PartKey, case: _Case) -> Move | None:
    """Return how a part changes, None where nothing says that it does."""
    old = case.prices.get(part)
    votes = _votes(part, case.voices)
    waiting = [move for change in case.pending for move in change.moves if move.part == part]
    agreed = confirmed_price(votes)
    new = None if same_price(agreed, old) else agreed
    if new is None:
        stating = [voice for voice in case.voices if part in voice.parts]
        brought = (voice.brings(part, is_most_trusted=voice is stating[0]) for voice in stating)
        kept = (cost for cost in votes.values() for move in waiting if same_price(cost, move.new))
        new = next(
            (cost for cost in (*brought, *kept) if cost is not None and not same_price(cost, old)), None
        )
    if new is not None:
        return standing(part, old=old, new=new, votes=votes, stands_in=_replacing(part, case))
    if old is None:
        return None
    before = {source for move in waiting for source in move.removed_by}
    removed_by = [
        voice.source
        for voice in case.voices
        if voice.drops(part) or (voice.source in before and part not in voice.parts)
    ]
    if not removed_by and not _is_outvoted(part, votes, case):
        return None
    stands_in = _replacing(part, case)
    return standing(part, old=old, new=None, votes=votes, removed_by=removed_by, stands_in=stands_in)


def _replacing(part: PartKey, case: _Case) -> Fraction | None:
    return stand_in(case.active.components, part)


def _is_outvoted(part: PartKey, votes: Mapping[str, Fraction], case: _Case) -> bool:
    """Return whether only sources whose list price others have outvoted still state a conditional price."""
    leaf, when = part
    if not when or when.startswith("×") or not votes:
        return False
    listed = _votes((leaf, ""), case.voices)
    agreed = confirmed_price(listed)
    return agreed is not None and all(
        source in listed and not same_price(listed[source], agreed) for source in votes
    )


def _changes(moves: Sequence[Move], case: _Case) -> Iterator[ProposedChange]:
    """Yield the confirmed moves as one change where they may apply, then the rest of each source's word."""
    base, since = (case.active.components, case.active.multipliers), case.active.valid_from
    agreed = [move for move in moves if move.standing == "confirmed" and not any(faults(move))]
    if agreed:
        change = _change(agreed, case, base=base, since=since)
        if change.decision.verdict == "apply":
            yield change
            base, since = (change.components, change.multipliers), change.effective_at
        else:
            agreed = []
    words: dict[tuple[SourceName, ...], list[Move]] = {}
    for move in moves:
        if move not in agreed:
            behind = tuple(voice.source for voice in case.voices if _supports(voice, move))
            words.setdefault(behind, []).append(move)
    for behind in sorted(words):
        yield _change(words[behind], case, base=base, since=since)


def _change(moves: Sequence[Move], case: _Case, *, base: _Price, since: datetime) -> ProposedChange:
    """Return the moves as a change of `base`, which has counted since an instant."""
    components, multipliers = _merged(base, {move.part for move in moves}, _figures(moves, case.voices))
    moves = [_with_stand_in(move, base[0] if move.old is None else components) for move in moves]
    digest = _digest(case.key, moves)
    behind = [voice for voice in case.voices if any(_supports(voice, move) for move in moves)]
    unmapped = _appeared(behind, moves, case)
    effective_at, precision = _effective(behind, moves, case, since=since)
    decision = decide(
        moves,
        at=case.at,
        before=base[0],
        after=components,
        unmapped=unmapped,
        currency_changed=case.active.currency.upper() != FEED_CURRENCY,
        dated=_is_dated(behind, moves, case),
    )
    soaking = next((known.decision for known in case.pending if known.digest == digest), decision)
    if decision.verdict == soaking.verdict == "soak":
        decision = replace(decision, due_at=soaking.due_at)
    return ProposedChange(
        provider=case.key[0],
        model=case.key[1],
        components=components,
        multipliers=multipliers,
        effective_at=effective_at,
        precision=precision,
        moves=tuple(moves),
        decision=decision,
        digest=digest,
        unmapped=unmapped,
    )


def _supports(voice: _Voice, move: Move) -> bool:
    if move.new is None:
        return voice.source in move.removed_by
    return same_price(voice.parts.get(move.part), move.new)


def _with_stand_in(move: Move, components: Sequence[Component]) -> Move:
    """Return a part that comes or goes with what else prices it beside those components."""
    if move.old is not None and move.new is not None:
        return move
    return replace(move, stands_in=stand_in(components, move.part))


def _figures(moves: Iterable[Move], voices: Sequence[_Voice]) -> list[Priced]:
    """Return the components and multipliers of the moves as the most trusted agreeing source has them."""
    found: list[Priced] = []
    for move in moves:
        if move.new is None:
            continue
        voice = next(voice for voice in voices if same_price(voice.parts.get(move.part), move.new))
        priced: list[Priced] = [*voice.stated.components, *voice.stated.multipliers]
        found += [one for one in priced if part_of(one) == move.part]
    return found


def _merged(base: _Price, moved: set[PartKey], figures: Iterable[Priced]) -> _Price:
    """Return the base with the moved parts taken from `figures`."""
    components = [component for component in base[0] if part_of(component) not in moved]
    multipliers = [multiplier for multiplier in base[1] if part_of(multiplier) not in moved]
    for figure in figures:
        if part_of(figure) not in moved:
            continue
        if isinstance(figure, Multiplier):
            multipliers.append(figure)
        else:
            components.append(figure)
    return component_order(components), tuple(sorted(multipliers, key=part_of))


def _appeared(behind: Iterable[_Voice], moves: Iterable[Move], case: _Case) -> tuple[str, ...]:
    """Return the price keys that came with the moves, now or when they were first proposed."""
    waiting = {key for change in _waiting(moves, case) for key in change.unmapped}
    found = set()
    for voice in behind:
        now = set(voice.stated.unmapped)
        found |= (now - set(voice.unmapped_before)) | (now & waiting)
    return tuple(sorted(found))


def _effective(
    behind: Iterable[_Voice], moves: Iterable[Move], case: _Case, *, since: datetime
) -> tuple[datetime, Precision]:
    """Return from when a change counts: the day that a source newly names, else now.

    A day that the source named before belongs to an earlier change of its price.
    """
    for voice in behind:
        if since < voice.stated.valid_from <= case.at and voice.names_a_day:
            return voice.stated.valid_from, "day"
    for change in _waiting(moves, case):
        if change.precision == "day" and since < change.effective_at:
            return change.effective_at, "day"
    return case.at, "detected"


def _is_dated(behind: Iterable[_Voice], moves: Iterable[Move], case: _Case) -> bool:
    """Return whether a source names a past day for the new price, now or when it was first proposed."""
    if _effective(behind, moves, case, since=case.active.valid_from)[1] == "day":
        return True
    return any("scheduled_unconfirmed" in change.decision.reasons for change in _waiting(moves, case))


def _waiting(moves: Iterable[Move], case: _Case) -> Iterator[ProposedChange]:
    """Yield the pending changes that propose one of the moves already."""
    parts = {(move.part, move.new) for move in moves}
    for change in case.pending:
        if not parts.isdisjoint((move.part, move.new) for move in change.moves):
            yield change


def _digest(key: ModelKey, moves: Iterable[Move]) -> str:
    lines = ["\x1f".join((*move.part, str(move.old), str(move.new))) for move in moves]
    text = "\x1e".join([*key, *sorted(lines)])
    return f"chg_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _first_price(key: ModelKey, voices: Sequence[_Voice], *, at: datetime) -> ProposedChange:
    """Return a model's first price: of every part what two sources confirm, else the dearest stated."""
    moves = []
    for part in sorted({part for voice in voices for part in voice.parts}):
        votes = _votes(part, voices)
        agreed = confirmed_price(votes)
        new = max(votes.values()) if agreed is None else agreed
        moves.append(standing(part, old=None, new=new, votes=votes))
    components, multipliers = _merged(((), ()), {move.part for move in moves}, _figures(moves, voices))
    decision = decide(moves, at=at, before=None, after=components)
    return ProposedChange(
        provider=key[0],
        model=key[1],
        components=components,
        multipliers=multipliers,
        effective_at=at,
        precision="detected",
        moves=tuple(moves),
        decision=decision,
        digest=_digest(key, moves),
    )
