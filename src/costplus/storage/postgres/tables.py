"""What every group of tables shares: the open transaction, and writes that wait for its end.

Rule 1: writes are gathered and go to the server together, before the first read that could miss them and
before the commit; so an open transaction makes few round trips, and holds the locks of its rows briefly.
Rule 2: what is asked of one of the transaction's customers is fetched for all of them: their siblings' turn
comes next.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from costplus.storage.codec import Row
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.text import kept, plain_row

SEQ_MAX = 2**63 - 1

_PARAMETER = re.compile(r"\$(\d+)")


class Write(NamedTuple):
    """A statement that waits; others of the same flush may refer to it by its name."""

    name: str
    sql: str
    arguments: list[Any]


@lru_cache(maxsize=1000)
def joined(parts: tuple[tuple[str, str, int], ...]) -> str:
    """Return one statement that does what the parts (name, SQL, number of arguments) do."""
    shift, blocks = 0, []
    for name, sql, count in parts:
        blocks.append(f"{name} AS (\n{_shifted(sql, shift)}\n)")
        shift += count
    return "WITH " + ", ".join(blocks) + " SELECT 1"


def _shifted(sql: str, by: int) -> str:
    """Return the statement with its parameters numbered from `by` + 1."""
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", sql)


class Tables(ABC):
    """One open transaction, as seen by the queries. It begins with its locks, at its first statement.

    `customers` are those that it names; None where it is alone. A reading one takes no locks.
    """

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        self._session = session
        self._customers = customers
        self._reads_only = reads_only
        self._has_entered = reads_only
        self._siblings: dict[str, None] = {}  # Customers that are locked, in the order of their names.

    @abstractmethod
    def enter(self) -> None:
        """Take the locks that the transaction begins with, once."""

    @abstractmethod
    def know(self, customers: Iterable[str]) -> None:
        """Lock the customers, where they are not locked yet."""

    @abstractmethod
    def forget_shared_records(self) -> None:
        """Forget what was read and belongs to none of the locked customers."""

    @abstractmethod
    def flush(self) -> None:
        """Send the writes that wait."""

    def changing(self) -> None:
        """Assert that the transaction may write."""
        assert not self._reads_only, "a read verb wrote"

    def _all(self, sql: str, *arguments: Any) -> list[Row]:
        if not self._has_entered:
            self.enter()
        rows = self._session.fetch(sql, *[kept(argument) for argument in arguments])
        return [plain_row(row) for row in rows]

    def _one(self, sql: str, *arguments: Any) -> Row | None:
        """Return the only row, or None."""
        rows = self._all(sql, *arguments)
        return rows[0] if rows else None

    def _page(
        self,
        latest: str,
        after: str,
        seq_of: str,
        *filters: Any,
        cursor_key: tuple[str, ...],
        limit: int,
        older_than: str | None,
        newer_than: str | None,
    ) -> list[Row]:
        """Return the rows of a page, newest first; `seq_of` finds a cursor by `cursor_key` and its id."""
        bounds = {"above": 0, "below": SEQ_MAX}
        for bound, id in (("below", older_than), ("above", newer_than)):
            if id is not None:
                row = self._one(seq_of, *cursor_key, id)
                if row is None:
                    return []
                bounds[bound] = row[0]
        sql = latest if newer_than is None else after
        rows = self._all(sql, bounds["above"], bounds["below"], limit, *filters)
        return rows if newer_than is None else rows[::-1]


def run_together(session: Session, writes: Iterator[Write]) -> None:
    """Send writes as one statement."""
    found = list(writes)
    if not found:
        return
    sql = joined(tuple((write.name, write.sql, len(write.arguments)) for write in found))
    session.fetch(sql, *[kept(argument) for write in found for argument in write.arguments])
