"""Put what a source offers under the catalogue's names, each model once.

Rule 1: the model's exact id beats a declared name, and that beats a dated one. What a worse name says
otherwise is not merged; where equally good names disagree, the source says nothing about the model.
Rule 2: a name that asks for something besides the model (`:batch`, `-fast`) is an offer of its own.
A name that nobody could write in a request names nothing.
Rule 3: a broken entry costs itself; a document with many of them is not of the form that we know.
Source: spec "prices", §6 and 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import TypeVar

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.condition import when_text
from costplus.catalog.feeds.document import SourceRejected
from costplus.catalog.feeds.stated import Keys, StatedPrice
from costplus.catalog.names import PROVIDERS, ProviderNames, canonical_provider, resolve
from costplus.catalog.statement import ModelKey, SourceName, SourceView, Statement

T = TypeVar("T")

SAME = Fraction(1, 1000)  # Costs this close are the same.
NAME_MAX = 300  # Characters.
BROKEN_ONE_IN = 20  # More broken entries than this: the form has changed.
# What a reader of a grammar runs into where an entry is not of it.
BROKEN = (AssertionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_EXACT, _AS_WRITTEN, _DECLARED, _DATED = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model as a source states it: our provider's id, the provider's own name of the model."""

    provider: str
    name: str
    statement: Statement
    is_sideline: bool = False  # Of the provider's second service: the first one's word counts for more.


@dataclass(slots=True, kw_only=True)
class Reading:
    """A source's document while it is read."""

    source: SourceName
    revision: str
    as_of: datetime
    catalogue: Catalogue
    keys: Keys = field(default_factory=Keys)
    left_out: Counter[str] = field(default_factory=Counter)
    entries: int = 0

    def provider(self, theirs: str, *, models: int) -> str | None:
        """Return our id of a provider, None where we have none; its models are then counted."""
        ours = canonical_provider(theirs)
        if ours in PROVIDERS:
            return ours
        self.left_out[f"provider:{theirs}"] += models
        return None

    def knows(self, provider: str, name: str) -> bool:
        """Whether the catalogue has a price under the name."""
        names = self.catalogue.names_of(provider)
        return names is not None and resolve(name, names=names) is not None

    def each(self, entries: Iterable[T], read: Callable[[T], Iterable[Offer]]) -> Iterator[Offer]:
        """Yield the offers of every entry that can be read, and count the others."""
        for entry in entries:
            self.entries += 1
            try:
                offers = list(read(entry))
            except BROKEN:
                self.left_out["broken"] += 1
                continue
            yield from offers


def assembled(reading: Reading, offers: Iterable[Offer]) -> SourceView:
    """Return the view of everything offered, or raise `SourceRejected` where that cannot be the source."""
    named: dict[ModelKey, list[tuple[int, Offer]]] = {}
    for offer in offers:
        if not is_name(offer.name):
            reading.left_out["not_a_name"] += 1
            continue
        rank, model = _named(offer, reading.catalogue.names_of(offer.provider))
        named.setdefault((offer.provider, model), []).append((rank, offer))
    broken = reading.left_out["broken"]
    if broken * BROKEN_ONE_IN > reading.entries:
        what = f"{broken} of {reading.entries} entries are not of the known form."
        raise SourceRejected(what, source=reading.source, reason="schema_unknown")
    if not named:
        raise SourceRejected("it states no price at all.", source=reading.source, reason="empty")
    found = {key: _merged(key[1], known, reading.left_out) for key, known in named.items()}
    return SourceView(
        source=reading.source,
        revision=reading.revision,
        as_of=reading.as_of,
        statements={key: statement for key, statement in found.items() if statement is not None},
        unmapped=dict(reading.keys.unmapped),
        left_out={word: count for word, count in sorted(reading.left_out.items()) if count},
    )


def is_name(text: str) -> bool:
    """Return whether a model could be called so: one line of visible characters, and not a book."""
    return bool(text.strip()) and text.isprintable() and len(text) <= NAME_MAX


def _named(offer: Offer, names: ProviderNames | None) -> tuple[int, str]:
    """Return how good a name of the model the offer has, and the catalogue's id of the model."""
    exact = _AS_WRITTEN if offer.is_sideline else _EXACT
    known = resolve(offer.name, names=names) if names else None
    if known is None or known.modifiers:
        return exact, offer.name
    if not known.steps:
        return exact, known.model
    if not {"alias", "separators", "undated"} & set(known.steps):
        return _AS_WRITTEN, known.model
    return _DATED if "undated" in known.steps else _DECLARED, known.model


def _merged(model: str, known: list[tuple[int, Offer]], left_out: Counter[str]) -> Statement | None:
    """Return what the best name of a model states, None where equally good ones disagree."""
    known = sorted(known, key=lambda ranked: (ranked[0], ranked[1].name))
    best, first = known[0]
    names = {first.name}
    for rank, other in known[1:]:
        if not contradicts(first.statement.current, other.statement.current):
            names.add(other.name)
        elif rank > best:
            left_out["name_differs"] += 1
        else:
            left_out["names_disagree"] += len(known)
            return None
    return replace(first.statement, names=tuple(sorted(names - {model})))


def contradicts(one: StatedPrice, other: StatedPrice) -> bool:
    """Whether two prices state different costs for the same part."""
    costs = _costs(other)
    return any(
        part in costs and abs(cost - costs[part]) > SAME * max(cost, costs[part])
        for part, cost in _costs(one).items()
    )


def _costs(price: StatedPrice) -> dict[tuple[str, str], Fraction]:
    return {(c.leaf, when_text(c.when)): c.unit_cost for c in price.components}
