"""Many streams at once: all billed, what each takes of memory, how late its chunks are.

One gateway on one core; the simulated provider and the clients share the other. A stream's chunks leave the
provider at a steady pace; what a client waits beyond that pace between two chunks is their delay. The same
streams without a gateway say how much of it is the provider's and the clients' own.
Rule 1: slowness never fails the run; a stream that breaks or is not billed does (exit 1).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import uvloop
from callers import quantile
from machine import LOAD_CORE, BenchFailed, Running, can_pin, ending, start
from targets import PATH, Tally, start_on_sqlite

from costplus.gateway.upstream import UpstreamError, UpstreamPool

STARTS_PER_S = 500  # As fast as streams are begun, so that their chunks are spread over the pace.
SAMPLE_S = 1.0
DIRECT_S = 15
FILES_SPARE = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """How many streams, how long, and how long between two chunks."""

    streams: int
    seconds: float
    chunk_ms: int

    @property
    def body(self) -> bytes:
        """The request, whose answer lasts for the plan's seconds."""
        tokens = max(int(self.seconds * 1000 / self.chunk_ms), 2)
        text = f"[[tokens={tokens}]] [[chunk_ms={self.chunk_ms}]]"
        return json.dumps(
            {
                "model": "gpt-4o-mini",
                "messages": [{"role": "user", "content": text}],
                "max_tokens": tokens,
                "stream": True,
                "stream_options": {"include_usage": True},  # Else one chunk would be taken out: a gap.
            }
        ).encode()


@dataclass(slots=True)
class Outcome:
    """What the clients found."""

    delays_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    open_now: int = 0
    open_most: int = 0
    memory_mb: float = 0.0  # The most that the gateway had.


class Clients:
    """Reads every stream of a run."""

    def __init__(self, url: str, key: str, plan: Plan) -> None:
        parts = urlsplit(url)
        self._pool = UpstreamPool(
            base_url=f"{parts.scheme}://{parts.netloc}", connections_max=plan.streams, connect_timeout_s=30
        )
        self._headers = (("authorization", f"Bearer {key}"), ("content-type", "application/json"))
        self._plan = plan
        self._body = plan.body
        self.outcome = Outcome()

    async def run(self, watched: Running | None) -> Outcome:
        """Read all streams; sample the memory of the process meanwhile."""
        reading = [asyncio.create_task(self._read(number)) for number in range(self._plan.streams)]
        sampling = asyncio.create_task(self._sample(watched)) if watched else None
        await asyncio.gather(*reading)
        if sampling:
            sampling.cancel()
        await self._pool.aclose()
        return self.outcome

    async def _read(self, number: int) -> None:
        """Read one stream, and note how late each of its chunks is."""
        await asyncio.sleep(number / STARTS_PER_S)
        outcome, pace_s = self.outcome, self._plan.chunk_ms / 1000
        tail, last = b"", 0.0
        try:
            response = await self._pool.request(
                method="POST", path=PATH, headers=self._headers, body=self._body
            )
            outcome.open_now += 1
            outcome.open_most = max(outcome.open_most, outcome.open_now)
            async for chunk in response.chunks():
                now = time.perf_counter()
                if last:
                    outcome.delays_ms.append((now - last - pace_s) * 1000)
                tail, last = (tail + chunk)[-16:], now
            outcome.open_now -= 1
        except UpstreamError as error:
            outcome.failed.append(error.code)
            return
        if response.status != 200 or tail != b"\n\ndata: [DONE]\n\n"[-16:]:
            outcome.failed.append(f"status {response.status}, ends with {tail!r}")

    async def _sample(self, watched: Running) -> None:
        while True:
            self.outcome.memory_mb = max(self.outcome.memory_mb, watched.resident_mb())
            await asyncio.sleep(SAMPLE_S)


def measured(what: str, url: str, key: str, plan: Plan, watched: Running | None = None) -> Outcome:
    """Run the plan against a server and print what its clients saw."""
    outcome = uvloop.run(Clients(url, key, plan).run(watched))
    late = sorted(outcome.delays_ms)
    p50, p99, most = quantile(late, 0.5), quantile(late, 0.99), quantile(late, 1)
    say(
        f"{what}: {outcome.open_most:,} streams at once, {len(late):,} gaps between chunks; "
        f"delay p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {most:.0f} ms"
    )
    if outcome.failed:
        raise BenchFailed(f"{len(outcome.failed)} of {plan.streams} streams failed: {outcome.failed[0]}.")
    return outcome


def start_provider() -> Running:
    """Start the simulated provider, whose streams keep the pace that a call asks for."""
    command = [sys.executable, "-m", "costplus", "dev-provider", "--port", "0", "--json"]
    return start("provider", command, core=LOAD_CORE)


def answered(provider: Running) -> Tally:
    """Return what the provider answered."""
    with urlopen(provider.url + "/_sim/stats") as answer:
        tally = json.load(answer)
    return Tally(tally["answered"], sum(tally["tokens"].values()))


def run(plan: Plan, folder: Path) -> bool:
    """Measure without and with the gateway; return whether every stream was billed."""
    provider, metered = start_provider(), start_provider()
    with ending(provider, metered):
        measured("direct", provider.url, "direct", replace(plan, seconds=min(plan.seconds, DIRECT_S)))
        provider.stop()
        target = start_on_sqlite("costplus", folder / "data", metered)
        gateway, key = target.running, target.headers[0].rpartition(" ")[2]
        assert gateway is not None and target.billed is not None
        with ending(gateway):
            one = Plan(streams=1, seconds=0.1, chunk_ms=50)
            measured("first", gateway.url, key, one)  # Connections, caches and leases are made here.
            idle_mb, before_s, began = gateway.resident_mb(), gateway.cpu_s(), time.perf_counter()
            outcome = measured("costplus", gateway.url, key, plan, gateway)
            used_s, lasted_s = gateway.cpu_s() - before_s, time.perf_counter() - began
            gateway.stop()
        asked, charged = answered(metered), target.billed()
    each_kb = (outcome.memory_mb - idle_mb) * 1000 / plan.streams
    say(
        f"memory: {idle_mb:.0f} MB idle, {outcome.memory_mb:.0f} MB at the most: {each_kb:.1f} kB a stream\n"
        f"CPU of the gateway: {used_s / lasted_s:.0%} of a core, "
        f"{used_s / len(outcome.delays_ms) * 1e6:.0f} µs a chunk, all of a stream counted in\n"
        f"machine: load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
        "whatever else runs delays chunks, too\n"
        f"billed: {charged.calls:,} of {asked.calls:,} streams, "
        f"{charged.tokens:,} of {asked.tokens:,} tokens (after SIGTERM: store against provider)"
    )
    return charged == asked and charged.calls == plan.streams + 1


def room_for(streams: int) -> int:
    """Raise the limit of open files; return how many streams it allows on the side that needs most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = (hard - FILES_SPARE) // 2  # The gateway has two connections a stream.
    if room < streams:
        say(f"Missing: open files. The limit of {hard:,} (it was {soft:,}) leaves {room:,} streams.")
    return min(streams, room)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--chunk-ms", type=int, default=500, help="Between two chunks of a stream.")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        say("Not measured: CPU time and memory are read from /proc, which only Linux has.")
        return 0
    plan = Plan(room_for(arguments.streams), arguments.seconds, arguments.chunk_ms)
    if can_pin():
        os.sched_setaffinity(0, {LOAD_CORE})
    else:
        say("Missing: taskset or a second core. Nothing is pinned, so the gateway competes with the load.")
    say(f"{plan.streams:,} streams of {plan.seconds:.0f} s, a chunk every {plan.chunk_ms} ms each")
    try:
        with tempfile.TemporaryDirectory(prefix="costplus-bench-") as folder:
            all_billed = run(plan, Path(folder))
    except BenchFailed as failure:
        say(f"FAILED: {failure}")
        return 1
    if not all_billed:
        say("FAILED: not every stream was billed.")
    return 0 if all_billed else 1


if __name__ == "__main__":
    sys.exit(main())
