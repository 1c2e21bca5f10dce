"""Which names mean which model in public price files, and what two prices of one model have in common.

Rule 1: pure; the prices themselves are read by `costplus.catalog.feeds`.
Rule 2: genai-prices' match trees serve to prove aliases while building; nothing matches by likeness later.
Source: spec "prices", §1.2, 1.3 and 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from costplus.catalog.price import Component
from costplus.core.usage import LEAVES, ancestors

Raw = Mapping[str, Any]
Rates = dict[tuple[str, int], Fraction]  # (leaf, above how many prompt tokens) → the cost of one.


def rates_of(components: Iterable[Component]) -> Rates:
    """Return the prices of tokens that depend on nothing but the size of the prompt."""
    tokens = (c for c in components if c.leaf in LEAVES and LEAVES[c.leaf].unit == "token")
    plain = (c for c in tokens if all(condition.field == "prompt_tokens" for condition in c.when))
    return {(component.leaf, component.threshold): component.unit_cost for component in plain}


def matches(tree: Raw, name: str) -> bool:
    ((how, what),) = tree.items()
    if how in ("or", "and"):
        parts = (matches(part, name) for part in what)
        return any(parts) if how == "or" else all(parts)
    if how == "regex":
        return re.search(what, name) is not None
    wanted = what.lower()
    if how == "equals":
        return bool(name == wanted)
    if how == "starts_with":
        return name.startswith(wanted)
    if how == "ends_with":
        return name.endswith(wanted)
    assert how == "contains", how
    return wanted in name


def equal_names(tree: Raw) -> Iterable[str]:
    """Yield the names that the tree matches as a whole, on their own."""
    ((how, what),) = tree.items()
    if how == "equals":
        yield what.lower()
    elif how == "or":
        for part in what:
            yield from equal_names(part)


def first_match(models: list[Raw], name: str) -> str | None:
    return next((model["id"] for model in models if matches(model["match"], name.lower())), None)


def effective(rates: Rates, leaf: str, over: int) -> Fraction | None:
    """Return what a leaf costs in the tier `over`, from the leaf itself or the nearest ancestor."""
    for name in ancestors(leaf):
        tiers = [tier for owner, tier in rates if owner == name and tier <= over]
        if tiers:
            return rates[name, max(tiers)]
    return None


def is_price_neutral(alias: Rates, model: Rates, *, accepted: Decimal | None = None) -> bool:
    """Whether the alias has the model's base prices and no rate that the model's would undercut.

    Tiers that begin beyond what the alias accepts cannot be reached, so they do not count.
    """
    if any(alias.get((leaf, 0)) != model.get((leaf, 0)) for leaf in ("input", "output")):
        return False
    for (leaf, over), cost in alias.items():
        if over and accepted is not None and over >= accepted:
            continue
        ours = effective(model, leaf, over)
        if ours is None or cost > ours:
            return False
    return True
