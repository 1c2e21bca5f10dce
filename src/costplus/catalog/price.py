"""A dated, immutable provider price: components with conditions, multipliers, minimums, allowances.

Rule 1: amounts are decimals with a `per`; per-token numbers are never stored.
Rule 2: a version applies to usage with `valid_from ≤ at < valid_to`.
Rule 3: among a leaf's components whose conditions all hold, the one with most conditions wins, then the
higher rank. What is still equal: on the same fields the higher threshold, on different ones the dearer, so
that nothing is sold below its cost. A leaf without one falls back to its ancestor, and that is recorded.
Rule 4: multipliers that hold stack, on tokens only; a fee per call is never multiplied.
Source: spec "prices", §5 (selection), gateway rules 4 (context tier: whole request, strict >) and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from costplus.catalog.condition import Condition, Field, when_text
from costplus.core.errors import BillingError
from costplus.core.usage import LEAVES, Leaf, ancestors

Scope = Literal["tokens", "input", "output"]
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


class ModelUnpriced(BillingError):
    """No price version covers this provider, model and instant."""

    code = "model_unpriced"
    remedy = "Use a model listed by GET /v1/models, or add a price for it."


@dataclass(frozen=True, slots=True)
class Component:
    """What one leaf costs while `when` holds: `amount` in the version's currency per `per` units.

    `leaf` may also name a meter that no usage counts yet (`output_image`, `page`); it is kept, not rated.
    """

    leaf: str
    amount: Decimal
    per: int
    when: tuple[Condition, ...] = ()
    rank: int = 0

    @property
    def unit_cost(self) -> Fraction:
        """The exact cost of one unit."""
        numerator, denominator = self.amount.as_integer_ratio()
        return Fraction(numerator, denominator * self.per)

    @property
    def threshold(self) -> int:
        """The largest prompt size that `when` names, 0 where it names none."""
        sizes = [c.value for c in self.when if c.field == "prompt_tokens" and isinstance(c.value, int)]
        return max(sizes, default=0)


@dataclass(frozen=True, slots=True)
class Multiplier:
    """What token prices are multiplied by while `when` holds, such as 1.1 for a region."""

    factor: Decimal
    when: tuple[Condition, ...]
    applies_to: Scope = "tokens"

    def touches(self, leaf: Leaf) -> bool:
        return leaf.unit == "token" and self.applies_to in ("tokens", leaf.direction)


@dataclass(frozen=True, slots=True)
class Minimum:
    """The least quantity of a leaf that one request is charged for, where it used any."""

    leaf: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """Units that the provider gives free per period to all models of a pool.

    It is shown and not rated: which request of the account is a free one cannot be known per request, and to
    charge each keeps the sale above its cost.
    """

    leaf: str
    quantity: int
    period: str
    pool: str = ""


@dataclass(frozen=True, slots=True)
class PriceVersion:
    """All prices of one model at one provider from `valid_from` until `valid_to`.

    `unmapped` names price keys of the source that no component expresses yet: never dropped silently.
    """

    id: str  # pv_…
    provider: str
    model: str
    currency: str
    valid_from: datetime
    valid_to: datetime | None
    components: tuple[Component, ...]
    context_tokens_max: int | None = None
    output_tokens_max: int | None = None
    source: str = ""
    unmapped: tuple[str, ...] = ()
    multipliers: tuple[Multiplier, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    recorded_at: datetime = ALWAYS  # When it was learned; what the snapshot says was always known.
    is_override: bool = False  # Set by the operator: it wins while it lasts.
    converted: str = ""  # How its amounts became another currency's than the provider's.

    def applies(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every different condition that a price depends on, in the order of their texts."""
        found = {c for component in self.components for c in component.when}
        found |= {c for multiplier in self.multipliers for c in multiplier.when}
        return tuple(sorted(found, key=lambda c: c.text))

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The prompt sizes strictly above which prices change, ascending."""
        found = set()
        for condition in self.conditions:
            if condition.field == "prompt_tokens" and isinstance(condition.value, int):
                found.add(condition.value - (condition.op in ("gte", "lt")))
        return tuple(sorted(found - {0}))

    def covers(self, field: Field, word: str) -> bool:
        """Return whether every token leaf that has a price has one for `field` = `word` too.

        A leaf that falls back to the price without the condition might be sold below its cost.
        """
        if any(_asks(multiplier.when, field, word) for multiplier in self.multipliers):
            return True
        tokens = [c for c in self.components if c.leaf in LEAVES and LEAVES[c.leaf].unit == "token"]
        own = {c.leaf for c in tokens if _asks(c.when, field, word)}
        return bool(own) and {c.leaf for c in tokens} <= own


def _asks(when: Iterable[Condition], field: Field, word: str) -> bool:
    """Return whether one of the conditions names the word."""
    return any(c.field == field and (c.value == word or word in _words(c)) for c in when)


def _words(condition: Condition) -> tuple[str, ...]:
    return condition.value if isinstance(condition.value, tuple) else ()


def chosen(components: Iterable[Component], *, holding: frozenset[Condition]) -> dict[str, Component]:
    """Return, per meter, the component that counts where just the conditions in `holding` are true."""
    listed: dict[str, list[Component]] = {}
    for component in components:
        if not component.when or holding.issuperset(component.when):
            listed.setdefault(component.leaf, []).append(component)
    return {name: own[0] if len(own) == 1 else _most_specific(own) for name, own in listed.items()}


def standing_in(chosen: Mapping[str, Component], leaf: str) -> Component | None:
    """Return the component that prices `leaf`: its own, else its nearest ancestor's."""
    for name in ancestors(leaf):
        if name in chosen:
            return chosen[name]
    return None


def _most_specific(own: Sequence[Component]) -> Component:
    """Return the one of several components that counts, whatever their order."""
    most = max((len(component.when), component.rank) for component in own)
    alike: dict[frozenset[str], Component] = {}
    for component in own:
        if (len(component.when), component.rank) == most:
            fields = frozenset(condition.field for condition in component.when)
            alike[fields] = max(alike.get(fields, component), component, key=_reach)
    return max(alike.values(), key=lambda component: (component.unit_cost, when_text(component.when)))


def _reach(component: Component) -> tuple[int, Fraction, str]:
    return component.threshold, component.unit_cost, when_text(component.when)
