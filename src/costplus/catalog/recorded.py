"""How a proposed change is kept and comes back the same, and what it makes of a price version.

Rule 1: exact costs are text; what was kept is read back equal.
Rule 2: the version that a change makes has an id that follows from what it says, like every other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import cast, get_args

from costplus.catalog.agreement import components_of, part_of, same_price, spoken
from costplus.catalog.book import ChangeKind, ChangeStatus, PriceChange, RecordedMove
from costplus.catalog.change import Decision, Move, Precision, ProposedChange, Standing, Verdict
from costplus.catalog.feeds.stated import StatedPrice, component_order
from costplus.catalog.price import Component, Minimum, Multiplier, PriceVersion
from costplus.catalog.snapshot import (
    VersionEntry,
    component_entry,
    component_from_entry,
    multiplier_entry,
    multiplier_from_entry,
    price_version_id,
)
from costplus.core.money import decimal_text, parse_exact

STATUS_OF: Mapping[Verdict, ChangeStatus] = {
    "apply": "applied",
    "soak": "soaking",
    "hold": "held",
    "pending": "pending",
    "withdrawn": "withdrawn",
}
_VERDICT_OF = {status: verdict for verdict, status in STATUS_OF.items()}
_STANDINGS: tuple[Standing, ...] = get_args(Standing)


def recorded_change(
    proposed: ProposedChange,
    *,
    id: str,
    kind: ChangeKind,
    old: PriceVersion | None,
    sources: Mapping[str, str],
    at: datetime,
) -> PriceChange:
    """Return a proposal as it is kept, detected at `at`."""
    decision = proposed.decision
    return PriceChange(
        id=id,
        created=at,
        provider=proposed.provider,
        model=proposed.model,
        kind=kind,
        status=STATUS_OF[decision.verdict],
        digest=proposed.digest,
        components=tuple(component_entry(component) for component in proposed.components),
        multipliers=tuple(multiplier_entry(multiplier) for multiplier in proposed.multipliers),
        old_version=old.id if old else "",
        effective_at=proposed.effective_at,
        precision=proposed.precision,
        moves=tuple(recorded_move(move) for move in proposed.moves),
        unmapped=proposed.unmapped,
        reasons=decision.reasons,
        large=decision.large,
        due_at=decision.due_at,
        sources=dict(sources),
    )


def proposed_of(change: PriceChange) -> ProposedChange:
    """Return the proposal that an open change was kept from."""
    verdict = _VERDICT_OF[change.status]
    return ProposedChange(
        provider=change.provider,
        model=change.model,
        components=components_of_change(change),
        multipliers=multipliers_of_change(change),
        effective_at=change.effective_at,
        precision=cast(Precision, change.precision),
        moves=tuple(move_of(move) for move in change.moves),
        decision=Decision(
            verdict=verdict,
            reasons=change.reasons,
            large=change.large,
            due_at=change.due_at,
        ),
        digest=change.digest,
        unmapped=change.unmapped,
    )


def recorded_move(move: Move) -> RecordedMove:
    """Return one part's move as it is kept."""
    return RecordedMove(
        leaf=move.leaf,
        when=move.when,
        old=_text(move.old),
        new=_text(move.new),
        standing=move.standing,
        votes={source: decimal_text(cost) for source, cost in move.votes.items()},
        removed_by=move.removed_by,
        stands_in=_text(move.stands_in),
    )


def move_of(move: RecordedMove) -> Move:
    """Read back what `recorded_move` wrote."""
    return Move(
        leaf=move.leaf,
        when=move.when,
        old=_exact(move.old),
        new=_exact(move.new),
        standing=next(known for known in _STANDINGS if known == move.standing),
        votes={source: parse_exact(cost) for source, cost in move.votes.items()},
        removed_by=move.removed_by,
        stands_in=_exact(move.stands_in),
    )


def stated_by(change: PriceChange) -> StatedPrice:
    """Return the new price as if a source stated it."""
    return StatedPrice(
        provider=change.provider,
        model=change.model,
        components=components_of_change(change),
        multipliers=multipliers_of_change(change),
        valid_from=change.effective_at,
    )


def announced_over(old: PriceVersion | None, change: PriceChange) -> StatedPrice:
    """Return the price that an announcement makes of the one before: what it does not state stays."""
    stated = stated_by(change)
    if old is None:
        return stated
    told = spoken(stated)
    components = [c for c in old.components if part_of(c) not in told]
    components += [c for c in stated.components if part_of(c) in told]
    multipliers = [m for m in old.multipliers if part_of(m) not in told]
    multipliers += [m for m in stated.multipliers if part_of(m) in told]
    return replace(stated, components=component_order(components), multipliers=tuple(multipliers))


def moves_between(old: PriceVersion | None, new: StatedPrice) -> tuple[RecordedMove, ...]:
    """Return what a price that nobody voted on, such as a person's, changes of the one before."""
    before, after = components_of(old) if old else {}, components_of(new)
    return tuple(
        recorded_move(
            Move(leaf=part[0], when=part[1], old=before.get(part), new=after.get(part), standing="single")
        )
        for part in {**before, **after}
        if not same_price(before.get(part), after.get(part))
    )


def components_of_change(change: PriceChange) -> tuple[Component, ...]:
    """Return the components of the new price."""
    return tuple(component_from_entry(entry) for entry in change.components)


def multipliers_of_change(change: PriceChange) -> tuple[Multiplier, ...]:
    """Return the multipliers of the new price."""
    return tuple(multiplier_from_entry(entry) for entry in change.multipliers)


def version_entry(
    *,
    provider: str,
    model: str,
    currency: str,
    components: Iterable[Component],
    multipliers: Iterable[Multiplier],
    old: PriceVersion | None,
    valid_from: datetime,
    valid_to: datetime | None = None,
) -> VersionEntry:
    """Return a new price as the book writes it; minimums and allowances stay those of the old one."""
    components, multipliers = tuple(components), tuple(multipliers)
    minimums: tuple[Minimum, ...] = old.minimums if old else ()
    return VersionEntry(
        id=price_version_id(
            provider=provider,
            model=model,
            currency=currency,
            valid_from=valid_from,
            components=components,
            multipliers=multipliers,
            minimums=minimums,
        ),
        valid_from=valid_from,
        valid_to=valid_to,
        components=tuple(component_entry(component) for component in components),
        unmapped=old.unmapped if old else (),
        multipliers=tuple(multiplier_entry(multiplier) for multiplier in multipliers),
        minimums=minimums,
        allowances=old.allowances if old else (),
    )


def decided(change: PriceChange, decision: Decision) -> PriceChange:
    """Return an open change with another decision about it."""
    return replace(
        change,
        status=STATUS_OF[decision.verdict],
        reasons=decision.reasons,
        large=decision.large,
        due_at=decision.due_at,
    )


def _text(cost: Fraction | None) -> str | None:
    return None if cost is None else decimal_text(cost)


def _exact(text: str | None) -> Fraction | None:
    return None if text is None else parse_exact(text)
