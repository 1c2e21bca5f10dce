"""Agreement: what sources say about one model, part by part, and how many of them independently.

Rule 1: a part is a leaf under conditions, or a multiplier; a source that does not state a part has no vote.
Prompt sizes that differ by one token are the same: lists write "from 200,000" as above 199,999 or 200,000.
Rule 2: copies of one list have one vote: mirrors, and importers of the same vendor's machine prices. The
newest of them speaks. The bundled snapshot speaks only where nobody else does.
Rule 3: a price is confirmed by two independent sources, and by more than state any other price.
Rule 4: zero beside a price that would apply in its place says nothing: lists write it for "unknown".
An operator's own price is no source: it stands above all of them and is not compared.
Source: spec "prices", §6 (trust, quorum).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

from costplus.catalog.change import Move, PartKey, Standing
from costplus.catalog.condition import Condition, when_of, when_text
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.price import Component, Multiplier, PriceVersion, chosen, standing_in
from costplus.catalog.statement import ModelKey, SourceName, SourceView
from costplus.core.usage import LEAVES, ancestors

Parts = Mapping[PartKey, Fraction]

TOLERANCE = Fraction(1, 1000)
QUORUM = 2
BUNDLED = SourceName("bundled")
TRUST: tuple[SourceName, ...] = tuple(map(SourceName, ("genai-prices", "litellm", "models.dev", "bundled")))
_OWN_LISTS: Mapping[str, SourceName] = {
    "openrouter": SourceName("openrouter"),
    "vercel": SourceName("vercel"),
}

_MIRROR_OF: Mapping[str, str] = {
    "opencode": "models.dev",
    "pi-ai": "models.dev",
    "tokencost": "litellm",
    "tokenlens": "models.dev",
}
_IMPORTERS = frozenset({"genai-prices", "models.dev"})  # Of some vendors' own lists, see `_origin`.


def trust_for(provider: str) -> tuple[SourceName, ...]:
    """Return the sources from the most to the least trusted: a vendor's own machine prices come first."""
    own = _OWN_LISTS.get(provider)
    return (own, *TRUST) if own else TRUST


def same_price(one: Fraction | None, other: Fraction | None) -> bool:
    """Return whether two unit costs are less than the tolerance apart; not stated equals only not stated."""
    if one is None or other is None:
        return one is other
    return one == other or abs(one - other) <= max(abs(one), abs(other)) * TOLERANCE


def part_of(priced: Component | Multiplier) -> PartKey:
    """Return the part that a component or a multiplier states."""
    text = when_text(map(_rounded, priced.when))
    return (priced.applies_to, f"×{text}") if isinstance(priced, Multiplier) else (priced.leaf, text)


@cache
def _rounded(condition: Condition) -> Condition:
    """Return a lower bound of the prompt's size as one above a round number where it is next to one."""
    if condition.field != "prompt_tokens" or not isinstance(condition.value, int):
        return condition
    if condition.op not in ("gt", "gte"):
        return condition
    above = condition.value - (condition.op == "gte")
    return Condition("prompt_tokens", "gt", above + (above % 1000 == 999))


def components_of(stated: StatedPrice | PriceVersion) -> dict[PartKey, Fraction]:
    """Return the exact unit cost of every part, and the factor of every multiplier."""
    parts: dict[PartKey, Fraction] = {}
    ranks: dict[PartKey, int] = {}
    for component in stated.components:
        part, cost, rank = part_of(component), component.unit_cost, component.rank
        if part not in parts or (ranks[part], parts[part]) < (rank, cost):
            parts[part], ranks[part] = cost, rank  # Of several for one part the dearest counts.
    for multiplier in stated.multipliers:
        part, factor = part_of(multiplier), Fraction(multiplier.factor)
        parts[part] = max(factor, parts.get(part, factor))
    return parts


def spoken(stated: StatedPrice) -> dict[PartKey, Fraction]:
    """Return the parts that a source really states: without the zeros that only say "unknown"."""
    parts = components_of(stated)
    return {part: cost for part, cost in parts.items() if cost or not stand_in(stated.components, part)}


def stand_in(components: Sequence[Component], part: PartKey) -> Fraction | None:
    """Return what a unit costs where the part itself is not stated, None where nothing else prices it."""
    leaf, text = part
    if text.startswith("×"):
        return Fraction(1)
    related = frozenset(ancestors(leaf)) if leaf in LEAVES else {leaf}
    rest = [
        replace(component, when=tuple(map(_rounded, component.when)))
        for component in components
        if component.leaf in related and part_of(component) != part
    ]
    holding = frozenset(when_of(text))
    if leaf in LEAVES:
        found = standing_in(chosen(rest, holding=holding), leaf)
        return found.unit_cost if found else None
    return max((c.unit_cost for c in rest if holding.issuperset(c.when)), default=None)


def voters(
    key: ModelKey, views: Iterable[SourceView], trust: Sequence[SourceName] | None = None
) -> tuple[SourceView, ...]:
    """Return the independent views that state the model, the most trusted first."""
    provider, _ = key
    order = {source: place for place, source in enumerate(trust_for(provider) if trust is None else trust)}

    def place(view: SourceView) -> tuple[int, str]:
        return order.get(view.source, len(order)), view.source

    speaking: dict[str, SourceView] = {}
    for view in sorted(views, key=place):
        if key not in view.statements:
            continue
        origin = _origin(provider, view.source)
        if origin not in speaking or speaking[origin].as_of < view.as_of:
            speaking[origin] = view
    if len(speaking) > 1:
        speaking.pop(BUNDLED, None)
    return tuple(sorted(speaking.values(), key=place))


def _origin(provider: str, source: SourceName) -> str:
    """Return whose figures a source repeats, itself where they are its own."""
    first = _MIRROR_OF.get(source, source)
    if provider == "openrouter" or provider.startswith("huggingface"):
        own = provider.partition("_")[0]
        return own if first in _IMPORTERS else first
    return first


def confirmed_price(votes: Mapping[str, Fraction]) -> Fraction | None:
    """Return the price that two or more sources state and more than state any other, None where none is.

    Of figures within the tolerance it is the first in the order of `votes`.
    """
    first = next(iter(votes.values()), None)
    if all(cost == first for cost in votes.values()):
        return first if len(votes) >= QUORUM else None
    camps = [(sum(same_price(cost, other) for other in votes.values()), cost) for cost in votes.values()]
    largest = max((size for size, _ in camps), default=0)
    leading = [cost for size, cost in camps if size == largest]
    if largest < QUORUM or not all(same_price(leading[0], cost) for cost in leading):
        return None
    return leading[0]


def standing(
    part: PartKey,
    *,
    old: Fraction | None,
    new: Fraction | None,
    votes: Mapping[str, Fraction],
    removed_by: Sequence[str] = (),
    stands_in: Fraction | None = None,
) -> Move:
    """Return a part's move with its votes: confirmed, stated by a single source, or disputed."""
    if new is None:
        agreeing, contrary = len(removed_by), len(votes)
        is_confirmed = agreeing >= QUORUM and agreeing > contrary
    else:
        agreeing = sum(same_price(new, cost) for cost in votes.values())
        contrary = len(votes) - agreeing
        is_confirmed = same_price(confirmed_price(votes), new)
    how: Standing = "disputed"
    if is_confirmed:
        how = "confirmed"
    elif agreeing == 1 and not contrary:
        how = "single"
    leaf, when = part
    return Move(
        leaf=leaf,
        when=when,
        old=old,
        new=new,
        standing=how,
        votes=dict(votes),
        removed_by=tuple(removed_by),
        stands_in=stands_in,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One part on which independent sources differ now, whether or not one of them moved."""

    part: PartKey
    votes: Mapping[str, Fraction]
    confirmed: Fraction | None  # What most state, None where there is no such price.


def disagreements(
    key: ModelKey, views: Iterable[SourceView], trust: Sequence[SourceName] | None = None
) -> tuple[Disagreement, ...]:
    """Return every part of a model on which independent sources differ, for a report."""
    said = {view.source: spoken(view.statements[key].current) for view in voters(key, views, trust)}
    found = []
    for part in sorted({part for parts in said.values() for part in parts}):
        votes = {str(source): parts[part] for source, parts in said.items() if part in parts}
        first = next(iter(votes.values()))
        if not all(same_price(first, cost) for cost in votes.values()):
            found.append(Disagreement(part=part, votes=votes, confirmed=confirmed_price(votes)))
    return tuple(found)
