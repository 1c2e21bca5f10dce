"""Pricing: the sheet by which a card sells a model at an instant, from whatever catalogue is current.

Rule 1: usage costs what the price in force at its own time says; it sells by the price that the card version
knew (`priced_as_of`). A model that came later sells by its first price.
Rule 2: the catalogue is replaced as a whole; a sheet that was handed out stays as it is.
Rule 3: whether a card sells a model is decided here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
        """Price by another catalogue from now on. Called from any thread: it only swaps a reference."""
        self._catalogue = catalogue

    def sold(self, provider: str, model: str, *, card: RateCardVersion, at: datetime) -> Priced:
        """Return the model as the card sells it at `at`.

        Raises `ModelUnpriced` where it has no price, `ModelNotOnCard` where the card does not sell it.
        """
        catalogue = self._catalogue
        price, name = catalogue.price_at(provider, model, at=at)
        card.check_sells(provider=name.provider, model=name.model)
        since = card.models_as_of
        if since is not None and not card.models and catalogue.first_recorded(*_key(price)) > since:
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
        known = card.priced_as_of
        if known is None or price.recorded_at <= known:
            return self._sheets.sheet(price, card)
        try:
            basis, _ = catalogue.price_at(price.provider, model, at=at, recorded_by=known)
        except ModelUnpriced:  # It came later: it sells by the first price it had.
            basis = min(catalogue.versions(*_key(price)), key=lambda version: version.recorded_at)
        return self._sheets.sheet(price, card, basis=None if basis.id == price.id else basis)


def _key(price: PriceVersion) -> tuple[str, str]:
    return price.provider, price.model
