"""Pricing: the sheet by which a card sells a model at an instant, from whatever catalogue is current.

Rule 1: usage costs what the price in force at its own time says; it sells by the price that the card version
knew (`known_at`). A model that came later sells by its first price.
Rule 2: the catalogue is replaced as a whole; a sheet that was handed out stays as it is.
Rule 3: whether a card sells a model is decided here and nowhere else; so is what stands in for the price of
a model that has none, by the card's own rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.exchange import FxRate, converted
from costplus.catalog.names import ResolvedName, canonical_provider
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.rating.fallback import dearest_price, fallback_sheet, unpriced_sheet
from costplus.rating.rate_card import ModelNotOnCard, RateCardVersion
from costplus.rating.sheet import RateSheet, SheetCache, compile_sheet


@dataclass(frozen=True, slots=True)
class Priced:
    """A model as a card sells it, and how its name was understood."""

    sheet: RateSheet
    name: ResolvedName
    held_by: RateSheet | None = None  # What sizes a call's hold where that is not the sheet.

    @property
    def quoted(self) -> RateSheet:
        """The sheet that a call is quoted by before it is made."""
        return self.held_by or self.sheet


class Prices(Protocol):
    """Whatever can say how a card would sell a model: the current prices, or supposed ones."""

    def used(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as the card would sell it at `at`. Raises `ModelUnpriced`."""


class Pricing:
    """The current catalogue with the sheets compiled from it."""

    def __init__(self, catalogue: Catalogue, *, sheets: SheetCache | None = None) -> None:
        self._catalogue = catalogue
        self._sheets = sheets or SheetCache()
        self._dearest_prices: dict[str, tuple[Catalogue, date, PriceVersion | None]] = {}

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue of this moment."""
        return self._catalogue

    def adopt(self, catalogue: Catalogue) -> None:
        """Price by another catalogue from now on, unless it is older than the one at hand.

        Whoever loads may be overtaken by one that began later; call it from one thread only.
        """
        if catalogue.revision >= self._catalogue.revision:
            self._catalogue = catalogue

    def sold(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as the card sells it at `at`.

        Raises `ModelUnpriced` where it has no price, `ModelNotOnCard` where the card does not sell it.
        """
        catalogue = self._catalogue
        price, name = catalogue.price_at(provider, model, at=at)
        card.check_sells(provider=name.provider, model=name.model)
        if is_newer(catalogue, *_key(price), card=card):
            raise ModelNotOnCard(
                f"Model '{price.provider}/{price.model}' is newer than this customer's rate card."
            )
        return Priced(self._sheet(catalogue, price, card, model=model, at=at), name)

    def taken(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as a call for it is taken: as the card sells it, or by the card's rule for models
        that have no price.

        Raises `ModelUnpriced` where that rule is to block them or nothing can size the hold, `ModelNotOnCard`
        where the card lists its models and this is none of them.
        """
        try:
            return self.sold(provider, model, card=card, at=at)
        except ModelUnpriced:
            if card.unpriced == "block":
                raise
            name = ResolvedName(canonical_provider(provider), model, model, ("unpriced",))
            card.check_sells(provider=name.provider, model=model)
            fallback = fallback_sheet(card, provider=name.provider, model=model)
            if card.unpriced == "fallback" and fallback is not None:
                return Priced(fallback, name)
            held_by = fallback or self._dearest(name, card=card, at=at)
            if card.unpriced == "fallback" or held_by is None:
                raise
            return Priced(unpriced_sheet(card, provider=name.provider, model=model), name, held_by)

    def _dearest(self, name: ResolvedName, *, card: RateCardVersion, at: datetime) -> RateSheet | None:
        """Return the sheet of the provider's dearest list price; found once a day and catalogue."""
        catalogue, day = self._catalogue, at.date()
        known = self._dearest_prices.get(name.provider)
        if known is None or known[0] is not catalogue or known[1] != day:
            price = dearest_price(catalogue.models_of(name.provider, at=at), provider=name.provider)
            known = self._dearest_prices[name.provider] = (catalogue, day, price)
        price = known[2]
        if price is None:
            return None
        exchange = exchange_of(catalogue, price, card, at=at)
        price = converted(price, exchange) if exchange else price
        return compile_sheet(replace(price, model=name.model), card)

    def used(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as the card would sell it; for what was served already, whoever sells it.

        Raises `ModelUnpriced`.
        """
        catalogue = self._catalogue
        price, name = catalogue.price_at(provider, model, at=at)
        return Priced(self._sheet(catalogue, price, card, model=model, at=at), name)

    def sheet(self, price: PriceVersion, card: RateCardVersion, *, at: datetime) -> RateSheet:
        """Return the sheet of one price version under a card."""
        return self._sheet(self._catalogue, price, card, model=price.model, at=at)

    def _sheet(
        self, catalogue: Catalogue, price: PriceVersion, card: RateCardVersion, *, model: str, at: datetime
    ) -> RateSheet:
        basis = basis_of(catalogue, price, card, model=model, at=at)
        return self._sheets.sheet(
            price,
            card,
            basis=None if basis.id == price.id else basis,
            exchange=exchange_of(catalogue, price, card, at=at),
        )


def exchange_of(
    catalogue: Catalogue, price: PriceVersion, card: RateCardVersion, *, at: datetime
) -> FxRate | None:
    """Return the rate from the provider's currency to the card's, None where they are one.

    Raises `FxRateMissing`.
    """
    currency = price.currency.lower()
    if currency == card.currency:
        return None
    return catalogue.exchange.rate_at(currency, card.currency, at=at)


def basis_of(
    catalogue: Catalogue, price: PriceVersion, card: RateCardVersion, *, model: str, at: datetime
) -> PriceVersion:
    """Return the version of a price in force that the card sells by."""
    known = card.known_at(provider=price.provider, model=price.model)
    if known is None or price.recorded_at <= known:
        return price
    try:
        return catalogue.price_at(price.provider, model, at=at, recorded_by=known)[0]
    except ModelUnpriced:  # It came later: it sells by the first price it had.
        return min(catalogue.versions(*_key(price)), key=lambda version: version.recorded_at)


def is_newer(catalogue: Catalogue, provider: str, model: str, *, card: RateCardVersion) -> bool:
    """Return whether a model named by its exact id came after what the card sells."""
    since = card.models_as_of
    if since is None or card.models or f"{provider}/{model}" in card.admitted:
        return False
    return catalogue.first_recorded(provider, model) > since


def sells(catalogue: Catalogue, provider: str, model: str, *, card: RateCardVersion) -> bool:
    """Return whether the card sells a model named by its exact id, which has a price."""
    if card.models:
        return f"{provider}/{model}" in card.models
    return not is_newer(catalogue, provider, model, card=card)


def _key(price: PriceVersion) -> tuple[str, str]:
    return price.provider, price.model
