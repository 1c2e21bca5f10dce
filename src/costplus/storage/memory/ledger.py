"""Balances, accounts, transactions, grants and holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from costplus.core.ids import CustomerId, bucket_of
from costplus.core.money import checked_nano
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.transaction import Transaction
from costplus.storage.memory.tables import Cursors, Undoable


class MemoryLedger(Undoable):
    """Satisfies `LedgerStore`. One writer at a time, so a balance needs no lock of its own."""

    def balance(self, customer: str) -> Balance:
        return self.balance_for_update(customer)

    def balance_for_update(self, customer: str) -> Balance:
        return self.tables.balances.get(customer) or Balance(customer=CustomerId(customer))

    def save_balance(self, balance: Balance) -> None:
        owed = {period: checked_nano(nano) for period, nano in balance.owed_nano.items()}
        checked_nano(balance.held_nano)
        checked_nano(balance.carried_nano)
        kept = replace(balance, owed_nano=owed)
        self.put(self.tables.balances, balance.customer, kept)

    def append_transaction(self, transaction: Transaction) -> None:
        rows = self.tables.transactions[transaction.customer]
        if transaction.id in rows:
            return
        self.put(rows, transaction.id, transaction)
        bucket = bucket_of(transaction.customer)
        for posting in transaction.postings:
            key = (bucket, posting.account)
            moved = checked_nano(self.tables.accounts.get(key, 0) + posting.amount_nano)
            self.put(self.tables.accounts, key, moved)

    def account_balance(self, customer: str, account: str) -> int:
        return self.tables.accounts.get((bucket_of(customer), account), 0)

    def transaction(self, customer: str, id: str) -> Transaction | None:
        return self.tables.transactions[customer].get(id)

    def account_balances(self, bucket: int) -> Mapping[str, int]:
        return {account: nano for (place, account), nano in self.tables.accounts.items() if place == bucket}

    def posting_sums(self, bucket: int) -> Mapping[str, int]:
        sums: Counter[str] = Counter()
        for entry in self._transactions_in(bucket):
            for posting in entry.postings:
                sums[posting.account] += posting.amount_nano
        return sums

    def unbalanced(self, bucket: int) -> Mapping[str, int]:
        sums = {e.id: sum(p.amount_nano for p in e.postings) for e in self._transactions_in(bucket)}
        return {id: nano for id, nano in sums.items() if nano}

    def _transactions_in(self, bucket: int) -> Iterator[Transaction]:
        for customer, rows in self.tables.transactions.items():
            if bucket_of(customer) == bucket:
                yield from rows.values()

    def customers_in(self, bucket: int) -> Sequence[str]:
        tables = self.tables
        known = {customer for customer, rows in tables.transactions.items() if rows}
        known |= {customer for customer, rows in tables.events.items() if rows}
        return sorted(c for c in known.union(tables.balances) if bucket_of(c) == bucket)

    def transactions_of(
        self, customer: str, *, limit: int = 100_000, after: str = ""
    ) -> Sequence[Transaction]:
        rows = self.tables.transactions[customer]
        first = 1 + list(rows).index(after) if after in rows else 0
        return list(rows.values())[first : first + limit]

    def save_grant(self, grant: Grant) -> None:
        checked_nano(grant.amount_nano)
        checked_nano(grant.remaining_nano)
        rows = self.tables.grants[grant.customer]
        seq = rows[grant.id][0] if grant.id in rows else self.next_seq()
        self.put(rows, grant.id, (seq, replace(grant, metadata=dict(grant.metadata))))
        self.put(self.tables.grant_owners, grant.id, grant.customer)

    def grant(self, id: str) -> Grant | None:
        customer = self.tables.grant_owners.get(id)
        return None if customer is None else self.tables.grants[customer][id][1]

    def grants_of(self, customer: str) -> Sequence[Grant]:
        return [grant for _, grant in self.tables.grants[customer].values()]

    def live_grants(self, customer: str) -> Sequence[Grant]:
        return [grant for grant in self.grants_of(customer) if _is_live(grant)]

    def _all_grants(self) -> Iterator[tuple[int, Grant]]:
        for rows in self.tables.grants.values():
            yield from rows.values()

    def grants_expiring(self, before: datetime, *, limit: int = 1000) -> Sequence[Grant]:
        found = sorted(
            (grant.expires_at, seq, grant)
            for seq, grant in self._all_grants()
            if _is_live(grant) and grant.expires_at is not None and grant.expires_at <= before
        )
        return [grant for _, _, grant in found[:limit]]

    def grants_page(
        self,
        *,
        customer: str | None,
        limit: int,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[Grant]:
        cursors = Cursors(older_than, newer_than)
        if not cursors.known_in(self.tables.grant_owners):
            return []
        rows = self._all_grants() if customer is None else self.tables.grants[customer].values()
        return cursors.cut(rows, limit=limit, seq_of=self._seq_of_grant)

    def _seq_of_grant(self, id: str) -> int:
        return self.tables.grants[self.tables.grant_owners[id]][id][0]

    def save_hold(self, hold: Hold) -> None:
        checked_nano(hold.amount_nano)
        checked_nano(hold.captured_nano)
        self.put(self.tables.holds[hold.customer], hold.id, hold)

    def hold(self, customer: str, id: str) -> Hold | None:
        return self.tables.holds[customer].get(id)

    def placed_holds(self, *, owner: str | None = None, customer: str | None = None) -> Sequence[Hold]:
        groups = self.tables.holds.values() if customer is None else [self.tables.holds[customer]]
        found = (
            hold
            for rows in groups
            for hold in rows.values()
            if hold.state == "placed" and owner in (None, hold.owner)
        )
        return sorted(found, key=lambda hold: (hold.placed_at, hold.id))


def _is_live(grant: Grant) -> bool:
    return grant.remaining_nano > 0 and grant.voided_at is None and grant.expired_at is None
