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
from costplus.catalog.price import ModelUnpriced
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
        made = catalogue.price_version(change.new_version)
        if made is None:
            continue
        move = move_of(
            catalogue,
            version,
            provider=change.provider,
            model=change.model,
            known_at=at,
            begins=max(at, made.valid_from),
            change=change.id,
        )
        if move is not None and (move.old is not None or change.kind == "new_model"):
            found[change.provider, change.model] = move
    return list(found.values())


def move_of(
    catalogue: Catalogue,
    version: RateCardVersion,
    *,
    provider: str,
    model: str,
    known_at: datetime,
    begins: datetime,
    change: str = "",
) -> ModelMove | None:
    """Return how a model's price on a card would move if it sold by what was known at `known_at`.

    None where nothing moves. `begins` is the instant whose prices are compared.
    """
    try:
        new, _ = catalogue.price_at(provider, model, at=begins, recorded_by=known_at)
        price, _ = catalogue.price_at(provider, model, at=begins)
    except ModelUnpriced:
        return None
    old = None
    if sells(catalogue, provider, model, card=version):
        old = basis_of(catalogue, price, version, model=model, at=begins)
        if version.known_at(provider=provider, model=model) is None or old.id == new.id:
            return None
    return ModelMove(change=change, provider=provider, model=model, old=old, new=new, known_at=known_at)
