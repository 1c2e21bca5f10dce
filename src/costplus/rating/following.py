"""Following: what a rate card does about changed provider prices, decided without looking at anything else.

Rule 1: a change is judged against what the card sells by, not against the price before: a rise that was not
followed is still part of the next one.
Rule 2: a change that raises one part and lowers another is both a rise and a fall; each must be admitted.
Rule 3: what a card does not follow it keeps apart (`kept_as_of`), so no later version sweeps it in unseen.
Rule 4: why a change is left has a word, permanent like an error code.
Source: spec "prices", §6 (auto-apply modes).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Literal

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.condition import Condition, when_of, when_text
from costplus.catalog.context import ORDINARY
from costplus.catalog.price import PriceVersion, chosen, standing_in
from costplus.core.usage import LEAVES
from costplus.rating.pricing import sells
from costplus.rating.rate_card import PriceTracking, RateCard, RateCardVersion

Reason = Literal[
    "tracking_disabled",
    "new_models_disabled",
    "increases_not_applied",
    "decreases_not_applied",
    "above_max_increase",
]


@dataclass(frozen=True, slots=True)
class PartMove:
    """What a unit of a leaf costs before and after, under conditions; `×` begins a multiplier's text."""

    leaf: str
    when: str
    old: Fraction | None
    new: Fraction | None

    @property
    def rises(self) -> bool:
        """Whether it costs more, or for the first time something."""
        return self.new is not None and self.new > (self.old or 0)

    @property
    def falls(self) -> bool:
        return self.new is not None and self.old is not None and self.new < self.old

    @property
    def percent(self) -> Fraction | None:
        """By how much it moves; None where it comes from nothing or goes."""
        return (self.new / self.old - 1) * 100 if self.old and self.new is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMove:
    """One model's price as a card sells it now and as it would after following, at every instant to come.

    `known_at`: the card then sells the model by what was known at that instant.
    """

    change: str  # The price change's id; empty where the seller takes whatever is newest.
    provider: str
    model: str
    is_new: bool  # The card does not sell the model yet.
    pairs: tuple[tuple[PriceVersion, PriceVersion], ...]  # (old, new) wherever they differ.
    known_at: datetime

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def parts(self) -> tuple[PartMove, ...]:
        """The parts that move, now or later."""
        return tuple(part for old, new in self.pairs for part in parts_between(old, new))


@dataclass(frozen=True, slots=True)
class Accepted:
    """A move that the card follows, for new customers only or for all."""

    move: ModelMove
    mode: PriceTracking


@dataclass(frozen=True, slots=True)
class Left:
    """A change that a card does not follow, and why."""

    change: str
    model: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class FollowDecision:
    """What a card does about the changes of one moment."""

    accepted: tuple[Accepted, ...]
    left: tuple[Left, ...]


def decide_follow(card: RateCard, moves: Sequence[ModelMove]) -> FollowDecision:
    """Return which moves the card's own rules admit."""
    accepted, left = [], []
    for move in moves:
        mode = card.tracking.new_models if move.is_new else card.price_tracking
        reason = _refusal(card, move, mode)
        if reason is None:
            accepted.append(Accepted(move, mode))
        else:
            left.append(Left(move.change, move.name, reason))
    return FollowDecision(tuple(accepted), tuple(left))


def _refusal(card: RateCard, move: ModelMove, mode: PriceTracking) -> Reason | None:
    """Return why the card does not follow the move, or None where it does."""
    if move.is_new:
        return "new_models_disabled" if mode == "disabled" else None
    if mode == "disabled":
        return "tracking_disabled"
    rising = [part for part in move.parts if part.rises]
    if rising and not card.tracking.apply_increases:
        return "increases_not_applied"
    if not card.tracking.apply_decreases and any(part.falls for part in move.parts):
        return "decreases_not_applied"
    most = card.tracking.max_increase_percent
    if most is not None and any(part.percent is None or part.percent > most for part in rising):
        return "above_max_increase"
    return None


def parts_between(old: PriceVersion, new: PriceVersion) -> tuple[PartMove, ...]:
    """Return every part in which two versions of a price differ, by leaf and conditions.

    A part that one of them does not state is what that one charges in its place. Meters that no usage counts
    are not sold, so they move nothing.
    """
    conditions = {*old.conditions, *new.conditions}
    rated = [c for version in (old, new) for c in version.components if c.leaf in LEAVES]
    keys = sorted({(c.leaf, when_text(c.when)) for c in rated})
    found = []
    for leaf, when in keys:
        holding = _holding(when_of(when), conditions)
        before, after = (_unit_cost(version, leaf, holding) for version in (old, new))
        if before != after:
            found.append(PartMove(leaf, when, before, after))
    return (*found, *_multipliers_between(old, new))


def _unit_cost(version: PriceVersion, leaf: str, holding: frozenset[Condition]) -> Fraction | None:
    component = standing_in(chosen(version.components, holding=holding), leaf)
    return None if component is None else component.unit_cost


def _holding(when: Iterable[Condition], conditions: Iterable[Condition]) -> frozenset[Condition]:
    """Return what holds for a request that just passes `when`: a long prompt passes shorter bounds too."""
    stated = frozenset(when)
    sizes = [c.value for c in stated if c.field == "prompt_tokens" and isinstance(c.value, int)]
    passed = (c for c in conditions if c.field == "prompt_tokens" and sizes)
    tokens = max(sizes, default=0) + 1
    return stated | {c for c in passed if c.holds(prompt_tokens=tokens, context=ORDINARY)}


def _multipliers_between(old: PriceVersion, new: PriceVersion) -> Iterator[PartMove]:
    factors = [
        {(m.applies_to, when_text(m.when)): Fraction(m.factor) for m in version.multipliers}
        for version in (old, new)
    ]
    for scope, when in sorted({*factors[0], *factors[1]}):
        before, after = (known.get((scope, when), Fraction(1)) for known in factors)
        if before != after:
            yield PartMove(scope, f"×{when}", before, after)


def applicable(
    version: RateCardVersion, moves: Iterable[ModelMove], *, catalogue: Catalogue
) -> list[ModelMove]:
    """Return the moves that are ahead of a version: of models that it sells, or does not sell yet."""
    ahead = []
    for move in moves:
        if not sells(catalogue, move.provider, move.model, card=version):
            if move.is_new:
                ahead.append(move)
            continue
        known = version.known_at(provider=move.provider, model=move.model)
        if not move.is_new and known is not None and known < move.known_at:
            ahead.append(move)
    return ahead


def following(
    version: RateCardVersion, moves: Iterable[ModelMove], *, catalogue: Catalogue, id: str, at: datetime
) -> RateCardVersion:
    """Return the version that follows the moves and nothing else that was learned since."""
    taken = {move.name: move for move in moves}
    made = replace(version, id=id, created=at)
    for name in sorted(taken):
        if not sells(catalogue, taken[name].provider, taken[name].model, card=version):
            made = _with_model(made, name)
    if version.priced_as_of is None:
        return made
    kept = {}
    for (provider, model), latest in sorted(catalogue.learned.items()):
        name = f"{provider}/{model}"
        move, before = taken.get(name), version.known_at(provider=provider, model=model)
        known = move.known_at if move else before
        assert known is not None
        if latest > known and sells(catalogue, provider, model, card=made):
            kept[name] = known
    return replace(made, priced_as_of=at, kept_as_of=kept)


def _with_model(version: RateCardVersion, name: str) -> RateCardVersion:
    if version.models:
        return replace(version, models=tuple(sorted({*version.models, name})))
    return replace(version, admitted=tuple(sorted({*version.admitted, name})))
