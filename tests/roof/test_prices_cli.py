"""`costplus prices` on a real database file, with price lists on a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from costplus.cli import main
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

MINI = "openai/gpt-4o-mini"  # 0.15 and 0.6 dollars per million.
COST = {"input": "0.15", "output": "0.6"}


@dataclass
class Lists:
    """Price lists that say what a test lets them say; a missing one is a 404, which is not asked again."""

    url: str = ""
    documents: dict[str, Any] = field(default_factory=dict)

    def say(self, **cost: str) -> None:
        """Let both lists state these prices of gpt-4o-mini per million."""
        rates = {"input_cost_per_token": cost["input"], "output_cost_per_token": cost["output"]}
        entry = {name: float(f"{amount}e-6") for name, amount in rates.items()}
        self.documents["/litellm"] = {"gpt-4o-mini": {"litellm_provider": "openai", "mode": "chat", **entry}}
        listed = {name: float(amount) for name, amount in cost.items()}
        self.documents["/models.dev"] = {"openai": {"models": {"gpt-4o-mini": {"cost": listed}}}}


@pytest.fixture
def lists() -> Iterator[Lists]:
    served = Lists()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.documents.get(self.path)
            body = b"" if found is None else json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def env(tmp_path: Path, lists: Lists) -> dict[str, str]:
    """The settings of an installation with an empty database that follows the two lists."""

    async def make() -> None:
        await (await SqliteStore.open(tmp_path / "costplus.db")).close()

    asyncio.run(make())
    return {
        "COSTPLUS_DATA_DIR": str(tmp_path),
        "COSTPLUS_PRICES__SYNC": "true",
        "COSTPLUS_PRICES__SOURCES__GENAI_PRICES__ENABLED": "false",
        "COSTPLUS_PRICES__SOURCES__LITELLM__URL": f"{lists.url}/litellm",
        "COSTPLUS_PRICES__SOURCES__MODELS_DEV__URL": f"{lists.url}/models.dev",
    }


Run = Callable[..., Result]


@pytest.fixture
def run(env: dict[str, str]) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ("prices", *arguments), env=env)

    return invoke


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def one(result: Result) -> dict[str, Any]:
    (found,) = objects(result)
    return found


def list_price(run: Run, name: str = MINI, *options: str) -> dict[str, str]:
    version = one(run("show", name, *options, "--json"))["price_version"]
    return {c["token_type"]: c["usd_per_million"] for c in version["components"] if not c["conditions"]}


def synced(run: Run, lists: Lists, **cost: str) -> list[dict[str, Any]]:
    """Synchronise with what the lists say now; return the changes."""
    lists.say(**(COST | cost))
    return [entry["change"] for entry in objects(run("sync", "--json")) if entry["event"] == "change"]


def held(run: Run, lists: Lists) -> str:
    """Let the lists raise a price tenfold; return the change that waits for a person."""
    synced(run, lists)
    (change,) = synced(run, lists, input="1.5")
    assert change["status"] == "held"
    return str(change["id"])


def test_two_sources_that_agree_change_the_price(run: Run, lists: Lists) -> None:
    assert synced(run, lists) == []
    (change,) = synced(run, lists, input="0.2")
    assert (change["status"], change["reasons"]) == ("applied", ["two_sources_agree"])
    assert {said["source"] for said in change["changes"][0]["said_by"]} == {"litellm", "models.dev"}
    assert list_price(run)["input"] == "0.2"
    lists.say(**(COST | {"input": "0.25"}))
    shown = run("sync").stdout.splitlines()
    assert any("input: 0.2 → 0.25 (+25.00 %)" in line for line in shown)
    assert "1 applied" in shown
    assert run("sync").stdout.splitlines()[-2] == "No price changed."


def test_a_source_that_is_away_is_told_and_the_others_count(run: Run, lists: Lists) -> None:
    synced(run, lists)
    del lists.documents["/litellm"]
    result = run("sync")
    assert result.exit_code == 0
    assert "litellm" in result.stderr and "unavailable" in result.stderr and "404" in result.stderr
    assert "models.dev" in result.stdout and "heard since: litellm" in result.stdout
    found = {entry["id"]: entry for entry in objects(run("sources", "--json"))}
    assert (found["litellm"]["status"], found["litellm"]["enabled"]) == ("unavailable", True)
    assert (found["models.dev"]["status"], found["models.dev"]["models"]) == ("ok", 1)
    assert found["genai-prices"]["status"] == "never_asked"
    assert "HTTP 404" in run("sources").stdout


def test_offline_the_age_of_the_prices_in_use_is_told(run: Run) -> None:
    result = run("sync")
    assert result.exit_code == 3
    assert "[price_sources_unreachable]" in result.stderr
    assert "Prices in use: snapshot of 2026-11-" in result.stdout and "heard since: nothing" in result.stdout


def test_a_document_that_is_not_believed_passes_when_a_person_accepts_it(run: Run, lists: Lists) -> None:
    lists.say(**COST)
    models = lists.documents["/models.dev"]["openai"]["models"]
    models["gpt-4o"] = {"cost": {"input": 2.5, "output": 10}}
    assert run("sync").exit_code == 0
    del models["gpt-4o"]
    refused = run("sync")
    assert refused.exit_code == 0 and "more than a fifth of its models are gone" in refused.stderr
    accepted = run("sync", "--accept", "models.dev")
    assert accepted.exit_code == 0 and accepted.stderr == ""


def test_a_held_change_is_explained_and_approved(run: Run, lists: Lists) -> None:
    id = held(run, lists)
    shown = run("diff").stdout
    assert "input: 0.15 → 1.5 (+900.00 %)" in shown and "litellm says 1.5" in shown
    assert "ratio_10x: A price becomes ten times higher or lower" in shown
    assert [change["id"] for change in objects(run("diff", "--provider", "openai", "--json"))] == [id]
    assert run("diff", "--model", "gpt-4o").stdout == "No price change is open.\n"
    assert id in run("show", MINI).stdout
    done = one(run("approve", id, "--note", "the vendor says so", "--json"))
    assert (done["status"], done["decided_by"]) == ("applied", "command line")
    assert list_price(run)["input"] == "1.5"
    again = run("approve", id)
    assert again.exit_code == 2 and "[price_change_not_open]" in again.stderr


def test_a_rejected_change_does_not_come_back(run: Run, lists: Lists) -> None:
    id = held(run, lists)
    assert "rejected" in run("reject", id, "--note", "a unit error").stdout
    assert synced(run, lists, input="1.5") == []
    assert list_price(run)["input"] == "0.15"


def test_of_several_ids_all_are_decided_or_none(run: Run, lists: Lists) -> None:
    id = held(run, lists)
    result = run("reject", id, "pchg_none")
    assert result.exit_code == 2 and "[resource_missing]" in result.stderr
    assert [change["id"] for change in objects(run("diff", "--json"))] == [id]


def test_an_override_wins_until_it_is_undone_and_history_tells_it(run: Run) -> None:
    made = run("override", MINI, "input=0.2", "output@processing=batch=0.25", "--note", "our contract")
    assert made.exit_code == 0 and "input: 0.15 → 0.2 (+33.33 %)" in made.stdout
    shown = run("show", MINI).stdout
    assert "input: 0.2\n" in shown and "output [processing=batch]: 0.25" in shown and "override" in shown
    assert list_price(run, MINI, "--at", "2026-11-01")["input"] == "0.15"
    (change,) = [o for o in objects(run("history", MINI, "--json")) if o["object"].endswith("change")]
    assert change["note"] == "our contract"
    assert "note: our contract" in run("history", MINI).stdout
    assert run("undo", change["id"]).exit_code == 0
    assert list_price(run)["input"] == "0.15"


def test_an_override_has_its_days(run: Run) -> None:
    options = ("--from", "2027-01-01", "--until", "2027-02-01")
    assert run("override", MINI, "input=0.1", *options).exit_code == 0
    days = {"2026-12-31": "0.15", "2027-01-01": "0.1", "2027-02-01": "0.15"}
    assert {day: list_price(run, MINI, "--at", day)["input"] for day in days} == days


def test_a_new_models_first_price(run: Run) -> None:
    assert run("override", "vllm/our/llama", "input=0.05", "--new-model").exit_code == 0
    assert list_price(run, "vllm/our/llama") == {"input": "0.05"}


def test_names_are_declared_taken_back_and_redirected(run: Run) -> None:
    assert run("alias", "azure/Our-Deployment", "gpt-4o").exit_code == 0
    assert one(run("show", "azure/our-deployment", "--json"))["model"] == "gpt-4o"
    assert "name: Our-Deployment" in run("show", "azure/gpt-4o").stdout
    assert "no longer means" in run("alias", "azure/our-deployment", "--remove").stdout
    assert run("show", "azure/our-deployment").exit_code == 2
    assert run("redirect", MINI, "gpt-4o", "--since", "2026-11-20").exit_code == 0
    assert list_price(run)["input"] == list_price(run, "openai/gpt-4o")["input"]


def checks(env: dict[str, str]) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(main, ["doctor", "--json"], env=env)
    return {line["check"]: line for line in map(json.loads, result.stdout.splitlines())}


def test_doctor_tells_sources_and_open_changes(run: Run, lists: Lists, env: dict[str, str]) -> None:
    assert checks(env)["price sources"]["found"] == "litellm never asked, models.dev never asked"
    held(run, lists)
    found = checks(env)
    assert found["prices"]["ok"] and "heard of last 0 days ago" in found["prices"]["found"]
    assert found["price sources"]["found"] == "litellm ok, models.dev ok"
    assert found["price changes"]["found"] == "1 held" and "prices diff" in found["price changes"]["remedy"]
    lists.documents["/litellm"] = []
    run("sync")
    found = checks(env)
    assert not found["price sources"]["ok"] and "litellm rejected" in found["price sources"]["found"]


WRONG = [
    (("override", MINI, "input"), "option_invalid"),
    (("override", MINI, "input=1", "input=2"), "option_invalid"),
    (("override", MINI, "inputs=1"), "price_invalid"),
    (("override", MINI, "input=-1"), "price_invalid"),
    (("override", MINI, "input=nan"), "amount_invalid"),
    (("override", MINI, "input=1", "--until", "2026-01-01"), "price_invalid"),
    (("override", MINI, "input=1", "--from", "soon"), "parameter_invalid_time"),
    (("override", "openai/gpt-4o-maxi", "input=1"), "price_missing"),
    (("override", "gpt-4o-mini", "input=1"), "option_invalid"),
    (("show", "openai/none"), "price_missing"),
    (("show", MINI, "--at", "soon"), "parameter_invalid_time"),
    (("history", "openai/"), "option_invalid"),
    (("undo", "pchg_none"), "resource_missing"),
    (("alias", "azure/x", "none"), "price_missing"),
    (("alias", "azure/x", "--remove"), "resource_missing"),
    (("redirect", MINI, "none"), "price_missing"),
    (("sync", "--accept", "vercel"), "option_invalid"),
]


@pytest.mark.parametrize(("arguments", "code"), WRONG)
def test_what_cannot_be_ends_with_two_and_says_why(run: Run, arguments: tuple[str, ...], code: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and f"[{code}]" in result.stderr, result.output


@pytest.mark.parametrize("arguments", [("alias", "azure/x"), ("alias", "azure/x", "y", "--remove")])
def test_an_alias_has_a_target_or_goes(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_nothing_to_follow_is_said(run: Run, env: dict[str, str]) -> None:
    env["COSTPLUS_PRICES__SYNC"] = "false"
    result = run("sync")
    assert result.exit_code == 2 and "[option_invalid]" in result.stderr


def test_without_a_database_prices_are_shown_and_none_is_written(tmp_path: Path) -> None:
    env = {"COSTPLUS_DATA_DIR": str(tmp_path / "none")}
    shown = CliRunner().invoke(main, ["prices", "show", MINI], env=env)
    assert shown.exit_code == 0 and "input: 0.15" in shown.stdout
    refused = CliRunner().invoke(main, ["prices", "override", MINI, "input=1"], env=env)
    assert refused.exit_code == 3 and "[database_missing]" in refused.stderr
    assert not (tmp_path / "none").exists()
