"""The error tree that callers switch on.

    BillingError
    ├── InvalidRequest        the caller must change the request
    ├── NotFound              the thing named does not exist
    ├── Conflict              it exists already, or with other parameters
    ├── Unauthenticated       no valid key
    ├── Forbidden             a valid key that may not do this
    ├── PaymentRequired       credit does not cover it
    ├── TooLarge              over a documented limit
    └── Unavailable           try again later; nothing was lost

Concrete errors subclass one of these beside what raises them and carry a permanent `code`.
Only `web` and `gateway` turn a kind into an HTTP status and a dialect's envelope.
"""

from __future__ import annotations


class BillingError(Exception):
    """An expected refusal, with a permanent `code`, a plain sentence and what to do about it."""

    code: str = "billing_error"
    remedy: str = ""

    def __init__(self, message: str, *, param: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if remedy is not None:
            self.remedy = remedy

    @property
    def sentence(self) -> str:
        """The message followed by what to do, for people."""
        return f"{self.message} {self.remedy}".strip()


class InvalidRequest(BillingError):
    """The request cannot be understood or breaks a rule; sending it again unchanged fails again."""

    code = "parameter_invalid"


class NotFound(BillingError):
    """The object named in the request does not exist."""

    code = "resource_missing"


class Conflict(BillingError):
    """The request contradicts what is stored."""

    code = "resource_conflict"


class Unauthenticated(BillingError):
    """No key, or a key that is unknown, revoked or expired."""

    code = "api_key_invalid"


class Forbidden(BillingError):
    """The key is valid but may not do this."""

    code = "permission_denied"


class PaymentRequired(BillingError):
    """The customer's credit does not cover the call."""

    code = "customer_credit_exhausted"


class TooLarge(BillingError):
    """The request exceeds a documented limit."""

    code = "request_too_large"


class Unavailable(BillingError):
    """A dependency is down or a limit of the process is reached; the caller may retry."""

    code = "service_unavailable"
