"""What every group of tables shares: the connection of the open transaction, and writes that wait.

Rule 1: what many customers write is gathered and executed together, before the first query of such a table
and at the verb's end.
Rule 2: what is asked of one of the verb's customers is read for all of them: their siblings' turn comes next.
"""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from costplus.core.ids import bucket_of
from costplus.storage.codec import Row, encode_json

Parameters = Row | Mapping[str, Any]

SEQ_MAX = 2**63 - 1
ROWS_AT_ONCE = (256, 64, 16, 4, 1)  # A few sizes, so that the statements stay prepared.
HALF = 10**9  # Sums come as (sum of value / 10⁹, sum of value % 10⁹), each of which fits 64 bits.


def joined(high: int | None, low: int | None) -> int:
    """Return the sum of whose halves a query has returned; None is a sum over no rows."""
    return (high or 0) * HALF + (low or 0)


GATHERED = frozenset(
    (
        *("balances", "grants", "holds", "transactions", "postings", "accounts"),
        *("charges", "rollup_units", "rollup_totals", "metered"),
    )
)
"""The tables whose writes wait."""


@lru_cache(maxsize=1000)
def is_of_gathered(sql: str) -> bool:
    """Return whether the statement reads a table whose writes wait."""
    return not GATHERED.isdisjoint(re.findall(r"\w+", sql))


def as_json(values: Iterable[object]) -> str:
    """Return the values for `json_each`."""
    return encode_json(list(values)).decode()


def is_plain(name: str) -> bool:
    """Return whether `json_each` gives the text as it is: SQLite's JSON ends one at its NUL."""
    return "\x00" not in name


def keys_of(customers: Iterable[str]) -> str:
    """Return (bucket, customer) of each for `json_each`."""
    return as_json((bucket_of(customer), customer) for customer in customers)


@lru_cache(maxsize=500)
def for_rows(insert: str, count: int) -> str:
    """Return the INSERT of one row as one of `count` rows."""
    start = insert.index("(", insert.index("VALUES"))
    end, depth = start, 0
    for end in range(start, len(insert)):
        depth += {"(": 1, ")": -1}.get(insert[end], 0)
        if depth == 0:
            break
    row = insert[start : end + 1]
    return insert[:start] + ", ".join([row] * count) + insert[end + 1 :]


class Tables(ABC):
    """One open transaction, as seen by the queries; it lives as long as its connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._siblings: dict[str, None] = {}  # The customers whose turn comes in the same verb.

    @abstractmethod
    def flush(self) -> None:
        """Execute the writes that wait."""

    def know(self, customers: Iterable[str]) -> None:
        """Note whose turn comes in this verb."""
        self._siblings.update(dict.fromkeys(filter(is_plain, customers)))

    def _those_of(self, customer: str, known: Mapping[str, object]) -> list[str]:
        """Return for whom to read what is asked of one customer: its siblings without what is `known`."""
        if customer not in self._siblings:
            return [customer]
        return [sibling for sibling in self._siblings if sibling not in known]

    def _one(self, sql: str, parameters: Parameters) -> Any:
        """Return the only row, or None."""
        if is_of_gathered(sql):
            self.flush()
        return self._db.execute(sql, parameters).fetchone()

    def _all(self, sql: str, parameters: Parameters) -> list[Any]:
        if is_of_gathered(sql):
            self.flush()
        return self._db.execute(sql, parameters).fetchall()

    def _peek(self, sql: str, parameters: Parameters) -> list[Any]:
        """Return rows of which nothing waits."""
        return self._db.execute(sql, parameters).fetchall()

    def _insert(self, insert: str, rows: Iterable[Row]) -> None:
        """Execute the INSERT of one row for each, many rows a statement.

        A statement's step gives up the interpreter's lock and waits for it again: with one step a row, a busy
        event loop would make each row wait.
        """
        rest = list(rows)
        for size in ROWS_AT_ONCE:
            while len(rest) >= size:
                now, rest = rest[:size], rest[size:]
                self._db.execute(for_rows(insert, size), [value for row in now for value in row])

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
