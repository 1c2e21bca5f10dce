"""`make verify-gateway`: recordings go through a running gateway as they are, or it says which do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
CHAT = {
    "id": "r1",
    "provider": "openai",
    "host": "api.openai.com",
    "method": "POST",
    "path": "/v1/chat/completions",
    "model": "gpt-4o-mini",
    "stream": False,
    "request": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]},
    "status": 200,
    "content_type": "application/json",
    "response": {
        "id": "c1",
        "model": "gpt-4o-mini",
        "choices": [{"message": {"content": "Hi"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    },
}


def verified(file: Path, *more: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "verify_gateway.py"), str(file), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_every_recording_is_served_and_metered_as_it_is(shared_data: Path) -> None:
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    status, said = verified(file, "--verbose")
    assert status == 0, said
    assert "0 faults" in said


def test_what_is_served_otherwise_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    unfit: dict[str, Any] = {**CHAT, "id": "r2", "request": {"model": "gpt-4o-mini", "max_tokens": "many"}}
    file.write_text(f"{json.dumps(CHAT)}\n{json.dumps(unfit)}\n", "utf-8")
    status, said = verified(file)
    assert status == 1
    assert "FAULT r2" in said
    assert "1 faults" in said
