"""Dialects: which endpoint speaks which wire, and how each says no.

Rule 1: a refusal has the shape that the dialect's own SDKs understand, with our permanent code in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from costplus.core.errors import (
    BillingError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

Shape = Literal["openai", "anthropic"]

_STATUS: tuple[tuple[type[BillingError], int], ...] = (
    (Unauthenticated, 401),
    (PaymentRequired, 402),
    (Forbidden, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (Unavailable, 503),
    (Conflict, 409),
    (InvalidRequest, 400),
)
# Where the fault is the provider's, so that retries and dashboards tell it from ours.
_STATUS_BY_CODE = {
    "upstream_unreachable": 502,
    "upstream_broken": 502,
    "upstream_body_too_large": 502,
    "upstream_timeout": 504,
    "provider_answer_invalid": 502,
    "provider_credentials_rejected": 502,
    "method_not_allowed": 405,
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of the gateway: its wire, its provider when the model names none, its upstream path."""

    wire: str
    shape: Shape
    provider: str
    upstream_path: str
    has_output: bool = True


_CHAT = Endpoint("openai_chat", "openai", "openai", "/chat/completions")
_RESPONSES = Endpoint("openai_responses", "openai", "openai", "/responses")
_EMBEDDINGS = Endpoint("openai_embeddings", "openai", "openai", "/embeddings", has_output=False)
_MESSAGES = Endpoint("anthropic_messages", "anthropic", "anthropic", "/messages")

ENDPOINTS: Mapping[str, Endpoint] = {
    prefix + endpoint.upstream_path: endpoint
    for prefix in ("", "/v1")
    for endpoint in (_CHAT, _RESPONSES, _EMBEDDINGS, _MESSAGES)
}


def status_of(error: BillingError) -> int:
    """Return the HTTP status that an error answers with."""
    if error.code in _STATUS_BY_CODE:
        return _STATUS_BY_CODE[error.code]
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def refusal(shape: Shape, error: BillingError, *, request_id: str) -> tuple[int, bytes]:
    """Return status and body of a refusal in the dialect's envelope."""
    status = status_of(error)
    body: dict[str, Any]
    if shape == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        body = {
            "type": "error",
            "error": {"type": kind, "message": error.sentence, "code": error.code},
            "request_id": request_id,
        }
    else:
        kind = "invalid_request_error" if status < 500 else "api_error"
        body = {
            "error": {
                "message": error.sentence,
                "type": kind,
                "param": error.param,
                "code": error.code,
                "request_id": request_id,
            }
        }
    return status, msgspec.json.encode(body)


def stream_error(shape: Shape, error: BillingError, *, request_id: str) -> bytes:
    """Return the event that tells a client in the middle of a stream that it ends here.

    It begins by ending whatever event was under way.
    """
    _, body = refusal(shape, error, request_id=request_id)
    name = b"event: error\n" if shape == "anthropic" else b""
    return b"\n\n%bdata: %b\n\n" % (name, body)
