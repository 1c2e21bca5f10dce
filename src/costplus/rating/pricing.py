"""Pricing: the sheet by which a card sells a model at an instant, from whatever catalogue is current.

Rule 1: usage costs what the price in force at its own time says; it sells by the price that the card version
knew (`priced_as_of`). A model that came later sells by its first price.
Rule 2: the catalogue is replaced as a whole; a sheet that was handed out stays as it is.
Rule 3: whether a card sells a model is decided here and nowhere else; so is what stands in for the price of
a model that has none, by the card's own rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime

from costplus.catalog.catalogue import Catalogue
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
        return None if known[2] is None else compile_sheet(replace(known[2], model=name.model), card)

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
