"""Reading which usage a credit grant pays for, and which of it a summary is about.

Rule 1: Stripe's words are `price_type=metered` (all usage) and `prices`; ours are meters, providers, models
and token types, which may stand beside either.
Rule 2: what does not exist is refused by name: a grant whose scope nothing meets would never burn.
"""

from __future__ import annotations

from costplus.billing.plan import Plan
from costplus.billing.store import Tx
from costplus.catalog.names import split_provider
from costplus.catalog.price import ModelUnpriced
from costplus.core.errors import InvalidRequest
from costplus.core.usage import LEAVES
from costplus.ledger.scope import Scope
from costplus.metering.meter import Meter
from costplus.rating.rate_card import RateCard, RateCardVersion
from costplus.web.call import Call
from costplus.web.errors import NotSupported
from costplus.web.params import ParametersExclude, Params

PRICES_MAX = 20
OURS = ("meters", "providers", "models", "token_types")


class ScopeInvalid(InvalidRequest):
    """The scope names something that no usage can be."""

    code = "credit_scope_invalid"
    remedy = (
        "Name existing prices (rate cards or pricing plans), meters, provider/model names and token types."
    )


def scope_of(tx: Tx, call: Call, level: Params, *, at_least_one: bool = True) -> Scope:
    """Return the scope that parameters write."""
    if "billable_items" in level:
        raise NotSupported(
            "A scope of billable items is not available.",
            param=level.name_of("billable_items"),
            remedy="Send price_type=metered, or prices, meters, providers, models, token_types.",
        )
    price_type = level.choice("price_type", ("metered",))
    entries = level.each("prices")
    if price_type and entries:
        raise ParametersExclude(
            "price_type and prices cannot be used together.", param=level.name_of("prices")
        )
    if len(entries) > PRICES_MAX:
        raise ScopeInvalid(
            f"The scope has {len(entries)} prices; at most {PRICES_MAX} are allowed.",
            param=level.name_of("prices"),
        )
    if at_least_one and not price_type and not entries and not any(name in level for name in OURS):
        raise level.missing("price_type")
    types = level.name_of("token_types")
    return Scope(
        prices=tuple(_card(tx, entry.required_text("id"), entry.name_of("id")) for entry in entries),
        meters=tuple(_meter(tx, name, level.name_of("meters")) for name in level.texts("meters")),
        providers=tuple(_provider(name, level.name_of("providers")) for name in level.texts("providers")),
        models=tuple(_model(call, name) for name in level.texts("models")),
        token_types=tuple(_token_type(name, types) for name in level.texts("token_types")),
    )


def _card(tx: Tx, id: str, param: str) -> str:
    """Return the rate card that a price is: a card, one of its versions, or the plan that has it.

    A plan's id is what subscriptions show as their price.
    """
    version, plan = tx.find(RateCardVersion, id), tx.find(Plan, id)
    card = version.rate_card if version else plan.rate_card if plan else id
    if tx.find(RateCard, card) is None:
        raise ScopeInvalid(f"No such price: '{id}'.", param=param)
    return card


def _meter(tx: Tx, name: str, param: str) -> str:
    """Return the event name of a meter that is named by it, or by its id."""
    meter = tx.find(Meter, name) or tx.find_by_lookup(Meter, name)
    if meter is None:
        raise ScopeInvalid(f"No such meter: '{name}'.", param=param)
    return meter.event_name


def _provider(name: str, param: str) -> str:
    provider = split_provider(f"{name}/any")[0]
    if provider is None:
        raise ScopeInvalid(f"No such provider: '{name}'.", param=param)
    return provider


def _model(call: Call, name: str) -> str:
    """Return a model's own name, whatever alias it is called by; an unknown one stays as it is."""
    provider, model = split_provider(name)
    if provider is None:
        return name
    try:
        price, _ = call.context.pricing.catalogue.price_at(provider, model, at=call.at)
    except ModelUnpriced:
        return f"{provider}/{model}"
    return f"{price.provider}/{price.model}"


def _token_type(name: str, param: str) -> str:
    if name not in LEAVES:
        raise ScopeInvalid(f"No such token type: '{name}'. One of {', '.join(LEAVES)}.", param=param)
    return name
