"""What genai-prices (v2) states: the price in force, the ones announced, and what is out of service.

Rule 1: the price in force is the last that has begun; later ones are announced, and may be cancelled.
Rule 2: the older edition of the file is frozen and carries a cancelled price: a list of its size that uses
none of the words which came with v2 is refused.
Source: spec "prices", §0.4, 1.2 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import SourceRejected, listing, require
from costplus.catalog.feeds.genai_prices import model_prices
from costplus.catalog.feeds.stated import Raw
from costplus.catalog.price import ALWAYS
from costplus.catalog.statement import SourceName, SourceView, Statement
from costplus.catalog.views.assemble import Offer, Reading, assembled
from costplus.catalog.views.belief import believed, is_fine_tune

SOURCE = SourceName("genai-prices")
FROZEN_MODELS_MIN = 500  # A shorter list may do without the newer words.
# Every price key that the frozen edition knows.
_V1_KEYS = frozenset(
    {
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "input_audio_mtok",
        "output_audio_mtok",
        "cache_audio_read_mtok",
        "requests_kcount",
    }
)


def view(raw: Any, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView:
    """Return what the document states, or raise `SourceRejected`."""
    providers = listing(raw, source=SOURCE)
    for provider in providers:
        shaped = isinstance(provider.get("id"), str) and isinstance(provider.get("models"), list)
        require(shaped, source=SOURCE, what="a provider has no id or no models.")
    _refuse_frozen(providers)
    reading = Reading(source=SOURCE, revision=revision, as_of=as_of, catalogue=catalogue)
    return assembled(reading, _offers(providers, reading))


def _refuse_frozen(providers: Sequence[Raw]) -> None:
    models = [model for provider in providers for model in provider["models"] if isinstance(model, Mapping)]
    newer = (bool(model.get("price_variants")) or _keys(model.get("prices")) - _V1_KEYS for model in models)
    if len(models) >= FROZEN_MODELS_MIN and not any(newer):
        what = "it is the first edition, which is no longer kept."
        raise SourceRejected(what, source=SOURCE, reason="schema_frozen")


def _keys(prices: Any) -> set[str]:
    """Return the price keys of a model, as far as they can be found."""
    items = prices if isinstance(prices, list) else [{"prices": prices}]
    return {
        key
        for item in items
        if isinstance(item, Mapping) and isinstance(item.get("prices"), Mapping)
        for key in item["prices"]
    }


def _offers(providers: Sequence[Raw], reading: Reading) -> Iterator[Offer]:
    for number, provider in enumerate(providers):
        ours = reading.provider(provider["id"], models=len(provider["models"]))
        if ours is not None:
            read = partial(_offer, ours, number, reading)
            yield from reading.each(enumerate(provider["models"]), read)


def _offer(provider: str, number: int, reading: Reading, found: tuple[int, Raw]) -> Iterator[Offer]:
    """Yield the model's offer where it has one."""
    position, model = found
    if is_fine_tune(model["id"]):
        reading.left_out["fine_tune"] += 1
        return
    taken_on = reading.as_of.date()
    pointer = f"/{number}/models/{position}"
    timeline = list(model_prices(provider, model, taken_on=taken_on, keys=reading.keys, pointer=pointer))
    begun = [stated for stated in timeline if stated.valid_from.date() <= taken_on]
    current = believed(provider, begun[-1], left_out=reading.left_out)
    if current is None:
        return
    later = (believed(provider, stated, left_out=reading.left_out) for stated in timeline[len(begun) :])
    yield Offer(
        provider=provider,
        name=model["id"],
        statement=Statement(
            current=current,
            scheduled=tuple(stated for stated in later if stated is not None),
            deprecated_at=ALWAYS if model.get("deprecated") is True else None,
        ),
    )
