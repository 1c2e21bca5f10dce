"""Signatures of webhook deliveries: Stripe's scheme and Standard Webhooks, both on every delivery.

Rule 1: `Stripe-Signature: t=<unix>,v1=<hex>` signs `{t}.{body}`; the key is the whole `whsec_…` text.
Rule 2: `webhook-signature: v1,<base64>` signs `{id}.{t}.{body}`; the key is what the base64 after `whsec_`
decodes to, and where that is no base64, the bytes of the whole text (the libraries' "raw" secrets).
Rule 3: `webhook-id` is the event's id: every attempt and every endpoint sees the same one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"


def stripe_signature(secret: str, *, timestamp_s: int, body: bytes) -> str:
    """Return the value of the `Stripe-Signature` header."""
    signed = b"%d.%s" % (timestamp_s, body)
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


def standard_key(secret: str) -> bytes:
    """Return the key that Standard Webhooks libraries make of the secret's text."""
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        return secret.encode()
    return key or secret.encode()


def standard_signature(secret: str, *, id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the `webhook-signature` header."""
    signed = b"%s.%d.%s" % (id.encode(), timestamp_s, body)
    digest = hmac.new(standard_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def signed_headers(secrets: Sequence[str], *, id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers by which a receiver recognises a delivery as ours, in both schemes.

    While a secret is being replaced there are two: each signs, and a receiver needs to know one of them.
    """
    stripe = [
        stripe_signature(secret, timestamp_s=timestamp_s, body=body).partition(",")[2] for secret in secrets
    ]
    standard = [standard_signature(secret, id=id, timestamp_s=timestamp_s, body=body) for secret in secrets]
    return {
        "stripe-signature": ",".join([f"t={timestamp_s}", *stripe]),
        "webhook-id": id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(standard),
    }
