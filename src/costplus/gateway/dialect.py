"""Dialects: how each says no.

Rule 1: a refusal has the shape that the dialect's own SDKs understand, with our permanent code in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from costplus.gateway.endpoint import Shape


class ProviderRefused(BillingError):
    """The provider refused the request, in words of its own."""

    code = "provider_refused"


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
    "stream_event_too_large": 502,
    "gateway_fault": 500,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "content_encoding_unsupported": 415,
    "key_rate_limited": 429,
}
_OPENAI_TYPES = {429: "rate_limit_error"}
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
_GOOGLE_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_AMAZON_TYPES = {
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    502: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


def status_of(error: BillingError) -> int:
    """Return the HTTP status that an error answers with."""
    if error.code in _STATUS_BY_CODE:
        return _STATUS_BY_CODE[error.code]
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def refusal(shape: Shape, error: BillingError, *, request_id: str) -> tuple[int, bytes]:
    """Return status and body of a refusal in the dialect's envelope."""
    status = status_of(error)
    return status, msgspec.json.encode(_ENVELOPES[shape](error, status, request_id))


def refusal_headers(shape: Shape, error: BillingError) -> list[tuple[str, str]]:
    """Return the headers that a dialect's SDKs look for the kind of an error in."""
    if shape != "bedrock":
        return []
    return [("x-amzn-errortype", _AMAZON_TYPES.get(status_of(error), "ValidationException"))]


def provider_refusal(shape: Shape, status: int, body: bytes, *, request_id: str) -> tuple[int, bytes]:
    """Return status and body of a provider's refusal that was made in another dialect than the caller's."""
    error = ProviderRefused(_message_in(body) or f"The provider answered with status {status}.")
    status = 503 if status == 529 else status  # Anthropic's own, which other SDKs do not know.
    return status, msgspec.json.encode(_ENVELOPES[shape](error, status, request_id))


def _message_in(body: bytes) -> str:
    """Return what a provider says is wrong, in any of the dialects; empty where that is not to be found."""
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for _ in range(3):
        if isinstance(said, list) and said:
            said = said[0]  # Google's way of refusing a stream.
        if not isinstance(said, dict):
            return said if isinstance(said, str) else ""
        if isinstance(said.get("message"), str):
            return str(said["message"])
        said = said.get("error")
    return ""


def stream_error(shape: Shape, error: BillingError, *, request_id: str) -> bytes:
    """Return the event that tells a client in the middle of a stream that it ends here.

    It begins by ending whatever event was under way. Amazon's frames end with the connection: a client takes
    that for what it is.
    """
    if shape == "bedrock":
        return b""
    _, body = refusal(shape, error, request_id=request_id)
    name = b"event: error\n" if shape == "anthropic" else b""
    return b"\n\n%bdata: %b\n\n" % (name, body)


def _openai(error: BillingError, status: int, request_id: str) -> dict[str, Any]:
    return {
        "error": {
            "message": error.sentence,
            "type": _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error"),
            "param": error.param,
            "code": error.code,
            "request_id": request_id,
        }
    }


def _anthropic(error: BillingError, status: int, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": error.sentence, "code": error.code},
        "request_id": request_id,
    }


def _gemini(error: BillingError, status: int, request_id: str) -> dict[str, Any]:
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code,
        "domain": "costplus",
        "metadata": {"request_id": request_id},
    }
    word = _GOOGLE_STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return {"error": {"code": status, "message": error.sentence, "status": word, "details": [detail]}}


def _bedrock(error: BillingError, status: int, request_id: str) -> dict[str, Any]:
    kind = _AMAZON_TYPES.get(status, "ValidationException")
    return {"message": error.sentence, "__type": kind, "code": error.code, "request_id": request_id}


def _cohere(error: BillingError, status: int, request_id: str) -> dict[str, Any]:
    return {"id": request_id, "message": error.sentence, "code": error.code}


_ENVELOPES: Mapping[Shape, Callable[[BillingError, int, str], dict[str, Any]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "bedrock": _bedrock,
    "cohere": _cohere,
}
