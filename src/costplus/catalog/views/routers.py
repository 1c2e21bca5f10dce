"""What routers state about themselves: OpenRouter and Vercel's AI Gateway, each about its own prices only.

Rule 1: a router's price for a vendor's model is the router's, under the router's own name of the model; it
says nothing about what the vendor asks.
Rule 2: where the price depends on the route, there is none; the answer to each call says what it cost.
Source: spec "prices", §1.5 and 6 (trust).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds import openrouter, vercel
from costplus.catalog.feeds.document import listing, require
from costplus.catalog.feeds.stated import Raw, StatedPrice
from costplus.catalog.statement import SourceName, SourceView, Statement
from costplus.catalog.views.assemble import Offer, Reading, assembled
from costplus.catalog.views.belief import believed, without_media_output

OPENROUTER, VERCEL = SourceName("openrouter"), SourceName("vercel")


def openrouter_view(raw: Any, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView:
    """Return what the document states, or raise `SourceRejected`."""
    reading = Reading(source=OPENROUTER, revision=revision, as_of=as_of, catalogue=catalogue)
    return assembled(reading, reading.each(_models(raw, OPENROUTER), partial(_openrouter, reading)))


def vercel_view(raw: Any, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView:
    """Return what the document states, or raise `SourceRejected`."""
    reading = Reading(source=VERCEL, revision=revision, as_of=as_of, catalogue=catalogue)
    return assembled(reading, reading.each(_models(raw, VERCEL), partial(_vercel, reading)))


def _models(raw: Any, source: SourceName) -> list[tuple[int, Raw]]:
    models = listing(raw, source=source, under="data")
    for model in models:
        shaped = isinstance(model.get("id"), str) and isinstance(model.get("pricing"), Mapping)
        require(shaped, source=source, what="a model has no id or no pricing.")
    return list(enumerate(models))


def _openrouter(reading: Reading, found: tuple[int, Raw]) -> Iterator[Offer]:
    position, model = found
    if openrouter.is_dynamic(model["pricing"]):
        reading.left_out["dynamic"] += 1
        return
    stated = openrouter.model_price(model, keys=reading.keys, pointer=f"/data/{position}")
    yield from _offer(reading, stated, ())


def _vercel(reading: Reading, found: tuple[int, Raw]) -> Iterator[Offer]:
    position, model = found
    if vercel.is_dynamic(model["pricing"]):
        reading.left_out["dynamic"] += 1
        return
    stated = vercel.model_price(model, keys=reading.keys, pointer=f"/data/{position}")
    media = (model.get("modalities") or {}).get("output") or ()
    yield from _offer(reading, stated, media)


def _offer(reading: Reading, stated: StatedPrice, media: Sequence[str]) -> Iterator[Offer]:
    provider = str(reading.source)
    current = believed(provider, without_media_output(stated, media), left_out=reading.left_out)
    if current is not None:
        yield Offer(provider=provider, name=stated.model, statement=Statement(current=current))
