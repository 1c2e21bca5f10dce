"""Links that carry their own proof: whoever holds a document's link may read that document."""

from __future__ import annotations

import hmac

from costplus.web.objects.wire import link_token


def invoice_path(invoice_id: str, *, secret: bytes) -> str:
    """Return the path of an invoice's page, its proof included."""
    return f"/i/{invoice_id}/{link_token(invoice_id, secret=secret)}"


def opens(id: str, token: str, *, secret: bytes) -> bool:
    """Return, in a time that tells nothing, whether the token is that of the invoice or receipt."""
    expected = link_token(id, secret=secret)
    return hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode())
