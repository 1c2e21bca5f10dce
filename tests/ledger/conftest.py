"""What the ledger tests share: an in-memory book that runs verbs at once, and builders of grants and holds.

Rule 1: a test names only what it is about; builders fill in the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from costplus.billing.store import Tx
from costplus.ledger import account
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.post import Posted, UsagePosting, credit_of, grant_credit, post_usage
from costplus.ledger.reserve import place_hold
from costplus.ledger.scope import Subject
from costplus.storage.memory import MemoryStore

T = TypeVar("T")
AT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CUSTOMER = "cus_1"


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, as those of the memory store."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]  # A coroutine's result is untyped here.
    raise AssertionError("the memory store waited")


def grant(id: str = "credgr_1", amount_nano: int = 100, **changes: object) -> Grant:
    fields: dict[str, object] = {
        "customer": CUSTOMER,
        "created": AT - DAY,
        "effective_at": AT - DAY,
        "remaining_nano": amount_nano,
        "currency": "usd",
        **changes,
    }
    return Grant(id=id, amount_nano=amount_nano, **fields)  # type: ignore[arg-type]  # As above.


def hold(id: str = "hold_1", amount_nano: int = 10, **changes: object) -> Hold:
    fields: dict[str, object] = {
        "customer": CUSTOMER,
        "kind": "request",
        "owner": "gw_1",
        "placed_at": AT,
        "expires_at": AT + DAY,
        **changes,
    }
    return Hold(id=id, amount_nano=amount_nano, **fields)  # type: ignore[arg-type]  # As above.


class Book:
    """One customer's ledger in a memory store, with every verb run at once."""

    def __init__(self, store: Any = None, run: Callable[[Any], Any] = at_once) -> None:
        self.store = store or MemoryStore()
        self.run = run
        self.at = AT

    def write(self, verb: Callable[[Tx], T]) -> T:
        result: T = self.run(self.store.write(verb))
        return result

    def give(self, *grants: Grant) -> None:
        for each in grants:
            self.write(partial(grant_credit, grant=each, at=self.at))

    def hold(self, id: str = "hold_1", amount_nano: int = 10, **changes: object) -> Hold:
        return self.write(lambda tx: place_hold(tx, hold(id, amount_nano, **changes), at=self.at))

    def use(
        self,
        price_nano: int | dict[int, int],
        *,
        cost_nano: int = 0,
        releases: dict[str, int] | None = None,
        closes: tuple[str, ...] = (),
        burned_nano: dict[str, int] | None = None,
        spare: Grant | None = None,
        subject: Subject | None = None,
    ) -> Posted:
        priced = price_nano if isinstance(price_nano, dict) else {0: price_nano}
        posting = UsagePosting(
            customer=CUSTOMER,  # type: ignore[arg-type]  # An id by any name.
            price_nano=priced,
            split=(lambda: {(p, subject): nano for p, nano in priced.items()}) if subject else None,
            cost_nano=cost_nano,
            releases=releases or {},
            closes=frozenset(closes),
            burned_nano=burned_nano or {},
            spare=spare,
        )
        return self.write(lambda tx: post_usage(tx, posting, at=self.at))

    def end(
        self, verb: Callable[..., Crossing], id: str = "credgr_1", *, at: datetime | None = None
    ) -> Crossing:
        """Void or expire a grant."""
        found = self.grant(id)
        return self.write(lambda tx: verb(tx, found, at=at or self.at))

    def grant(self, id: str = "credgr_1") -> Grant:
        found = self.write(lambda tx: tx.grant(id))
        assert found is not None
        return found

    def found_hold(self, id: str = "hold_1") -> Hold:
        found = self.write(lambda tx: tx.hold(CUSTOMER, id))
        assert found is not None
        return found

    def account(self, name: str) -> int:
        return self.write(lambda tx: tx.account_balance(CUSTOMER, name))

    @property
    def credit(self) -> int:
        return self.write(lambda tx: credit_of(tx, CUSTOMER, at=self.at))

    @property
    def held(self) -> int:
        return self.write(lambda tx: tx.balance_for_update(CUSTOMER)).held_nano

    @property
    def owed(self) -> dict[int, int]:
        return dict(self.write(lambda tx: tx.balance_for_update(CUSTOMER)).owed_nano)

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.write(lambda tx: tx.transactions_of(CUSTOMER))]

    def wrongs(self) -> list[str]:
        """Return the invariants that do not hold."""
        tx_grants = self.write(lambda tx: tx.grants_of(CUSTOMER))
        entries = self.write(lambda tx: tx.transactions_of(CUSTOMER))
        holds = self.write(lambda tx: tx.placed_holds(customer=CUSTOMER))
        balance = self.write(lambda tx: tx.balance_for_update(CUSTOMER))
        sums: dict[str, int] = {}
        for entry in entries:
            for posting in entry.postings:
                sums[posting.account] = sums.get(posting.account, 0) + posting.amount_nano
        checks = {
            "every transaction sums to zero": all(
                sum(posting.amount_nano for posting in entry.postings) == 0 for entry in entries
            ),
            "accounts are the sums of their postings": all(self.account(a) == n for a, n in sums.items()),
            "all accounts sum to zero": sum(sums.values()) == 0,
            "a grant's account is what remains of it": all(
                self.account(account.credit(CUSTOMER, g.id)) == g.remaining_nano for g in tx_grants
            ),
            "no credit is negative": all(g.remaining_nano >= 0 for g in tx_grants),
            "accrued is what is owed and carried": self.account(account.accrued(CUSTOMER))
            == -(balance.owed_total_nano + balance.carried_nano),
            "held is the sum of placed holds": balance.held_nano == sum(h.amount_nano for h in holds),
            "held is never negative": balance.held_nano >= 0,
            "zeros are left out of what is owed": all(n > 0 for n in balance.owed_nano.values()),
        }
        return [name for name, holds_true in checks.items() if not holds_true]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Return the builders."""
    return SimpleNamespace(at=AT, day=DAY, customer=CUSTOMER, grant=grant, hold=hold, book=Book)
