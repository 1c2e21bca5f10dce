"""The load generator: open loop at a fixed rate, or a closed loop of so many callers. Run as a program.

Rule 1: at a fixed rate, latency counts from the instant at which the request was due, sent or not, so that a
server that falls behind cannot hide it.
Rule 2: due requests are announced by a thread that sleeps precisely; the event loop's timers are coarse.
Rule 3: an answer is complete when its last byte is here; any status but 200 is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

from costplus.gateway.upstream import UpstreamError, UpstreamPool

ANSWER_BYTES_MAX = 1 << 20
DRAIN_S = 10


@dataclass(slots=True)
class Outcome:
    """What a run found."""

    latencies_ms: list[float] = field(default_factory=list)
    errors: int = 0
    elapsed_s: float = 0

    def as_json(self) -> str:
        """Return the run's figures as one JSON object."""
        ordered = sorted(self.latencies_ms)
        return json.dumps(
            {
                "requests": len(ordered),
                "errors": self.errors,
                "seconds": self.elapsed_s,
                "p50_ms": quantile(ordered, 0.50),
                "p99_ms": quantile(ordered, 0.99),
            }
        )


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie; 0 where there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


class Caller:
    """Sends one request again and again over kept connections."""

    def __init__(self, url: str, key: str, body: bytes, *, connections: int) -> None:
        parts = urlsplit(url)
        self._pool = UpstreamPool(
            base_url=f"{parts.scheme}://{parts.netloc}", connections_max=connections, wait_timeout_s=DRAIN_S
        )
        self._path = parts.path
        self._headers = (("authorization", f"Bearer {key}"), ("content-type", "application/json"))
        self._body = body
        self.outcome = Outcome()

    async def call(self, due: float) -> None:
        """Make one call that was due at `due`."""
        try:
            response = await self._pool.request(
                method="POST", path=self._path, headers=self._headers, body=self._body
            )
            body = await response.read(ANSWER_BYTES_MAX)
        except UpstreamError:
            self.outcome.errors += 1
            return
        if response.status != 200 or not body:
            self.outcome.errors += 1
            return
        self.outcome.latencies_ms.append((time.perf_counter() - due) * 1000)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


async def closed_loop(caller: Caller, *, callers: int, seconds: float) -> None:
    """Let `callers` callers call as fast as they are answered."""
    until = time.perf_counter() + seconds

    async def go() -> None:
        while (now := time.perf_counter()) < until:
            await caller.call(now)

    await asyncio.gather(*(go() for _ in range(callers)))


async def open_loop(caller: Caller, *, per_s: float, seconds: float) -> None:
    """Make `per_s` calls a second, each at its instant, whether or not earlier ones are answered."""
    first = time.perf_counter() + 0.1
    due = [first + number / per_s for number in range(int(per_s * seconds))]
    reading, writing = os.pipe()
    ticker = threading.Thread(target=_tick, args=(due, writing), daemon=True)
    calls: list[asyncio.Task[None]] = []
    done = asyncio.Event()

    def make_due_calls() -> None:
        for _ in os.read(reading, 4096):
            calls.append(asyncio.create_task(caller.call(due[len(calls)])))
        if len(calls) == len(due):
            done.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(reading, make_due_calls)
    ticker.start()
    await done.wait()
    loop.remove_reader(reading)
    _, late = await asyncio.wait(calls, timeout=DRAIN_S)
    caller.outcome.errors += len(late)


def _tick(due: list[float], writing: int) -> None:
    for instant in due:
        pause_s = instant - time.perf_counter()
        if pause_s > 0:
            time.sleep(pause_s)
        os.write(writing, b"x")


async def run(arguments: argparse.Namespace) -> Outcome:
    """Run the load that the arguments ask for."""
    connections = arguments.callers or 512
    body = sys.stdin.buffer.read()
    caller = Caller(arguments.url, arguments.key, body, connections=connections)
    began = time.perf_counter()
    if arguments.rate:
        await open_loop(caller, per_s=arguments.rate, seconds=arguments.seconds)
    else:
        await closed_loop(caller, callers=arguments.callers, seconds=arguments.seconds)
    caller.outcome.elapsed_s = time.perf_counter() - began
    await caller.aclose()
    return caller.outcome


def main() -> None:
    """Read the request body from standard input, run the load, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0, help="Calls a second; 0 runs a closed loop.")
    parser.add_argument("--callers", type=int, default=0, help="Callers of the closed loop.")
    sys.stdout.write(uvloop.run(run(parser.parse_args())).as_json() + "\n")


if __name__ == "__main__":
    main()
