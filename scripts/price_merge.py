"""Join two sources' prices of one model: the first is kept, the second adds what the first does not say.

Rule 1: only where both state the same list price is the second believed about tiers, regions and fees.
Rule 2: what is added never replaces a price under the same conditions, but for the hours of the week: the
source that knows weekdays beats the one that knows only hours, where both name the same two prices.
Rule 3: a zero of the second source is no price: it means unknown as often as free.
Source: spec "prices", §1 (agreement) and 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from price_feeds import rates_of

from costplus.catalog.feeds.stated import StatedPrice, component_order
from costplus.catalog.price import Component, Multiplier
from costplus.core.usage import LEAVES, ancestors

# What a caller does not choose as a service.
_FACTS = frozenset({"request_time", "media_seconds", "resolution", "route"})


def supplemented(first: StatedPrice, second: StatedPrice) -> StatedPrice:
    """Return the first price with what only the second knows about the same model."""
    if not _agree(first, second):
        return first
    added = [c for c in second.components if _adds(c, first)]
    multipliers = [*first.multipliers, *(m for m in second.multipliers if _multiplies(m, first))]
    kept = replace(
        first,
        components=component_order([*first.components, *added]),
        multipliers=tuple(multipliers),
        allowances=first.allowances or second.allowances,
    )
    return _weekly(kept, second)


def _agree(first: StatedPrice, second: StatedPrice) -> bool:
    """Whether both state the same base prices, as far as both state them."""
    ours, theirs = rates_of(_by_list(first)), rates_of(_by_list(second))
    shared = [key for key in ours if key in theirs and key[0] in ("input", "output", "cached_input")]
    return ("input", 0) in shared and all(ours[key] == theirs[key] for key in shared)


def _by_list(price: StatedPrice) -> Iterable[Component]:
    return (c for c in price.components if not c.when)


def _fields(component: Component) -> frozenset[str]:
    return frozenset(condition.text for condition in component.when if condition.field != "prompt_tokens")


def _adds(component: Component, first: StatedPrice) -> bool:
    """Whether a component of the second source says something that the first does not."""
    leaf = LEAVES.get(component.leaf)
    if leaf is None or not component.amount or any(condition.field in _FACTS for condition in component.when):
        return False
    same = {(c.leaf, _fields(c)) for c in first.components}
    if (component.leaf, _fields(component)) in same:
        return False
    if component.leaf in ("input", "output") and not component.when:
        return False  # A direction that the first does not sell.
    if component.leaf == "web_search" and component.when:
        return False
    if leaf.unit != "token":
        return True
    # A leaf that costs what stands in for it would only lose the tiers that its ancestor has.
    owner = next((name for name in ancestors(component.leaf) if _base(first, name) is not None), None)
    return owner is not None and (bool(component.when) or _base(first, owner) != component.unit_cost)


def _base(price: StatedPrice, leaf: str) -> Fraction | None:
    return next((c.unit_cost for c in price.components if c.leaf == leaf and not c.when), None)


def _multiplies(multiplier: Multiplier, first: StatedPrice) -> bool:
    """Whether the first has no prices of its own under the same circumstances."""
    fields = {condition.text for condition in multiplier.when}
    return not any(fields & {c.text for c in component.when} for component in first.components)


def _weekly(first: StatedPrice, second: StatedPrice) -> StatedPrice:
    """Return the first price with the second's hours of the week, where they name the same two prices."""
    timed = [c for c in first.components if _is_timed(c)]
    better = [c for c in second.components if _is_timed(c)]
    if not timed or {(c.leaf, c.unit_cost) for c in timed} != {(c.leaf, c.unit_cost) for c in better}:
        return first
    others = [c for c in first.components if not _is_timed(c)]
    return replace(first, components=component_order([*others, *better]))


def _is_timed(component: Component) -> bool:
    return any(condition.field == "request_time" for condition in component.when)
