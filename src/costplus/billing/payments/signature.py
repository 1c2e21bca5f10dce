"""Signatures of callbacks: `t=<unix>,v1=<hex>` over `{t}.{body}`, the scheme that card processors share."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from costplus.billing.payments.base import CallbackRefused, CallbackTooOld
from costplus.core.ids import milliseconds

TOLERANCE_S = 300


def signature_of(secret: bytes, *, timestamp_s: int, body: bytes) -> str:
    """Return the header's value."""
    digest = hmac.new(secret, b"%d.%s" % (timestamp_s, body), hashlib.sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


def check_signature(secret: bytes, header: str, *, body: bytes, at: datetime) -> None:
    """Raise `CallbackRefused` where the header does not sign the body, `CallbackTooOld` for old news."""
    fields = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in fields if name == "t"]
    given = [value for name, _, value in fields if name == "v1"]
    if len(stamps) != 1 or not given or not (stamps[0].isascii() and stamps[0].isdecimal()):
        raise CallbackRefused("The callback has no signature of the form t=…,v1=….")
    if len(stamps[0]) > 12:
        raise CallbackRefused("The callback's signature has no time that could be.")
    expected = signature_of(secret, timestamp_s=int(stamps[0]), body=body).partition("v1=")[2]
    if not any(hmac.compare_digest(expected.encode(), value.encode()) for value in given):
        raise CallbackRefused("The callback's signature does not fit its body.")
    age_s = milliseconds(at) // 1000 - int(stamps[0])
    if abs(age_s) > TOLERANCE_S:
        raise CallbackTooOld(f"The callback was signed {age_s} seconds ago; {TOLERANCE_S} are allowed.")
