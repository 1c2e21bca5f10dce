"""Which wire an exchange speaks: a declared table of providers, hosts and paths.

Rule 1: the provider is the one named, else the one its host belongs to; an unknown one has no wire.
Rule 2: a path that no row matches has no wire: what cannot be metered is never read by likeness.
Rule 3: where the path names the model, the answer often does not; it is handed on as the path has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

Rows = tuple[tuple[re.Pattern[str], str], ...]


@dataclass(frozen=True, slots=True)
class WireRoute:
    """The wire of a path, and the model that the path names, if it names one."""

    wire: str
    model: str | None = None


def _rows(*rows: tuple[str, str]) -> Rows:
    return tuple((re.compile(pattern), wire) for pattern, wire in rows)


_OPENAI = _rows(
    (r".*/deployments/(?P<model>[^/]+)/chat/completions", "openai_chat"),
    (r".*/deployments/(?P<model>[^/]+)/completions", "openai_chat"),
    (r".*/deployments/(?P<model>[^/]+)/embeddings", "openai_embeddings"),
    (r".*/deployments/(?P<model>[^/]+)/images/(?:generations|edits)", "openai_images"),
    (r".*/deployments/(?P<model>[^/]+)/audio/(?:transcriptions|translations)", "openai_transcription"),
    (r".*/deployments/(?P<model>[^/]+)/audio/speech", "openai_speech"),
    (r"(?:.*/)?chat/completions", "openai_chat"),
    (r"(?:.*/)?completions", "openai_chat"),
    (r"(?:.*/)?responses(?:/[^/]+)?", "openai_responses"),
    (r"(?:.*/)?embeddings", "openai_embeddings"),
    (r"(?:.*/)?images/(?:generations|edits|variations)", "openai_images"),
    (r"(?:.*/)?audio/(?:transcriptions|translations)", "openai_transcription"),
    (r"(?:.*/)?audio/speech", "openai_speech"),
    # Many who speak OpenAI's dialect speak this too; a thread's messages are something else.
    (r"(?!.*/threads/)(?:.*/)?messages", "anthropic_messages"),
)
_ANTHROPIC = _rows(
    (r"(?:.*/)?messages", "anthropic_messages"),
    (r"(?:.*/)?chat/completions", "openai_chat"),
)
_GOOGLE = (
    *_rows(
        (r".*/models/(?P<model>[^/:]+):generateContent", "gemini_generate"),
        (r".*/models/(?P<model>[^/:]+):streamGenerateContent", "gemini_generate"),
        (r".*/models/(?P<model>[^/:]+):(?:embedContent|batchEmbedContents)", "gemini_embeddings"),
        (r".*/publishers/anthropic/models/(?P<model>[^/:]+):(?:stream)?[rR]awPredict", "anthropic_messages"),
        (r".*/models/(?P<model>[^/:]+):predict", "vertex_predict"),
    ),
    *_OPENAI,
)
_BEDROCK = (
    *_rows(
        (r"/model/(?P<model>[^/]+)/converse(?:-stream)?", "bedrock_converse"),
        (r"/model/(?P<model>[^/]+)/invoke(?:-with-response-stream)?", "bedrock_invoke"),
    ),
    *_OPENAI,
)
_COHERE = (
    *_rows(
        (r"(?:.*/)?v\d+/chat", "cohere_chat"),
        (r"(?:.*/)?v\d+/embed", "cohere_embed"),
        (r"(?:.*/)?v\d+/rerank", "cohere_rerank"),
    ),
    *_OPENAI,
)
_VOYAGE = _rows(
    (r"(?:.*/)?(?:multimodal)?embeddings", "openai_embeddings"), (r"(?:.*/)?rerank", "openai_embeddings")
)

PROVIDER_ROWS: Mapping[str, Rows] = {
    "anthropic": _ANTHROPIC,
    "bedrock": _BEDROCK,
    "cohere": _COHERE,
    "google": _GOOGLE,
    "vertex": _GOOGLE,
    "voyage": _VOYAGE,
    **dict.fromkeys(
        (
            *("azure", "cerebras", "crusoe", "deepseek", "fireworks", "groq", "huggingface", "mistral"),
            *("moonshotai", "ollama", "openai", "openrouter", "perplexity", "snowflake", "together"),
            *("xai", "zai"),
        ),
        _OPENAI,
    ),
}

# Domains, each with the provider behind it and behind its subdomains; the first that fits counts.
HOST_DOMAINS: tuple[tuple[str, str], ...] = (
    ("api.openai.com", "openai"),
    ("openai.azure.com", "azure"),
    ("services.ai.azure.com", "azure"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "google"),
    ("googleapis.com", "vertex"),
    ("amazonaws.com", "bedrock"),
    ("api.aws", "bedrock"),
    ("api.cerebras.ai", "cerebras"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("crusoecloud.com", "crusoe"),
    ("api.deepseek.com", "deepseek"),
    ("api.fireworks.ai", "fireworks"),
    ("api.groq.com", "groq"),
    ("router.huggingface.co", "huggingface"),
    ("api.mistral.ai", "mistral"),
    ("api.moonshot.ai", "moonshotai"),
    ("ollama.com", "ollama"),
    ("openrouter.ai", "openrouter"),
    ("api.perplexity.ai", "perplexity"),
    ("snowflakecomputing.com", "snowflake"),
    ("api.together.xyz", "together"),
    ("api.voyageai.com", "voyage"),
    ("api.x.ai", "xai"),
    ("api.z.ai", "zai"),
)


def provider_of(host: str) -> str | None:
    """Return the provider that a host belongs to, None where it is unknown."""
    name = host.lower().partition(":")[0]
    return next((provider for domain, provider in HOST_DOMAINS if f".{name}".endswith(f".{domain}")), None)


def route_of(*, provider: str = "", host: str = "", path: str) -> WireRoute | None:
    """Return the wire that answers on `path` speak, None where nothing is known to read them.

    `path` is as it stands in the request line, with or without its query.
    """
    rows = PROVIDER_ROWS.get(provider) or PROVIDER_ROWS.get(provider_of(host) or "", ())
    plain = path.partition("?")[0].rstrip("/")
    for pattern, wire in rows:
        match = pattern.fullmatch(plain)
        if match:
            model = match.groupdict().get("model")
            return WireRoute(wire, unquote(model) if model else None)
    return None
