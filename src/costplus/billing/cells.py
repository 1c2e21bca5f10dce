"""Cells of a spreadsheet's file: how instants, amounts and texts are written, and read back the same.

Rule 1: amounts are exact decimals in currency units, instants UTC to the microsecond, nothing is localised.
Rule 2: a text that a spreadsheet would take for a formula gets an apostrophe in front, as people write it
there; reading takes it off again. Numbers are none of these texts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from costplus.core.errors import InvalidRequest
from costplus.core.money import NANO, parse_decimal

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)


class CellInvalid(InvalidRequest):
    """A cell of an imported file cannot be read."""

    code = "import_cell_invalid"


class CellMissing(InvalidRequest):
    """A cell that is needed is empty."""

    code = "import_cell_missing"


def text_cell(text: str) -> str:
    """Return a text as a spreadsheet may open it."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of(cell: str) -> str:
    """Return the text that `text_cell` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def time_cell(at: datetime | None) -> str:
    """Return an instant as 2026-03-14T09:30:00.000000Z, or nothing."""
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_of(cell: str, *, column: str) -> datetime | None:
    """Return the instant that a cell names: RFC 3339, a day (its start in UTC), or Unix seconds."""
    if not cell:
        return None
    at: datetime | None
    try:
        if _WHOLE.fullmatch(cell):
            return datetime.fromtimestamp(int(cell), UTC)
        at = datetime.fromisoformat(f"{cell}T00:00:00Z" if _DAY.fullmatch(cell) else cell)
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None or at.tzinfo is None:
        raise CellInvalid(
            f"'{cell}' is no instant.",
            param=column,
            remedy="Write RFC 3339 with a zone (2026-11-23T14:35:17Z), a day, or Unix seconds.",
        )
    return at.astimezone(UTC)


def nano_of(cell: str, *, column: str) -> int:
    """Return the nanos of an amount in currency units; more digits than the ledger has are refused."""
    nano = parse_decimal(cell, param=column) * NANO
    if nano != int(nano):
        raise CellInvalid(f"'{cell}' has more than 9 decimals.", param=column)
    return int(nano)


def whole_of(cell: str, *, column: str) -> int:
    """Return the whole number of zero or more that a cell writes; nothing is zero."""
    if not cell:
        return 0
    if not _WHOLE.fullmatch(cell):
        raise CellInvalid(f"'{cell}' is not a whole number of 0 or more.", param=column)
    return int(cell)
