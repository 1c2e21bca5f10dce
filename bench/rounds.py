"""Rounds: every target in turn under the same load, again and again, and what each round found.

Rule 1: targets take turns within a round, so that what disturbs the machine disturbs all of them.
Rule 2: an error ends the benchmark; where it is a peer's, the peer is left out, and that is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from machine import LOAD_CORE, BenchFailed, Running, pinned
from provider import HOLD, MODEL
from targets import HERE, Target, release

SETTLE_S = 0.3  # What a target still does after the last answer belongs to its CPU time.
WARM_UP_S = 0.5
WORKLOADS = ("JSON", "SSE")
ASK = (
    "Our build takes eleven minutes and nobody knows why. The slowest step links the tests, which have grown "
    "threefold since spring, and the cache is cold on every second run. What would you look at first, and "
    "how would you tell whether it helped? Name three things, the cheapest first, one sentence each."
)

Round: TypeAlias = dict[str, float]
Found: TypeAlias = dict[str, dict[str, list[Round]]]  # Workload → target → the figures of each round.


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    full_s: float  # Each saturating load on each target.
    paced_s: float  # Each load at a fixed rate.


QUICK = Plan(rounds=1, full_s=1, paced_s=1)
FULL = Plan(rounds=3, full_s=4, paced_s=3)


def request_body(*, stream: bool, hold: bool = False) -> bytes:
    """Return a chat completion request of about half a kilobyte."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are the assistant of an application. Answer briefly."},
            {"role": "user", "content": f"{ASK} {HOLD}" if hold else ASK},
        ],
        "max_tokens": 256,
        "temperature": 0.7,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


BODIES = {"JSON": request_body(stream=False), "SSE": request_body(stream=True)}


def generate(target: Target, body: bytes, *options: str, core: int | None = LOAD_CORE) -> dict[str, Any]:
    """Put load on a target and return what the load generator found."""
    run = subprocess.run(_command(target, options, core), input=body, capture_output=True)
    if run.returncode:
        raise BenchFailed(f"{target.name}: the load generator failed: {run.stderr.decode().strip()[-300:]}")
    return _counted(target, run.stdout.decode().splitlines()[-1])


def _command(target: Target, options: Sequence[str], core: int | None) -> list[str]:
    command = [sys.executable, str(HERE / "callers.py"), *options]
    for url in target.urls:
        command += ["--url", url]
    for header in target.headers:
        command += ["--header", header]
    return command if core is None else pinned(command, core)


def _counted(target: Target, line: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(line)
    if figures["errors"] or not figures["requests"]:
        raise BenchFailed(f"{target.name}: {figures['errors']} errors beside {figures['requests']} answers.")
    target.called += figures["requests"]
    return figures


def saturate(target: Target, workload: str, seconds: float, *, core: int | None = LOAD_CORE) -> Round:
    """Let as many callers call as saturate the target; return calls a second and CPU a call."""
    running, load = target.running, target.loads[workload]
    before_s = running.cpu_s() if running else 0
    full = generate(
        target, BODIES[workload], "--callers", str(load.callers), "--seconds", str(seconds), core=core
    )
    time.sleep(SETTLE_S)
    used_s = running.cpu_s() - before_s if running else 0
    return {
        "per_s": full["requests"] / full["seconds"],
        "cpu_us": used_s / full["requests"] * 1e6,
        "busy": used_s / full["seconds"],
        "longest_ms": full["longest_ms"],
    }


def paced(target: Target, workload: str, per_s: int, seconds: float) -> Round:
    """Call at a fixed rate; return how long calls took, to their first byte and to their last."""
    running = target.running
    before_s = running.cpu_s() if running else 0
    found = generate(target, BODIES[workload], "--rate", str(per_s), "--seconds", str(seconds))
    used_s = running.cpu_s() - before_s if running else 0
    figures = {name: found[name] for name in ("p50_ms", "p99_ms", "first_p50_ms", "first_p99_ms")}
    return figures | {"paced_cpu_us": used_s / found["requests"] * 1e6}


def measure(targets: Sequence[Target], plan: Plan, failed: dict[str, str]) -> Found:
    """Measure every target in turn, `plan.rounds` times over, after the provider itself, the first of them.

    A peer that fails is noted in `failed` and left out from there on.
    """
    found: Found = {workload: defaultdict(list) for workload in WORKLOADS}
    provider, others = targets[0], targets[1:]
    for target in targets:  # Connections, caches and leases are made here.
        for workload in WORKLOADS:
            with _excused(target, failed):
                generate(target, BODIES[workload], "--callers", "4", "--seconds", str(WARM_UP_S))
    for number in range(plan.rounds):
        for workload in WORKLOADS:
            say(f"round {number + 1} of {plan.rounds}, {workload} …")
            rates = sorted({target.loads[workload].per_s for target in others})
            alone = {rate: paced(provider, workload, rate, plan.paced_s) for rate in rates}
            full = saturate(provider, workload, plan.full_s)
            found[workload][provider.name].append(full | alone[rates[-1]])
            for target in others:
                if target.name in failed:
                    continue
                with _excused(target, failed):
                    full = saturate(target, workload, plan.full_s)
                    rate = target.loads[workload].per_s
                    timed = paced(target, workload, rate, plan.paced_s)
                    added = {f"added_{name}": timed[name] - alone[rate][name] for name in alone[rate]}
                    found[workload][target.name].append(full | timed | added)
    return found


@contextmanager
def _excused(target: Target, failed: dict[str, str]) -> Iterator[None]:
    """Note that a peer failed; what is ours, or what we compare with, must not."""
    try:
        yield
    except BenchFailed as failure:
        if not target.is_peer:
            raise
        failed[target.name] = str(failure)
        say(f"{failure} It is left out from here on.")


def bytes_per_stream(target: Target, provider: Running) -> float:
    """Return by how many bytes of memory the target grows with each stream that is open at once."""
    assert target.running is not None
    generate(target, BODIES["SSE"], "--callers", "4", "--seconds", str(WARM_UP_S))
    before_mb = target.running.resident_mb()
    count = target.streams_held
    command = _command(target, ("--hold", str(count)), LOAD_CORE)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdin.write(request_body(stream=True, hold=True))
        load.stdin.close()
        held = json.loads(load.stdout.readline() or '{"held": 0}')["held"]
        grown_mb = target.running.resident_mb() - before_mb
        release(provider)
        outcome = load.stdout.read().decode()
    if held != count or load.returncode:
        raise BenchFailed(f"{target.name}: {held} of {count} streams were open at once.")
    _counted(target, outcome.splitlines()[-1])
    return grown_mb * 1e6 / count


def memory(targets: Iterable[Target], provider: Running, failed: dict[str, str]) -> dict[str, Round]:
    """Return what each target occupies before any load, and what each open stream adds."""
    found: dict[str, Round] = {}
    for target in targets:
        if target.running is None:
            continue
        found[target.name] = {
            "ready_s": target.running.ready_s,
            "idle_mb": target.running.resident_mb(),
            "streams": target.streams_held,
        }
        with _excused(target, failed):
            found[target.name]["stream_kb"] = bytes_per_stream(target, provider) / 1000
    return found


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
