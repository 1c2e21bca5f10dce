"""Transactions with their postings, and the accounts that they move."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from costplus.core.ids import bucket_of
from costplus.ledger.transaction import Posting, Transaction
from costplus.storage.codec import micros, transaction_from_row
from costplus.storage.postgres.ledger import SQL
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Tables, Write
from costplus.storage.postgres.text import columns_of


class PostgresPostings(Tables):
    """Satisfies the part of `LedgerStore` that only ever grows."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self._appended: dict[tuple[int, str], Transaction] = {}

    def append_transaction(self, transaction: Transaction) -> None:
        self.changing()
        if transaction.customer not in self._siblings:
            self.know([transaction.customer])
        self._appended.setdefault((bucket_of(transaction.customer), transaction.id), transaction)

    def _flush_transactions(self) -> None:
        if self._appended:
            self.flush()

    def account_balance(self, customer: str, account: str) -> int:
        self._flush_transactions()
        ((nano,),) = self._all(SQL.find_account, bucket_of(customer), account)
        return int(nano)

    def transaction(self, customer: str, id: str) -> Transaction | None:
        self._flush_transactions()
        bucket = bucket_of(customer)
        row = self._one(SQL.find_transaction, bucket, customer, id)
        if row is None:
            return None
        postings = self._all(SQL.postings_of_one, bucket, row[0])
        return transaction_from_row(customer, row, [Posting(account, nano) for account, nano in postings])

    def transactions_of(
        self, customer: str, *, limit: int = 100_000, after: str = ""
    ) -> Sequence[Transaction]:
        self._flush_transactions()
        bucket = bucket_of(customer)
        rows = self._all(SQL.transactions_of, bucket, customer, limit, after)
        if not rows:
            return []
        postings: dict[int, list[Posting]] = defaultdict(list)
        for seq, account, nano in self._all(SQL.postings_of, bucket, customer, rows[0][0], rows[-1][0]):
            postings[seq].append(Posting(account, nano))
        return [transaction_from_row(customer, row, postings[row[0]]) for row in rows]

    def posting_writes(self) -> Iterator[Write]:
        """Yield what waits, and forget that it does. A known transaction moves nothing."""
        appended, self._appended = self._appended, {}
        if not appended:
            return
        rows = [
            (bucket, entry.customer, entry.id, micros(entry.at), entry.kind, entry.reference)
            for (bucket, _), entry in appended.items()
        ]
        posted = [
            (entry.id, bucket, position, posting.account, posting.amount_nano)
            for (bucket, _), entry in appended.items()
            for position, posting in enumerate(entry.postings)
        ]
        yield Write("posted", SQL.posted, columns_of(posted) if posted else [[], [], [], [], []])
        yield Write("append_transactions", SQL.append_transactions, columns_of(rows))
        yield Write("append_postings", SQL.append_postings, [])
        yield Write("move_accounts", SQL.move_accounts, [])
