"""`/v1/token_billing/simulations` and `…/price_match`: what if, and which price a name leads to.

Both only look: nothing is stored, so an Idempotency-Key has nothing to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from costplus.billing.card_change import NoSuchRateCard
from costplus.billing.clock import customer_of, present
from costplus.billing.offer import account_currency, card_named, card_offered
from costplus.billing.store import Tx
from costplus.billing.whatif import Window, simulate_within
from costplus.catalog.context import RequestContext, served
from costplus.core.usage import LEAVES, Usage, usage_of
from costplus.rating.match import Asked, match
from costplus.rating.rate_card import RateCardVersion, adjustment
from costplus.rating.scenario import Scenario, scenario_of
from costplus.web.api.card_terms import own_adjustment
from costplus.web.call import Call, post
from costplus.web.objects.simulation import price_match_object, simulation_object
from costplus.web.params import InvalidChoice, InvalidTime, Params

EVENTS_MAX = 50_000  # About three seconds, in which calls of this process wait some milliseconds more.
DAYS_DEFAULT = timedelta(days=30)
PARTS_DEFAULT, PARTS_MAX = 100, 1000


def simulate(tx: Tx, call: Call) -> object:
    """Charge past usage again under other terms and compare; nothing is stored."""
    params = call.params
    window = _window(tx, call)
    limit = params.integer("limit", least=1, most=PARTS_MAX) or PARTS_DEFAULT
    scenario = _scenario(tx, call, at=window.end)
    params.refuse_unread()  # Before the work, not after it.
    made = simulate_within(tx, call.context.pricing, scenario, window, events_max=EVENTS_MAX)
    return simulation_object(made, currency=account_currency(tx), livemode=call.context.livemode, limit=limit)


def _window(tx: Tx, call: Call) -> Window:
    params = call.params
    customer = params.text("customer") or ""
    now = present(tx, customer, real=call.at) if customer else call.at
    end = params.time("end") or now
    start = params.time("start") or end - DAYS_DEFAULT
    if start >= end:
        raise InvalidTime("The window ends before it starts.", param="start", remedy="Give start < end.")
    return Window(start=start, end=end, customer=customer)


def _scenario(tx: Tx, call: Call, *, at: datetime) -> Scenario:
    params = call.params
    prices = params.within("prices")
    return scenario_of(
        call.context.pricing.catalogue,
        at=at,
        card=_card(tx, params),
        default=own_adjustment(params, prefix="default_"),
        overrides={
            name: adjustment("markup", percent)
            for name, percent in _decimals(params.within("markup_overrides")).items()
        },
        prices={name: _decimals(prices.within(name)) for name in prices.keys()},  # noqa: SIM118 - Params is no mapping.
        factors=_decimals(params.within("price_factors")),
        pass_on=params.flag("pass_on_prices") or False,
    )


def _decimals(level: Params) -> Mapping[str, Decimal]:
    """Return the numbers at a level by the caller's own names; empty ones are left out."""
    named = ((name, level.decimal(name)) for name in level.keys())  # noqa: SIM118 - Params is no mapping.
    return {name: value for name, value in named if value is not None}


def _card(tx: Tx, params: Params) -> RateCardVersion | None:
    card, version = params.text("rate_card"), params.text("rate_card_version")
    if version:
        found = card_named(tx, version, param="rate_card_version")
        if card and found.rate_card != card:
            raise NoSuchRateCard(f"Rate card {card} has no version '{version}'.", param="rate_card_version")
        return found
    return card_named(tx, card) if card else None


def match_price(tx: Tx, call: Call) -> object:
    """Say which price a model's name leads to, why, and what usage would be charged."""
    params, customer = call.params, call.params.text("customer") or ""
    if customer:
        customer_of(tx, customer)
    at = params.time("at") or (present(tx, customer, real=call.at) if customer else call.at)
    asked = Asked(
        model=params.required_text("model", longest=500),
        provider=params.text("provider", longest=100) or "",
        at=at,
        usage=_usage(params.within("quantities")),
        context=_context(params, at=at),
    )
    card = card_offered(tx, customer=customer, card=params.text("rate_card") or "", at=at)
    found = match(call.context.pricing, asked, card=card)
    return price_match_object(found, currency=account_currency(tx), livemode=call.context.livemode)


def _usage(level: Params) -> Usage | None:
    quantities: dict[str, int] = {}
    for leaf in level.keys():  # noqa: SIM118 - Params is no mapping: it is not iterable by itself.
        if leaf not in LEAVES:
            param = level.name_of(leaf)
            raise InvalidChoice(
                f"'{leaf}' is no token type.", param=param, remedy=f"One of {', '.join(LEAVES)}."
            )
        quantities[leaf] = level.integer(leaf, most=10**12) or 0
    return usage_of(quantities) if quantities else None


def _context(params: Params, *, at: datetime) -> RequestContext:
    tier = params.text("service_tier", longest=40) or ""
    is_batch = params.choice("processing", ("sync", "batch")) == "batch"
    return served(
        service_tier="batch" if is_batch else tier,
        speed=params.text("speed", longest=40) or "",
        region=params.text("region", longest=40) or "",
        at=at,
    )


ENDPOINTS = (
    post("/v1/token_billing/simulations", simulate, fresh=True, keeps_reply=False, writes=False),
    post("/v1/token_billing/price_match", match_price, keeps_reply=False, writes=False),
)
