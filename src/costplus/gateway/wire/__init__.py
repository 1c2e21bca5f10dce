"""Wires: how each provider's answers are read, without doing any I/O.

Owns: cutting event streams and frames, finding a provider's usage block and turning it into disjoint leaves,
which wire a path speaks, what a request body says about itself, and the two rewrites a body may undergo.
Does not own: sockets, time-outs and forwarding (`gateway.forward`), estimating what never arrived, prices,
translation between dialects.
Words: a *wire* is one endpoint's dialect; a *reader* reads one answer of one upstream attempt; a *reading*
is what it found; a *raw event* is the bytes of a server-sent event with the blank line that ends it.
Invariants: the same bytes give the same reading however they are cut; the leaves of one direction add up to
the provider's own total for it; missing, unreadable and zero usage stay apart; forwarded bytes are the
received bytes, but for the usage chunk that exists only because the gateway asked for it.

Adding a wire is one module with its readers, one line in `READERS` and its paths in `route`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from costplus.gateway.wire.anthropic import AnthropicMessagesJson, AnthropicMessagesSse
from costplus.gateway.wire.base import Reading, WireReader
from costplus.gateway.wire.bedrock import BedrockConverseFrames, BedrockConverseJson
from costplus.gateway.wire.bedrock_invoke import BedrockInvokeFrames, BedrockInvokeJson
from costplus.gateway.wire.cohere import CohereChatSse, CohereJson
from costplus.gateway.wire.gemini import (
    GeminiEmbeddingsJson,
    GeminiGenerateJson,
    GeminiGenerateSse,
    VertexPredictJson,
)
from costplus.gateway.wire.openai_chat import OpenAIChatJson, OpenAIChatSse
from costplus.gateway.wire.openai_embeddings import OpenAIEmbeddingsJson
from costplus.gateway.wire.openai_media import (
    OpenAIImagesJson,
    OpenAIImagesSse,
    OpenAISpeechJson,
    OpenAISpeechSse,
    OpenAITranscriptionJson,
    OpenAITranscriptionSse,
)
from costplus.gateway.wire.openai_responses import OpenAIResponsesJson, OpenAIResponsesSse


class StreamFactory(Protocol):
    """Makes a stream reader; `strip_usage` says that the gateway asked for usage, not the caller."""

    def __call__(self, *, strip_usage: bool = False) -> WireReader: ...


class Readers(NamedTuple):
    """The factories of one wire; its stream may be server-sent events or frames."""

    json: Callable[[], WireReader]
    stream: StreamFactory


READERS: Mapping[str, Readers] = {
    "openai_chat": Readers(OpenAIChatJson, OpenAIChatSse),
    "openai_responses": Readers(OpenAIResponsesJson, OpenAIResponsesSse),
    # Embeddings have no stream of their own; whoever sends one would shape it like chat.
    "openai_embeddings": Readers(OpenAIEmbeddingsJson, OpenAIChatSse),
    "openai_images": Readers(OpenAIImagesJson, OpenAIImagesSse),
    "openai_transcription": Readers(OpenAITranscriptionJson, OpenAITranscriptionSse),
    "openai_speech": Readers(OpenAISpeechJson, OpenAISpeechSse),
    "anthropic_messages": Readers(AnthropicMessagesJson, AnthropicMessagesSse),
    "gemini_generate": Readers(GeminiGenerateJson, GeminiGenerateSse),
    "gemini_embeddings": Readers(GeminiEmbeddingsJson, GeminiGenerateSse),
    "vertex_predict": Readers(VertexPredictJson, GeminiGenerateSse),
    "bedrock_converse": Readers(BedrockConverseJson, BedrockConverseFrames),
    "bedrock_invoke": Readers(BedrockInvokeJson, BedrockInvokeFrames),
    "cohere_chat": Readers(CohereJson, CohereChatSse),
    "cohere_embed": Readers(CohereJson, CohereChatSse),
    "cohere_rerank": Readers(CohereJson, CohereChatSse),
}

__all__ = ["READERS", "Readers", "Reading", "StreamFactory", "WireReader"]
