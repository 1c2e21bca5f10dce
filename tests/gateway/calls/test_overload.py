"""Over its limits a process refuses at once, in the caller's dialect, and holds nothing for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

DOLLAR = 10**9


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_calls_beyond_the_process_limit_are_refused_and_may_come_back(
    path: str, calls: Any, provider: Any, provider_calls: Callable[[], int], tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    environ = calls.environment(provider.url, calls_max=2)
    with calls.gateway_on(tmp_path, environ) as gateway, ThreadPoolExecutor() as threads:
        asked = provider_calls()
        slow = [threads.submit(gateway.chat, "[[tokens=5]] [[latency=1500]]", "cus_1") for _ in range(2)]
        calls.until(lambda: provider_calls() == asked + 2, "the provider has both calls")
        refused = gateway.post(path, {"model": "any"}, "cus_1")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "gateway_busy")
        assert refused.headers["retry-after"] == "1"
        assert [call.result().status_code for call in slow] == [200, 200]
        assert gateway.chat("[[tokens=5]]", "cus_1").status_code == 200


def test_calls_to_one_provider_wait_in_line_and_only_so_many(
    calls: Any, provider: Any, provider_calls: Callable[[], int], tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    environ = calls.environment(provider.url) | {
        "COSTPLUS_PROVIDERS__OPENAI__CONNECTIONS_MAX": "1",
        "COSTPLUS_PROVIDERS__OPENAI__WAITING_MAX": "1",
    }
    with calls.gateway_on(tmp_path, environ) as gateway, ThreadPoolExecutor() as threads:
        metrics = {"authorization": f"Bearer {calls.merchant_key}"}

        def waiting() -> bool:
            page = gateway.http.get("/metrics", headers=metrics).text
            return 'costplus_upstream_connections{provider="openai",state="waiting"} 1.0' in page

        asked = provider_calls()
        first = threads.submit(gateway.chat, "[[tokens=5]] [[latency=1500]]", "cus_1")
        calls.until(lambda: provider_calls() == asked + 1, "the provider has the call")
        second = threads.submit(gateway.chat, "[[tokens=6]]", "cus_1")
        calls.until(waiting, "the second call waits")
        refused = gateway.chat("[[tokens=7]]", "cus_1")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_overloaded")
        assert gateway.messages("[[tokens=8]]", "cus_1").status_code == 200  # Another provider is free.
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert gateway.process.end() == 0
    booked = gateway.books.of("cus_1")
    assert sorted(call.quantities["output"] for call in booked) == [5, 6, 8]
    assert gateway.books.held_nano() == 0


def test_a_call_that_waits_too_long_for_its_provider_is_refused(
    calls: Any, provider: Any, provider_calls: Callable[[], int], tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    environ = calls.environment(provider.url) | {
        "COSTPLUS_PROVIDERS__OPENAI__CONNECTIONS_MAX": "1",
        "COSTPLUS_PROVIDERS__OPENAI__WAIT_TIMEOUT_S": "1",
    }
    with calls.gateway_on(tmp_path, environ) as gateway, ThreadPoolExecutor() as threads:
        asked = provider_calls()
        first = threads.submit(gateway.chat, "[[tokens=5]] [[latency=4000]]", "cus_1")
        calls.until(lambda: provider_calls() == asked + 1, "the provider has the call")
        refused = gateway.chat("[[tokens=6]]", "cus_1")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_overloaded")
        assert first.result().status_code == 200
