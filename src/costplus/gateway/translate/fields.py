"""The caller's JSON, taken apart: a value of the right kind, or a refusal that says where it stands.

Rule 1: null is the same as absent. Rule 2: a whole number may be written as `1.0`; true is no number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from costplus.core.errors import InvalidRequest

Fields = Mapping[str, Any]


def malformed(at: str, must: str) -> NoReturn:
    """Refuse the value at `at`; `must` says what it has to be."""
    raise InvalidRequest(f"`{at}` must be {must}.", param=at)


def object_of(value: Any, at: str) -> Fields:
    """Return `value` as an object."""
    if not isinstance(value, dict):
        malformed(at, "an object")
    return value


def list_of(value: Any, at: str) -> list[Any]:
    """Return `value` as an array; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        malformed(at, "an array")
    return value


def text_of(fields: Fields, key: str, at: str, *, default: str | None = "") -> str:
    """Return the string at `key`; without a default it must be there."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        malformed(_below(at, key), "a string")
    return value


def flag_of(fields: Fields, key: str, at: str = "") -> bool | None:
    """Return the boolean at `key`, None where there is none."""
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        malformed(_below(at, key), "true or false")
    return value


def number_of(fields: Fields, key: str, at: str = "") -> float | None:
    """Return the number at `key`, None where there is none."""
    value = fields.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        malformed(_below(at, key), "a number")
    return value


def count_of(fields: Fields, key: str, at: str = "") -> int | None:
    """Return the whole number at `key`, None where there is none."""
    value = number_of(fields, key, at)
    if value is not None and value != int(value):
        malformed(_below(at, key), "a whole number")
    return None if value is None else int(value)


def texts_of(value: Any, at: str) -> tuple[str, ...]:
    """Return a string, or an array of them, as a tuple; an absent one is empty."""
    if isinstance(value, str):
        return (value,)
    texts = list_of(value, at)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            malformed(f"{at}[{index}]", "a string")
    return tuple(texts)


def unknown_in(fields: Fields, known: Iterable[str]) -> str | None:
    """Return the first field that is set and not among the known ones."""
    return next((key for key in fields if fields[key] is not None and key not in known), None)


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
