"""A dated, immutable provider price: components with conditions.

Rule 1: amounts are decimals with a `per`; per-token numbers are never stored.
Rule 2: a version applies to usage with `valid_from ≤ at < valid_to`.
Rule 3: among a leaf's components whose conditions all hold, the one with most conditions wins, then the
higher threshold. A leaf without one falls back to its ancestor, and the fallback is recorded.
Source: spec "prices", §5 (selection), gateway rule 4 (context tier: whole request, strict >).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from costplus.core.errors import BillingError


class ModelUnpriced(BillingError):
    """No price version covers this provider, model and instant."""

    code = "model_unpriced"
    remedy = "Use a model listed by GET /v1/models, or add a price for it."


@dataclass(frozen=True, slots=True)
class Condition:
    """A test that the whole request must pass, such as `prompt_tokens gt 272000`."""

    field: Literal["prompt_tokens"]
    op: Literal["gt"]
    value: int


@dataclass(frozen=True, slots=True)
class Component:
    """What one leaf costs while `when` holds: `amount` in the version's currency per `per` units."""

    leaf: str
    amount: Decimal
    per: int
    when: tuple[Condition, ...] = ()

    @property
    def unit_cost(self) -> Fraction:
        """The exact cost of one unit."""
        return Fraction(self.amount) / self.per

    def holds(self, *, prompt_tokens: int) -> bool:
        """Return whether every condition holds for a request with that many input tokens."""
        return all(prompt_tokens > condition.value for condition in self.when)


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

    def applies(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The prompt sizes at which prices change, ascending."""
        return tuple(sorted({c.value for component in self.components for c in component.when}))
