"""The audit finds every figure that was changed behind the books' back, and nothing else.

Rule 1: the books are those of real verbs in a database, at the bundled prices; a test changes one figure by
SQL. It is written as SQLite takes it, and rewritten for PostgreSQL.
Rule 2: an audit opens the database itself, beside the store that filled it, as the command does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from costplus.audit import Audited, run
from costplus.billing.close import close_customer
from costplus.billing.customer import Customer
from costplus.billing.settle import Settlement, settle
from costplus.billing.setup import set_up
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.catalog.load import catalogue_of
from costplus.cli import main
from costplus.config import Settings
from costplus.core.ids import HoldId, bucket_of
from costplus.core.usage import Usage
from costplus.database import open_store
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.post import grant_credit
from costplus.ledger.reserve import place_hold
from costplus.metering.event import usage_event
from costplus.rating.charge import rate
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion, adjustment

AT = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
CUSTOMERS = ("cus_1", "cus_2")
MODELS = ("gpt-5", "gpt-5-mini")


@dataclass
class Books:
    """An installation with two customers, some usage and an invoice each."""

    url: str

    async def audited(self, sql: str = "", *values: object) -> Audited:
        """Change what SQL says, if anything, and audit."""
        if sql:
            assert await self._changed(sql, *values) > 0, sql
        return await self.audit()

    async def audit(self, customer: str = "") -> Audited:
        return await run(Settings(database=self.url), customer=customer)

    async def _changed(self, sql: str, *values: object) -> int:
        """Change what SQL says; return how many rows that were."""
        if self.url.startswith("postgresql"):
            db = await asyncpg.connect(self.url)
            status = await db.execute(in_postgres(sql), *values)
            await db.close()
            return int(status.split()[-1])
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as file:
            count = file.execute(sql, values).rowcount
        file.close()
        return count

    async def kinds(self, sql: str, *values: object) -> set[str]:
        return {finding.kind for finding in (await self.audited(sql, *values)).findings}


def in_postgres(sql: str) -> str:
    """Return one of the statements below as PostgreSQL writes it."""
    sql = re.sub(r"CAST\((\w+) AS TEXT\)", r"convert_from(\1, 'UTF8')", sql)
    sql = re.sub(r"CAST\((replace.*|'[^']*') AS BLOB\)", r"convert_to(\1, 'UTF8')", sql)
    for number in range(sql.count("?")):
        sql = sql.replace("?", f"${number + 1}::text", 1)
    return sql.replace("x'5b5d'", "'[]'")


def fill(tx: Tx, build: SimpleNamespace) -> None:
    """Set up, subscribe, grant, use, hold, and close the first period."""
    pricing = Pricing(catalogue_of(tx))
    request = build.set_up_request(fee_minor=900, default=adjustment("margin", Decimal(30)))
    account = set_up(tx, request, at=AT)
    card = tx.find(RateCardVersion, account.version.id)
    assert card is not None
    for number, id in enumerate(CUSTOMERS):
        customer = Customer(id=id, created=AT)
        tx.save(customer)
        subscribe(tx, customer, account.plan, at=AT)
        grant = Grant(
            id=f"credgr_{id}",
            customer=id,
            created=AT,
            amount_nano=20_000_000,
            remaining_nano=20_000_000,
            currency="usd",
            effective_at=AT,
        )
        grant_credit(tx, grant, at=AT)
        items = []
        for call in range(6):
            at, model = AT + call * HOUR, MODELS[call % 2]
            usage = Usage({"input": 1000 + call, "cached_input": 500, "output": 700 * (number + 1)})
            sheet = pricing.sold("openai", model, card=card, at=at).sheet
            event = usage_event(
                customer=id,
                at=at,
                key=f"call-{call}",
                usage=usage,
                source="gateway",
                provider="openai",
                model=model,
            )
            items.append(Settlement(event=event, charge=rate(usage, sheet)))
        settle(tx, items, at=AT + 6 * HOUR)
        close_customer(tx, customer, until=AT + timedelta(days=32))
        times = {"placed_at": AT, "expires_at": AT + HOUR}
        hold = Hold(id=HoldId(f"hold_{id}"), customer=id, kind="request", owner="gw", amount_nano=0, **times)
        place_hold(tx, hold, at=AT)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def books(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    build: SimpleNamespace,
    new_postgres_url: Callable[[], Awaitable[str]],
) -> AsyncIterator[Books]:
    url = await new_postgres_url() if request.param == "postgres" else f"sqlite:///{tmp_path / 'books.db'}"
    store = await open_store(Settings(database=url))
    await store.write(lambda tx: fill(tx, build))
    yield Books(url)
    await store.close()


async def test_books_that_verbs_made_agree(books: Books) -> None:
    made = await books.audited()
    assert made.findings == ()
    assert (made.customers, made.charges) == (2, 12)


@pytest.mark.parametrize("books", ["sqlite", "postgres"], indirect=True)
async def test_the_command_proves_them_beside_the_open_store_and_names_what_is_wrong(books: Books) -> None:
    async def command() -> tuple[int, list[Any]]:
        arguments = ["audit", "--json", "--database", books.url]
        done = await asyncio.to_thread(CliRunner().invoke, main, arguments)
        return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]

    assert await command() == (0, [{"customers": 2, "charges": 12, "findings": 0}])
    await books.audited("UPDATE rollup_totals SET price_nano = 0 WHERE customer = 'cus_2'")
    status, (*found, summary) = await command()
    assert status == 1 and summary["findings"] == len(found) > 0
    assert {finding["kind"] for finding in found} == {"roll-up", "invoice"}


USAGE = "UPDATE usage_events SET usage = CAST(replace(CAST(usage AS TEXT), ':100', ':900') AS BLOB)"
TAMPERED = [
    ("UPDATE postings SET amount_nano = amount_nano + 1 WHERE rowid_is_first", {"account", "transaction"}),
    ("UPDATE accounts SET balance_nano = balance_nano - 5 WHERE account = 'cus_1/accrued'", {"account"}),
    ("UPDATE charges SET price_nano = price_nano + 1 WHERE customer = 'cus_1'", {"charge", "roll-up"}),
    ("UPDATE charges SET cost_nano = cost_nano - 1 WHERE customer = 'cus_2'", {"charge", "transaction"}),
    ("UPDATE charges SET lines = x'5b5d' WHERE customer = 'cus_1'", {"charge", "roll-up"}),
    (USAGE, {"charge"}),
    ("UPDATE unit_rates SET unit_cost = '0.0001' WHERE leaf = 'input'", {"unit_rate"}),
    ("UPDATE unit_rates SET unit_price = unit_cost WHERE leaf = 'output'", {"unit_rate", "charge"}),
    ("UPDATE unit_rates SET rate_card_version = 'rcv_other'", {"unit_rate"}),
    ("UPDATE unit_rates SET price_version = 'pv_other'", {"unit_rate"}),
    ("UPDATE rollup_units SET quantity = quantity + 1 WHERE customer = 'cus_1'", {"roll-up"}),
    ("UPDATE rollup_totals SET price_nano = 0 WHERE customer = 'cus_2'", {"roll-up"}),
    ("UPDATE rollup_units SET hour = hour + 3600000000 * 5000 WHERE customer = 'cus_2'", {"roll-up"}),
    ("DELETE FROM charges WHERE customer = 'cus_2'", {"event", "roll-up"}),
    ("DELETE FROM usage_events WHERE customer = 'cus_2'", {"event"}),
    ("UPDATE grants SET remaining_nano = remaining_nano + 1", {"grant"}),
    ("UPDATE balances SET held_nano = 7 WHERE customer = 'cus_1'", {"balance"}),
    ("UPDATE balances SET carried_nano = carried_nano + 1", {"balance"}),
    ("UPDATE holds SET amount_nano = 3", {"balance"}),
    ("UPDATE grants SET lapsed_nano = lapsed_nano + 1", {"grant"}),
    ("UPDATE grants SET amount_nano = amount_nano + 1", {"grant", "payments"}),
    ("DELETE FROM grants WHERE customer = 'cus_1'", {"grant", "payments"}),
    ('UPDATE balances SET paid = CAST(\'{"1793698200000":{"a":5}}\' AS BLOB)', {"balance"}),
    ("DELETE FROM records WHERE kind = 'invoice' AND parent = 'cus_1'", {"receivable", "number", "balance"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("sql", "kinds"), TAMPERED, ids=[sql[:60] for sql, _ in TAMPERED])
async def test_a_changed_figure_is_named(books: Books, sql: str, kinds: set[str]) -> None:
    sql = sql.replace("WHERE rowid_is_first", "WHERE position = 0 AND bucket = " + str(bucket_of("cus_1")))
    assert kinds <= await books.kinds(sql)


INVOICE = """UPDATE records SET body = CAST(replace(CAST(body AS TEXT), ?, ?) AS BLOB)
WHERE kind = 'invoice' AND CAST(body AS TEXT) LIKE '%subscription_cycle%'"""


FIGURES = ("usage_nano", "total_minor", "subtotal_minor", "discount_minor", "surplus_minor", "tax_minor")
FIGURES += ("tax_inclusive_minor", "carried_out_nano", "carried_in_nano", "written_off_nano", "paid_minor")
FIGURES += ("credited_minor", "credited_tax_minor", "overpaid_minor")


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
async def test_a_changed_invoice_is_named(books: Books, name: str) -> None:
    found = await books.kinds(INVOICE, f'"{name}":', f'"{name}":1')
    assert "invoice" in found


async def test_an_audit_of_one_customer_leaves_others_alone(books: Books) -> None:
    await books.audited("UPDATE balances SET held_nano = 7 WHERE customer = 'cus_1'")
    assert [f.subject for f in (await books.audit("cus_1")).findings] == ["cus_1"]
    assert (await books.audit("cus_2")).findings == ()
