"""Track provider prices: what every rate card does about changes, in the transaction that records them.

Rule 1: each card decides for itself (`rating.following`); what it leaves stays as it was and is told.
Rule 2: the changes of one moment make at most one live version of a card.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.billing.card_change import CardFollowed
from costplus.billing.move import act, live_version
from costplus.billing.store import Tx
from costplus.catalog.book import PriceChange
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import every
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.rating.following import ModelMove, decide_follow
from costplus.rating.pricing import Pricing, basis_of, sells
from costplus.rating.rate_card import RateCard, RateCardVersion


def follow(
    tx: Tx, pricing: Pricing, changes: Sequence[PriceChange], *, at: datetime
) -> tuple[CardFollowed, ...]:
    """Let every card that the changes are about follow or leave them; return what each did.

    `pricing` holds the prices with the changes recorded.
    """
    done = []
    for card in list(every(tx, RateCard)):
        moves = moves_for(pricing.catalogue, live_version(tx, card), changes, at=at)
        if moves:
            done.append(act(tx, pricing.catalogue, card, decide_follow(card, moves), action="follow", at=at))
    return tuple(done)


def moves_for(
    catalogue: Catalogue, version: RateCardVersion, changes: Sequence[PriceChange], *, at: datetime
) -> list[ModelMove]:
    """Return what the applied changes would move on a card version; of one model the last counts."""
    found: dict[tuple[str, str], ModelMove] = {}
    for change in changes:
        if catalogue.price_version(change.new_version) is None:
            continue
        move = move_of(
            catalogue, version, change.provider, change.model, known_at=at, at=at, change=change.id
        )
        if move is not None and (change.kind == "new_model" or not move.is_new):
            found[change.provider, change.model] = move
    return list(found.values())


def move_of(
    catalogue: Catalogue,
    version: RateCardVersion,
    provider: str,
    model: str,
    *,
    known_at: datetime,
    at: datetime,
    change: str = "",
) -> ModelMove | None:
    """Return how a model's price on a card moves, from `at` on, if it sells by what was known at `known_at`.

    None where nothing moves. Prices that begin later count too: they would be followed with the rest.
    """
    is_new = not sells(catalogue, provider, model, card=version)
    if not is_new and version.known_at(provider=provider, model=model) is None:
        return None
    pairs: dict[tuple[str, str], tuple[PriceVersion, PriceVersion]] = {}
    for begins in catalogue.turns(provider, model, at=at):
        try:
            new, _ = catalogue.price_at(provider, model, at=begins, recorded_by=known_at)
            price, _ = catalogue.price_at(provider, model, at=begins)
        except ModelUnpriced:
            continue
        old = basis_of(catalogue, price, version, model=model, at=begins)
        if is_new or old.id != new.id:
            pairs[old.id, new.id] = (old, new)
    if not pairs:
        return None
    return ModelMove(
        change=change,
        provider=provider,
        model=model,
        is_new=is_new,
        pairs=() if is_new else tuple(pairs.values()),
        known_at=known_at,
    )
