"""Wires: how each provider's answers are read, without doing any I/O.

Owns: cutting event streams, finding a provider's usage block and turning it into disjoint leaves, what a
request body says about itself, and the two rewrites a body may undergo.
Does not own: sockets, time-outs and forwarding (`gateway.forward`), estimating what never arrived, prices,
translation between dialects.
Words: a *wire* is one endpoint's dialect; a *reader* reads one answer of one upstream attempt; a *reading*
is what it found; a *raw event* is the bytes of a server-sent event with the blank line that ends it.
Invariants: the same bytes give the same reading however they are cut; the leaves of one direction add up to
the provider's own total for it; missing, unreadable and zero usage stay apart; forwarded bytes are the
received bytes, but for the usage chunk that exists only because the gateway asked for it.

Adding a wire is one module with its readers and one line in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from costplus.gateway.wire.anthropic import AnthropicMessagesJson, AnthropicMessagesSse
from costplus.gateway.wire.base import Reading, WireReader
from costplus.gateway.wire.openai_chat import OpenAIChatJson, OpenAIChatSse
from costplus.gateway.wire.openai_embeddings import OpenAIEmbeddingsJson
from costplus.gateway.wire.openai_responses import OpenAIResponsesJson, OpenAIResponsesSse


class SseFactory(Protocol):
    """Makes a stream reader; `strip_usage` says that the gateway asked for usage, not the caller."""

    def __call__(self, *, strip_usage: bool = False) -> WireReader: ...


class Readers(NamedTuple):
    """The factories of one wire."""

    json: Callable[[], WireReader]
    sse: SseFactory


READERS: Mapping[str, Readers] = {
    "openai_chat": Readers(OpenAIChatJson, OpenAIChatSse),
    "openai_responses": Readers(OpenAIResponsesJson, OpenAIResponsesSse),
    # Embeddings have no stream of their own; whoever sends one would shape it like chat.
    "openai_embeddings": Readers(OpenAIEmbeddingsJson, OpenAIChatSse),
    "anthropic_messages": Readers(AnthropicMessagesJson, AnthropicMessagesSse),
}

__all__ = ["READERS", "Readers", "Reading", "SseFactory", "WireReader"]
