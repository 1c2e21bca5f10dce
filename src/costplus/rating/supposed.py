"""Supposed prices: what a card would charge if one model had always cost and sold by given versions.

Rule 1: only the one model is supposed; every other is priced as it is at the supposed present.
Rule 2: the time of day that a price depends on stays the usage's own.
"""

from __future__ import annotations

from datetime import datetime

from costplus.catalog.book import PriceChange
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.catalog.snapshot import VersionEntry, price_version
from costplus.rating.pricing import Priced, Pricing, basis_of, exchange_of
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import SheetCache


class Supposed:
    """Prices of the present `at` with one model supposed. Satisfies `Prices`."""

    def __init__(
        self, pricing: Pricing, price: PriceVersion, *, at: datetime, basis: PriceVersion | None = None
    ) -> None:
        """Suppose that the model costs `price` and sells by `basis`, by what each card knows where None."""
        self._pricing = pricing
        self._price = price
        self._basis = basis
        self._at = at
        self._sheets = SheetCache()

    def used(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as the card would sell it, whenever it was used."""
        catalogue, price = self._pricing.catalogue, self._price
        current, name = catalogue.price_at(provider, model, at=self._at)
        if (current.provider, current.model) != (price.provider, price.model):
            return self._pricing.used(provider, model, card=card, at=self._at)
        for field, word in name.modifiers:
            if not price.covers(field, word):
                raise ModelUnpriced(f"Model '{price.model}' would have no price for {field} '{word}'.")
        basis = self._basis or basis_of(catalogue, current, card, model=model, at=self._at)
        exchange = exchange_of(catalogue, price, card, at=self._at)
        basis_or_none = None if basis.id == price.id else basis
        return Priced(self._sheets.sheet(price, card, basis=basis_or_none, exchange=exchange), name)


def proposed_price(change: PriceChange, *, like: PriceVersion) -> PriceVersion:
    """Return the price version that a change would make of the model's present one."""
    entry = VersionEntry(
        id=change.new_version or f"pv_{change.id}",
        valid_from=change.effective_at,
        components=change.components,
        multipliers=change.multipliers,
        minimums=like.minimums,
        allowances=like.allowances,
    )
    return price_version(
        entry,
        provider=change.provider,
        model=change.model,
        currency=like.currency,
        source=", ".join(sorted(change.sources)),
        context_tokens_max=like.context_tokens_max,
        output_tokens_max=like.output_tokens_max,
    )
