"""Faults: refusals in each provider's own envelope.  Rule 1: pure."""

from __future__ import annotations

import msgspec

_OPENAI: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "model_not_available"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", None),
}
_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GEMINI = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_BEDROCK = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_MESSAGES = {
    401: "No API key was provided.",
    404: "The requested resource does not exist.",
    429: "Rate limit reached for requests.",
    503: "The service is temporarily unavailable.",
    529: "Overloaded.",
}


def message_for(status: int) -> str:
    """Return a plain sentence for `status`."""
    return _MESSAGES.get(status, f"The simulated provider answers with status {status}.")


def openai_fault(status: int, message: str, serial: bytes) -> bytes:
    """Return `{"error": {message, type, param, code}}`."""
    kind, code = _OPENAI.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def anthropic_fault(status: int, message: str, serial: bytes) -> bytes:
    """Return `{"type": "error", "error": {type, message}, "request_id"}`."""
    kind = _ANTHROPIC.get(status, "invalid_request_error" if status < 500 else "api_error")
    request_id = "req_" + serial.decode()
    return msgspec.json.encode(
        {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    )


def gemini_fault(status: int, message: str, serial: bytes) -> bytes:
    """Return `{"error": {code, message, status}}`."""
    kind = _GEMINI.get(status, "FAILED_PRECONDITION" if status < 500 else "UNKNOWN")
    return msgspec.json.encode({"error": {"code": status, "message": message, "status": kind}})


def bedrock_fault(status: int, message: str, serial: bytes) -> bytes:
    """Return `{"message"}`; the kind stands in a header."""
    return msgspec.json.encode({"message": message})


def bedrock_fault_headers(status: int) -> list[tuple[str, str]]:
    """Return the header that names the exception."""
    kind = _BEDROCK.get(status, "ValidationException" if status < 500 else "InternalServerException")
    return [("x-amzn-errortype", kind)]
