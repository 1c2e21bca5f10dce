"""`/v1/token_billing/rate_cards/{id}/items`: what a rate card sells besides tokens, one item a meter."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from costplus.billing.card_change import NoSuchRateCard
from costplus.billing.card_items import drop_item, put_item
from costplus.billing.store import Tx
from costplus.rating.conversion import Rounding
from costplus.rating.item import UNITS_MAX, CardItem, ItemKind, ItemTier
from costplus.rating.price_model import InvalidPriceModel
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.web.api.meters import EVENT_NAME_MAX
from costplus.web.call import Call, delete, post
from costplus.web.objects.token_billing import rate_card_object
from costplus.web.params import Params

TIERS_MAX = 100
_MODELS: tuple[ItemKind, ...] = ("per_unit", "package", "graduated", "volume")
_ROUNDINGS: tuple[Rounding, ...] = ("none", "ceil", "floor", "half_up")
_OPEN_ENDS: tuple[Literal["inf"], ...] = ("inf",)  # Stripe's word for a tier without an end.


def _card(tx: Tx, call: Call) -> RateCard:
    card = tx.find(RateCard, call.path["id"])
    if card is None:
        raise NoSuchRateCard(f"No such rate card: '{call.path['id']}'", param="id")
    return card


def _amount(params: Params, name: str, default: str = "0") -> Decimal:
    amount = params.decimal(name)
    return Decimal(default) if amount is None else amount


def _required_amount(params: Params, name: str) -> Decimal:
    amount = params.decimal(name)
    if amount is None:
        raise params.missing(name)
    return amount


def _tier(params: Params) -> ItemTier:
    is_open = params.text("up_to") in (None, *_OPEN_ENDS)
    return ItemTier(
        up_to=None if is_open else params.required_integer("up_to", least=1, most=UNITS_MAX),
        unit_amount=_amount(params, "unit_amount"),
        flat_amount=_amount(params, "flat_amount"),
    )


def _tiers(params: Params, kind: ItemKind) -> tuple[ItemTier, ...]:
    tiers = tuple(_tier(level) for level in params.each("tiers"))
    if kind in ("graduated", "volume") and not 1 <= len(tiers) <= TIERS_MAX:
        raise InvalidPriceModel(f"A {kind} price has 1 to {TIERS_MAX} tiers.", param="tiers")
    return tiers


def _item(params: Params) -> CardItem:
    """Return the item that the parameters say; those of another price model are refused as unknown."""
    kind = params.required_choice("price_model", _MODELS)
    event_name = params.required_text("event_name", longest=EVENT_NAME_MAX)
    is_package, is_tiered = kind == "package", kind in ("graduated", "volume")
    return CardItem(
        event_name=event_name,
        display_name=params.text("display_name", longest=250) or event_name,
        kind=kind,
        unit_amount=_required_amount(params, "unit_amount") if kind == "per_unit" else Decimal(0),
        package_size=params.required_integer("package_size", least=1, most=UNITS_MAX) if is_package else 1,
        package_amount=_required_amount(params, "package_amount") if is_package else Decimal(0),
        tiers=_tiers(params, kind) if is_tiered else (),
        divide_by=_amount(params, "divide_by", "1"),
        multiply_by=_amount(params, "multiply_by", "1"),
        rounding=params.choice("rounding", _ROUNDINGS) or "none",
        included_units=params.integer("included_units", most=UNITS_MAX) or 0,
        minimum_amount=params.decimal("minimum_amount"),
        maximum_amount=params.decimal("maximum_amount"),
        unit_cost=_amount(params, "unit_cost"),
    )


def _shown(tx: Tx, card: RateCard, call: Call) -> object:
    return rate_card_object(card, call.context, live=tx.find(RateCardVersion, card.live_version))


def create(tx: Tx, call: Call) -> object:
    """Sell an item, in place of one of the same event name: the card gets a new version.

    `price_model` is `per_unit`, `package`, `graduated` or `volume`; amounts are in currency units.
    """
    card = put_item(tx, _card(tx, call), _item(call.params), at=call.at)
    return _shown(tx, card, call)


def remove(tx: Tx, call: Call) -> object:
    """Sell an item no more: the card gets a new version, and the meter is counted and charged nothing."""
    card = drop_item(tx, _card(tx, call), call.path["event_name"], at=call.at)
    return _shown(tx, card, call)


ENDPOINTS = (
    post("/v1/token_billing/rate_cards/{id}/items", create),
    delete("/v1/token_billing/rate_cards/{id}/items/{event_name}", remove),
)
