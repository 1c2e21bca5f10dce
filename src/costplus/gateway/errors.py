"""What the gateway itself refuses, beside what billing and the providers do."""

from __future__ import annotations

from costplus.core.errors import (
    BillingError,
    Forbidden,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)


class KeyInvalid(Unauthenticated):
    """No key, or one that is unknown or revoked."""

    code = "api_key_invalid"
    remedy = "Send a merchant key or a customer's own key as `Authorization: Bearer …` or `x-api-key`."


class KeyExpired(Unauthenticated):
    """The key was valid until a time that has passed."""

    code = "api_key_expired"
    remedy = "Ask for a new key, or have the key's expires_at moved."


class ModelNotForKey(Forbidden):
    """The key lists its models, and this is none of them."""

    code = "model_not_allowed_for_key"
    remedy = "Call a model that GET /v1/models lists for this key, or have its models changed."


class CustomerMissing(InvalidRequest):
    """A merchant key without the header that names the customer to charge."""

    code = "customer_missing"
    remedy = "Add the header X-Stripe-Customer-ID: cus_…, or use the customer's own key."


class CustomerMismatch(Forbidden):
    """A customer's own key together with another customer's id."""

    code = "customer_mismatch"
    remedy = "Leave the X-Stripe-Customer-ID header out: the key says who is charged."


class BodyTooLarge(TooLarge):
    """The request body is over the limit."""

    code = "request_too_large"


class BodyTooSlow(InvalidRequest):
    """The request body did not arrive in time."""

    code = "request_timeout"
    remedy = "Send the body faster, or have `gateway.body_timeout_s` raised."


class BodyEncoded(InvalidRequest):
    """The request body is compressed: what it asks for could not be read."""

    code = "content_encoding_unsupported"
    remedy = "Send the body as it is, without a Content-Encoding."


class RequestUnsendable(InvalidRequest):
    """A header or the query holds what cannot be sent on."""

    code = "request_unsendable"
    remedy = "Percent-encode the query, and keep headers to printable ASCII."


class GatewayFault(BillingError):
    """The gateway failed at this request, not for anything in it."""

    code = "gateway_fault"
    remedy = "Send the call again; the operator finds the cause in the gateway's log."


class NoSuchEndpoint(NotFound):
    """The path is not one of the gateway's."""

    code = "endpoint_unknown"


class MethodNotAllowed(InvalidRequest):
    """The endpoint takes POST only."""

    code = "method_not_allowed"


class ProviderNotConfigured(InvalidRequest):
    """The model's provider has no base URL or key in the settings."""

    code = "provider_not_configured"


class DialectUnsupported(InvalidRequest):
    """The model's provider does not speak the endpoint's dialect."""

    code = "dialect_unsupported"


class Draining(Unavailable):
    """The process is about to stop and takes no new calls."""

    code = "gateway_draining"
    remedy = "Send the call again: another process, or this one restarted, will take it."


class GatewayBusy(Unavailable):
    """As many calls are under way in this process as the settings allow."""

    code = "gateway_busy"
    remedy = "Send the call again in a moment; the operator may add processes or raise `gateway.calls_max`."


class JournalFull(Unavailable):
    """More usage waits for settlement than the journal may hold; refusing is better than losing."""

    code = "journal_full"
    remedy = "Try again when the store is reachable again."


class ProviderRefusedKey(Unavailable):
    """The provider rejected the seller's own credentials."""

    code = "provider_credentials_rejected"
    remedy = "The operator must check the provider's API key; the call was not charged."


class OwnKeyRejected(Unauthenticated):
    """The provider rejected the customer's own key."""

    code = "provider_key_rejected"
    remedy = "Have your key for the provider replaced or removed; the call was not charged."


class ProviderAnsweredGarbage(Unavailable):
    """The provider's answer is not what its API promises."""

    code = "provider_answer_invalid"
    remedy = "Send the call again; this one was not charged."
