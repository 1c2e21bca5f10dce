"""Scenarios: other terms that past usage could have been charged under.

Rule 1: what a scenario does not name stays as it was: other adjustments, conditions, customers' own terms.
Rule 2: a changed card has an id of its own, so that no sheet of it is taken for one of the real card.
Rule 3: a supposed price is the one in force with other amounts, for the whole window; its conditions stay. It
counts as learned after every card version: what sells by an older price goes on doing so, unless `pass_on`.
Rule 4: amounts are exact; one that is set for a leaf moves the leaf's conditional amounts in proportion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from costplus.catalog.book import RecordedPrice
from costplus.catalog.catalogue import Catalogue, canonical_model
from costplus.catalog.names import canonical_provider, split_provider
from costplus.catalog.price import ALWAYS, Component, PriceVersion
from costplus.catalog.snapshot import VersionEntry, component_entry, multiplier_entry, price_version_id
from costplus.core.errors import InvalidRequest
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES
from costplus.rating.rate_card import Adjustment, RateCardVersion

MILLION = 1_000_000
FACTOR_MAX = 1000
LEARNED_LAST = datetime.max.replace(tzinfo=UTC)


class ScenarioUnknown(InvalidRequest):
    """A scenario names a provider or a model that has no price."""

    code = "simulation_name_unknown"
    remedy = "Name a provider or a provider/model that GET /v1/models lists."


class ScenarioInvalid(InvalidRequest):
    """A scenario sets a price that cannot be one."""

    code = "simulation_price_invalid"
    remedy = f"Give amounts of 0 or more per known token type, factors from 0 to {FACTOR_MAX}."


@dataclass(frozen=True, slots=True, kw_only=True)
class SupposedPrice:
    """Another price of one model: `factor` times what it is, but for these leaves so much a million units."""

    provider: str
    model: str
    factor: Decimal = Decimal(1)
    usd_per_million: Mapping[str, Decimal] = field(default_factory=dict)

    def versions(self, catalogue: Catalogue, *, start: datetime, end: datetime) -> Iterator[RecordedPrice]:
        """Yield the supposed price for each stretch of `[start, end)` in which one real price is in force."""
        known = catalogue.versions(self.provider, self.model)
        edges = {edge for version in known for edge in (version.valid_from, version.valid_to) if edge}
        inner = sorted(edge for edge in edges if start < edge < end)
        for first, last in pairwise([start, *inner, end]):
            base = catalogue.current(self.provider, self.model, at=first)
            if base is None and not self.usd_per_million:
                continue
            base = base or PriceVersion("", self.provider, self.model, "usd", first, None, ())
            yield self._recorded(base, start=first, end=last, is_new=not known)

    def _recorded(self, base: PriceVersion, *, start: datetime, end: datetime, is_new: bool) -> RecordedPrice:
        components = self._components(base.components)
        id = price_version_id(
            provider=self.provider,
            model=self.model,
            currency=base.currency,
            valid_from=start,
            components=components,
            multipliers=base.multipliers,
            minimums=base.minimums,
        )
        version = VersionEntry(
            id=f"supposed_{id}",
            valid_from=start,
            valid_to=end,
            components=tuple(component_entry(component) for component in components),
            unmapped=base.unmapped,
            multipliers=tuple(multiplier_entry(multiplier) for multiplier in base.multipliers),
            minimums=base.minimums,
            allowances=base.allowances,
        )
        return RecordedPrice(
            id=version.id,
            created=ALWAYS if is_new else LEARNED_LAST,
            provider=self.provider,
            model=self.model,
            currency=base.currency,
            version=version,
            origin="override",
            source="supposed",
        )

    def _components(self, real: Sequence[Component]) -> tuple[Component, ...]:
        ranked = sorted(real, key=lambda component: component.rank)  # The highest rank counts.
        plain = {component.leaf: component.unit_cost for component in ranked if not component.when}
        made = list[Component]()
        for component in real:
            wanted, factor = self.usd_per_million.get(component.leaf), Fraction(self.factor)
            base = plain.get(component.leaf)
            if wanted is not None and base:
                factor = Fraction(wanted) / MILLION / base
            elif wanted is not None and not component.when:
                continue  # It was free: what is set for it comes below.
            made.append(_costing(component, component.unit_cost * factor))
        made += [
            Component(leaf, amount, MILLION)
            for leaf, amount in self.usd_per_million.items()
            if not plain.get(leaf)
        ]
        return tuple(made)


def _costing(component: Component, unit_cost: Fraction) -> Component:
    """Return the component at another exact cost of one unit, written per as many units where that ends."""
    text = decimal_text(unit_cost * component.per)
    if "/" not in text:
        return replace(component, amount=Decimal(text))
    return replace(component, amount=Decimal(unit_cost.numerator), per=unit_cost.denominator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is supposed: another card for everybody, other adjustments on whatever card, other prices."""

    card: RateCardVersion | None = None
    default: Adjustment | None = None
    providers: Mapping[str, Adjustment] = field(default_factory=dict)
    models: Mapping[str, Adjustment] = field(default_factory=dict)
    prices: tuple[SupposedPrice, ...] = ()
    pass_on: bool = False  # Whether cards sell by the prices of each moment, whatever they knew.

    def card_for(self, real: RateCardVersion) -> RateCardVersion:
        """Return the card version that would have priced what `real` did."""
        card = self.card or real
        if self.default is None and not self.providers and not self.models and not self.pass_on:
            return card
        said = repr((self.default, sorted(self.providers.items()), sorted(self.models.items()), self.pass_on))
        return replace(
            card,
            id=f"{card.id}+{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            default=self.default or card.default,
            providers={**card.providers, **self.providers},
            model_overrides={**card.model_overrides, **self.models},
            priced_as_of=None if self.pass_on else card.priced_as_of,
        )

    def catalogue_for(self, real: Catalogue, *, start: datetime, end: datetime) -> Catalogue:
        """Return the prices that would have been in force in `[start, end)`."""
        if not self.prices:
            return real
        supposed = [entry for price in self.prices for entry in price.versions(real, start=start, end=end)]
        return real.with_recorded(supposed)


def scenario_of(
    catalogue: Catalogue,
    *,
    at: datetime,
    card: RateCardVersion | None = None,
    default: Adjustment | None = None,
    overrides: Mapping[str, Adjustment] | None = None,
    prices: Mapping[str, Mapping[str, Decimal]] | None = None,
    factors: Mapping[str, Decimal] | None = None,
    pass_on: bool = False,
) -> Scenario:
    """Return the scenario with every name understood as at `at`.

    Raises `ScenarioUnknown` for a name without a price, `ScenarioInvalid` for amounts that are none.
    """
    providers: dict[str, Adjustment] = {}
    models: dict[str, Adjustment] = {}
    for name, adjustment in (overrides or {}).items():
        model, provider = canonical_model(catalogue, name, at=at), canonical_provider(name)
        if model is not None:
            models[model] = adjustment
        elif provider in catalogue.providers:
            providers[provider] = adjustment
        else:
            raise ScenarioUnknown(f"'{name}' is neither a provider nor a priced model.", param=name)
    return Scenario(
        card=card,
        default=default,
        providers=providers,
        models=models,
        prices=_supposed(catalogue, prices or {}, factors or {}, at=at),
        pass_on=pass_on,
    )


def _supposed(
    catalogue: Catalogue,
    prices: Mapping[str, Mapping[str, Decimal]],
    factors: Mapping[str, Decimal],
    *,
    at: datetime,
) -> tuple[SupposedPrice, ...]:
    found: dict[tuple[str, str], SupposedPrice] = {}
    for name, factor in factors.items():
        if not 0 <= factor <= FACTOR_MAX:
            raise ScenarioInvalid(f"The price of '{name}' cannot be multiplied by {factor}.", param=name)
        provider, model = _named(catalogue, name, at=at, may_be_new=False)
        found[provider, model] = SupposedPrice(provider=provider, model=model, factor=factor)
    for name, amounts in prices.items():
        for leaf, amount in amounts.items():
            if leaf not in LEAVES:
                raise ScenarioInvalid(f"'{leaf}' is no token type.", param=name)
            if amount < 0:
                raise ScenarioInvalid(f"'{name}' cannot cost {amount} per million.", param=name)
        provider, model = _named(catalogue, name, at=at, may_be_new=True)
        known = found.get((provider, model)) or SupposedPrice(provider=provider, model=model)
        found[provider, model] = replace(known, usd_per_million={**known.usd_per_million, **amounts})
    return tuple(found.values())


def _named(catalogue: Catalogue, name: str, *, at: datetime, may_be_new: bool) -> tuple[str, str]:
    """Return provider and exact model; a model without a price may only be given one whole."""
    known = canonical_model(catalogue, name, at=at)
    provider, model = split_provider(known or name.strip().lower())
    if provider is None or (known is None and not may_be_new):
        raise ScenarioUnknown(f"'{name}' is no priced model.", param=name)
    return provider, model
