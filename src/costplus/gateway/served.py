"""What a call was asked to be and what it was served as: the circumstances its price depends on.

Rule 1: the provider's answer decides, not the request (gateway rule 2); a hold is made for what was asked.
Rule 2: what was served at a price that is not known is charged at the list price and said to be unpriced.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from costplus.catalog.context import STANDARD, RequestContext, is_plain, served
from costplus.core.usage import Usage
from costplus.gateway.wire import Reading
from costplus.gateway.wire.counts import decode_or_none, text_or_none
from costplus.gateway.wire.request import WireRequest

_HOURS = re.compile(r"(\d{1,4})\s*h")
_LIFETIMES = ((12, "cache_write_12h"), (1, "cache_write_1h"))  # At least so many hours → the leaf.
_TEXT: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class _Told(msgspec.Struct, gc=False):
    """The circumstances that some providers tell in their usage block."""

    speed: Any = None
    inference_geo: Any = None


_TOLD = msgspec.json.Decoder(_Told)


def asked_for(request: WireRequest, *, at: datetime) -> RequestContext:
    """Return the context of the request as it was made."""
    return served(service_tier=asked_word(request, "service_tier"), speed=asked_word(request, "speed"), at=at)


def served_as(request: WireRequest, reading: Reading, *, asked: RequestContext) -> RequestContext:
    """Return the context of the answer; what it does not tell is as it was `asked` for."""
    told = None
    if b'"inference_geo"' in reading.raw_usage or b'"speed"' in reading.raw_usage:
        told = decode_or_none(_TOLD, reading.raw_usage)
    tier = reading.service_tier
    is_ordinary = asked.service_tier == STANDARD and asked.processing == "sync"
    if told is None and (tier is None or (is_ordinary and is_plain(tier))):
        return asked
    speed = text_or_none(told.speed) if told else None
    return served(
        service_tier=asked_word(request, "service_tier") if tier is None else tier,
        speed=asked_word(request, "speed") if speed is None else speed,
        region=(text_or_none(told.inference_geo) if told else None) or "",
        at=asked.at,
    )


def asked_word(request: WireRequest, field: str) -> str:
    """Return the word that the request has in `field`, empty where it has none."""
    raw = request.fields.get(field)
    return (text_or_none(decode_or_none(_TEXT, raw)) if raw is not None else None) or ""


def kept_for(usage: Usage, lifetime: str) -> Usage:
    """Return the usage with its cache writes on the leaf of the lifetime that the caller asked for.

    Usage blocks that only count writes do not tell how long they are kept; the request does. `24h` and
    `above_12hr` are long lifetimes, words without hours (`in_memory`) the provider's shortest.
    """
    hours = _HOURS.search(lifetime)
    written = usage.quantities.get("cache_write_5m", 0)
    leaf = next((leaf for least, leaf in _LIFETIMES if hours and int(hours[1]) >= least), None)
    if leaf is None or not written or any(usage.quantities.get(known) for _, known in _LIFETIMES):
        return usage
    quantities = {name: n for name, n in usage.quantities.items() if name != "cache_write_5m"}
    return Usage({**quantities, leaf: written}, usage.flags)
