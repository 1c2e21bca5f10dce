"""Scopes: which usage a credit grant pays for.

Rule 1: a scope names meters, providers, models, token types or prices; what it does not name does not matter.
A scope that names nothing covers all usage, as most do.
Rule 2: of each kind that it names, usage must be one of those named. What usage does not say is none of them.
Rule 3: a price is a rate card, whichever of its versions priced the usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What some usage was: the names that scopes go by. An empty one is not known."""

    meter: str = ""
    provider: str = ""
    model: str = ""
    token_type: str = ""
    price: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The sort key: subjects of one batch are paid in this order."""
        return (self.provider, self.model, self.token_type, self.meter, self.price)


UNKNOWN = Subject()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The usage that a grant may pay for. `models` are `provider/model`, or a model at any provider."""

    meters: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    token_types: tuple[str, ...] = ()
    prices: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether it covers any usage."""
        return not (self.models or self.providers or self.token_types or self.meters or self.prices)

    def covers(self, subject: Subject) -> bool:
        """Return whether usage of this subject is in the scope."""
        return self._covers_call(subject) and (
            not self.token_types or (bool(subject.token_type) and subject.token_type in self.token_types)
        )

    def covers_call(self, subject: Subject) -> bool:
        """Return whether everything that a call of this subject may use is in the scope.

        A call uses several types of tokens, so a scope of some of them does not cover it.
        """
        return not self.token_types and self._covers_call(subject)

    def _covers_call(self, subject: Subject) -> bool:
        return (
            (not self.meters or subject.meter in self.meters)
            and (not self.providers or subject.provider in self.providers)
            and (not self.models or self._names(subject))
            and (not self.prices or subject.price in self.prices)
        )

    def _names(self, subject: Subject) -> bool:
        return subject.model in self.models or f"{subject.provider}/{subject.model}" in self.models

    def overlaps(self, other: Scope) -> bool:
        """Return whether some usage may be in both scopes."""
        pairs = (
            (self.meters, other.meters),
            (self.providers, other.providers),
            (self.token_types, other.token_types),
            (self.prices, other.prices),
        )
        apart = any(mine and theirs and not set(mine) & set(theirs) for mine, theirs in pairs)
        return not apart and not _other_models(self.models, other.models)


ALL_USAGE = Scope()


def _other_models(mine: Iterable[str], theirs: Iterable[str]) -> bool:
    """Return whether both name models, and none of them is one of the others."""
    ours, others = list(mine), list(theirs)
    return bool(ours and others) and not any(_same_model(a, b) for a in ours for b in others)


def _same_model(a: str, b: str) -> bool:
    return a == b or a.partition("/")[2] == b or b.partition("/")[2] == a


def netted(parts: Mapping[tuple[int, Subject], int]) -> dict[tuple[int, Subject], int]:
    """Return the parts above zero, lessened by those below it within each period, the dearest first.

    What a batch takes back of one subject and charges for another is one change of what its period owes.
    """
    back: dict[int, int] = {}
    for (period, _), nano in parts.items():
        if nano < 0:
            back[period] = back.get(period, 0) - nano
    kept: dict[tuple[int, Subject], int] = {}
    order = sorted(parts.items(), key=lambda entry: (entry[0][0], -entry[1], entry[0][1].key))
    for (period, subject), nano in order:
        if nano > 0:
            taken = min(nano, back.get(period, 0))
            if taken:
                back[period] -= taken
            if nano > taken:
                kept[period, subject] = nano - taken
    return kept
