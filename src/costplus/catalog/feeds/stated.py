"""A stated price: what one source says about one model from one day on, in canonical form.

Rule 1: amounts are what was meant; binary noise of a source is repaired, real digits are kept.
Rule 2: a meter that no usage counts yet keeps its price; its name is in `unrated`, so that it is reported.
Source: spec "prices", §5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from costplus.catalog.condition import when_text
from costplus.catalog.price import ALWAYS, Allowance, Component, Minimum, Multiplier
from costplus.core.usage import LEAVES

MILLION, THOUSAND = 1_000_000, 1_000
DIGITS_MAX, EXPONENT_MAX = 28, 24

Raw = Mapping[str, Any]

# Meters with a price in some source that are no leaves: no wire counts them yet.
METERS = frozenset(
    {
        "annotated_page",
        "cache_write_audio",
        "character_input",
        "character_output",
        "citation_token",
        "code_interpreter_session",
        "explicit_cached_input",
        "file_search",
        "image_input",
        "image_output",
        "maps_query",
        "ocr_credit",
        "page",
        "pixel_input",
        "pixel_output",
        "query",
        "second_input",
        "second_output",
        "text_message",
        "video_second_input",
        "video_second_output",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPrice:
    """One price of one model; `pointer` says where in the source it stands."""

    provider: str  # The source's own word.
    model: str
    components: tuple[Component, ...]
    valid_from: datetime = ALWAYS
    multipliers: tuple[Multiplier, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    unmapped: tuple[str, ...] = ()
    pointer: str = ""
    evidence_url: str = ""

    @property
    def unrated(self) -> tuple[str, ...]:
        """The meters whose price is known and that no usage counts."""
        return tuple(sorted({c.leaf for c in self.components if c.leaf not in LEAVES}))


@dataclass(slots=True)
class Keys:
    """How often each price key of a feed was understood, and how often not."""

    understood: Counter[str] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Draft:
    """A stated price while its keys are read."""

    keys: Keys
    components: list[Component] = field(default_factory=list)
    multipliers: list[Multiplier] = field(default_factory=list)
    allowances: list[Allowance] = field(default_factory=list)
    unmapped: set[str] = field(default_factory=set)

    def know(self, key: str) -> None:
        self.keys.understood[key] += 1

    def miss(self, key: str) -> None:
        self.keys.unmapped[key] += 1
        self.unmapped.add(key)


def is_figure(value: Decimal) -> bool:
    """Whether a number can stand in a price list: finite, and of a size that arithmetic stays quick with."""
    digits = value.as_tuple()
    return value.is_finite() and len(digits.digits) <= DIGITS_MAX and abs(value.adjusted()) <= EXPONENT_MAX


def exact(value: Decimal | str | int) -> Decimal:
    """Return the figure that was meant: of over 12 digits, 9 are kept where they say the same to 1e-9."""
    raw = Decimal(value)
    if not is_figure(raw):
        raise ValueError(f"{raw:.3e} is no figure that a price can have")
    raw = raw.normalize()
    if len(raw.as_tuple().digits) <= 12 or not raw:
        return raw
    repaired = Decimal(f"{raw:.8e}").normalize()
    return repaired if abs(repaired - raw) < abs(raw) * Decimal("1e-9") else raw


def unit_of(meter: str) -> int:
    """Return per how many units a per-unit figure is written: tokens and the like per million."""
    if meter in LEAVES:
        return {"token": MILLION, "call": THOUSAND}.get(LEAVES[meter].unit, 1)
    small = meter.startswith(("character_", "pixel_")) or meter.endswith("_token")
    return MILLION if small else 1


def component_order(components: Iterable[Component]) -> tuple[Component, ...]:
    """Return the components in the registry's order, those without conditions first, repetitions once."""
    order = {name: position for position, name in enumerate([*LEAVES, *sorted(METERS)])}

    def place(component: Component) -> tuple[int, str, int, int, str, Fraction]:
        known, text = order.get(component.leaf, len(order)), when_text(component.when)
        fields = len(component.when)
        return known, component.leaf, fields, component.threshold, text, component.unit_cost

    return tuple({place(component): component for component in sorted(components, key=place)}.values())
