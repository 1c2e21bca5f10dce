"""Files out of one account and into another: the same balances and totals; and files that are wrong."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from costplus.billing.cancel_event import cancel
from costplus.billing.customer import Customer
from costplus.billing.import_rows import CustomerRow
from costplus.billing.report import report
from costplus.billing.settle import Settlement, settle
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.take_in import take_customers
from costplus.bootstrap import open_prices
from costplus.cli import main
from costplus.core.ids import CustomerId, GrantId
from costplus.core.usage import Usage
from costplus.ledger.grant import Grant
from costplus.ledger.post import credit_of, grant_credit
from costplus.metering.event import METER, usage_event
from costplus.metering.feeds.stripe import Kept
from costplus.rating.charge import Charge
from costplus.rating.rate_card import adjustment
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)
CARD = SetUpRequest(
    plan_name="AI",
    models=(),
    default=adjustment("markup", Decimal(30)),
    price_tracking="disabled",
    fee_minor=0,
    credit_minor=0,
)


def run(database: Path, *arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(
        main,
        [*arguments, "--database", f"sqlite:///{database}", "--data-dir", str(database.parent)],
        input=stdin,
    )


def usage(i: int, customer: str, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "usage": Usage({"input": 1000 + i, "cached_input": i % 7, "output": 10 * i + 1}),
        "source": "gateway",
        "provider": "openai",
        "model": "gpt-4o-mini" if i % 2 else "gpt-4o",
        **changes,
    }
    return usage_event(customer=customer, at=NOW - timedelta(minutes=i), key=f"call-{i}", **fields)


async def make_account(path: Path, *, filled: bool) -> None:
    store = await SqliteStore.open(path)
    pricing = await open_prices(store, at=NOW)
    await store.write(lambda tx: set_up(tx, CARD, at=NOW - timedelta(hours=9)))
    if filled:
        rows = [CustomerRow(id=f"cus_{name}", name=f"=Name {name}", metadata={"k": 'é,"\n'}) for name in "ab"]
        await store.write(lambda tx: take_customers(tx, rows, at=NOW - timedelta(hours=8)))
        await store.write(lambda tx: fill(tx, pricing))
    await store.close()


def fill(tx: Any, pricing: Any) -> None:
    grant = Grant(
        id=GrantId("credgr_1"),
        customer=CustomerId("cus_a"),
        created=NOW - timedelta(hours=8),
        amount_nano=3_000_001,
        remaining_nano=3_000_001,
        currency="usd",
        effective_at=NOW - timedelta(hours=8),
        name="+welcome",
        priority=7,
        category="promotional",
    )
    grant_credit(tx, grant, at=NOW)
    events = [usage(i, f"cus_{'ab'[i % 3 == 0]}") for i in range(1, 40)]
    kept = msgspec.json.encode(Kept(NOW, {})).decode()
    reported = usage(50, "cus_b", source="meter_events_v2", usage=Usage({"input": 9}), raw_usage=kept)
    oops = usage(51, "cus_b", source="meter_events_v2", usage=Usage({"input": 99_999}), raw_usage=kept)
    report(tx, pricing, [*events, reported, oops], at=NOW)
    cancel(tx, event_name=oops.meter, identifier=oops.key, customer=None, at=NOW)
    items = usage(52, "cus_b", meter="pages", provider=METER, model="pages", usage=Usage({"unit": 5}))
    settle(tx, [Settlement(event=items, charge=Charge(price_nano=0, cost_nano=0, lines=()))], at=NOW)


async def state(path: Path) -> dict[str, Any]:
    store = await SqliteStore.open(path)

    def look(tx: Any) -> dict[str, Any]:
        found = {}
        for id in ("cus_a", "cus_b"):
            totals, price = tx.usage_totals(id, NOW - timedelta(days=40), NOW + timedelta(days=40))
            found[id] = (
                tx.find(Customer, id).metadata,
                credit_of(tx, id, at=NOW),
                tx.account_balance(id, f"{id}/accrued"),
                price,
                sorted((t.rate.model, t.rate.leaf, t.quantity) for t in totals),
            )
        return found

    seen = await store.read(look)
    await store.close()
    return seen


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    path = tmp_path / "one" / "a.db"
    path.parent.mkdir()
    asyncio.run(make_account(path, filled=True))
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    path = tmp_path / "two" / "b.db"
    path.parent.mkdir()
    asyncio.run(make_account(path, filled=False))
    return path


KINDS = ("customers", "balances", "usage")


def test_what_was_exported_makes_the_same_balances_and_totals_elsewhere(
    filled: Path, empty: Path, tmp_path: Path
) -> None:
    for kind in KINDS:
        done = run(filled, "export", kind, str(tmp_path / kind))
        assert done.exit_code == 0, done.output
    for kind in KINDS:
        dry = run(empty, "import", kind, str(tmp_path / kind), "--dry-run", "--json")
        assert dry.exit_code == 0, dry.output
        real = run(empty, "import", kind, str(tmp_path / kind), "--json")
        assert real.exit_code == 0, real.output
        assert json.loads(real.output) == json.loads(dry.output) | {"dry_run": False}
    assert asyncio.run(state(empty)) == asyncio.run(state(filled))
    assert json.loads(real.output)["counts"] == {"new": 41, "skipped_canceled": 1, "skipped_corrections": 1}
    for kind in KINDS:  # Again: nothing changes.
        again = json.loads(run(empty, "import", kind, str(tmp_path / kind), "--json").output)
        assert {"new", "updated"}.isdisjoint(again["counts"]), again
    assert asyncio.run(state(empty)) == asyncio.run(state(filled))


def test_a_dry_run_writes_nothing(filled: Path, empty: Path, tmp_path: Path) -> None:
    run(filled, "export", "customers", str(tmp_path / "c"))
    shown = run(empty, "import", "customers", str(tmp_path / "c"), "--dry-run")
    assert shown.output == "customers: would be 2 new\n"
    assert run(empty, "export", "customers", "-").output.count("\n") == 1


def test_an_import_that_broke_off_is_begun_again(
    filled: Path, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in KINDS:
        run(filled, "export", kind, str(tmp_path / kind))
        if kind != "usage":
            run(empty, "import", kind, str(tmp_path / kind))
    lines = (tmp_path / "usage").read_text().splitlines(keepends=True)
    (tmp_path / "part").write_text("".join(lines[:20]))
    monkeypatch.setattr("costplus.transfer.BATCH", 7)
    run(empty, "import", "usage", str(tmp_path / "part"))
    rest = json.loads(run(empty, "import", "usage", str(tmp_path / "usage"), "--json").output)
    assert (rest["counts"]["duplicate"] > 0, rest["counts"]["new"] > 0) == (True, True)
    assert asyncio.run(state(empty)) == asyncio.run(state(filled))


def test_pages_of_an_export_leave_nothing_out_and_say_nothing_twice(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("usage", "ledger", "invoices", "customers", "balances"):
        monkeypatch.setattr("costplus.billing.export.ROWS", 500)
        whole = run(filled, "export", kind, "-").output
        monkeypatch.setattr("costplus.billing.export.ROWS", 3)
        monkeypatch.setattr("costplus.billing.export.CUSTOMERS", 1)
        assert run(filled, "export", kind, "-").output == whole


def test_postings_of_an_exported_ledger_sum_to_zero(filled: Path) -> None:
    rows = list(csv.DictReader(run(filled, "export", "ledger", "-").output.splitlines()))
    assert rows and sum(Decimal(row["amount"]) for row in rows) == 0
    one = list(
        csv.DictReader(run(filled, "export", "ledger", "-", "--customer", "cus_a").output.splitlines())
    )
    assert {row["customer"] for row in one} == {"cus_a"}


def test_an_export_is_narrowed_by_time(filled: Path) -> None:
    start = (NOW - timedelta(minutes=10)).isoformat()
    rows = list(
        csv.DictReader(
            run(
                filled, "export", "usage", "-", "--start", start, "--end", NOW.isoformat()
            ).output.splitlines()
        )
    )
    assert len(rows) == 10
    refused = run(filled, "export", "usage", "-", "--start", "2026-02-02", "--end", "2026-02-02")
    assert refused.exit_code == 2


def test_texts_that_spreadsheets_would_run_are_made_harmless(filled: Path) -> None:
    output = run(filled, "export", "customers", "-").output
    assert "'=Name a" in output and ",=Name" not in output
    assert ",'+welcome," in run(filled, "export", "balances", "-").output


WRONG = [
    ("customers", "name\nx\n", ["1:import_column_missing"]),
    ("customers", "id,colour\nx,red\n", ["1:import_column_unknown"]),
    ("customers", "id\n\n\ncus 1\n", ["4:import_cell_invalid"]),
    ("customers", 'id,metadata\na,{}\nb,"[1]"\n,{}\n', ["3:import_cell_invalid", "4:import_cell_missing"]),
    ("customers", "id,name\na,b,c\n", ["2:import_row_invalid"]),
    ("customers", "id,currency\na,usd\na,eur\n", ["3:import_row_conflict"]),
    ("customers", 'id,name\na,"x\n', ["2:import_row_invalid"]),
    (
        "balances",
        "id,customer,amount\n1,cus_a,ten\n2,cus_a,-1\n3,cus_a,0\n4,cus_a,0.0000000001\n",
        ["2:amount_invalid", "3:import_cell_invalid", "4:import_cell_invalid", "5:import_cell_invalid"],
    ),
    ("balances", "id,customer,amount\n1,cus_none,5\n", ["2:import_customer_unknown"]),
    ("balances", "id,customer,amount,currency\n1,cus_a,5,eur\n", ["2:import_row_conflict"]),
    ("balances", "id,customer,amount\ncredgr_1,cus_a,5\n", ["2:import_row_conflict"]),
    (
        "balances",
        "id,customer,amount\n" + "".join(f"{i},cus_b,1\n" for i in range(102)),
        ["102:credit_grants_limit", "103:credit_grants_limit"],
    ),
    (
        "usage",
        "\n".join(
            [
                "customer,at,key,provider,model,input",
                *("cus_a,yesterday,1,openai,gpt-4o,1", "cus_a,2026-01-01,2,,gpt-4o,1"),
                *("cus_a,2026-01-01,3,openai,gpt-4o,-1", "cus_a,2999-01-01,4,openai,gpt-4o,1"),
                "cus_a,2026-01-01T00:00:00,5,openai,gpt-4o,1",
            ]
        ),
        [
            *("2:import_cell_invalid", "3:import_cell_missing", "4:import_cell_invalid"),
            *("5:import_cell_invalid", "6:import_cell_invalid"),
        ],
    ),
    (
        "usage",
        "customer,at,key,provider,model,input\ncus_a,2026-01-01,k,openai,gpt-4o,1\ncus_a,2026-01-01,k,openai,gpt-4o,2\n",
        ["3:import_row_conflict"],
    ),
    ("usage", "customer,at,key,meter,input\ncus_a,2026-01-01,k,pages,1\n", ["2:import_cell_invalid"]),
]


@pytest.mark.parametrize(("kind", "text", "expected"), WRONG)
def test_everything_that_is_wrong_is_told_with_its_line_and_nothing_is_done(
    filled: Path, kind: str, text: str, expected: list[str]
) -> None:
    before = asyncio.run(state(filled))
    done = run(filled, "import", kind, "-", "--json", stdin=text)
    assert done.exit_code == 1, done.output
    errors = json.loads(done.output)["errors"]
    assert [f"{error['line']}:{error['code']}" for error in errors] == expected
    assert asyncio.run(state(filled)) == before
    told = run(filled, "import", kind, "-", stdin=text).output
    assert told.endswith(f"{len(expected)} errors; nothing was imported.\n")


def test_a_file_that_is_not_there_or_not_to_be_written_is_unavailable(filled: Path, tmp_path: Path) -> None:
    assert run(filled, "import", "usage", str(tmp_path / "none.csv")).exit_code == 3
    assert run(filled, "export", "usage", str(tmp_path / "no" / "dir.csv")).exit_code == 3
    assert run(tmp_path / "none.db", "export", "usage", "-").exit_code == 3


def test_a_customers_columns_that_are_absent_stay_as_they_are(filled: Path) -> None:
    done = run(
        filled, "import", "customers", "-", "--json", stdin="id,email\ncus_a,a@x.example\ncus_c,c@x.example\n"
    )
    assert json.loads(done.output)["counts"] == {"new": 1, "updated": 1}
    rows = {
        row["id"]: row for row in csv.DictReader(run(filled, "export", "customers", "-").output.splitlines())
    }
    assert (rows["cus_a"]["name"], rows["cus_a"]["email"]) == ("'=Name a", "a@x.example")
    assert rows["cus_c"]["subscription_status"] == "active"
