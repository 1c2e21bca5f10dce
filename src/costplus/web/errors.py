"""From the error tree to statuses and Stripe's envelope, and the refusals that belong to HTTP alone.

Rule 1: the status follows from the error's kind, the envelope is the same for v1 and v2.
Rule 2: what nobody expected becomes `internal_error`: logged here, never told to the caller.
"""

from __future__ import annotations

from typing import Any

from costplus.billing.payments.base import CardDeclined
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


class NoSuchUrl(NotFound):
    """No resource has this method and path."""

    code = "url_unknown"
    remedy = "Check the path and the method; the API reference lists both."


class NotSupported(InvalidRequest):
    """Stripe has it, this server does not (yet)."""

    code = "not_supported"


class BodyNotJson(InvalidRequest):
    """The body had to be a JSON object."""

    code = "body_not_json"
    remedy = "Send one JSON object with Content-Type: application/json."


class BodyNotForm(InvalidRequest):
    """The body had to be form-encoded."""

    code = "body_not_form"
    remedy = "Send key=value pairs with Content-Type: application/x-www-form-urlencoded."


class IdempotencyError(Conflict):
    """The Idempotency-Key was used for something else."""

    code = "idempotency_key_in_use"
    remedy = "Send a new Idempotency-Key for a new request, or the very same parameters to repeat one."


class IdempotencyKeyTooLong(InvalidRequest):
    """The Idempotency-Key has more characters than are kept."""

    code = "idempotency_key_too_long"
    remedy = "Use at most 255 characters, such as a UUID."


class SessionExpired(InvalidRequest):
    """A meter event session lasts fifteen minutes."""

    code = "billing_meter_event_session_expired"
    remedy = "Create a new one with POST /v2/billing/meter_event_session."


STATUSES: tuple[tuple[type[BillingError], int], ...] = (
    (Unauthenticated, 401),
    (PaymentRequired, 402),
    (Forbidden, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (Unavailable, 503),
)
RETRYABLE = frozenset({409, 429, 500, 503})


def status_of(error: BillingError) -> int:
    """Return the HTTP status of a refusal; what the caller must change is a 400."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 400)


def type_of(error: BillingError) -> str:
    """Return the envelope's `type`, which Stripe's SDKs turn into exception classes."""
    if isinstance(error, IdempotencyError):
        return "idempotency_error"
    if isinstance(error, SessionExpired):
        return "temporary_session_expired"
    if isinstance(error, CardDeclined):
        return "card_error"
    return "api_error" if isinstance(error, Unavailable) else "invalid_request_error"


def envelope(error: BillingError) -> dict[str, Any]:
    """Return Stripe's envelope of a refusal."""
    fields: dict[str, Any] = {"type": type_of(error), "code": error.code, "message": error.sentence}
    if error.param is not None:
        fields["param"] = error.param
    if isinstance(error, CardDeclined):
        fields |= {"decline_code": error.decline_code, "payment": error.payment or None}
    return {"error": fields}


def internal_envelope(request_id: str) -> dict[str, Any]:
    """Return what a caller learns about a defect: how to find it in the log."""
    message = (
        f"Something failed on our side; nothing was changed. The server's log has it under {request_id}. "
        "Try again, with the same Idempotency-Key."
    )
    return {"error": {"type": "api_error", "code": "internal_error", "message": message}}
