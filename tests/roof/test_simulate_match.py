"""`costplus simulate` and `costplus match` on a database file with usage in it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from costplus.billing.customer import Customer
from costplus.billing.report import report
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.cli import main
from costplus.core.usage import Usage
from costplus.metering.event import usage_event
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import adjustment
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
WINDOW = ("--start", "2026-11-01", "--end", "2026-11-20T00:00:00Z")
MINI = "openai/gpt-4o-mini"


USED = [("cus_1", 10**6, "gpt-4o-mini", AT), ("cus_2", 2 * 10**6, "gpt-4o-mini", AT)]
USED += [("cus_1", 10**6, "gpt-99", AT + timedelta(days=10))]  # It has no price.


def fill(tx: Tx) -> None:
    """Set up at 30 % markup; two customers use tokens."""
    tx.save(Customer(id="cus_1", created=AT))
    tx.save(Customer(id="cus_2", created=AT))
    request = SetUpRequest(
        plan_name="AI",
        models=(),
        default=adjustment("markup", Decimal(30)),
        price_tracking="disabled",
        fee_minor=0,
        credit_minor=0,
    )
    set_up(tx, request, at=AT)
    events = [
        usage_event(
            customer=customer,
            at=at,
            key=model,
            usage=Usage({"input": tokens}),
            source="meter_events_v2",
            provider="openai",
            model=model,
        )
        for customer, tokens, model, at in USED
    ]
    report(tx, Pricing(bundled_catalogue()), events, at=AT)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a database file with two charged events."""
    path = tmp_path / "costplus.db"

    async def make() -> None:
        store = await SqliteStore.open(path)
        try:
            await store.write(fill)
        finally:
            await store.close()

    asyncio.run(make())
    return path


def run(database: Path, *arguments: str, stdin: str | None = None) -> Result:
    env = {"COSTPLUS_DATABASE_URL": f"sqlite:///{database}"}
    return CliRunner().invoke(main, arguments, env=env, input=stdin)


def one(result: Result) -> dict[str, Any]:
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_another_markup_is_compared_with_what_was_charged(database: Path) -> None:
    made = one(run(database, "simulate", *WINDOW, "--markup", "50", "--json"))
    assert made["totals"]["revenue"] == {"now": "0.585", "then": "0.675", "change": "0.09"}
    assert [part["customer"] for part in made["by_customer"]["data"]] == ["cus_2", "cus_1"]
    shown = run(database, "simulate", *WINDOW, "--markup", "50").stdout
    total = next(line.split() for line in shown.splitlines() if line.startswith("total"))
    assert total == ["total", "2", "0.585", "0.675", "0.45", "0.45", "23.07", "33.33"]


def test_everything_can_be_supposed_together(database: Path) -> None:
    options = ["--margin", "50", "--model-markup", f"{MINI}=10", "--price", f"{MINI}:input=0.2"]
    options += ["--price-factor", f"{MINI}=3", "--customer", "cus_1", "--pass-on"]
    totals = one(run(database, "simulate", *WINDOW, *options, "--json"))["totals"]
    assert (totals["events"], totals["cost"]["then"], totals["revenue"]["then"]) == (1, "0.2", "0.22")


def test_another_card_by_its_id_or_a_versions(database: Path) -> None:
    version = one(run(database, "match", MINI, "--json"))["rate_card_version"]
    assert one(run(database, "simulate", *WINDOW, "--card", version, "--json"))["totals"]["events"] == 2
    assert run(database, "simulate", *WINDOW, "--card", "rcd_none").exit_code == 2


def test_usage_without_a_price_is_told_and_what_a_price_would_bring(database: Path) -> None:
    day = ("--start", "2026-11-20", "--end", "2026-11-21")
    shown = run(database, "simulate", *day).stdout
    assert "Events without a price: 1 → 1 (0 would have one)." in shown
    assert "Not rated: 1 events (model_unpriced)." in shown
    shown = run(database, "simulate", *day, "--price", "openai/gpt-99:input=1").stdout
    assert "Events without a price: 1 → 0 (1 would have one)." in shown
    assert "1.3" in shown.split()


WRONG = [
    ("--price", f"{MINI}=1", "option_invalid"),
    ("--price", "nonsense", "option_invalid"),
    ("--price-factor", f"{MINI}=x", "amount_invalid"),
    ("--price-factor", "openai/none=2", "simulation_name_unknown"),
    ("--model-markup", "=3", "option_invalid"),
    ("--customer", "cus_none", "resource_missing"),
    ("--end", "2026-10-01", "option_invalid"),
    ("--end", "yesterday", "parameter_invalid_time"),
]


@pytest.mark.parametrize(("option", "value", "code"), WRONG)
def test_what_cannot_be_supposed_ends_with_two_and_says_why(
    database: Path, option: str, value: str, code: str
) -> None:
    result = run(database, "simulate", *WINDOW, "--margin", "10", option, value)
    assert result.exit_code == 2 and f"[{code}]" in result.stderr


def test_markup_and_margin_exclude_each_other(database: Path) -> None:
    result = run(database, "simulate", "--markup", "1", "--margin", "1")
    assert result.exit_code == 2 and "[option_invalid]" in result.stderr


def test_without_a_database_there_is_nothing_to_simulate(tmp_path: Path) -> None:
    result = run(tmp_path / "none.db", "simulate")
    assert result.exit_code == 3 and "[database_missing]" in result.stderr
    assert not (tmp_path / "none.db").exists()


def test_a_program_reads_the_simulation_of_a_real_process(database: Path) -> None:
    env = {**os.environ, "COSTPLUS_DATABASE_URL": f"sqlite:///{database}"}
    command = [sys.executable, "-m", "costplus", "simulate", *WINDOW, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=env)
    assert json.loads(done.stdout)["totals"]["revenue"] == {"now": "0.585", "then": "0.585", "change": "0"}
    assert done.stderr == ""


CHAT = '{"prompt_tokens": 1000, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 100}}'
CLAUDE = '{"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 7}'
GEMINI = '{"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}'
CONVERSE = '{"inputTokens": 10, "outputTokens": 7, "totalTokens": 17}'
STREAM = f'data: {{"choices": [], "usage": {CHAT}}}\n\ndata: [DONE]\n\n'
BLOCKS = [
    (MINI, "openai_chat", CHAT, {"input": 900, "cached_input": 100, "output": 20}),
    (
        MINI,
        "openai_chat",
        f'{{"model": "x", "usage": {CHAT}}}',
        {"input": 900, "cached_input": 100, "output": 20},
    ),
    (MINI, "openai_chat", STREAM, {"input": 900, "cached_input": 100, "output": 20}),
    (
        "openai/gpt-5",
        "openai_responses",
        '{"input_tokens": 10, "output_tokens": 7}',
        {"input": 10, "output": 7},
    ),
    (
        "anthropic/claude-sonnet-4-5",
        "anthropic_messages",
        CLAUDE,
        {"input": 10, "cached_input": 5, "output": 7},
    ),
    ("google/gemini-2.5-pro", "gemini_generate", GEMINI, {"input": 10, "output": 7}),
    ("anthropic/claude-sonnet-4-5", "bedrock_converse", CONVERSE, {"input": 10, "output": 7}),
    (MINI, "", '{"input": 10, "output": 7}', {"input": 10, "output": 7}),
]


@pytest.mark.parametrize(("model", "wire", "block", "expected"), BLOCKS)
def test_a_usage_block_is_read_by_its_wire(
    database: Path, model: str, wire: str, block: str, expected: dict[str, int]
) -> None:
    options = ["--wire", wire] if wire else []
    found = one(run(database, "match", model, "--usage", "-", *options, "--json", stdin=block))
    assert {step["leaf"]: step["quantity"] for step in found["charge"]["steps"]} == expected
    assert found["matched"] and found["rate_card_version"].startswith("rcv_")


def test_the_tier_that_served_is_read_too(database: Path) -> None:
    block = f'{{"service_tier": "priority", "usage": {CHAT}}}'
    found = one(run(database, "match", MINI, "--usage", "-", "--wire", "openai_chat", "--json", stdin=block))
    assert found["conditions"] == ["service_tier=priority"]


def test_a_match_is_told_in_lines(database: Path) -> None:
    block = '{"input": 10, "reasoning": 7}'
    result = run(
        database,
        "match",
        " OpenAI/gpt-4o-mini-2024-07-18",
        "--usage",
        "-",
        "--customer",
        "cus_1",
        stdin=block,
    )
    assert result.exit_code == 0
    for part in (
        f"→ {MINI}",
        "alias: ",
        "price pv_",
        "source: ",
        "markup 30%",
        "priced as output",
        "costs 0.0",
    ):
        assert part in result.stdout, part


def test_a_name_without_a_price_ends_with_one_and_says_why(database: Path) -> None:
    result = run(database, "match", "openai/gpt-99")
    assert result.exit_code == 1 and "[model_unpriced]" in result.stdout
    result = run(database, "match", "gpt-4o-mini", "--json")
    assert result.exit_code == 1 and MINI in json.loads(result.stdout)["candidates"]


def test_without_a_database_a_match_is_at_cost(tmp_path: Path) -> None:
    found = one(run(tmp_path / "none.db", "match", "gpt-4o-mini", "--provider", "openai", "--json"))
    assert found["rate_card_version"] is None
    assert all(rate["unit_cost"] == rate["unit_price"] for rate in found["rates"])
    assert run(tmp_path / "none.db", "match", MINI, "--customer", "cus_1").exit_code == 3


UNREADABLE = [
    ("openai_chat", "{}"),
    ("openai_chat", "no"),
    ("morse", CHAT),
    ("", CHAT),
    ("", '{"input": -1}'),
]


@pytest.mark.parametrize(("wire", "block"), UNREADABLE)
def test_a_block_that_cannot_be_read_ends_with_two(database: Path, wire: str, block: str) -> None:
    options = ["--wire", wire] if wire else []
    result = run(database, "match", MINI, "--usage", "-", *options, stdin=block)
    assert result.exit_code == 2 and "[usage_unreadable]" in result.stderr


def test_the_price_in_force_is_the_one_at_the_time(database: Path) -> None:
    then = one(run(database, "match", MINI, "--at", "2026-10-01", "--json"))
    now = one(run(database, "match", MINI, "--at", "2026-11-01", "--json"))
    assert then["price_version"]["id"] != now["price_version"]["id"]
    assert then["price_version"]["valid_to"] is not None
