"""Texts that PostgreSQL takes: it refuses the character NUL, which keys and models' names may hold.

Rule 1: NUL is kept as two characters, and so is the one that marks it; all other text is kept as it is.
Rule 2: texts stand in the same order as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_MARK = "\x01"
_RARE = ("\x00", _MARK)


def kept_text(text: str) -> str:
    """Return the text as it is stored."""
    if "\x00" not in text and _MARK not in text:
        return text
    return text.replace(_MARK, "\x01\x02").replace("\x00", "\x01\x01")


def plain_text(text: str) -> str:
    """Return the text that `kept_text` was given."""
    return text.replace("\x01\x01", "\x00").replace("\x01\x02", _MARK) if _MARK in text else text


def kept(value: Any) -> Any:
    """Return a statement's argument as it is sent: lists are written out, texts are kept."""
    if type(value) is list:
        value = array_text(value)
    return kept_text(value) if type(value) is str else value


def kept_row(row: Sequence[Any]) -> Sequence[Any]:
    """Return a row as it is stored."""
    whole = "".join([value for value in row if type(value) is str])
    return [kept(value) for value in row] if any(rare in whole for rare in _RARE) else row


def array_text(values: Sequence[Any]) -> str:
    """Return an array as PostgreSQL writes it: the driver takes longer for its own than the server here."""
    kinds = set(map(type, values))
    if bytes in kinds:
        shown = ["NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values]
        return "{" + ",".join(shown) + "}"
    if kinds == {str}:
        whole = "".join(values)
        if "\\" in whole or '"' in whole:
            values = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
        return '{"' + '","'.join(values) + '"}'
    assert kinds <= {int, type(None)}, kinds
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def columns_of(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return the rows' columns, for `unnest`."""
    return [list(column) for column in zip(*rows, strict=True)]


def plain_row(row: Sequence[Any]) -> Sequence[Any]:
    """Return a row as it was given."""
    for value in row:
        if type(value) is str and _MARK in value:
            return tuple(plain_text(value) if type(value) is str else value for value in row)
    return row
