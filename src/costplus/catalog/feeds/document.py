"""A source's document: the text it answers with, decoded exactly, or refused as a whole.

Rule 1: every number is the decimal that was written; one of absurd size is a refusal, not a surprise.
Rule 2: a document that is not of the expected form is refused entirely, so that what was known stays.
Rule 3: `reason` is one permanent word, for events and for whoever looks after the source.
Source: spec "prices", §6 (reject whole snapshot).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from costplus.core.errors import BillingError

CURRENCY = "USD"
DIGITS_MAX = 400  # Longer numbers, and larger or smaller ones, would only keep the arithmetic busy.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")  # Harmless in pairs; alone it can be stored nowhere.
Reason = Literal[
    "not_parseable",
    "schema_unknown",
    "schema_frozen",
    "currency_unknown",
    "too_large",
    "empty",
    "empty_snapshot",
    "models_missing",
    "mass_change",
]


class SourceRejected(BillingError):
    """A price source answered with something that cannot be used; the prices known before stay."""

    code = "source_rejected"
    remedy = "Look at what the source's address serves, or set `prices.sources.<name>.url` to a good copy."

    def __init__(self, what: str, *, source: str, reason: Reason) -> None:
        super().__init__(f"Price source '{source}' was rejected ({reason}): {what}")
        self.source = source
        self.reason = reason


def decoded(body: bytes, *, source: str) -> Any:
    """Return the JSON of a source's body with every number exact, or raise `SourceRejected`."""
    try:
        raw = json.loads(body, parse_float=_number, parse_int=_number, parse_constant=_no_constant)
        if _HALF_CHARACTER.search(body):
            json.dumps(raw, ensure_ascii=False, default=str).encode()
        return raw
    except (ValueError, ArithmeticError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        raise SourceRejected(f"it is not JSON: {what}.", source=source, reason="not_parseable") from error


def listing(raw: Any, *, source: str, under: str = "") -> list[Mapping[str, Any]]:
    """Return a document's list of objects, which stands under a key where one is named."""
    listed = mapping(raw, source=source).get(under) if under else raw
    if not isinstance(listed, list) or not all(isinstance(item, Mapping) for item in listed):
        raise SourceRejected("a list of objects was expected.", source=source, reason="schema_unknown")
    return listed


def mapping(raw: Any, *, source: str) -> Mapping[str, Any]:
    """Return a document that is one object; its prices are in our currency where it names one."""
    if not isinstance(raw, Mapping):
        raise SourceRejected("an object was expected.", source=source, reason="schema_unknown")
    currency = raw.get("currency", CURRENCY)
    if currency != CURRENCY:
        what = f"its prices are in {currency!r}, not {CURRENCY}."
        raise SourceRejected(what, source=source, reason="currency_unknown")
    return raw


def require(holds: bool, *, source: str, what: str) -> None:
    """Refuse the document where what its form promises does not hold."""
    if not holds:
        raise SourceRejected(what, source=source, reason="schema_unknown")


def _number(text: str) -> Decimal:
    value = Decimal(text)
    if len(text) > DIGITS_MAX or abs(value.adjusted()) > DIGITS_MAX:
        raise ValueError(f"the number {text[:40]} is of absurd size")
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")
