"""The command line: exit codes, JSON, and what doctor finds."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from costplus.cli import main


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env=env)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "command", ["serve", "dev-provider", "doctor", "admin-link", "demo", "simulate", "match"]
)
def test_every_command_has_help_and_json(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_a_wrong_option_ends_with_two() -> None:
    assert run("serve", "--prot", "1").exit_code == 2


def test_settings_that_cannot_be_used_end_with_two_and_say_why() -> None:
    result = run("doctor", env={"COSTPLUS_PROT": "1"})
    assert result.exit_code == 2
    assert "settings_invalid" in result.stderr


def test_doctor_says_what_to_do_on_a_new_installation(tmp_path: Path) -> None:
    result = run("doctor", "--data-dir", str(tmp_path / "new"), "--json")
    found = {line["check"]: line for line in lines(result)}
    assert result.exit_code == 1
    assert not found["providers"]["ok"]
    assert "COSTPLUS_PROVIDERS__OPENAI__API_KEY" in found["providers"]["remedy"]
    assert found["prices"]["found"].startswith("snapshot of 2026-")
    assert found["price sources"]["found"] == "none is followed"
    assert found["price changes"]["found"] == "none is open"
    assert not (tmp_path / "new").exists()  # Looking changes nothing.


def test_doctor_names_parked_usage(tmp_path: Path) -> None:
    (tmp_path / "parked-usage.jsonl").write_text('{"code":"x"}\n')
    env = {"COSTPLUS_PROVIDERS__OPENAI__API_KEY": "k", "COSTPLUS_DATABASE_URL": "memory:"}
    found = {
        line["check"]: line for line in lines(run("doctor", "--data-dir", str(tmp_path), "--json", env=env))
    }
    assert found["provider openai"]["ok"]
    assert not found["parked usage"]["ok"]
    assert not found["pricing"]["ok"]


def test_an_admin_link_carries_the_servers_url(tmp_path: Path) -> None:
    result = run("admin-link", "--data-dir", str(tmp_path), "--url", "https://b.example/", "--json")
    assert lines(result)[0]["url"].startswith("https://b.example/admin/login?token=")
    assert (tmp_path / "link.key").stat().st_mode & 0o077 == 0


def test_a_database_that_is_not_supported_ends_with_three(tmp_path: Path) -> None:
    result = run("serve", "--data-dir", str(tmp_path), "--port", "0", "--database", "mysql://x")
    assert result.exit_code == 3
    assert "mysql://x" in result.stderr


def test_a_port_that_is_taken_ends_with_three(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        result = run("serve", "--data-dir", str(tmp_path), "--port", port)
    assert result.exit_code == 3
    assert "port_taken" in result.stderr


@pytest.mark.e2e
def test_the_demo_bills_its_calls_exactly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "costplus", "demo", "--once", "--json", "--port", "0", "--calls", "3"]
    done = subprocess.run(
        [*command, "--data-dir", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    calls = [event for event in events if event["event"] == "call"]
    assert [call["status"] for call in calls] == [200, 200, 200]
    spent = next(event["spent"] for event in events if event["event"] == "balance")
    assert sum(nanos(call["charged"]) for call in calls) == nanos(spent)


def nanos(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0") or 0)
