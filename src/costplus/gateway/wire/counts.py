"""Numbers and blocks out of a provider's JSON, where anything may be missing or wrong.

Rule 1: null and absent are the same; 12.0 is 12; strings, booleans, fractions and negatives are unreadable.
Rule 2: an unreadable detail is left out and flagged; an unreadable total makes the usage unreadable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

MALFORMED = "malformed_usage"
UNREADABLE = -1  # What `total_in` returns for a value that is no count.
COUNT_MAX = 10**12  # No call consumes a trillion of anything; more would overflow a ledger amount.

NULL = msgspec.Raw(b"null")

T = TypeVar("T")


def total_in(block: Mapping[str, Any], key: str) -> int | None:
    """Return the count at `key`, None where absent, `UNREADABLE` where it is no count."""
    value = block.get(key)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int and 0 <= value <= COUNT_MAX:
        return value
    return UNREADABLE


def detail_in(block: Mapping[str, Any], key: str, faults: list[str]) -> int:
    """Return the count at `key`, zero where absent; an unreadable one is zero and a fault."""
    value = block.get(key)
    if value is None or (value == 0 and type(value) is int):  # What most details are.
        return 0
    count = total_in(block, key)
    assert count is not None
    if count == UNREADABLE:
        faults.append(MALFORMED)
        return 0
    return count


def block_in(block: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at `key`, empty where there is none."""
    value = block.get(key)
    return value if isinstance(value, dict) else {}


def decode_or_none(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T | None:
    """Return what `decoder` makes of `body`, None where it is not of that shape or not JSON."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def text_or_none(value: object) -> str | None:
    """Return a non-empty string, None for everything else."""
    return value if isinstance(value, str) and value else None


def is_null(raw: msgspec.Raw) -> bool:
    """Whether a raw value is JSON null (or was absent: `NULL` is the default of every raw field)."""
    return raw is NULL or bytes(raw) == b"null"


def compact(raw: bytes | msgspec.Raw) -> bytes:
    """Return the JSON without its whitespace, numbers and strings byte for byte."""
    return msgspec.json.format(bytes(raw), indent=-1)
