"""What LiteLLM's price map states: one undated price per model, and when models go out of service.

Rule 1: an embedding has no output, so what its entry says about one is no price.
Rule 2: keys that spell out a size, a region or a commitment are no models of their own unless the catalogue
has them. Where two of LiteLLM's providers are one of ours, the one of the same name counts for more.
Source: spec "prices", §1.3 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import mapping, require
from costplus.catalog.feeds.litellm import entry_price
from costplus.catalog.feeds.litellm_names import is_spelling, own_name
from costplus.catalog.feeds.stated import Keys, Raw, StatedPrice
from costplus.catalog.statement import SourceName, SourceView, Statement
from costplus.catalog.views.assemble import Offer, Reading, assembled
from costplus.catalog.views.belief import believed, without_leaf

SOURCE = SourceName("litellm")
_SPECIMEN = "sample_spec"
# LiteLLM's providers whose names of models may be another one's too, who is then the one that is meant.
_SIDELINES = frozenset({"azure_ai", "bedrock_converse", "cohere_chat"})


def view(raw: Any, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView:
    """Return what the document states, or raise `SourceRejected`."""
    entries = [(key, entry) for key, entry in mapping(raw, source=SOURCE).items() if key != _SPECIMEN]
    priced = [(k, e) for k, e in entries if isinstance(e, Mapping) and "litellm_provider" in e]
    most = len(priced) * 2 > len(entries)
    require(most, source=SOURCE, what="most of its entries name no litellm_provider.")
    reading = Reading(source=SOURCE, revision=revision, as_of=as_of, catalogue=catalogue)
    return assembled(reading, reading.each(priced, partial(_offer, reading)))


def stated_by_entry(key: str, entry: Raw, *, keys: Keys) -> StatedPrice:
    """Return an entry's price; an embedding's output costs nothing because there is none."""
    stated = entry_price(key, entry, keys=keys)
    return without_leaf(stated, "output") if entry.get("mode") == "embedding" else stated


def _offer(reading: Reading, found: tuple[str, Raw]) -> Iterator[Offer]:
    """Yield the entry's offer where it has one."""
    key, entry = found
    owner = own_name(key, entry)
    if owner is None:
        reading.left_out[f"provider:{entry['litellm_provider']}"] += 1
        return
    provider, name = owner
    if name.endswith("-") or (is_spelling(provider, name) and not reading.knows(provider, name)):
        reading.left_out["not_a_name"] += 1
        return
    current = believed(provider, stated_by_entry(key, entry, keys=reading.keys), left_out=reading.left_out)
    if current is not None:
        retired_at = _retired_at(entry.get("deprecation_date"))
        yield Offer(
            provider=provider,
            name=name,
            statement=Statement(current=current, deprecated_at=retired_at),
            is_sideline=entry["litellm_provider"] in _SIDELINES,
        )


def _retired_at(text: object) -> datetime | None:
    """Return the instant of a day written as YYYY-MM-DD; some entries have no day."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if isinstance(text, str) and text else None
