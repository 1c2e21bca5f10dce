"""A change of a model's price: which parts move, who says so, how large it is, what is decided.

Rule 1: what is compared are exact unit costs per leaf and condition; 0.1 % apart is the same price.
Rule 2: `ratio` is the largest of new/old and old/new; a part that is not stated counts as what applies in
its place, so to add or to remove one is judged by what requests cost before and after.
Rule 3: a decision has words (`reasons`), permanent like error codes, so that it can be explained and tested.
Rule 4: what was implausible before a change holds it only where the change makes it worse.
Source: spec "prices", §6 (decision matrix).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

from costplus.catalog.condition import when_text
from costplus.catalog.price import Component, Multiplier, chosen, standing_in
from costplus.core.usage import LEAVES

Standing = Literal["confirmed", "single", "disputed"]
Verdict = Literal["apply", "soak", "hold", "pending", "withdrawn"]
Precision = Literal["day", "detected"]

PartKey = tuple[str, str]  # A leaf and the text of the conditions under which it has this price.

SOAK = timedelta(hours=24)
LARGE, HUGE = 2, 10
BAND_PER_TOKEN = (Fraction(1, 1000) / 1_000_000, Fraction(1000, 1_000_000))
OUTPUT_TO_INPUT_MAX = 20

# Every word that a decision can give, in the order in which they are listed, with what it means.
REASON_TEXT: Mapping[str, str] = {
    "first_price": "The model had no price before.",
    "negative": "A price is below zero.",
    "became_zero": "A price falls to zero: what is free today may be a gap in the list.",
    "was_zero": "What was free is to cost something.",
    "ratio_10x": "A price becomes ten times higher or lower, as when a list mistakes its unit.",
    "cache_cut_10x": "Reading from the cache becomes ten times cheaper and only one source says so.",
    "out_of_band": "A token's price lies outside of 0.001 to 1000 USD per million, further than before.",
    "cache_above_input": "Reading from the cache would cost more than reading anew.",
    "output_over_20x_input": "A text model's output would cost more than twenty times its input.",
    "currency_changed": "The price is in another currency than before.",
    "unit_changed": "The price counts other units than before, such as characters instead of tokens.",
    "unmapped_key": "The list has a new kind of price for the model that nothing here can express.",
    "sources_disagree": "The sources say different things.",
    "component_removed": "One source no longer states a part of the price, and no other confirms that.",
    "scheduled_unconfirmed": "An increase that was announced or dated lacks the live sources to confirm it.",
    "waits_for_second_source": "Only one source says so, and it is too much to be believed alone.",
    "packaged": "The price snapshot that comes with the program says so, and no source speaks of the model.",
    "protects_margin": "A rise that waits for a second source counts at once: the settings ask for it.",
    "single_source": "Only one source says so: it applies after a day if nobody contradicts.",
    "soak_passed": "A day has passed and no source contradicted.",
    "no_longer_stated": "No source states it any more.",
    "two_sources_agree": "At least two independent sources say the same.",
}
REASONS = tuple(REASON_TEXT)

_READ_FROM_CACHE: Mapping[str, str] = {
    "cached_input": "input",
    "cached_input_audio": "input_audio",
    "cached_input_image": "input_image",
    "cached_input_video": "input_video",
    "explicit_cached_input": "input",
}
_CACHE = (*_READ_FROM_CACHE, "cache_write")
_TOKEN_METERS = frozenset({"explicit_cached_input", "cache_write_audio", "citation_token"})
_MEDIA = ("output_image", "output_audio", "output_video", "image_", "video_", "second_output", "character_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One part of a price that changes: a leaf under conditions; None is a part that was not or will not be.

    `votes` has, per source that states this part, the unit cost it states; `removed_by` those that did and
    no longer do. `stands_in` is what applies where the part is not stated.
    """

    leaf: str
    when: str  # `when_text` of its conditions, empty for the list price; `×` begins a multiplier's.
    old: Fraction | None
    new: Fraction | None
    standing: Standing
    votes: Mapping[str, Fraction] = field(default_factory=dict)
    removed_by: tuple[str, ...] = ()
    stands_in: Fraction | None = None

    @property
    def part(self) -> PartKey:
        return self.leaf, self.when

    @property
    def before(self) -> Fraction | None:
        """What a unit costs now, None where it has no price at all."""
        return self.stands_in if self.old is None else self.old

    @property
    def after(self) -> Fraction | None:
        return self.stands_in if self.new is None else self.new

    @property
    def ratio(self) -> Fraction | None:
        """How many times larger or smaller, None where it comes from or goes to nothing."""
        if not self.before or not self.after or self.before < 0 or self.after < 0:
            return None
        return max(self.before / self.after, self.after / self.before)

    @property
    def is_increase(self) -> bool:
        return self.after is not None and (self.before is None or self.after > self.before)

    @property
    def is_cache(self) -> bool:
        return self.leaf.startswith(_CACHE)

    @property
    def is_multiplier(self) -> bool:
        return self.when.startswith("×")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with a change: `apply` it, let it `soak` until `due_at`, `hold` it for a person.

    `pending` is a new model that nobody has confirmed yet; `withdrawn` what its own source took back.
    `large`: some part more than doubles or halves.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    large: bool = False
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedChange:
    """A new price for a model as the sources state it, and what is decided about it.

    `components` and `multipliers` are all parts of the new price, not only those that move. `digest` names
    what is proposed and not by whom or when: the same proposal again has the same one.
    """

    provider: str
    model: str
    components: tuple[Component, ...]
    multipliers: tuple[Multiplier, ...]
    effective_at: datetime
    precision: Precision
    moves: tuple[Move, ...]
    decision: Decision
    digest: str
    unmapped: tuple[str, ...] = ()  # Price keys that appeared with it and that nothing expresses.

    def counts_from(self, applied_at: datetime) -> datetime:
        """Return from when the price counts: the day that a source names, else when it is applied."""
        return self.effective_at if self.precision == "day" else applied_at


def decide(
    moves: Sequence[Move],
    *,
    at: datetime,
    before: Sequence[Component] | None,
    after: Sequence[Component],
    unmapped: Sequence[str] = (),
    currency_changed: bool = False,
    dated: bool = False,
) -> Decision:
    """Return what to do with moves that make `after` of `before`; None before is a model's first price.

    `dated`: the source names a past day from which the new price counts.
    """
    assert moves, "nothing moves"
    reasons = {reason for move in moves for reason in faults(move)}
    reasons |= _worsened(before or (), after)
    if before is None:
        return _first(moves, reasons - {"became_zero"})
    if unmapped:
        reasons.add("unmapped_key")
    if currency_changed:
        reasons.add("currency_changed")
    if _unit_changed(moves):
        reasons.add("unit_changed")
    for move in moves:
        reasons |= set(_doubts(move, dated=dated))
    large = any(move.ratio is not None and move.ratio > LARGE for move in moves)
    if reasons:
        return Decision(verdict="hold", reasons=in_order(reasons), large=large)
    if any(move.standing == "single" for move in moves):
        return Decision(verdict="soak", reasons=("single_source",), large=large, due_at=at + SOAK)
    return Decision(verdict="apply", reasons=("two_sources_agree",), large=large)


def in_order(reasons: Iterable[str]) -> tuple[str, ...]:
    """Return different reasons in the order of `REASONS`."""
    return tuple(sorted(set(reasons), key=REASONS.index))


def faults(move: Move) -> Iterator[str]:
    """Yield why a part's own figures hold a change, whoever states them."""
    before, after, ratio = move.before, move.after, move.ratio
    if after is not None and after < 0:
        yield "negative"
    if move.new == 0 and before != 0:
        yield "became_zero"
    if before == 0 and after:
        yield "was_zero"
    if move.new is None and after is None and move.leaf in ("input", "output"):
        yield "component_removed"  # Nothing else would price these tokens.
    if ratio is not None and ratio >= HUGE:
        if not move.is_cache or move.is_increase:
            yield "ratio_10x"
        elif move.standing != "confirmed":
            yield "cache_cut_10x"
    if _is_token(move) and move.new and move.new > 0:
        usual = Fraction(1) if before is None or before <= 0 else _beyond(before)
        if _beyond(move.new) > usual:
            yield "out_of_band"


def _doubts(move: Move, *, dated: bool) -> Iterator[str]:
    """Yield why who states a part, and who does not, holds a change."""
    if move.standing == "disputed":
        yield "sources_disagree"
    elif move.standing == "single":
        if move.new is None:
            yield "component_removed"
        if move.ratio is not None and move.ratio > LARGE:
            yield "waits_for_second_source"
        if dated and move.is_increase:
            yield "scheduled_unconfirmed"


def _first(moves: Sequence[Move], reasons: set[str]) -> Decision:
    """Return the decision about a model's first price: its list price needs two sources."""
    listed = base_of(moves)
    if any(move.new == 0 for move in listed if move.leaf == "input") or not any(move.new for move in listed):
        reasons.add("became_zero")
    if reasons:
        return Decision(verdict="hold", reasons=in_order({"first_price"} | reasons))
    if all(move.standing == "confirmed" for move in listed):
        return Decision(verdict="apply", reasons=("first_price", "two_sources_agree"))
    disputed = any(move.standing == "disputed" for move in listed)
    why = "sources_disagree" if disputed else "waits_for_second_source"
    return Decision(verdict="pending", reasons=("first_price", why))


def base_of(moves: Sequence[Move]) -> list[Move]:
    """Return the moves of the list price: input and output, else whatever has no condition."""
    plain = [move for move in moves if not move.when]
    return [move for move in plain if move.leaf in ("input", "output")] or plain or list(moves)


def _is_token(move: Move) -> bool:
    if move.is_multiplier:
        return False
    known = LEAVES.get(move.leaf)
    return known.unit == "token" if known else move.leaf in _TOKEN_METERS


def _beyond(unit_cost: Fraction) -> Fraction:
    """Return how many times a token's price lies outside what any token costs, 1 inside."""
    low, high = BAND_PER_TOKEN
    return max(low / unit_cost, unit_cost / high, Fraction(1))


def _unit_changed(moves: Iterable[Move]) -> bool:
    """Return whether a list price goes while one in another unit comes, such as characters for tokens."""
    roots = [move for move in moves if not move.when and _is_root(move.leaf)]
    gone = {_unit(move.leaf) for move in roots if move.new is None}
    come = {_unit(move.leaf) for move in roots if move.old is None}
    return bool(gone) and bool(come - gone)


def _is_root(leaf: str) -> bool:
    return leaf not in LEAVES or LEAVES[leaf].parent is None


def _unit(leaf: str) -> str:
    return LEAVES[leaf].unit if leaf in LEAVES else leaf


def _worsened(before: Sequence[Component], after: Sequence[Component]) -> set[str]:
    """Return which implausible relations between parts a change creates or makes worse."""
    found = set()
    nothing, usual = Fraction(0), Fraction(OUTPUT_TO_INPUT_MAX)
    known = dict(_cache_above_input(before))
    if any(excess > known.get(part, nothing) for part, excess in _cache_above_input(after)):
        found.add("cache_above_input")
    known = dict(_output_to_input(before))
    if any(ratio > max(usual, known.get(part, usual)) for part, ratio in _output_to_input(after)):
        found.add("output_over_20x_input")
    return found


def _cache_above_input(components: Sequence[Component]) -> Iterator[tuple[PartKey, Fraction]]:
    """Yield by how much reading from the cache costs more than reading anew under the same conditions."""
    for component in components:
        fresh = _READ_FROM_CACHE.get(component.leaf)
        base = _beside(component, fresh, components) if fresh else None
        if base is not None and component.unit_cost > base.unit_cost:
            yield (component.leaf, when_text(component.when)), component.unit_cost - base.unit_cost


def _output_to_input(components: Sequence[Component]) -> Iterator[tuple[PartKey, Fraction]]:
    """Yield how many times input a text model's output costs; a model of media has no usual ratio."""
    if any(component.leaf.startswith(_MEDIA) for component in components):
        return
    for component in components:
        if component.leaf != "output":
            continue
        base = _beside(component, "input", components)
        if base is not None and base.unit_cost > 0:
            yield ("output", when_text(component.when)), component.unit_cost / base.unit_cost


def _beside(component: Component, leaf: str, components: Sequence[Component]) -> Component | None:
    """Return what prices another leaf under a component's own conditions."""
    return standing_in(chosen(components, holding=frozenset(component.when)), leaf)
