"""Routes: which dialect a path speaks.

Rule 1: the end of a path decides, so every prefix works (`/v1`, `/openai/v1`, `/v1beta`, none at all).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from costplus.devprovider.dialect import Dialect
from costplus.devprovider.replies_anthropic import COUNT_TOKENS, MESSAGES
from costplus.devprovider.replies_bedrock import CONVERSE
from costplus.devprovider.replies_gemini import COUNT_CONTENTS, GENERATE
from costplus.devprovider.replies_openai import CHAT, EMBEDDINGS
from costplus.devprovider.replies_responses import RESPONSES

_DIALECTS: tuple[tuple[str, Dialect], ...] = (
    ("/chat/completions", CHAT),
    ("/responses", RESPONSES),
    ("/embeddings", EMBEDDINGS),
    ("/messages", MESSAGES),
    ("/messages/count_tokens", COUNT_TOKENS),
    (":countTokens", COUNT_CONTENTS),
    (":generateContent", GENERATE),
    (":streamGenerateContent", GENERATE),
    ("/converse", CONVERSE),
    ("/converse-stream", CONVERSE),
)
_MODELS = {
    "openai": ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o4-mini", "text-embedding-3-small"),
    "anthropic": ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"),
    "google": ("gemini-2.5-pro", "gemini-2.5-flash"),
}
_CREATED_S = 1_735_689_600
_CREATED_AT = "2025-01-01T00:00:00Z"


@lru_cache(maxsize=1024)
def dialect_of(path: str) -> Dialect | None:
    """Return the dialect of the endpoint that `path` ends with."""
    for suffix, dialect in _DIALECTS:
        if path.endswith(suffix):
            return dialect
    return None


def model_list(path: str, *, anthropic: bool) -> bytes:
    """Return the list of models in the dialect of the caller."""
    if path.startswith("/v1beta"):
        names = [{"name": f"models/{name}", "displayName": name} for name in _MODELS["google"]]
        return msgspec.json.encode({"models": names})
    if anthropic:
        models = [
            {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}
            for name in _MODELS["anthropic"]
        ]
        ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"], "has_more": False}
        return msgspec.json.encode({"data": models, **ends})
    listed = [
        {"id": name, "object": "model", "created": _CREATED_S, "owned_by": owner}
        for owner, names in _MODELS.items()
        for name in names
    ]
    return msgspec.json.encode({"object": "list", "data": listed})
