"""What a call was asked to be and what it was served as: the circumstances its price depends on.

Rule 1: the provider's answer decides, not the request (gateway rule 2); a hold is made for what was asked.
Rule 2: what was served at a price that is not known is charged at the list price and said to be unpriced.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from costplus.catalog.condition import Field
from costplus.catalog.context import STANDARD, RequestContext, served
from costplus.catalog.price import PriceVersion
from costplus.gateway.wire import Reading
from costplus.gateway.wire.counts import decode_or_none, text_or_none
from costplus.gateway.wire.request import WireRequest

_CHEAPER = frozenset({"flex", "batch"})  # Known to cost less than the list price, wherever they exist.
_TEXT: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class _Told(msgspec.Struct, gc=False):
    """The circumstances that some providers tell in their usage block."""

    speed: Any = None
    inference_geo: Any = None


_TOLD = msgspec.json.Decoder(_Told)


def asked_for(request: WireRequest, *, at: datetime) -> RequestContext:
    """Return the context of the request as it was made."""
    return served(service_tier=_asked(request, "service_tier"), speed=_asked(request, "speed"), at=at)


def served_as(request: WireRequest, reading: Reading, *, at: datetime) -> RequestContext:
    """Return the context of the answer; what it does not tell is as it was asked for."""
    told = None
    if b'"inference_geo"' in reading.raw_usage or b'"speed"' in reading.raw_usage:
        told = decode_or_none(_TOLD, reading.raw_usage)
    tier = reading.service_tier
    speed = text_or_none(told.speed) if told else None
    return served(
        service_tier=_asked(request, "service_tier") if tier is None else tier,
        speed=_asked(request, "speed") if speed is None else speed,
        region=(text_or_none(told.inference_geo) if told else None) or "",
        at=at,
    )


def unpriced_in(price: PriceVersion, context: RequestContext) -> Iterator[tuple[Field, str]]:
    """Yield each circumstance that may cost more than the price version says."""
    if context.service_tier != STANDARD and context.service_tier not in _CHEAPER:
        if not price.covers("service_tier", context.service_tier):
            yield "service_tier", context.service_tier
    if context.speed != STANDARD and not price.covers("speed", context.speed):
        yield "speed", context.speed
    if context.region and not price.covers("region", context.region):
        yield "region", context.region


def _asked(request: WireRequest, field: str) -> str:
    raw = request.fields.get(field)
    return (text_or_none(decode_or_none(_TEXT, raw)) if raw is not None else None) or ""
