"""`make verify-usage`: every exchange is accounted for, or the command fails and says which."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CHAT = {"provider": "openai", "host": "api.openai.com", "path": "/v1/chat/completions"}


def run(file: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "verify_usage.py"), str(file), "--verbose"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    return done.returncode, done.stdout + done.stderr


def verified(tmp_path: Path, *rows: Any) -> tuple[int, str]:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8"
    )
    return run(file)


def row(response: Any, /, **other: Any) -> dict[str, Any]:
    kind = "text/event-stream" if isinstance(response, str) else "application/json"
    found = {"id": "r1", "method": "POST", "model": "gpt-4o-mini", "status": 200, "content_type": kind}
    return {**CHAT, **found, "response": response, **other}


def answer(usage: Any, /, model: str = "gpt-4o-mini", **other: Any) -> dict[str, Any]:
    return {"id": "c", "model": model, "choices": [], "created": 1_780_000_000, "usage": usage, **other}


def block(prompt: int = 10, completion: int = 5, total: int = 15, **other: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **other}


EXPLAINED = [
    ("a plain call", row(answer(block())), "at zero markup, exactly"),
    (
        "an unknown host",
        row(answer(block()), provider="nobody", host="llm.example"),
        "1  unknown wire",
    ),
    ("an unknown path", row({}, path="/v1/models"), "1  unknown wire"),
    ("a host without a provider", row(answer(block()), provider=None), "at zero markup, exactly"),
    ("a refusal", row({"error": {"code": "x"}}, status=429), "the provider refused (429)"),
    ("no usage", row(answer(None)), "the provider sent no usage block"),
    ("a stream cut short", row('data: {"model":"m","choices":[]}\n\n'), "the stream ended before its usage"),
    ("an unpriced model", row(answer(block(), "no-such-model")), "model not in the catalogue"),
    ("hidden thinking", row(answer(block(10, 5, 40))), "output that only the total counts"),
    ("a low total", row(answer(block(10, 5, 14))), "the stated total is below its own parts"),
    (
        "a damaged frame",
        row(
            base64.b64encode(b"\x00" * 40).decode(),
            provider="bedrock",
            path="/model/m/converse-stream",
            content_type="application/vnd.amazon.eventstream",
        ),
        "the stream ended before its usage",
    ),
    (
        "another rate",
        row(
            answer(
                block(1_000, 100, 1_100, cost=0.0005)
                | {
                    "cost_details": {
                        "upstream_inference_prompt_cost": 0.0003,
                        "upstream_inference_completions_cost": 0.0002,
                    }
                },
                "openai/gpt-4o-mini",
            ),
            provider="openrouter",
        ),
        "the provider charged another rate",
    ),
    (
        "the same cost",
        row(answer(block(1_000, 100, 1_100, cost=2.1e-4), "openai/gpt-4o-mini"), provider="openrouter"),
        "to the last digit",
    ),
]


@pytest.mark.parametrize(("exchange", "says"), [pytest.param(r, s, id=i) for i, r, s in EXPLAINED])
def test_what_a_general_rule_explains_passes(tmp_path: Path, exchange: Any, says: str) -> None:
    status, output = verified(tmp_path, exchange)
    assert says in output
    assert status == 0, output


UNEXPLAINED = [
    ("no exchange", "{", "the line holds no exchange"),
    ("an unreadable block", row(answer({"prompt_tokens": "10"})), "its usage block was not understood"),
    (
        "usage where no reader looks",
        row({"id": "c", "choices": [], "result": {"usage": {"prompt_tokens": 1}}}),
        "its usage block was not understood",
    ),
    (
        "a cost out of nowhere",
        row(answer(block(1_000, 100, 1_100, cost=0.7), "openai/gpt-4o-mini"), provider="openrouter"),
        "reported 0.7",
    ),
    (
        "a rate that no tokens give",
        row(
            answer(
                block(1_000, 100, 1_100, cost=0.0005)
                | {
                    "cost_details": {
                        "upstream_inference_prompt_cost": 0.00029999999,
                        "upstream_inference_completions_cost": 0.00020000001,
                    }
                },
                "openai/gpt-4o-mini",
            ),
            provider="openrouter",
        ),
        "reported 0.0005",
    ),
]


@pytest.mark.parametrize(("exchange", "says"), [pytest.param(r, s, id=i) for i, r, s in UNEXPLAINED])
def test_what_nothing_explains_fails_and_is_named(tmp_path: Path, exchange: Any, says: str) -> None:
    status, output = verified(tmp_path, row(answer(block())), exchange)
    assert says in output
    assert status == 1, output


def test_an_empty_recording_proves_nothing(tmp_path: Path) -> None:
    assert verified(tmp_path)[0] == 1


def test_every_shared_capture_is_accounted_for(shared_data: Path) -> None:
    recorded = shared_data / "captures.jsonl.gz"
    if not recorded.exists():
        pytest.skip("captures.jsonl.gz is absent")
    status, output = run(recorded)
    print(f"\n{output}")  # noqa: T201 — the figures are what a reader of the log wants.
    assert status == 0, output[-2_000:]
