"""`/v1/token_billing/price_changes`, `…/price_overrides`, `…/model_redirects`: what moves, who decides.

Deciding is the seller's; what a decision moves on rate cards goes by each card's own options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from costplus.billing.own_price import own_components
from costplus.billing.price_book import approve, change_of, override, redirect, reject, undo
from costplus.billing.price_record import Person
from costplus.billing.price_report import moves_of
from costplus.billing.store import Tx
from costplus.billing.weigh import impact_of
from costplus.catalog.book import ChangeKind, ChangeStatus, PriceChange
from costplus.catalog.names import canonical_provider
from costplus.rating.impact import Impact
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.objects.price_objects import price_change_detail
from costplus.web.objects.wire import JsonObject

NAME_MAX, NOTE_MAX = 200, 500
CUSTOMERS_MAX = 100  # So many are listed per rate card; how many there are is always said.
STATUSES: tuple[ChangeStatus, ...] = get_args(ChangeStatus)
KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


def index(tx: Tx, call: Call) -> Listing:
    """List price changes, newest first: the open ones, or those of a status, or all."""
    params = call.params
    status = params.choice("status", ("open", "all", *STATUSES)) or "open"
    kind = params.choice("kind", KINDS)
    provider, model = params.text("provider", longest=NAME_MAX), params.text("model", longest=NAME_MAX)
    owner = canonical_provider(provider) if provider else None

    def keep(change: PriceChange) -> bool:
        is_wanted = status == "all" or (change.is_open if status == "open" else change.status == status)
        return (
            is_wanted
            and kind in (None, change.kind)
            and owner in (None, change.provider)
            and model in (None, change.model)
        )

    parent = f"{owner}/{model}" if owner and model else None
    page = records(tx, call, PriceChange, parent=parent, keep=keep)
    shown = [_judged(call, change) for change in page.entries if isinstance(change, PriceChange)]
    return Listing(shown, page.has_more)


def _judged(call: Call, change: PriceChange, impact: Impact | None = None) -> JsonObject:
    moves = moves_of(call.context.pricing.catalogue, change, at=call.at)
    return price_change_detail(change, moves, impact, call.context)


def retrieve(tx: Tx, call: Call) -> JsonObject:
    """Return a price change with who says what, why it waits, and its impact on the last 30 days."""
    change = change_of(tx, call.path["id"])
    impact = impact_of(tx, call.context.pricing, change, at=call.at)
    return _judged(call, change, impact.cut(CUSTOMERS_MAX))


def _by(call: Call) -> Person:
    return Person(name=call.key.id, note=call.params.text("note", longest=NOTE_MAX) or "")


def _decide(verb: Callable[..., PriceChange], tx: Tx, call: Call) -> JsonObject:
    change = verb(tx, call.path["id"], at=call.at, by=_by(call))
    return _judged(call, change)


def approve_change(tx: Tx, call: Call) -> JsonObject:
    """Apply an open change; one that is announced for later counts from its own day on."""
    return _decide(approve, tx, call)


def reject_change(tx: Tx, call: Call) -> JsonObject:
    """Refuse an open change: the same proposal is not made again."""
    return _decide(reject, tx, call)


def undo_change(tx: Tx, call: Call) -> JsonObject:
    """Take an applied change back from now on; an override ends."""
    return _decide(undo, tx, call)


def create_override(tx: Tx, call: Call) -> JsonObject:
    """Set your own price of a model: it wins over every source until it ends or is undone."""
    params = call.params
    level = params.within("prices")
    prices = {name: level.required_text(name, longest=40) for name in level.keys()}  # noqa: SIM118 - Params is no mapping.
    if not prices:
        raise params.missing("prices")
    change = override(
        tx,
        provider=params.required_text("provider", longest=NAME_MAX),
        model=params.required_text("model", longest=NAME_MAX),
        components=own_components(prices, param="prices"),
        valid_from=params.time("valid_from"),
        ends_at=params.time("ends_at"),
        is_new=params.flag("new_model") or False,
        at=call.at,
        by=_by(call),
    )
    return _judged(call, change)


def create_redirect(tx: Tx, call: Call) -> JsonObject:
    """Price a model as another one of its provider from an instant on."""
    params = call.params
    change = redirect(
        tx,
        provider=params.required_text("provider", longest=NAME_MAX),
        model=params.required_text("model", longest=NAME_MAX),
        target=params.required_text("redirect_to", longest=NAME_MAX),
        since=params.time("since") or call.at,
        at=call.at,
        by=_by(call),
    )
    return _judged(call, change)


ENDPOINTS = (
    get("/v1/token_billing/price_changes", index),
    get("/v1/token_billing/price_changes/{id}", retrieve, fresh=True),
    post("/v1/token_billing/price_changes/{id}/approve", approve_change, reprices=True),
    post("/v1/token_billing/price_changes/{id}/reject", reject_change),
    post("/v1/token_billing/price_changes/{id}/undo", undo_change, reprices=True),
    post("/v1/token_billing/price_overrides", create_override, reprices=True),
    post("/v1/token_billing/model_redirects", create_redirect, reprices=True),
)
