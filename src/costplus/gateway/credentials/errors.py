"""What may be wrong with a credential when a call needs it. Nothing was sent to the provider by then.

UpstreamError
├── TokenRefused       whoever gives the tokens says no: the credential is wrong or may not
└── TokenUnavailable   whoever gives the tokens does not answer
"""

from __future__ import annotations

from costplus.gateway.http1 import UpstreamError


class TokenRefused(UpstreamError):
    """The provider's token service refuses the gateway's own credential."""

    code = "provider_token_refused"
    remedy = (
        "The operator must check the provider's service account or client secret; the call was not charged."
    )


class TokenUnavailable(UpstreamError):
    """The provider's token service does not answer, or not as it should."""

    code = "provider_token_unavailable"
    remedy = "Send the call again; this one was not charged."
