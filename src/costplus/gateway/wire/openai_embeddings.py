"""OpenAI-shaped embeddings: everything is input; there is no stream.

Rule 1: Voyage states `total_tokens` only; it is the input.
"""

from __future__ import annotations

from typing import Any

import msgspec

from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading
from costplus.gateway.wire.counts import NULL, compact, decode_or_none, is_null, text_or_none
from costplus.gateway.wire.openai_usage import CHAT, usage_from_raw
from costplus.gateway.wire.reported import reported_cost


class _Embeddings(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    service_tier: Any = None
    error: Any = None
    usage: msgspec.Raw = NULL


_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)


class OpenAIEmbeddingsJson(JsonReader):
    """Reads a list of embeddings without touching the vectors."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        answer = decode_or_none(_EMBEDDINGS, body)
        if answer is None:
            return EMPTY_READING
        raw_usage = b"" if is_null(answer.usage) else compact(answer.usage)
        usage, tier = usage_from_raw(raw_usage, CHAT, has_output=False)
        return Reading(
            usage=usage,
            model=text_or_none(answer.model),
            service_tier=text_or_none(answer.service_tier) or tier,
            raw_usage=raw_usage,
            response_id=text_or_none(answer.id),
            output_chars=0,
            complete=True,
            error=bool(answer.error),
            reported_cost=reported_cost(raw_usage),
        )
