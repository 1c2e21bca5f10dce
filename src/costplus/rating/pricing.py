"""Pricing: the sheet by which a card sells a model at an instant, from whatever catalogue is current.

Rule 1: usage costs what the price in force at its own time says; it sells by the price that the card version
knew (`known_at`). A model that came later sells by its first price.
Rule 2: the catalogue is replaced as a whole; a sheet that was handed out stays as it is.
Rule 3: whether a card sells a model is decided here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.names import ResolvedName
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.rating.rate_card import ModelNotOnCard, RateCardVersion
from costplus.rating.sheet import RateSheet, SheetCache


@dataclass(frozen=True, slots=True)
class Priced:
    """A model as a card sells it, and how its name was understood."""

    sheet: RateSheet
    name: ResolvedName


class Prices(Protocol):
    """Whatever can say how a card would sell a model: the current prices, or supposed ones."""

    def used(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as the card would sell it at `at`. Raises `ModelUnpriced`."""


class Pricing:
    """The current catalogue with the sheets compiled from it."""

    def __init__(self, catalogue: Catalogue, *, sheets: SheetCache | None = None) -> None:
        self._catalogue = catalogue
        self._sheets = sheets or SheetCache()

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
        return self._sheets.sheet(price, card, basis=None if basis.id == price.id else basis)


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
