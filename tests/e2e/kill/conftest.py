"""What it takes to kill a gateway in the middle of its calls and to audit it afterwards."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.core.ids import CustomerId, GrantId
from costplus.gateway.journal import Intent, Used, Void, read_segment
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit
from costplus.rating.rate_card import adjustment
from costplus.storage.sqlite import SqliteStore

CREDIT_NANO = 1000 * 10**9
# Customers with much credit, whose leases stay, and with little, whose leases change with every call.
CREDITS = {"cus_rich": CREDIT_NANO, "cus_modest": CREDIT_NANO // 1000, "cus_small": CREDIT_NANO // 4000}


@dataclass(frozen=True)
class Booked:
    """What the books hold of one call."""

    customer: str
    quantities: dict[str, int]
    flags: list[str]
    source: str
    price_nano: int


class Books:
    """The database and the journal of a gateway, read from outside."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        database = sqlite3.connect(f"file:{self._data / 'costplus.db'}?mode=ro", uri=True)
        try:
            return database.execute(sql).fetchall()
        finally:
            database.close()

    def booked(self) -> dict[str, Booked]:
        """Return every charged event by its request id; two with one id are a failure."""
        found = self.rows(
            "SELECT request_id, e.customer, usage, source, price_nano FROM usage_events e LEFT JOIN charges c"
            " ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id"
        )
        calls: dict[str, Booked] = {}
        for id, customer, usage, source, price_nano in found:
            assert id not in calls, f"{id} is booked twice"
            assert price_nano is not None, f"{id} has no charge"
            used = json.loads(usage)
            calls[id] = Booked(customer, used["quantities"], used["flags"], source, price_nano)
        return calls

    def journalled(self) -> tuple[dict[str, Intent], dict[str, Used], set[str]]:
        """Return the journal's intents, usage and voids, by call."""
        intents: dict[str, Intent] = {}
        used: dict[str, Used] = {}
        voids: set[str] = set()
        for path in sorted((self._data / "journal").glob("*.journal")):
            for entry in read_segment(path):
                if isinstance(entry, Intent):
                    intents[entry.id] = entry
                elif isinstance(entry, Used):
                    used[entry.id] = entry
                elif isinstance(entry, Void):
                    voids.add(entry.id)
        return intents, used, voids

    def faults(self) -> list[str]:
        """Return everything that is not as it must be when no call is under way."""
        unbalanced = self.rows(
            "SELECT seq FROM postings GROUP BY bucket, customer, seq HAVING sum(amount_nano)"
        )
        drifted = self.rows(
            "SELECT account FROM accounts a WHERE balance_nano <> (SELECT sum(amount_nano) FROM postings p"
            " WHERE p.bucket = a.bucket AND p.account = a.account)"
        )
        ((held, noted),) = self.rows(
            "SELECT (SELECT coalesce(sum(amount_nano), 0) FROM holds WHERE state = 'placed'),"
            " (SELECT coalesce(sum(held_nano), 0) FROM balances)"
        )
        found = [f"transaction {seq} is not balanced" for (seq,) in unbalanced]
        found += [f"account {account} is not the sum of its postings" for (account,) in drifted]
        found += [f"{held} and {noted} are held"] if held or noted else []
        charged = dict.fromkeys(CREDITS, 0)
        for call in self.booked().values():
            charged[call.customer] += call.price_nano
        credit = dict(self.rows("SELECT customer, sum(remaining_nano) FROM grants GROUP BY customer"))
        owed = {
            customer: sum(json.loads(text).values())
            for customer, text in self.rows("SELECT customer, owed FROM balances")
        }
        for customer, granted in CREDITS.items():
            if credit[customer] + charged[customer] - owed.get(customer, 0) != granted:
                found.append(f"{customer}: {credit[customer]} + {charged[customer]} is not {granted}")
        return found


def _prepare(tx: Tx) -> None:
    at = datetime.now(UTC)
    request = SetUpRequest(
        plan_name="Tests",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
    )
    plan = set_up(tx, request, at=at).plan
    for id, amount_nano in CREDITS.items():
        customer = Customer(id=id, created=at, on_zero_credit="block")
        tx.save(customer)
        subscribe(tx, customer, plan, at=at)
        grant = Grant(
            id=GrantId(f"credgr_{id}"),
            customer=CustomerId(id),
            created=at,
            amount_nano=amount_nano,
            remaining_nano=amount_nano,
            currency="usd",
            effective_at=at,
        )
        grant_credit(tx, grant, at=at)


async def _seed(path: Path) -> None:
    store = await SqliteStore.open(path)
    await store.write(_prepare)
    await store.close()


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Make this test's database, with its customers, and return the books."""
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(_seed(data / "costplus.db"))
    return Books(data)
