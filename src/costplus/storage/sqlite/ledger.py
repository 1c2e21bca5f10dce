"""Balances, accounts, transactions, grants and holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from costplus.core.ids import CustomerId, bucket_of
from costplus.core.money import checked_nano
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.transaction import Posting, Transaction
from costplus.storage.codec import (
    Row,
    encode_json,
    from_micros,
    grant_from_row,
    grant_row,
    hold_from_row,
    hold_row,
    micros,
)
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables, joined

SQL = load_queries("costplus.storage.sqlite", "ledger.sql")

_decode_paid = msgspec.json.Decoder(dict[int, dict[str, int]]).decode
_decode_owed = msgspec.json.Decoder(dict[int, int]).decode
_decode_fired = msgspec.json.Decoder(tuple[str, ...]).decode


class SqliteLedger(Tables):
    """Satisfies `LedgerStore`. One writer at a time, so a balance needs no lock of its own."""

    def balance(self, customer: str) -> Balance:
        return self.balance_for_update(customer)

    def balance_for_update(self, customer: str) -> Balance:
        row = self._one(SQL.find_balance, (bucket_of(customer), customer))
        if row is None:
            return Balance(customer=CustomerId(customer))
        return Balance(
            customer=CustomerId(customer),
            held_nano=row[0],
            carried_nano=row[1],
            owed_nano=_decode_owed(row[2]),
            fired=_decode_fired(row[3]),
            paid_nano=_decode_paid(row[4]),
        )

    def save_balance(self, balance: Balance) -> None:
        owed = {period: checked_nano(nano) for period, nano in balance.owed_nano.items()}
        self._db.execute(
            SQL.save_balance,
            (
                bucket_of(balance.customer),
                balance.customer,
                checked_nano(balance.held_nano),
                checked_nano(balance.carried_nano),
                encode_json(owed),
                encode_json(balance.fired),
                encode_json(balance.paid_nano),
            ),
        )

    def append_transaction(self, transaction: Transaction) -> None:
        customer, bucket = transaction.customer, bucket_of(transaction.customer)
        inserted = self._all(
            SQL.append_transaction,
            {
                "bucket": bucket,
                "customer": customer,
                "id": transaction.id,
                "at": micros(transaction.at),
                "kind": transaction.kind,
                "reference": transaction.reference,
            },
        )
        if not inserted:
            return
        ((seq,),) = inserted
        postings = transaction.postings
        self._db.executemany(
            SQL.append_posting,
            [(bucket, customer, seq, i, p.account, p.amount_nano) for i, p in enumerate(postings)],
        )
        moved: dict[str, int] = defaultdict(int)
        for posting in postings:
            moved[posting.account] += posting.amount_nano
        self._db.executemany(
            SQL.save_account,
            [
                (bucket, account, checked_nano(self.account_balance(customer, account) + nano))
                for account, nano in moved.items()
            ],
        )

    def account_balance(self, customer: str, account: str) -> int:
        row = self._one(SQL.find_account, (bucket_of(customer), account))
        return 0 if row is None else int(row[0])

    def transaction(self, customer: str, id: str) -> Transaction | None:
        bucket = bucket_of(customer)
        row = self._one(SQL.find_transaction, (bucket, customer, id))
        if row is None:
            return None
        postings = self._all(SQL.postings_of_one, (bucket, customer, row[0]))
        return _transaction(customer, row, [Posting(account, nano) for account, nano in postings])

    def account_balances(self, bucket: int) -> Mapping[str, int]:
        return dict(self._all(SQL.account_balances, (bucket,)))

    def posting_sums(self, bucket: int) -> Mapping[str, int]:
        return {name: joined(high, low) for name, high, low in self._all(SQL.posting_sums, (bucket,))}

    def unbalanced(self, bucket: int) -> Mapping[str, int]:
        return {id: joined(high, low) for id, high, low in self._all(SQL.unbalanced, (bucket,))}

    def customers_in(self, bucket: int) -> Sequence[str]:
        return [row[0] for row in self._all(SQL.customers_in, {"bucket": bucket})]

    def transactions_of(
        self, customer: str, *, limit: int = 100_000, after: str = ""
    ) -> Sequence[Transaction]:
        bucket = bucket_of(customer)
        rows = self._all(SQL.transactions_of, (bucket, customer, bucket, customer, after, limit))
        if not rows:
            return []
        postings: dict[int, list[Posting]] = defaultdict(list)
        for seq, account, nano in self._all(SQL.postings_of, (bucket, customer, rows[0][0], rows[-1][0])):
            postings[seq].append(Posting(account, nano))
        return [_transaction(customer, row, postings[row[0]]) for row in rows]

    def save_grant(self, grant: Grant) -> None:
        checked_nano(grant.amount_nano)
        checked_nano(grant.remaining_nano)
        self._db.execute(SQL.save_grant, grant_row(grant))

    def grant(self, id: str) -> Grant | None:
        row = self._one(SQL.find_grant, (id,))
        return None if row is None else grant_from_row(row)

    def grants_of(self, customer: str) -> Sequence[Grant]:
        return [grant_from_row(row) for row in self._all(SQL.grants_of, (bucket_of(customer), customer))]

    def live_grants(self, customer: str) -> Sequence[Grant]:
        return [grant_from_row(row) for row in self._all(SQL.live_grants, (bucket_of(customer), customer))]

    def grants_expiring(self, before: datetime, *, limit: int = 1000) -> Sequence[Grant]:
        return [grant_from_row(row) for row in self._all(SQL.grants_expiring, (micros(before), limit))]

    def grants_page(
        self,
        *,
        customer: str | None,
        limit: int,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[Grant]:
        rows = self._page(
            SQL.grants_latest if customer is None else SQL.grants_latest_of_customer,
            SQL.grants_after if customer is None else SQL.grants_after_of_customer,
            SQL.seq_of_grant,
            {} if customer is None else {"bucket": bucket_of(customer), "customer": customer},
            cursor_key=(),
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )
        return [grant_from_row(row) for row in rows]

    def save_hold(self, hold: Hold) -> None:
        checked_nano(hold.amount_nano)
        checked_nano(hold.captured_nano)
        self._db.execute(SQL.save_hold, hold_row(hold))

    def hold(self, customer: str, id: str) -> Hold | None:
        row = self._one(SQL.find_hold, (bucket_of(customer), customer, id))
        return None if row is None else hold_from_row(row)

    def placed_holds(self, *, owner: str | None = None, customer: str | None = None) -> Sequence[Hold]:
        if customer is None:
            rows = self._all(SQL.placed_holds, {"owner": owner})
        else:
            filters = {"owner": owner, "customer": customer, "bucket": bucket_of(customer)}
            rows = self._all(SQL.placed_holds_of_customer, filters)
        return [hold_from_row(row) for row in rows]


def _transaction(customer: str, row: Row, postings: Sequence[Posting]) -> Transaction:
    _, id, at, kind, reference = row
    return Transaction(
        id=id,
        customer=CustomerId(customer),
        at=from_micros(at),
        kind=kind,
        postings=tuple(postings),
        reference=reference,
    )
