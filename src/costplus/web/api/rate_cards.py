"""`/v1/token_billing/rate_cards`: what is sold for how much, and what is done about
changed prices. A card's version never changes: other terms make another one.
"""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.adopt import AdoptMode, adopt, revise, undo
from costplus.billing.card_change import CardFollowed, NoSuchRateCard
from costplus.billing.move import live_version
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.web.api.card_terms import TRACKING, revised, tracking_of
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.objects.prices import card_followed_object
from costplus.web.objects.token_billing import rate_card_object
from costplus.web.objects.wire import JsonObject
from costplus.web.params import ParametersExclude

MODES: tuple[AdoptMode, ...] = ("new_customers_only", "migrate_all")


def _card_of(tx: Tx, call: Call) -> RateCard:
    card = tx.find(RateCard, call.path["id"])
    if card is None:
        raise NoSuchRateCard(f"No such rate card: '{call.path['id']}'", param="id")
    return card


def retrieve(tx: Tx, call: Call) -> object:
    """Return a rate card with its live version."""
    card = _card_of(tx, call)
    return rate_card_object(card, call.context, live=tx.find(RateCardVersion, card.live_version))


def update(tx: Tx, call: Call) -> object:
    """Change how a rate card tracks prices, or its terms, which makes a new version."""
    card, params = _card_of(tx, call), call.params
    if "display_name" in params:
        card = replace(card, display_name=params.text("display_name", longest=200) or card.display_name)
    card = replace(
        card,
        price_tracking=params.choice("price_tracking_preference", TRACKING) or card.price_tracking,
        tracking=tracking_of(params, card.tracking),
        metadata=params.metadata(card.metadata),
    )
    tx.save(card)
    tx.touch("config")
    live = live_version(tx, card)
    catalogue = call.context.pricing.catalogue
    version = revised(params, live, catalogue, id=new_id("rcv", at=call.at), at=call.at)
    if not version.same_terms(live):
        card = revise(tx, card, version, at=call.at)
        live = version
    return rate_card_object(card, call.context, live=live)


def adopt_changes(tx: Tx, call: Call) -> object:
    """Sell by price changes that the rate card left, or with `all` by every newest price."""
    card, params = _card_of(tx, call), call.params
    ids, takes_all = params.texts("price_changes"), params.flag("all")
    mode = params.required_choice("mode", MODES)
    if ids and takes_all:
        raise ParametersExclude("Name price changes or take all.", param="all")
    if not ids and not takes_all:
        raise params.missing("price_changes")
    done = adopt(tx, call.context.pricing, card, ids or "all", mode=mode, at=call.at)
    return _answer(tx, call, done)


def undo_last(tx: Tx, call: Call) -> object:
    """Take back a rate card's last action; what was priced stays as it is."""
    return _answer(tx, call, undo(tx, _card_of(tx, call), at=call.at))


def _answer(tx: Tx, call: Call, done: CardFollowed) -> JsonObject:
    card = _card_of(tx, call)
    shown = rate_card_object(card, call.context, live=live_version(tx, card))
    return {**shown, "action": card_followed_object(done)}


def index(tx: Tx, call: Call) -> Listing:
    """List rate cards, newest first."""
    return records(tx, call, RateCard)


def versions(tx: Tx, call: Call) -> Listing:
    """List the versions of a rate card, newest first."""
    return records(tx, call, RateCardVersion, parent=call.path["id"])


ENDPOINTS = (
    get("/v1/token_billing/rate_cards", index),
    get("/v1/token_billing/rate_cards/{id}", retrieve),
    post("/v1/token_billing/rate_cards/{id}", update, fresh=True),
    post("/v1/token_billing/rate_cards/{id}/adopt", adopt_changes, fresh=True),
    post("/v1/token_billing/rate_cards/{id}/undo", undo_last, fresh=True),
    get("/v1/token_billing/rate_cards/{id}/versions", versions),
)
