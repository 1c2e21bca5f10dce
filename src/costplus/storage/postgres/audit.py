"""What an audit asks: sums made anew from their rows, and rows that lack their counterpart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costplus.core.ids import bucket_of
from costplus.storage.codec import Row
from costplus.storage.postgres.tables import Tables
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "audit.sql")


class PostgresAudit(Tables):
    """Satisfies those parts of `LedgerStore` and `ChargeStore` by which the books are proved."""

    def _as_kept(self, sql: str, *arguments: Any) -> list[Row]:
        """Return rows that take everything written so far into account."""
        if not self._reads_only:
            self.flush()
        return self._all(sql, *arguments)

    def _sums(self, sql: str, bucket: int) -> Mapping[str, int]:
        return {name: int(nano) for name, nano in self._as_kept(sql, bucket)}

    def account_balances(self, bucket: int) -> Mapping[str, int]:
        return self._sums(SQL.account_balances, bucket)

    def posting_sums(self, bucket: int) -> Mapping[str, int]:
        return self._sums(SQL.posting_sums, bucket)

    def unbalanced(self, bucket: int) -> Mapping[str, int]:
        return self._sums(SQL.unbalanced, bucket)

    def customers_in(self, bucket: int) -> Sequence[str]:
        return [row[0] for row in self._as_kept(SQL.customers_in, bucket)]

    def unpaired(self, customer: str) -> Sequence[str]:
        return [row[0] for row in self._as_kept(SQL.unpaired, bucket_of(customer), customer)]
