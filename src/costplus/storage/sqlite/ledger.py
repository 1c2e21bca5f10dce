"""Balances, accounts, transactions, grants and holds."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from costplus.core.ids import CustomerId, bucket_of
from costplus.core.money import InvalidAmount, checked_nano
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.transaction import Posting, Transaction
from costplus.storage.books import Books
from costplus.storage.codec import (
    Row,
    balance_from_row,
    balance_row,
    grant_from_row,
    grant_row,
    hold_from_row,
    hold_row,
    micros,
    transaction_from_row,
)
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables, as_json, is_plain, joined, keys_of

SQL = load_queries("costplus.storage.sqlite", "ledger.sql")


class SqliteLedger(Tables):
    """Satisfies `LedgerStore`. One writer at a time, so a balance needs no lock of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._books = Books()
        self._with_holds: dict[str, None] = {}  # Customers whose placed holds are known.

    def forget_books(self) -> None:
        """Forget what is known of the ledger, and what of it waits."""
        self._books.clear()
        self._with_holds.clear()

    def balance(self, customer: str) -> Balance:
        return self.balance_for_update(customer)

    def balance_for_update(self, customer: str) -> Balance:
        known = self._books.balances
        if (found := known.get(customer)) is not None:
            return found
        asked = self._those_of(customer, known)
        known.update((name, Balance(customer=CustomerId(name))) for name in asked)
        if len(asked) == 1:
            rows = self._peek(SQL.find_balance, (bucket_of(customer), customer))
        else:
            rows = self._peek(SQL.balances_of, (keys_of(asked),))
        known.update((name, balance_from_row(name, row)) for name, *row in rows)
        return known[customer]

    def save_balance(self, balance: Balance) -> None:
        for nano in (balance.held_nano, balance.carried_nano, *balance.owed_nano.values()):
            checked_nano(nano)
        self._books.change_balance(balance)

    def append_transaction(self, transaction: Transaction) -> None:
        self._books.appended.setdefault((transaction.customer, transaction.id), transaction)

    def flush_ledger(self) -> None:
        """Execute what waits, and forget that it does."""
        if balances := self._books.take_balances():
            self._insert(SQL.save_balance, map(balance_row, balances))
        if grants := self._books.take_grants():
            self._insert(SQL.save_grant, ((*grant_row(grant), n) for n, grant in enumerate(grants, 1)))
        if holds := self._books.take_holds():
            self._insert(SQL.save_hold, map(hold_row, holds))
        if appended := self._books.take_appended():
            self._append(appended)

    def _append(self, entries: Sequence[Transaction]) -> None:
        """Append transactions with their postings and move their accounts; known ones move nothing."""
        rows: list[Row] = []
        posted: list[Row] = []
        moved: dict[tuple[int, str], int] = defaultdict(int)
        last_of: dict[str, int] = {}
        new: set[tuple[int, str]] = set()
        for entry, (last, is_known) in zip(entries, self._places(entries), strict=True):
            customer, bucket = entry.customer, bucket_of(entry.customer)
            if is_known or (bucket, entry.id) in new:
                continue
            new.add((bucket, entry.id))
            seq = last_of[customer] = last_of.get(customer, last) + 1
            rows.append((bucket, customer, seq, entry.id, micros(entry.at), entry.kind, entry.reference))
            for position, posting in enumerate(entry.postings):
                posted.append((bucket, customer, seq, position, posting.account, posting.amount_nano))
                moved[bucket, posting.account] += posting.amount_nano
        self._insert(SQL.append_transaction, rows)
        self._insert(SQL.append_posting, posted)
        try:
            self._insert(SQL.move_account, ((*key, nano) for key, nano in moved.items()))
        except (sqlite3.IntegrityError, OverflowError) as error:
            # Beyond 64 bits SQLite turns to REAL, which a STRICT table refuses; Python refuses to bind it.
            raise InvalidAmount("An amount is beyond what one ledger account can hold.") from error

    def _places(self, entries: Sequence[Transaction]) -> list[tuple[int, int]]:
        """Return for each its customer's last number as stored, and whether it is stored itself."""
        asked = [(bucket_of(entry.customer), entry.customer, entry.id) for entry in entries]
        if all(is_plain(customer) and is_plain(id) for _, customer, id in asked):
            return self._peek(SQL.places_of, (as_json(asked),))
        return [self._peek(SQL.place_of, (bucket, id, bucket, name))[0] for bucket, name, id in asked]

    def account_balance(self, customer: str, account: str) -> int:
        row = self._one(SQL.find_account, (bucket_of(customer), account))
        return 0 if row is None else int(row[0])

    def transaction(self, customer: str, id: str) -> Transaction | None:
        bucket = bucket_of(customer)
        row = self._one(SQL.find_transaction, (bucket, customer, id))
        if row is None:
            return None
        postings = self._all(SQL.postings_of_one, (bucket, customer, row[0]))
        return transaction_from_row(customer, row, [Posting(account, nano) for account, nano in postings])

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
        return [transaction_from_row(customer, row, postings[row[0]]) for row in rows]

    def save_grant(self, grant: Grant) -> None:
        checked_nano(grant.amount_nano)
        checked_nano(grant.remaining_nano)
        self._books.change_grant(grant)

    def grant(self, id: str) -> Grant | None:
        known = self._books.grants
        if id not in known:
            for row in self._peek(SQL.find_grant, (id,)):
                known[id] = grant_from_row(row)
        return known.get(id)

    def grants_of(self, customer: str) -> Sequence[Grant]:
        return [grant_from_row(row) for row in self._all(SQL.grants_of, (bucket_of(customer), customer))]

    def live_grants(self, customer: str) -> Sequence[Grant]:
        found = self._books.live_of(customer)
        if found is None:
            self._read_live(self._those_of(customer, self._books.live))
            found = self._books.live_of(customer)
            assert found is not None
        return found

    def _read_live(self, customers: Sequence[str]) -> None:
        if len(customers) == 1:
            rows = self._all(SQL.live_grants, (bucket_of(customers[0]), customers[0]))
        else:
            rows = self._all(SQL.live_grants_of, (keys_of(customers),))
        live: dict[str, list[Grant]] = {customer: [] for customer in customers}
        for grant in map(grant_from_row, rows):
            live[grant.customer].append(grant)
        for customer, grants in live.items():
            self._books.know_live(customer, grants)

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
        self._books.change_hold(hold)

    def hold(self, customer: str, id: str) -> Hold | None:
        known, key = self._books.holds, (customer, id)
        if key not in known and customer in self._siblings and customer not in self._with_holds:
            asked = self._those_of(customer, self._with_holds)
            for hold in map(hold_from_row, self._peek(SQL.placed_holds_of, (keys_of(asked),))):
                known.setdefault((hold.customer, hold.id), hold)
            self._with_holds.update(dict.fromkeys(asked))
        if key not in known:
            for row in self._peek(SQL.find_hold, (bucket_of(customer), customer, id)):
                known[key] = hold_from_row(row)
        return known.get(key)

    def placed_holds(self, *, owner: str | None = None, customer: str | None = None) -> Sequence[Hold]:
        if customer is None:
            rows = self._all(SQL.placed_holds, {"owner": owner})
        else:
            filters = {"owner": owner, "customer": customer, "bucket": bucket_of(customer)}
            rows = self._all(SQL.placed_holds_of_customer, filters)
        return [hold_from_row(row) for row in rows]
