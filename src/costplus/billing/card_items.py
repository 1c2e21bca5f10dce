"""Put items on a rate card and take them off: each time a new version, sold by the card's own rule.

Rule 1: an item needs a meter, of any formula, that carries no tokens.
Rule 2: the same item again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from costplus.billing.adopt import revise
from costplus.billing.move import live_version
from costplus.billing.store import Tx
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.metering.event import TOKEN_METER
from costplus.metering.meter import Meter, NoMeter
from costplus.rating.item import CardItem
from costplus.rating.rate_card import RateCard

ITEMS_MAX = 200  # A card version is read whole.


class MeterNotPriceable(InvalidRequest):
    """The meter's events cannot be sold as an item."""

    code = "rate_card_item_meter_invalid"
    remedy = "Use a meter of another event name: tokens sell by the card's markups and prices."


class TooManyItems(InvalidRequest):
    """The rate card has the most items that are allowed."""

    code = "rate_card_items_limit"
    remedy = f"At most {ITEMS_MAX} items per rate card."


class NoSuchItem(NotFound):
    """The rate card has no item of that event name."""

    code = "resource_missing"


def put_item(tx: Tx, card: RateCard, item: CardItem, *, at: datetime) -> RateCard:
    """Sell the item from now on, in place of one of the same event name.

    Raises `InvalidItem`, `InvalidPriceModel`, `NoMeter`, `MeterNotPriceable`, `TooManyItems`.
    """
    item.check()
    meter = tx.find_by_lookup(Meter, item.event_name)
    if meter is None:
        raise NoMeter(f"No meter was found matching event_name {item.event_name}.", param="event_name")
    if meter.event_name == TOKEN_METER:
        raise MeterNotPriceable(f"Meter {meter.id} carries tokens.", param="event_name")
    items = {**live_version(tx, card).items, item.event_name: item}
    if len(items) > ITEMS_MAX:
        raise TooManyItems(f"Rate card {card.id} has {ITEMS_MAX} items.", param="event_name")
    return _with_items(tx, card, items, at=at)


def drop_item(tx: Tx, card: RateCard, event_name: str, *, at: datetime) -> RateCard:
    """Sell the item no more; its meter's events are counted and charged nothing. Raises `NoSuchItem`."""
    items = dict(live_version(tx, card).items)
    if items.pop(event_name, None) is None:
        raise NoSuchItem(f"Rate card {card.id} has no item '{event_name}'.", param="event_name")
    return _with_items(tx, card, items, at=at)


def _with_items(tx: Tx, card: RateCard, items: Mapping[str, CardItem], *, at: datetime) -> RateCard:
    live = live_version(tx, card)
    made = replace(live, id=new_id("rcv", at=at), created=at, items=items)
    return card if made.same_terms(live) else revise(tx, card, made, at=at)
