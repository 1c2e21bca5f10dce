"""A gateway reads its settings again on SIGHUP: no call fails, and what cannot be used changes nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

DOLLAR = 10**9


@pytest.fixture
def other_provider(calls: Any, tmp_path: Path) -> Iterator[Any]:
    """Run a second simulated provider."""
    with calls.started("dev-provider", "--port", "0", folder=tmp_path / "other") as process:
        yield process


def settings_text(provider_url: str, *, openai: bool = True, level: str = "info", **gateway: Any) -> str:
    lines = [f'log_level = "{level}"', "[gateway]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in gateway.items()]
    if openai:
        lines += ["[providers.openai]", f'base_url = "{provider_url}"', 'api_key = "sk-one"']
    return "\n".join(lines)


class Installation:
    """A gateway that is set up by a file."""

    def __init__(self, gateway: Any, file: Path, calls: Any) -> None:
        self.gateway = gateway
        self._file = file
        self._until = calls.until

    def log(self, event: str) -> list[dict[str, Any]]:
        text = (self.gateway.folder / "stderr.log").read_text()
        return [entry for line in text.splitlines() if (entry := json.loads(line))["event"] == event]

    def reload(self, text: str, *, says: str = "reloaded") -> dict[str, Any]:
        """Write the file, send the signal; return the log's line once it is there."""
        count = len(self.log(says))
        self._file.write_text(text)
        self.gateway.process.popen.send_signal(signal.SIGHUP)
        lines = self._until(lambda: self.log(says)[count:], f"the log says {says}")
        found: dict[str, Any] = lines[0]
        return found


@pytest.fixture
def installation(calls: Any, provider: Any, tmp_path: Path) -> Iterator[Installation]:
    """Run a gateway on a settings file in its folder."""
    calls.seed(tmp_path, {"cus_1": 10 * DOLLAR})
    file = tmp_path / "costplus.toml"
    file.write_text(settings_text(provider.url))
    with calls.gateway_on(tmp_path, {"COSTPLUS_SECRET_KEY": calls.merchant_key}) as gateway:
        yield Installation(gateway, file, calls)


def asked(provider: Any) -> int:
    stats = httpx2.get(f"{provider.url}/_sim/stats", trust_env=False).json()
    return sum(stats["requests"].values())


def test_new_calls_go_to_the_new_address_and_those_under_way_end_at_the_old_one(
    installation: Installation, provider: Any, other_provider: Any, calls: Any
) -> None:
    gateway, before = installation.gateway, asked(provider)
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(gateway.chat, "[[tokens=5]] [[latency=1500]]", "cus_1")
        calls.until(lambda: asked(provider) == before + 1, "the provider has the call")
        said = installation.reload(settings_text(other_provider.url))
        assert said["settings"] == ["providers"]
        assert gateway.chat("[[tokens=6]]", "cus_1").status_code == 200
        assert (asked(provider), asked(other_provider)) == (before + 1, 1)
        assert slow.result().status_code == 200
    assert gateway.process.end() == 0
    assert sorted(call.quantities["output"] for call in gateway.books.of("cus_1")) == [5, 6]


def test_a_provider_that_was_taken_out_is_gone_and_comes_back(
    installation: Installation, provider: Any
) -> None:
    installation.reload(settings_text(provider.url, openai=False))
    refused = installation.gateway.chat("[[tokens=5]]", "cus_1")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "provider_not_configured")
    installation.reload(settings_text(provider.url))
    assert installation.gateway.chat("[[tokens=5]]", "cus_1").status_code == 200


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("log_level = [", "is not valid TOML"),
        ("nonsense = 1", "nonsense"),
        ("[gateway]\ncalls_max = 0", "gateway.calls_max"),
        ("[providers.mine]\napi_key = 'k'", "providers.mine.base_url"),
        ("[providers.openai]\nbase_url = 'ftp://x'", "ftp://x"),
    ],
)
def test_settings_that_cannot_be_used_change_nothing_and_are_explained(
    installation: Installation, text: str, wrong: str
) -> None:
    said = installation.reload(text, says="reload_refused")
    assert said["code"] == "settings_invalid" and wrong in said["message"]
    assert installation.gateway.chat("[[tokens=5]]", "cus_1").status_code == 200


def test_limits_and_the_logs_level_change_at_once_and_what_needs_a_restart_is_named(
    installation: Installation, provider: Any, calls: Any
) -> None:
    gateway = installation.gateway
    text = settings_text(provider.url, body_bytes_max=300, money_headers=False, log_calls="all")
    said = installation.reload(f"port = 4\n{text}")
    assert said["settings"] == ["gateway"]  # The port is a flag's.
    answer = gateway.chat("[[tokens=5]]", "cus_1")
    assert answer.status_code == 200 and "costplus-charged" not in answer.headers
    assert gateway.chat("x" * 300, "cus_1").status_code == 413
    calls.until(lambda: len(installation.log("call")) == 2, "both calls are in the log")
    said = installation.reload(f"database = 'memory:'\n{text}", says="restart_needed")
    assert said["settings"] == ["database"]
