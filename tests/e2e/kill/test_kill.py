"""`kill -9` at any moment loses no usage and bills nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

CALLS = 200
NEVER_MS = 60_000
KEY = "sk_test_e2e_0123456789"
PATIENCE_S = 20
# Nanos for one token: cost a million tokens × 1.30.
PRICE_NANO = {"gpt-4o-mini": (195, 780), "claude-sonnet-4-5": (3900, 19_500)}
ENDPOINTS = {"gpt-4o-mini": "/v1/chat/completions", "claude-sonnet-4-5": "/v1/messages"}
LAST_EVENTS = ("data: [DONE]\n\n", 'data: {"type":"message_stop"}\n\n')


@dataclass
class Sent:
    """One call: what it asks the provider for, and how far its answer came."""

    customer: str
    model: str
    stream: bool
    input: int
    output: int
    latency_ms: int
    id: str = ""
    text: str = ""
    status: int = 0
    whole: bool = field(default=False)

    @property
    def answered(self) -> bool:
        """Whether the client has the whole of a good answer."""
        return self.status == 200 and self.whole

    @property
    def price_nano(self) -> int:
        for_input, for_output = PRICE_NANO[self.model]
        return self.input * for_input + self.output * for_output

    @property
    def body(self) -> dict[str, Any]:
        text = (
            f"[[input={self.input}]] [[tokens={self.output}]] [[latency={self.latency_ms}]] [[chunk_ms=10]]"
        )
        messages = [{"role": "user", "content": text}]
        return {"model": self.model, "max_tokens": 60, "stream": self.stream, "messages": messages}


def some_calls(seed: int) -> list[Sent]:
    """Return two hundred calls of all kinds whose answers come within a second, but for ten."""
    dice = random.Random(seed)
    return [
        Sent(
            customer=dice.choice(["cus_rich", "cus_rich", "cus_modest", "cus_small"]),
            model=dice.choice(sorted(ENDPOINTS)),
            stream=dice.random() < 0.5,
            input=100 + number,
            output=dice.randrange(1, 40),
            latency_ms=NEVER_MS if number % 20 == 0 else dice.randrange(0, 800),
        )
        for number in range(CALLS)
    ]


async def send(http: httpx2.AsyncClient, call: Sent) -> None:
    """Make the call, for as long as there is a server."""
    headers = {"authorization": f"Bearer {KEY}", "x-stripe-customer-id": call.customer}
    with contextlib.suppress(httpx2.TransportError):
        async with http.stream("POST", ENDPOINTS[call.model], json=call.body, headers=headers) as answer:
            call.id, call.status = answer.headers["costplus-request-id"], answer.status_code
            async for piece in answer.aiter_text():
                call.text += piece
            call.whole = not call.stream or call.text.endswith(LAST_EVENTS)


def send_until_killed(server: Any, calls: list[Sent], *, answered: int) -> None:
    """Send all calls at once; kill the server when so many have their answers."""

    async def run() -> None:
        limits = httpx2.Limits(max_connections=CALLS)
        async with httpx2.AsyncClient(
            base_url=server.url, timeout=PATIENCE_S, trust_env=False, limits=limits
        ) as http:
            under_way = [asyncio.ensure_future(send(http, call)) for call in calls]
            for ended, finished in enumerate(asyncio.as_completed(under_way), 1):
                await finished
                if ended == answered:
                    server.process.kill()

    asyncio.run(run())
    server.process.wait()


def start_and_kill(data: Path, provider: str, moment: Callable[[], bool]) -> None:
    """Start the server again and kill it at a moment of its recovery."""
    environ = {
        **os.environ,
        "COSTPLUS_SECRET_KEY": KEY,
        "COSTPLUS_LOG_LEVEL": "error",
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider,
    }
    command = ["serve", "--role", "gateway", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(
        [sys.executable, "-m", "costplus", *command, "--json"], stdout=subprocess.DEVNULL, env=environ
    ) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not moment():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()


def assert_billed_once(books: Any, calls: list[Sent], intents: dict[str, Any], used: dict[str, Any]) -> None:
    """Compare the books with what the clients received and what the journal held at the kill."""
    booked = books.booked()
    assert booked.keys() == intents.keys()
    for call in calls:
        if call.answered:
            entry = booked[call.id]
            assert entry.quantities == {"input": call.input, "output": call.output}
            assert (entry.price_nano, entry.flags, entry.source) == (call.price_nano, [], "gateway")
    for id, intent in intents.items():
        if id not in used:
            entry = booked[id]
            assert entry.quantities == {"input": intent.input_tokens}
            assert set(entry.flags) == {"estimated", "swept"} and entry.source == "sweep"
            assert entry.price_nano == intent.input_tokens * PRICE_NANO[intent.requested_model][0]
    assert books.faults() == []


@pytest.mark.parametrize(("seed", "answered"), [(1, 10), (2, 90), (3, 180)])
def test_a_killed_server_bills_every_call_once_even_if_it_is_killed_while_it_recovers(
    serve: Callable[..., Any], provider: str, books: Any, tmp_path: Path, seed: int, answered: int
) -> None:
    data, calls = tmp_path / "data", some_calls(seed)
    send_until_killed(serve(COSTPLUS_ROLE="gateway"), calls, answered=answered)
    intents, used, voids = books.journalled()
    settled = books.booked().keys()
    assert voids == set()
    assert {call.id for call in calls if call.answered} <= used.keys()
    assert sum(call.answered for call in calls) >= answered * 0.8  # The rest was refused for want of credit.
    assert intents.keys() - used.keys(), "no call was under way"

    start_and_kill(data, provider, lambda: books.booked().keys() > settled)  # As soon as it books something.
    server = serve(COSTPLUS_ROLE="gateway")
    assert_billed_once(books, calls, intents, used)

    assert server.terminate() == 0
    assert serve(COSTPLUS_ROLE="gateway").terminate() == 0
    assert_billed_once(books, calls, intents, used)  # Nothing is left that a restart would bill again.
    assert list((data / "journal").glob("*.journal")) == []
