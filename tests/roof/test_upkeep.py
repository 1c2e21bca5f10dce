"""Migrate, backup and restore from the command line, on both engines, and what doctor says of a server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from costplus import database
from costplus.billing.customer import Customer
from costplus.catalog.load import begin_book
from costplus.cli import main
from costplus.config import Settings
from costplus.core.ids import from_milliseconds
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit
from costplus.storage.errors import DriverMissing

AT = from_milliseconds(1_800_000_000_000)


def run(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Return what a command printed; its error where it was to fail."""
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == code, done.output
    return {"error": done.stderr} if code else json.loads(done.output)


def with_store(url: str, verb: Any) -> Any:
    async def within() -> Any:
        store = await database.open_store(Settings(database=url))
        try:
            return await store.write(verb)
        finally:
            await store.close()

    return asyncio.run(within())


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the URL of a database that is not there yet, or is empty."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path / name}.db"
    server = request.getfixturevalue("postgres_server")
    monkeypatch.setenv("PATH", f"{server.programs}:/usr/bin:/bin")
    return lambda name: asyncio.run(server.make_database())


def test_a_database_is_migrated_once(new_database: Any) -> None:
    url = new_database("a")
    first = run("migrate", "--database", url)
    assert first["before"] == 0 < first["after"]
    assert run("migrate", "--database", url) == {"before": first["after"], "after": first["after"]}


def test_a_backup_of_a_running_database_is_restored_elsewhere(new_database: Any, tmp_path: Path) -> None:
    old, new, file = new_database("old"), new_database("new"), tmp_path / "backup"

    def verb(tx: Any) -> None:
        tx.save(Customer(id="cus_1", created=AT, name="Zoë"))
        tx.next_number("invoice")

    with_store(old, verb)
    kept = run("backup", str(file), "--database", old)
    assert kept["size_bytes"] == file.stat().st_size > 0
    assert not list(tmp_path.glob("*.part"))
    assert run("restore", str(file), "--database", new)["schema"] == kept["schema"]
    customer, number = with_store(new, lambda tx: (tx.find(Customer, "cus_1"), tx.next_number("invoice")))
    assert (customer.name, number) == ("Zoë", 2)


def test_the_books_of_either_kind_of_database_are_audited(new_database: Any) -> None:
    url = new_database("a")
    grant = Grant(
        id="credgr_1",
        customer="cus_1",
        created=AT,
        amount_nano=5,
        remaining_nano=5,
        currency="usd",
        effective_at=AT,
    )
    with_store(url, lambda tx: [begin_book(tx, at=AT), grant_credit(tx, grant, at=AT)])
    assert run("audit", "--database", url)["findings"] == 0
    with_store(url, lambda tx: tx.save_grant(replace(grant, remaining_nano=4)))
    done = CliRunner().invoke(main, ["audit", "--customer", "cus_1", "--database", url])
    assert done.exit_code == 1
    assert "credgr_1" in done.output


def test_restoring_over_content_must_be_forced(new_database: Any, tmp_path: Path) -> None:
    url, file = new_database("a"), tmp_path / "backup"
    with_store(url, lambda tx: tx.save(Customer(id="cus_1", created=AT)))
    run("backup", str(file), "--database", url)
    with_store(url, lambda tx: tx.save(Customer(id="cus_2", created=AT)))
    assert "database_not_empty" in run("restore", str(file), "--database", url, code=2)["error"]
    assert with_store(url, lambda tx: len(tx.page(Customer))) == 2
    run("restore", str(file), "--database", url, "--force")
    assert [customer.id for customer in with_store(url, lambda tx: tx.page(Customer))] == ["cus_1"]


def test_what_is_no_backup_is_refused_and_changes_nothing(new_database: Any, tmp_path: Path) -> None:
    url, file = new_database("a"), tmp_path / "backup"
    with_store(url, lambda tx: tx.save(Customer(id="cus_1", created=AT)))
    assert "backup_unusable" in run("restore", str(file), "--database", url, "--force", code=2)["error"]
    file.write_text("no backup " * 100)
    assert "backup_unusable" in run("restore", str(file), "--database", url, "--force", code=2)["error"]
    assert "backup_failed" in run("backup", str(file), "--database", url, code=3)["error"]  # It exists.
    assert with_store(url, lambda tx: len(tx.page(Customer))) == 1


def test_a_damaged_file_is_no_backup(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE other (id TEXT)")
    connection.close()
    found = run("restore", str(file), "--database", f"sqlite:///{tmp_path}/a.db", code=2)["error"]
    assert "no database of costplus" in found


def test_without_postgresqls_programs_the_remedy_is_named(
    postgres_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = asyncio.run(postgres_server.make_database())
    monkeypatch.setenv("PATH", str(tmp_path))
    found = run("backup", str(tmp_path / "backup"), "--database", url, code=3)["error"]
    assert "database_tool_missing" in found and "postgresql-client" in found


def test_memory_has_nothing_to_back_up(tmp_path: Path) -> None:
    assert "settings_invalid" in run("migrate", "--database", "memory:", code=2)["error"]


def test_without_its_driver_postgresql_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name, name="asyncpg")

    monkeypatch.setattr(database.importlib, "import_module", missing)
    with pytest.raises(DriverMissing, match="asyncpg") as refused:
        database.postgres_adapter()
    assert "pip install 'costplus[postgres]'" in refused.value.sentence


def test_doctor_warns_of_settings_that_lose_what_was_kept(postgres_server: Any) -> None:
    url = asyncio.run(postgres_server.make_database())  # On a server that does not wait for its disk.
    done = CliRunner().invoke(main, ["doctor", "--database", url, "--json"])
    findings = {entry["check"]: entry for entry in map(json.loads, done.output.splitlines())}
    assert findings["database"]["ok"] and findings["database server"]["ok"]
    assert not findings["durability"]["ok"]
    assert "fsync=off" in findings["durability"]["found"]


def test_a_password_is_shown_nowhere() -> None:
    url = "postgresql://billing:s3cret@db.example:5432/costplus"
    assert database.hidden(url) == "postgresql://billing:***@db.example:5432/costplus"
    assert database.hidden("sqlite:///a:b@c.db") == "sqlite:///a:b@c.db"
