"""What models.dev states: one undated price per model, a third opinion on the other two.

Rule 1: where a model gives out pictures, `output` is often what those cost; it then says nothing.
Rule 2: a plan, a country's offer or another cloud of a vendor is a provider of its own: only the ids listed
here, and those that are ours already, mean our providers.
Source: spec "prices", §1.4 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import mapping, require
from costplus.catalog.feeds.models_dev import model_price
from costplus.catalog.feeds.stated import Raw
from costplus.catalog.price import ALWAYS
from costplus.catalog.statement import SourceName, SourceView, Statement
from costplus.catalog.views.assemble import Offer, Reading, assembled
from costplus.catalog.views.belief import believed, without_media_output

SOURCE = SourceName("models.dev")
MODELS_DEV_PROVIDERS: Mapping[str, str] = {
    "amazon-bedrock": "bedrock",
    "cloudflare-workers-ai": "cloudflare",
    "fireworks-ai": "fireworks",
    "novita-ai": "novita",
    "togetherai": "together",
}


def view(raw: Any, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView:
    """Return what the document states, or raise `SourceRejected`."""
    providers = mapping(raw, source=SOURCE)
    for listed in providers.values():
        shaped = isinstance(listed, Mapping) and isinstance(listed.get("models"), Mapping)
        require(shaped, source=SOURCE, what="a provider has no models.")
    reading = Reading(source=SOURCE, revision=revision, as_of=as_of, catalogue=catalogue)
    return assembled(reading, _offers(providers, reading))


def _offers(providers: Mapping[str, Raw], reading: Reading) -> Iterator[Offer]:
    for theirs, listed in providers.items():
        models = listed["models"]
        ours = reading.provider(MODELS_DEV_PROVIDERS.get(theirs, theirs), models=len(models))
        if ours is not None:
            doc = str(listed.get("doc", ""))
            yield from reading.each(models.items(), partial(_offer, ours, theirs, doc, reading))


def _offer(provider: str, theirs: str, doc: str, reading: Reading, found: tuple[str, Raw]) -> Iterator[Offer]:
    """Yield the model's offer where it has one."""
    name, model = found
    if not model.get("cost"):
        reading.left_out["no_price"] += 1
        return
    stated = model_price(theirs, name, model, keys=reading.keys, doc=doc)
    media = (model.get("modalities") or {}).get("output") or ()
    current = believed(provider, without_media_output(stated, media), left_out=reading.left_out)
    if current is not None:
        retired_at = ALWAYS if model.get("status") == "deprecated" else None
        yield Offer(
            provider=provider, name=name, statement=Statement(current=current, deprecated_at=retired_at)
        )
