"""The port through which balances, grants, holds and transactions are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.transaction import Transaction


class LedgerStore(Protocol):
    """The ledger part of one open transaction. Reads for update see, and lock, the newest state."""

    def balance(self, customer: str) -> Balance:
        """Return the customer's balance, all zero where there is none; for reads that lead to no write."""

    def balance_for_update(self, customer: str) -> Balance:
        """Return the customer's balance, all zero where there is none, locked until the transaction ends."""

    def save_balance(self, balance: Balance) -> None:
        """Replace the customer's balance."""

    def append_transaction(self, transaction: Transaction) -> None:
        """Add the transaction and move its accounts' balances; a known id is left as it is."""

    def account_balance(self, customer: str, account: str) -> int:
        """Return an account's balance in nanos within the customer's bucket; 0 where it has none."""

    def transaction(self, customer: str, id: str) -> Transaction | None:
        """Return one of the customer's transactions, or None."""

    def account_balances(self, bucket: int) -> Mapping[str, int]:
        """Return every account's balance as it is kept within the bucket, in nanos; zeros may be left out."""

    def posting_sums(self, bucket: int) -> Mapping[str, int]:
        """Return every account's balance within the bucket as its postings make it, in nanos."""

    def unbalanced(self, bucket: int) -> Mapping[str, int]:
        """Return the bucket's transactions whose postings do not sum to zero, by id, with that sum."""

    def customers_in(self, bucket: int) -> Sequence[str]:
        """Return the bucket's customers that have transactions, usage or a balance, in order of id."""

    def transactions_of(
        self, customer: str, *, limit: int = 100_000, after: str = ""
    ) -> Sequence[Transaction]:
        """Return the customer's transactions, oldest first; those that were appended after the one named."""

    def save_grant(self, grant: Grant) -> None:
        """Insert or replace the grant."""

    def grant(self, id: str) -> Grant | None:
        """Return the grant, or None."""

    def grants_of(self, customer: str) -> Sequence[Grant]:
        """Return all grants of the customer, oldest first."""

    def live_grants(self, customer: str) -> Sequence[Grant]:
        """Return the customer's grants that still hold something and are neither voided nor expired."""

    def grants_expiring(self, before: datetime, *, limit: int = 1000) -> Sequence[Grant]:
        """Return live grants of any customer whose `expires_at ≤ before`, earliest first."""

    def grants_page(
        self,
        *,
        customer: str | None,
        limit: int,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[Grant]:
        """Return a page of grants, newest first; cursors as in `RecordStore.page`."""

    def save_hold(self, hold: Hold) -> None:
        """Insert or replace the hold."""

    def hold(self, customer: str, id: str) -> Hold | None:
        """Return the hold, or None."""

    def placed_holds(self, *, owner: str | None = None, customer: str | None = None) -> Sequence[Hold]:
        """Return the holds that still reserve credit, oldest first."""
