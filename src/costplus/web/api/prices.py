"""`/v1/token_billing/prices`, `…/price_sources` and `…/model_aliases`: what models cost, and who says so.

Model ids contain slashes; in a path they are written as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from costplus.billing.price_book import NoSuchAlias, declare_alias, drop_alias
from costplus.billing.price_report import KnownVersion, model_prices, source_readings
from costplus.billing.store import Tx
from costplus.catalog.book import ModelAlias, RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.names import canonical_provider
from costplus.web.call import Call, Listing, delete, get, post
from costplus.web.listing import in_memory, records
from costplus.web.objects.price_objects import model_price_object, model_prices_object
from costplus.web.objects.wire import JsonObject

NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class _Listed:
    """A model of the catalogue as lists go through them: its price is looked up when its turn comes."""

    id: str
    provider: str
    model: str


def index(tx: Tx, call: Call) -> Listing:
    """List models with their price in force, by name."""
    params, catalogue = call.params, call.context.pricing.catalogue
    at = params.time("at") or call.at
    provider, prefix = params.text("provider", longest=NAME_MAX), params.text("search", longest=NAME_MAX)
    wanted = canonical_provider(provider) if provider else None
    begin = (prefix or "").lower()
    models = [
        _Listed(f"{owner}/{model}", owner, model)
        for owner, model in catalogue.keys
        if wanted in (None, owner)
        and (model.lower().startswith(begin) or f"{owner}/{model}".startswith(begin))
    ]
    page = in_memory(params, models, keep=lambda entry: _current(catalogue, entry, at=at) is not None)
    shown = [_shown(tx, call, entry, at=at) for entry in page.entries if isinstance(entry, _Listed)]
    return Listing(shown, page.has_more)


def _current(catalogue: Catalogue, entry: _Listed, *, at: datetime) -> object:
    return catalogue.current(entry.provider, entry.model, at=at)


def _shown(tx: Tx, call: Call, entry: _Listed, *, at: datetime) -> JsonObject:
    price = call.context.pricing.catalogue.current(entry.provider, entry.model, at=at)
    assert price is not None, entry.id  # The page was made of those that have one.
    known = KnownVersion(price, tx.find(RecordedPrice, price.id))
    return model_price_object(price, known, call.context)


def retrieve(tx: Tx, call: Call) -> object:
    """Return a model's price with every version, what is scheduled or open, and how old all that is."""
    found = model_prices(
        tx,
        call.context.pricing.catalogue,
        provider=call.path["provider"],
        model=call.path["model"],
        followed=call.context.price_sources,
        at=call.params.time("at") or call.at,
    )
    return model_prices_object(found, call.context)


def sources(tx: Tx, call: Call) -> Listing:
    """List the price lists, those that are followed and the others, with what they said last."""
    readings = source_readings(tx, followed=call.context.price_sources, at=call.at)
    return in_memory(call.params, readings)


def create_alias(tx: Tx, call: Call) -> ModelAlias:
    """Declare that a name, such as a deployment's, means a model of the same provider."""
    params = call.params
    return declare_alias(
        tx,
        provider=params.required_text("provider", longest=NAME_MAX),
        name=params.required_text("name", longest=NAME_MAX),
        target=params.required_text("target", longest=NAME_MAX),
        at=call.at,
    )


def aliases(tx: Tx, call: Call) -> Listing:
    """List declared names, newest first."""
    provider = call.params.text("provider", longest=NAME_MAX)
    parent = canonical_provider(provider) if provider else None
    return records(tx, call, ModelAlias, parent=parent)


def retrieve_alias(tx: Tx, call: Call) -> ModelAlias:
    """Return a declared name."""
    alias = tx.find(ModelAlias, call.path["id"])
    if alias is None:
        raise NoSuchAlias(f"No such model alias: '{call.path['id']}'", param="id")
    return alias


def remove_alias(tx: Tx, call: Call) -> JsonObject:
    """Take a declared name back; usage under it has no price from then on."""
    alias = drop_alias(tx, call.path["id"], at=call.at)
    return {"id": alias.id, "object": "token_billing.model_alias", "deleted": True}


ENDPOINTS = (
    get("/v1/token_billing/prices", index),
    get("/v1/token_billing/prices/{provider}/{model:path}", retrieve),
    get("/v1/token_billing/price_sources", sources),
    post("/v1/token_billing/model_aliases", create_alias, reprices=True),
    get("/v1/token_billing/model_aliases", aliases),
    get("/v1/token_billing/model_aliases/{id}", retrieve_alias),
    delete("/v1/token_billing/model_aliases/{id}", remove_alias, reprices=True),
)
