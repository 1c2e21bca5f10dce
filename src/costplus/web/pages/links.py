"""Links that carry their own proof: whoever holds an invoice's link may read that invoice."""

from __future__ import annotations

import hmac

from costplus.web.objects.wire import link_token


def invoice_path(invoice_id: str, *, secret: bytes) -> str:
    """Return the path of an invoice's page, its proof included."""
    return f"/i/{invoice_id}/{link_token(invoice_id, secret=secret)}"


def opens_invoice(invoice_id: str, token: str, *, secret: bytes) -> bool:
    """Return, in a time that tells nothing, whether the token is the invoice's."""
    expected = link_token(invoice_id, secret=secret)
    return hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode())
