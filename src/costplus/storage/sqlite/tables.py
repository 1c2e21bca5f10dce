"""What every group of tables shares: the connection of the open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from costplus.storage.codec import Row

Parameters = Row | Mapping[str, Any]

SEQ_MAX = 2**63 - 1
HALF = 10**9  # Sums come as (sum of value / 10⁹, sum of value % 10⁹), each of which fits 64 bits.


def joined(high: int | None, low: int | None) -> int:
    """Return the sum of whose halves a query has returned; None is a sum over no rows."""
    return (high or 0) * HALF + (low or 0)


class Tables:
    """One open transaction, as seen by the queries; it lives as long as its connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def _one(self, sql: str, parameters: Parameters) -> Any:
        """Return the only row, or None."""
        return self._db.execute(sql, parameters).fetchone()

    def _all(self, sql: str, parameters: Parameters) -> list[Any]:
        return self._db.execute(sql, parameters).fetchall()

    def _page(
        self,
        latest: str,
        after: str,
        seq_of: str,
        filters: Mapping[str, Any],
        *,
        cursor_key: tuple[str, ...],
        limit: int,
        older_than: str | None,
        newer_than: str | None,
    ) -> list[Any]:
        """Return the rows of a page, newest first; `seq_of` finds a cursor by `cursor_key` and its id."""
        bounds = {"above": 0, "below": SEQ_MAX}
        for bound, id in (("below", older_than), ("above", newer_than)):
            if id is not None:
                row = self._one(seq_of, (*cursor_key, id))
                if row is None:
                    return []
                bounds[bound] = row[0]
        sql = latest if newer_than is None else after
        rows = self._all(sql, {**filters, **bounds, "limit": limit})
        return rows if newer_than is None else rows[::-1]
