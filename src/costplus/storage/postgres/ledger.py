"""Balances, grants and holds of locked customers, read with their lock and written at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from costplus.core.ids import CustomerId, bucket_of
from costplus.core.money import checked_nano
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.storage.codec import (
    balance_from_row,
    balance_row,
    grant_from_row,
    grant_row,
    hold_from_row,
    hold_row,
    micros,
)
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Tables, Write
from costplus.storage.postgres.text import columns_of, kept, plain_row
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "ledger.sql")

BOOK_LOCK = 0x636F7374_626F6F6B  # "costbook": shared by writers of customers, exclusive to one that is alone.


# The columns of `find_balance`, `find_grant` and `find_hold`: a row of a table has more, in its own order.
_balance_of = itemgetter("held_nano", "carried_nano", "owed", "fired", "paid")
_grant_of = itemgetter(
    *("customer", "id", "created", "amount_nano", "remaining_nano", "currency", "effective_at", "expires_at"),
    *("category", "priority", "name", "metadata", "voided_at", "expired_at", "source", "updated"),
    *("minor_amount", "lapsed_nano", "scope", "begun_at", "unit", "unit_amount"),
)
_hold_of = itemgetter(
    *("customer", "id", "kind", "owner", "amount_nano", "placed_at", "expires_at", "state", "captured_nano"),
    "subject",
)


class PostgresLedger(Tables):
    """Satisfies the part of `LedgerStore` that a customer's lock covers."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self._balances: dict[str, Balance] = {}
        self._live: dict[str, dict[str, Grant]] = {}  # Customer → its live grants by id, oldest first.
        self._grants: dict[str, Grant] = {}
        self._holds: dict[tuple[str, str], Hold] = {}
        self._changed_balances: dict[str, None] = {}
        self._changed_grants: dict[str, None] = {}
        self._changed_holds: dict[tuple[str, str], None] = {}

    def know(self, customers: Iterable[str]) -> None:
        if not self._has_entered:
            self.enter()
        missing = sorted({c for c in customers if c not in self._siblings}, key=_lock_order)
        if missing:
            if self._customers is not None and self._siblings:
                self.forget_shared_records()  # Theirs may have changed until now.
            self._lock(missing)

    def _lock(self, customers: Sequence[str], *, asked: str | None = None) -> None:
        """Lock the customers and keep what comes with the locks; `asked` is a hold that comes along."""
        arguments = map(kept, ([bucket_of(customer) for customer in customers], list(customers), asked))
        for balance, live, known in self._session.fetch(SQL.lock_customers, BOOK_LOCK, *arguments):
            (customer,) = plain_row((balance["customer"],))
            self._balances[customer] = balance_from_row(customer, _balance_of(balance))
            grants = [grant_from_row(plain_row(_grant_of(grant))) for grant in live]
            self._live[customer] = {grant.id: grant for grant in grants}
            self._grants.update(self._live[customer])
            for row in known:
                hold = hold_from_row(plain_row(_hold_of(row)))
                self._holds[customer, hold.id] = hold
        self._siblings.update(dict.fromkeys(customers))

    def balance(self, customer: str) -> Balance:
        if customer in self._balances:  # It is locked: what is known of it is the newest.
            return self._balances[customer]
        row = self._one(SQL.find_balance, bucket_of(customer), customer)
        return Balance(customer=CustomerId(customer)) if row is None else balance_from_row(customer, row)

    def balance_for_update(self, customer: str) -> Balance:
        if self._reads_only:
            return self.balance(customer)
        if customer not in self._siblings:
            self.know([customer])
        return self._balances[customer]

    def save_balance(self, balance: Balance) -> None:
        self.changing()
        for nano in (balance.held_nano, balance.carried_nano, *balance.owed_nano.values()):
            checked_nano(nano)
        if balance.customer not in self._siblings:
            self.know([balance.customer])
        self._balances[balance.customer] = balance
        self._changed_balances[balance.customer] = None

    def save_grant(self, grant: Grant) -> None:
        self.changing()
        checked_nano(grant.amount_nano)
        checked_nano(grant.remaining_nano)
        if grant.customer not in self._siblings:
            self.know([grant.customer])
        self._grants[grant.id] = grant
        self._changed_grants[grant.id] = None
        live = self._live.get(grant.customer)
        if live is not None and grant.id in live:
            live[grant.id] = grant
        else:
            self._live.pop(grant.customer, None)  # Its place among the others is the database's to say.

    def grant(self, id: str) -> Grant | None:
        if (known := self._grants.get(id)) is not None:
            return known
        row = self._one(SQL.find_grant, id)
        return None if row is None else grant_from_row(row)

    def _grants_by(self, sql: str, *arguments: Any) -> list[Grant]:
        if self._changed_grants:
            self.flush()
        return [grant_from_row(row) for row in self._all(sql, *arguments)]

    def grants_of(self, customer: str) -> Sequence[Grant]:
        return self._grants_by(SQL.grants_of, bucket_of(customer), customer)

    def live_grants(self, customer: str) -> Sequence[Grant]:
        if not self._reads_only and customer not in self._siblings:
            self.know([customer])
        live = self._live.get(customer)
        if live is None:
            grants = self._grants_by(SQL.live_grants, bucket_of(customer), customer)
            if self._reads_only:
                return grants
            live = self._live[customer] = {grant.id: grant for grant in grants}
            self._grants.update(live)
        return [
            grant
            for grant in live.values()
            if grant.remaining_nano > 0 and grant.voided_at is None and grant.expired_at is None
        ]

    def grants_expiring(self, before: datetime, *, limit: int = 1000) -> Sequence[Grant]:
        return self._grants_by(SQL.grants_expiring, micros(before), limit)

    def grants_page(
        self,
        *,
        customer: str | None,
        limit: int,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[Grant]:
        if self._changed_grants:
            self.flush()
        filters = () if customer is None else (bucket_of(customer), customer)
        rows = self._page(
            SQL.grants_latest if customer is None else SQL.grants_latest_of_customer,
            SQL.grants_after if customer is None else SQL.grants_after_of_customer,
            SQL.seq_of_grant,
            *filters,
            cursor_key=(),
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )
        return [grant_from_row(row) for row in rows]

    def save_hold(self, hold: Hold) -> None:
        self.changing()
        checked_nano(hold.amount_nano)
        checked_nano(hold.captured_nano)
        if hold.customer not in self._siblings:
            self.know([hold.customer])
        self._holds[hold.customer, hold.id] = hold
        self._changed_holds[hold.customer, hold.id] = None

    def hold(self, customer: str, id: str) -> Hold | None:
        key = (customer, id)
        if not self._reads_only and customer not in self._siblings:
            if not self._has_entered and self._customers == [customer]:
                self._has_entered = True
                self._lock([customer], asked=id)
                return self._holds.get(key)
            self.know([customer])
        if key in self._holds:
            return self._holds[key]
        row = self._one(SQL.find_hold, bucket_of(customer), customer, id)
        return None if row is None else hold_from_row(row)

    def placed_holds(self, *, owner: str | None = None, customer: str | None = None) -> Sequence[Hold]:
        if self._changed_holds:
            self.flush()
        if customer is None:
            rows = self._all(SQL.placed_holds, owner)
        else:
            rows = self._all(SQL.placed_holds_of_customer, bucket_of(customer), customer, owner)
        return [hold_from_row(row) for row in rows]

    def ledger_writes(self) -> Iterator[Write]:
        """Yield what waits, and forget that it does."""
        if self._changed_balances:
            rows = [balance_row(self._balances[customer]) for customer in self._changed_balances]
            yield Write("save_balances", SQL.save_balances, columns_of(rows))
        if self._changed_grants:
            grants = [grant_row(self._grants[id]) for id in self._changed_grants]
            yield Write("save_grants", SQL.save_grants, columns_of(grants))
        if self._changed_holds:
            holds = [hold_row(self._holds[key]) for key in self._changed_holds]
            yield Write("save_holds", SQL.save_holds, columns_of(holds))
        self._changed_balances, self._changed_grants, self._changed_holds = {}, {}, {}


def _lock_order(customer: str) -> tuple[int, str]:
    """Return by what customers are locked: the same order everywhere, so that nobody waits in a circle."""
    return bucket_of(customer), customer
