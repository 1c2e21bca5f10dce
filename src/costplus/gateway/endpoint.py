"""Endpoints: what a path asks for, and where it goes on to.

Rule 1: the gateway's own endpoints are OpenAI's, Anthropic's and Gemini's; the model names its provider, or
the endpoint's own is meant.
Rule 2: `/providers/<name>/…` is that provider's own API: path, query and body go on as they came.
Rule 3: what no wire reads is refused, whatever it is: it would cost and bill nothing, or show one customer
what another one left at the provider. Counting tokens costs nothing and is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

from costplus.gateway.wire.route import PROVIDER_ROWS, route_of

Shape = Literal["openai", "anthropic", "gemini", "bedrock", "cohere"]
FREE = "free"  # The wire of what is passed on and not metered.
NATIVE_PREFIX = "/providers/"

_WITHOUT_OUTPUT = frozenset({"openai_embeddings", "gemini_embeddings", "cohere_embed", "cohere_rerank"})
_SHAPES: tuple[tuple[str, Shape], ...] = (
    ("openai_", "openai"),
    ("anthropic_", "anthropic"),
    ("gemini_", "gemini"),
    ("vertex_", "gemini"),
    ("bedrock_", "bedrock"),
    ("cohere_", "cohere"),
)
# Whose words a refusal of what is free is in.
_FREE_SHAPES: Mapping[str, Shape] = {"anthropic": "anthropic", "google": "gemini", "vertex": "gemini"}
_STREAM_PATH = re.compile(r":stream|-stream$", re.IGNORECASE)
_COUNTS_TOKENS = re.compile(r".*/messages/count_tokens|.*:count(?:-)?[tT]okens")
_GEMINI_WIRES = {
    "generateContent": "gemini_generate",
    "streamGenerateContent": "gemini_generate",
    "embedContent": "gemini_embeddings",
    "batchEmbedContents": "gemini_embeddings",
    "countTokens": FREE,
}
_GEMINI = re.compile(
    r"(?:/v1(?:alpha|beta|beta1)?)?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/google)?"
    rf"/models/(?P<model>[^/:]+):(?P<method>{'|'.join(_GEMINI_WIRES)})"
)
# A model's id may be an ARN, whose slashes and colons must be escaped; they arrive here unescaped.
_BEDROCK_MODEL = re.compile(
    r"(/model/)(.+)(/(?:converse|converse-stream|invoke|invoke-with-response-stream))"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of the gateway: its wire, its provider when the model names none, its upstream path."""

    wire: str
    shape: Shape
    provider: str
    upstream_path: str
    query: str = ""  # The caller's, without a key of ours.
    has_output: bool = True
    model: str = ""  # The model that the path names; empty where the body does.
    streams: bool = False  # Whether the path says that the answer is a stream.
    is_native: bool = False  # Whether it is the provider's own API, which sees path and body as they came.

    @property
    def is_free(self) -> bool:
        """Whether it costs nothing and is not metered."""
        return self.wire == FREE


_CHAT = Endpoint("openai_chat", "openai", "openai", "/chat/completions")
_RESPONSES = Endpoint("openai_responses", "openai", "openai", "/responses")
_EMBEDDINGS = Endpoint("openai_embeddings", "openai", "openai", "/embeddings", has_output=False)
_MESSAGES = Endpoint("anthropic_messages", "anthropic", "anthropic", "/messages")
_COUNT = Endpoint(FREE, "anthropic", "anthropic", "/messages/count_tokens")

ENDPOINTS: Mapping[str, Endpoint] = {
    prefix + endpoint.upstream_path: endpoint
    for prefix in ("", "/v1")
    for endpoint in (_CHAT, _RESPONSES, _EMBEDDINGS, _MESSAGES, _COUNT)
}
BARE_PATHS = frozenset(path for path in ENDPOINTS if not path.startswith("/v1/"))


def is_served(path: str) -> bool:
    """Return whether a path is one of the gateway's own, or below the providers' own APIs."""
    return path in ENDPOINTS or path.startswith(NATIVE_PREFIX) or _GEMINI.fullmatch(path) is not None


def own_endpoint(path: str) -> Endpoint | None:
    """Return the gateway's own endpoint at `path`, None where it is none of its own."""
    found = ENDPOINTS.get(path)
    if found is not None:
        return found
    match = _GEMINI.fullmatch(path)
    if match is None:
        return None
    model, method = match["model"], match["method"]
    wire = _GEMINI_WIRES[method]
    return Endpoint(
        wire=wire,
        shape="gemini",
        provider="google",
        upstream_path=f"/models/{quote(model, safe='')}:{method}",
        has_output=wire == "gemini_generate",
        model=model,
        streams=method == "streamGenerateContent",
    )


def chat_at(provider: str, model: str, streams: bool) -> Endpoint:
    """Return the chat completions of a provider that speaks OpenAI's dialect."""
    return replace(_CHAT, provider=provider)


def messages_at(provider: str, model: str, streams: bool) -> Endpoint:
    """Return the messages of a provider that speaks Anthropic's dialect."""
    return replace(_MESSAGES, provider=provider)


def generate_at(provider: str, model: str, streams: bool) -> Endpoint:
    """Return where a model of Google's answers, at once or in a stream."""
    method = "streamGenerateContent" if streams else "generateContent"
    return Endpoint(
        wire="gemini_generate",
        shape="gemini",
        provider=provider,
        upstream_path=f"/models/{quote(model, safe='')}:{method}",
        query="alt=sse" if streams else "",
        model=model,
        streams=streams,
    )


def renamed(endpoint: Endpoint, model: str) -> Endpoint:
    """Return the endpoint for another model, where its path names one."""
    if not endpoint.model or endpoint.model == model:
        return endpoint
    path = endpoint.upstream_path.replace(quote(endpoint.model, safe=""), quote(model, safe=""), 1)
    return replace(endpoint, model=model, upstream_path=path)


def converse_at(provider: str, model: str, streams: bool) -> Endpoint:
    """Return where a model of Bedrock's converses, at once or in a stream."""
    method = "converse-stream" if streams else "converse"
    return Endpoint(
        wire="bedrock_converse",
        shape="bedrock",
        provider=provider,
        upstream_path=f"/model/{quote(model, safe='')}/{method}",
        model=model,
        streams=streams,
    )


def native_endpoint(provider: str, path: str, *, speaks: str) -> Endpoint | None:
    """Return what `path` of a provider's own API is, None where no wire reads it.

    `speaks` says whose API it is: a row of the route table. `path` is decoded, without its query.
    """
    route = route_of(provider=speaks, path=path)
    if route is not None and route.wire:
        wire, model = route.wire, route.model or ""
    elif (arn := _BEDROCK_MODEL.fullmatch(path)) and speaks == "bedrock":
        wire, model = "bedrock_converse" if "converse" in arn[3] else "bedrock_invoke", arn[2]
    elif _COUNTS_TOKENS.fullmatch(path):
        wire, model = FREE, ""
    else:
        return None
    shape = next(
        (shape for start, shape in _SHAPES if wire.startswith(start)), _FREE_SHAPES.get(speaks, "openai")
    )
    return Endpoint(
        wire=wire,
        shape=shape,
        provider=provider,
        upstream_path=_escaped(path, is_bedrock=speaks == "bedrock"),
        has_output=wire not in _WITHOUT_OUTPUT,
        model=model,
        streams=bool(_STREAM_PATH.search(path)),
        is_native=True,
    )


def split_native(path: str) -> tuple[str, str]:
    """Return the provider's name and the rest of a native path: `/providers/groq/v1/x` → `groq`, `/v1/x`."""
    name, slash, rest = path.removeprefix(NATIVE_PREFIX).partition("/")
    return name, slash + rest


def with_query(endpoint: Endpoint, query: str) -> Endpoint:
    """Return the endpoint with the caller's query, but for a key of ours in it."""
    if not query:
        return endpoint
    kept = "&".join(part for part in query.split("&") if part and not part.startswith("key="))
    return replace(endpoint, query=kept)


def rows_for(*names: str) -> str:
    """Return the first of the names that the route table has a row for; OpenAI's where it has for none."""
    return next((name for name in names if name in PROVIDER_ROWS), "openai")


def _escaped(path: str, *, is_bedrock: bool) -> str:
    """Return a decoded path as it is sent."""
    arn = _BEDROCK_MODEL.fullmatch(path) if is_bedrock else None
    if arn is not None:
        return f"{arn[1]}{quote(arn[2], safe='')}{arn[3]}"
    return quote(path, safe="/:@!$&'()*+,;=~-._")
