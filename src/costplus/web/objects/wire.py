"""Times, amounts and links as they are written on the wire."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Protocol

from costplus.core.ids import milliseconds
from costplus.core.money import decimal_text, nano_per_minor

JsonObject = dict[str, Any]
DECIMALS_MAX = 12  # Of Stripe's unit amounts.


class Surroundings(Protocol):
    """What an object needs to know that is not in its record; `web.context.WebContext` has it."""

    @property
    def livemode(self) -> bool: ...
    @property
    def base_url(self) -> str: ...
    @property
    def link_secret(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The surroundings, for whoever renders outside of a request."""

    livemode: bool
    base_url: str = ""
    link_secret: bytes = b""


def unix(at: datetime) -> int:
    """Return whole seconds since the epoch."""
    return milliseconds(at) // 1000


def unix_or_none(at: datetime | None) -> int | None:
    return None if at is None else unix(at)


def rfc3339(at: datetime) -> str:
    """Return the instant as v2 writes it: 2024-06-01T12:10:00.000Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def minor(nano: int, *, currency: str) -> int:
    """Return whole minor units, rounded down, for display: 1.999 cents of credit are 1."""
    return nano // nano_per_minor(currency)


def monetary(value: int, *, currency: str) -> JsonObject:
    """Return an amount of minor units as the credit objects write it."""
    return {"monetary": {"currency": currency, "value": value}, "type": "monetary"}


def cut_decimal(exact: Fraction, *, places: int = DECIMALS_MAX) -> str:
    """Return a decimal of at most `places` digits, cut off where it is longer (÷ 0.70 never ends)."""
    scale: int = 10**places
    return decimal_text(Fraction(exact * scale // 1, scale))


def link_token(id: str, *, secret: bytes) -> str:
    """Return what makes a hosted page's address impossible to guess."""
    return hmac.new(secret, id.encode(), hashlib.sha256).hexdigest()[:32]


def plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that JSON encoders take."""
    return dict(mapping)
