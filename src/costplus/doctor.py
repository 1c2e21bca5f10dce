"""Doctor: look at an installation and say, for each thing found wanting, what to do."""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from costplus import bootstrap, database
from costplus.billing.close import account_settings
from costplus.billing.customer import ApiKey
from costplus.billing.price_report import Freshness, freshness_of
from costplus.billing.store import Tx
from costplus.catalog.book import PriceChange
from costplus.catalog.load import catalogue_of, every
from costplus.config import Settings, SettingsInvalid
from costplus.core.errors import BillingError
from costplus.provider_settings import providers_of

PRICES_OLD_DAYS = 30
DISK_FREE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome."""

    check: str
    ok: bool
    found: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Return the findings of every check; a failing one does not stop the others."""
    checks: list[Callable[[Settings], list[Finding]]] = [
        _python,
        _data_dir,
        _database,
        _server,
        _providers,
        _prices,
        _parked,
    ]
    return [finding for check in checks for finding in check(settings)]


def _python(settings: Settings) -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    strict = sqlite3.sqlite_version_info >= (3, 37)
    return [
        Finding(
            "python", sys.version_info >= (3, 11), version, "" if strict else "Use Python 3.11 or newer."
        ),
        Finding("sqlite", strict, sqlite3.sqlite_version, "" if strict else "SQLite 3.37 is needed."),
    ]


def _data_dir(settings: Settings) -> list[Finding]:
    path = settings.data_path
    if not path.is_dir():
        return [Finding("data directory", True, f"{path.resolve()} (made by the first start)")]
    writable = os.access(path, os.W_OK)
    stat = os.statvfs(path)
    free = stat.f_bavail * stat.f_frsize
    return [
        Finding(
            "data directory",
            writable,
            str(path.resolve()),
            "" if writable else "Give this user write access.",
        ),
        Finding(
            "disk",
            free >= DISK_FREE_BYTES,
            f"{free >> 20} MiB free",
            "" if free >= DISK_FREE_BYTES else "Free some space: the journal must never find the disk full.",
        ),
    ]


def _database(settings: Settings) -> list[Finding]:
    async def look() -> list[Finding]:
        store = await database.open_store(settings)
        try:
            keys, account = await store.read(lambda tx: (tx.page(ApiKey, limit=1), account_settings(tx)))
        finally:
            await store.close()
        key_remedy = "" if keys else "Start `costplus serve` once; it makes a key and shows it."
        plan_remedy = "" if account else "POST /v1/token_billing/onboarding/init to set up pricing."
        return [
            Finding("database", True, database.hidden(settings.database_url)),
            Finding("API key", bool(keys), "present" if keys else "none yet", key_remedy),
            Finding("pricing", account is not None, "set up" if account else "not set up", plan_remedy),
        ]

    if settings.database_url.startswith("sqlite:///") and not settings.data_path.is_dir():
        return [Finding("database", True, "none yet (made by the first start)")]
    try:
        return asyncio.run(look())
    except BillingError as error:
        return [Finding("database", False, error.message, error.remedy)]


def _server(settings: Settings) -> list[Finding]:
    """Say what a PostgreSQL server is like, and whether it keeps what it says that it kept."""
    url = settings.database_url
    if not database.is_postgres(url):
        return []
    try:
        database.postgres_adapter()
        server = importlib.import_module("costplus.storage.postgres.upkeep").examine_server(url)
    except BillingError as error:
        return [Finding("database server", False, error.message, error.remedy)]
    too_old = "" if server.is_recent else "Version 14 or newer is needed."
    lossy = ", ".join(server.lossy)
    remedy = "A crash may take what was acknowledged: turn it on again." if lossy else ""
    return [
        Finding("database server", server.is_recent, f"PostgreSQL {server.version}", too_old),
        Finding("durability", not lossy, lossy or "every commit waits for the disk", remedy),
    ]


def _providers(settings: Settings) -> list[Finding]:
    if not settings.providers:
        remedy = "Set COSTPLUS_PROVIDERS__OPENAI__API_KEY (or another provider's)."
        return [Finding("providers", False, "none configured", remedy)]
    try:
        known = providers_of(settings)
    except SettingsInvalid as error:
        return [Finding("providers", False, error.message, error.remedy)]
    findings = []
    for name, entry in known.items():
        ok = entry.credential is not None
        missing = "" if ok else f"Set COSTPLUS_PROVIDERS__{name.upper()}__API_KEY, or another credential."
        findings.append(Finding(f"provider {name}", ok, entry.base_url, missing))
    return findings


def _prices(settings: Settings) -> list[Finding]:
    def look(tx: Tx) -> tuple[Freshness, Counter[str]]:
        statuses = Counter[str](change.status for change in every(tx, PriceChange) if change.is_open)
        at, followed = bootstrap.real_now(), settings.prices.followed
        return freshness_of(tx, catalogue_of(tx), followed=followed, at=at), statuses

    try:
        fresh, statuses = asyncio.run(database.look_at(settings, look))
    except BillingError as error:
        return [Finding("prices", False, error.message, error.remedy)]
    return [_age(fresh), _sources(fresh), _open_changes(statuses)]


def _age(fresh: Freshness) -> Finding:
    old = fresh.age_days > PRICES_OLD_DAYS
    found = f"snapshot of {fresh.taken_on}, {fresh.snapshot_age_days} days old"
    if fresh.age_days != fresh.snapshot_age_days:
        found += f"; heard of last {fresh.age_days} days ago"
    remedy = "Prices change: run `costplus prices sync`, or install a newer release." if old else ""
    return Finding("prices", not old, found, remedy)


def _sources(fresh: Freshness) -> Finding:
    followed = [source for source in fresh.sources if source.is_followed]
    wrong = [source for source in followed if source.status in ("stale", "rejected")]
    told = ", ".join(f"{source.name} {source.status.replace('_', ' ')}" for source in followed)
    remedy = "See why with `costplus prices sources`." if wrong else ""
    return Finding("price sources", not wrong, told or "none is followed", remedy)


def _open_changes(statuses: Counter[str]) -> Finding:
    told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    remedy = "Decide about them: `costplus prices diff` says why they wait." if statuses["held"] else ""
    return Finding("price changes", True, told or "none is open", remedy)


def _parked(settings: Settings) -> list[Finding]:
    path = settings.data_path / "parked-usage.jsonl"
    if not path.exists():
        return [Finding("parked usage", True, "none")]
    lines = len(path.read_bytes().splitlines())
    return [Finding("parked usage", False, f"{lines} events in {path}", "Read why in the file's lines.")]
