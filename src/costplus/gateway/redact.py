"""What may be written down of requests and answers: their shape without their words, or all but secrets.

Rule 1: pure. What is kept is listed, everything else goes: a field that a provider adds tomorrow is text.
Rule 2: credentials are taken out of everything, whole bodies included.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

REDACTED = "[redacted]"
TEXT_BYTES_MAX = 64 << 10  # Of a body, so much is written down.
_DEPTH_MAX = 12
_LIST_MAX = 50
_WORD_CHARS_MAX = 80
# Fields whose strings are words of the protocol, not of a person.
_WORDS = frozenset(
    (
        *("model", "role", "type", "object", "id", "status", "finish_reason", "stop_reason", "stop_sequence"),
        *("service_tier", "effort", "reasoning_effort", "format", "encoding_format", "response_format"),
        *("tool_choice", "code", "finishReason", "modelVersion", "stopReason", "size", "quality", "voice"),
        *("media_type", "mimeType", "detail", "verbosity", "truncation", "speed", "inference_geo"),
    )
)
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_-])(?:authorization|password|passwd|secret|credentials?|cookie|token|api[_-]?key|key)$"
)
_SECRET = re.compile(
    r"""(?x)
    \b(?:sk|pk|rk|xai|gsk|whsec|AIza)[-_]?[A-Za-z0-9_-]{16,}   # Keys as providers write them,
    | \bBearer\s+[A-Za-z0-9._~+/=-]{8,}                        # tokens,
    | \bA(?:KIA|SIA)[A-Z0-9]{16}\b                             # Amazon's key ids,
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*  # and signed tokens.
    | (?i:(?<=key=)[^&\s"]{6,})
    """
)
_SECRET_FIELD = re.compile(
    r'(?i)("(?:[a-z0-9_-]*[_-])?(?:authorization|password|passwd|secret|credentials?|cookie|token|'
    r'api[_-]?key|key)"\s*:\s*)"(?:[^"\\]|\\.)*"'
)
_JSON: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def without_secrets(text: str) -> str:
    """Return the text with whatever looks like a credential taken out."""
    return _SECRET.sub(REDACTED, _SECRET_FIELD.sub(rf'\1"{REDACTED}"', text))


def shown_text(body: bytes) -> str:
    """Return a body as text without its secrets, cut where it is long; bytes that are no text are counted."""
    try:
        text = body[: TEXT_BYTES_MAX * 2].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(body) - 4 and len(body) <= TEXT_BYTES_MAX * 2:
            return f"[{len(body)} bytes]"
        text = body[: error.start].decode("utf-8")
    # Secrets go before the cut: half a key is still one.
    kept = without_secrets(text)[:TEXT_BYTES_MAX]
    return kept if len(body) <= TEXT_BYTES_MAX else f"{kept}… [{len(body)} bytes]"


def shape_of(body: bytes) -> Any:
    """Return a JSON body's structure: numbers and words of the protocol, texts as their length.

    What is no JSON is its size.
    """
    try:
        content = _JSON.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"[{len(body)} bytes]"
    return _shape(content, "", 0)


def _shape(value: Any, name: str, depth: int) -> Any:
    if isinstance(value, str):
        if name in _WORDS and len(value) <= _WORD_CHARS_MAX:
            return without_secrets(value)
        return f"[{len(value)} chars]"
    if depth >= _DEPTH_MAX and isinstance(value, dict | list):
        return "[…]"
    if isinstance(value, dict):
        return {
            _field(key, index): REDACTED if _SECRET_NAME.search(key) else _shape(inner, key, depth + 1)
            for index, (key, inner) in enumerate(value.items())
            if index < _LIST_MAX
        }
    if isinstance(value, list):
        shown = [_shape(inner, name, depth + 1) for inner in value[:_LIST_MAX]]
        return shown if len(value) <= _LIST_MAX else [*shown, f"[{len(value)} in all]"]
    return value


def _field(key: str, index: int) -> str:
    """Return a field's name; one that is no name, as in maps from people's words, is counted only."""
    return key if re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_.$-]{0,39}", key) else f"[{index}: {len(key)} chars]"
