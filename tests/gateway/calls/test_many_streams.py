"""Hundreds of streams at once: every one arrives whole, is billed, and takes little memory."""

from __future__ import annotations

import asyncio
import json
import resource
from pathlib import Path
from typing import Any

import httpx2
import pytest

from costplus.gateway.upstream import UpstreamPool

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STREAMS, CHUNKS, CHUNK_MS = 600, 20, 100  # More than 512: what a pool of connections may well be limited to.
EACH_KB_MAX = 200


async def read_all(url: str, key: str, *, heard: list[int]) -> list[bytes]:
    """Read so many streams at once; return their bytes. `heard` counts those that have begun."""
    body = {
        "model": "gpt-4o-mini",
        "max_tokens": CHUNKS,
        "messages": [{"role": "user", "content": f"[[tokens={CHUNKS}]] [[chunk_ms={CHUNK_MS}]]"}],
        "stream": True,
    }
    headers = [("authorization", f"Bearer {key}"), ("x-stripe-customer-id", "cus_many")]
    pool = UpstreamPool(base_url=url, connections_max=STREAMS, connect_timeout_s=30)

    async def read() -> bytes:
        response = await pool.request(
            method="POST", path="/v1/chat/completions", headers=headers, body=json.dumps(body).encode()
        )
        assert response.status == 200
        heard.append(1)
        return b"".join([chunk async for chunk in response.chunks()])

    try:
        return await asyncio.gather(*(read() for _ in range(STREAMS)))
    finally:
        await pool.aclose()


def memory_kb(pid: int) -> int:
    """Return the most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_hundreds_of_streams_at_once_are_all_whole_and_all_billed(calls: Any, tmp_path: Path) -> None:
    calls.seed(tmp_path / "data", {"cus_many": 10**12})
    with (
        calls.started("dev-provider", "--port", "0", folder=tmp_path / "provider") as provider,
        calls.gateway_on(tmp_path / "data", calls.environment(provider.url)) as gateway,
    ):
        assert gateway.chat("warm up", "cus_many").status_code == 200
        before_kb = memory_kb(gateway.process.popen.pid)
        heard: list[int] = []
        bodies = asyncio.run(read_all(gateway.url, calls.merchant_key, heard=heard))
        grown_kb = memory_kb(gateway.process.popen.pid) - before_kb
        assert len(heard) == STREAMS
        assert all(body.endswith(b"\n\ndata: [DONE]\n\n") for body in bodies)
        calls.until(lambda: len(gateway.books.of("cus_many")) == STREAMS + 1, "all are settled")
        calls.until(lambda: gateway.books.held_nano() == 0, "nothing is held")
        stats = httpx2.get(f"{provider.url}/_sim/stats", trust_env=False, verify=False).json()
        booked = gateway.books.of("cus_many")
    assert stats["answered"] == STREAMS + 1
    for leaf in ("input", "output"):
        assert sum(call.quantities[leaf] for call in booked) == stats["tokens"][leaf]
    assert gateway.books.unbalanced() == []
    assert grown_kb / STREAMS < EACH_KB_MAX


def test_a_server_raises_its_limit_of_open_files_to_what_the_system_allows(
    calls: Any, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    calls.seed(tmp_path, {"cus_many": 10**9})
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # A server that is started now begins with it.
    try:
        with calls.gateway_on(tmp_path, calls.environment("http://127.0.0.1:9")) as gateway:
            limits = Path(f"/proc/{gateway.process.popen.pid}/limits").read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(hard), str(hard)]
