"""Usage: what a call consumed, as disjoint leaves.

Rule 1: leaves never overlap; their sum over one direction is the provider's own total for it.
Rule 2: quantities are never negative; an impossible block is flagged, never clamped silently. Only the units
of a seller's own meter may be below zero: an event that takes some back.
Rule 3: missing usage (`None`), zero usage (no quantities) and unpriced usage are three states.
Source: gateway rule 1 (disjoint buckets), the providers' own field definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["input", "output", "call"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One kind of consumption that can carry its own price."""

    name: str
    direction: Direction
    parent: str | None  # Whose price applies where a model has none for this leaf.
    unit: Literal["token", "call", "unit"] = "token"


_REGISTRY = (
    Leaf("input", "input", None),
    Leaf("cached_input", "input", "input"),
    Leaf("cache_write_5m", "input", "input"),
    Leaf("cache_write_1h", "input", "cache_write_5m"),
    Leaf("cache_write_12h", "input", "cache_write_1h"),
    Leaf("input_audio", "input", "input"),
    Leaf("cached_input_audio", "input", "cached_input"),
    Leaf("input_image", "input", "input"),
    Leaf("cached_input_image", "input", "cached_input"),
    Leaf("input_video", "input", "input"),
    Leaf("cached_input_video", "input", "cached_input"),
    Leaf("output", "output", None),
    Leaf("reasoning", "output", "output"),
    Leaf("output_audio", "output", "output"),
    Leaf("output_image", "output", "output"),
    Leaf("output_video", "output", "output"),
    Leaf("web_search", "call", None, "call"),
    Leaf("web_search_source", "call", None, "call"),
    Leaf("request", "call", None, "call"),  # A fee that some models ask for each answer; rating counts it.
    Leaf("search_unit", "call", None, "unit"),  # One query over up to a hundred documents (rerank).
    Leaf("audio_second", "call", None, "unit"),
    Leaf("unit", "call", None, "unit"),
)

LEAVES: Mapping[str, Leaf] = {leaf.name: leaf for leaf in _REGISTRY}


def _lineage(leaf: Leaf) -> tuple[str, ...]:
    return (leaf.name, *(_lineage(LEAVES[leaf.parent]) if leaf.parent else ()))


_LINEAGES: Mapping[str, tuple[str, ...]] = {leaf.name: _lineage(leaf) for leaf in _REGISTRY}
INPUT_LEAVES = frozenset(leaf.name for leaf in _REGISTRY if leaf.direction == "input")
OUTPUT_LEAVES = frozenset(leaf.name for leaf in _REGISTRY if leaf.direction == "output")

ESTIMATED = "estimated"  # Counted by us because the provider's own counts never arrived.
OWN_KEY = "byok"  # Made with the customer's own key at the provider: it cost the seller nothing.
OTHER_MODEL = "iterations_other_model"  # At least one of the runs that it sums was on another model.


@dataclass(frozen=True, slots=True)
class Usage:
    """Quantities per leaf (only those above zero) and what is remarkable about them.

    `flags` holds `estimated` and faults of the provider's block such as `cached_exceeds_input`.
    """

    quantities: Mapping[str, int]
    flags: tuple[str, ...] = ()

    @property
    def input_tokens(self) -> int:
        """All tokens of the prompt, cached or not: what context tiers look at."""
        tokens = 0
        for leaf, quantity in self.quantities.items():  # A loop: every rating of a tiered model comes by.
            if leaf in INPUT_LEAVES:
                tokens += quantity
        return tokens

    @property
    def output_tokens(self) -> int:
        """All generated tokens, reasoning included."""
        return sum(n for leaf, n in self.quantities.items() if leaf in OUTPUT_LEAVES)

    @property
    def is_estimated(self) -> bool:
        return ESTIMATED in self.flags


def usage_of(quantities: Mapping[str, int], *, flags: Iterable[str] = ()) -> Usage:
    """Return a `Usage` without its zero leaves.

    A negative quantity is an impossible block: it is left out and flagged `negative_<leaf>`.
    """
    kept: dict[str, int] = {}
    faults = list(flags)
    for leaf, quantity in quantities.items():
        assert leaf in LEAVES, leaf
        if quantity > 0:
            kept[leaf] = quantity
        elif quantity < 0:
            faults.append(f"negative_{leaf}")
    return Usage(kept, tuple(faults))


def ancestors(leaf: str) -> tuple[str, ...]:
    """Return `leaf` and then the leaves whose price may stand in for it, nearest first."""
    return _LINEAGES[leaf]
