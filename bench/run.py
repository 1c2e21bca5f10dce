"""The benchmark: one gateway on one core, against nginx and against nothing in between.

The load generator and the simulated provider share the other core. Targets take turns within a round; figures
are medians over the rounds, with the least and the greatest. Single steps and rating are measured by programs
of their own.
Rule 1: speed never fails the run; a process that fails, an error or a call that was not billed does (exit 1).
Rule 2: what is missing on this machine (nginx, wrk, a second core) is said, and the rest is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import LOAD_CORE, TARGET_CORE, BenchFailed, Running, can_pin, ending, pinned
from report import Found, books_lines, credit_lines, rating_lines, show
from targets import PATH, PROVIDER_KEY, Target, answered, billed, start_gateway, start_nginx, start_provider

HERE = Path(__file__).resolve().parent
PARTS = ["gateway", "micro", "rating", "credit", "books"]
CALLERS = 32
RATE_PER_S = 500
SETTLE_S = 0.3  # What a target still does after the last answer belongs to its CPU time.
ASK = (
    "Our build takes eleven minutes and nobody knows why. The slowest step links the tests, which have grown "
    "threefold since spring, and the cache is cold on every second run. What would you look at first, and "
    "how would you tell whether it helped? Name three things, the cheapest first, one sentence each."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    full_s: int  # Each saturating load on each target; wrk takes whole seconds.
    paced_s: float  # Each load at the fixed rate.
    role: str


def request_body(*, stream: bool) -> bytes:
    """Return a chat completion request of about half a kilobyte; its answer has 20 tokens."""
    body: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "You are the assistant of an application. Answer briefly."},
            {"role": "user", "content": ASK},
        ],
        "max_tokens": 256,
        "temperature": 0.7,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


def generate(target: Target, body: Path, *, seconds: float, rate: int = 0) -> dict[str, Any]:
    """Put load on the target: `rate` calls a second, or as many as `CALLERS` callers make."""
    url = target.url + PATH
    if not rate and shutil.which("wrk"):
        wrk = ["wrk", "-t1", f"-c{CALLERS}", f"-d{seconds:.0f}s", "--timeout", "20s"]
        command = [*wrk, "-s", str(HERE / "post.lua"), url, "--", target.key, str(body)]
    else:
        load = [sys.executable, str(HERE / "load.py"), "--url", url, "--key", target.key]
        pace = ["--rate", str(rate)] if rate else ["--callers", str(CALLERS)]
        command = [*load, "--seconds", str(seconds), *pace]
    with body.open("rb") as file:
        run = subprocess.run(pinned(command, LOAD_CORE), stdin=file, capture_output=True, text=True)
    if run.returncode:
        raise BenchFailed(f"The load generator failed: {run.stderr.strip()}")
    figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    if figures["errors"] or not figures["requests"]:
        raise BenchFailed(f"{target.name}: {figures['errors']} errors in {figures['requests']} requests.")
    return figures


def measure(target: Target, body: Path, plan: Plan) -> dict[str, float]:
    """Return one round's figures of a target: saturated, then at the fixed rate."""
    before_s = target.process.cpu_s() if target.process else 0
    full = generate(target, body, seconds=plan.full_s)
    time.sleep(SETTLE_S)
    used_s = target.process.cpu_s() - before_s if target.process else 0
    paced = generate(target, body, seconds=plan.paced_s, rate=RATE_PER_S)
    return {
        "per_s": full["requests"] / full["seconds"],
        "cpu_us": used_s / full["requests"] * 1e6,
        "p50_ms": paced["p50_ms"],
        "p99_ms": paced["p99_ms"],
    }


def rounds(targets: list[Target], bodies: dict[str, Path], plan: Plan) -> Found:
    """Measure every target in turn, `plan.rounds` times over."""
    found: Found = defaultdict(list)
    for target in targets:  # Connections, caches and leases are made here.
        generate(target, bodies["JSON"], seconds=0.3, rate=RATE_PER_S)
    for _ in range(plan.rounds):
        for workload, body in bodies.items():
            for target in targets:
                found[workload, target.name].append(measure(target, body, plan))
    return found


def run(plan: Plan, folder: Path) -> bool:
    """Run everything and print it; return whether every call was billed."""
    bodies = {"JSON": folder / "json.body", "SSE": folder / "sse.body"}
    for workload, path in bodies.items():
        path.write_bytes(request_body(stream=workload == "SSE"))
    provider, metered = start_provider(), start_provider()
    nginx: Running | None = None
    gateway: Running | None = None
    with ending(provider, metered):
        nginx = start_nginx(folder / "nginx", provider)
        with ending(nginx):
            gateway, key = start_gateway(folder / "data", metered, role=plan.role)
            with ending(gateway):
                targets = [Target("direct", provider.url, PROVIDER_KEY, None)]
                if nginx is not None:
                    targets.append(Target("nginx", nginx.url, PROVIDER_KEY, nginx))
                targets.append(Target("costplus", gateway.url, key, gateway))
                idle_mb = {t.name: t.process.resident_mb() for t in targets if t.process}
                found = rounds(targets, bodies, plan)
                loaded_mb = {t.name: t.process.resident_mb() for t in targets if t.process}
                gateway.stop()
        asked, charged = answered(metered), billed(folder / "data")
    show(found, targets, idle_mb=idle_mb, loaded_mb=loaded_mb, rate_per_s=RATE_PER_S)
    say(
        f"\nbilled: {charged.calls:,} of {asked.calls:,} calls, "
        f"{charged.tokens:,} of {asked.tokens:,} tokens (after SIGTERM: store against provider)"
    )
    return charged == asked


def program(name: str, *arguments: str) -> dict[str, Any]:
    """Run one of the benchmark's own programs on one core and return its figures."""
    command = pinned([sys.executable, str(HERE / f"{name}.py"), *arguments], TARGET_CORE)
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise BenchFailed(f"The {name} benchmark failed: {result.stderr.strip()}")
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def micro() -> None:
    """Print what single steps cost."""
    figures = program("micro")
    say(
        f"micro: rate an event of 4 leaves {figures['rating_us']:.1f} µs · load the price catalogue "
        f"{figures['catalogue_ms']:.0f} ms · journal a call (2 records) {figures['journal_us']:.1f} µs · "
        f"settle {figures['settle_us']:.1f} µs an event (500 a batch, SQLite, fsync)"
    )


def rating(*, quick: bool) -> None:
    """Print what rating and the price catalogue cost."""
    for line in rating_lines(program("rating", *(["--quick"] if quick else []))):
        say(line)


def credit(*, quick: bool) -> None:
    """Print what credit costs a call."""
    for line in credit_lines(program("credit", *(["--quick"] if quick else []))):
        say(line)


def books(*, quick: bool) -> None:
    """Print what keeping the books costs."""
    for line in books_lines(program("books", *(["--quick"] if quick else []))):
        say(line)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def introduce(plan: Plan) -> None:
    """Say what is measured, and what this machine lacks."""
    say(
        f"{plan.rounds} round(s) of {plan.full_s} s a load; requests/s and CPU at {CALLERS} concurrent "
        f"callers; latency at {RATE_PER_S} requests/s, added over direct.\n"
        f"costplus: role {plan.role}, SQLite, journal, holds and billing on."
    )
    if not can_pin():
        say("Missing: taskset or a second core. Nothing is pinned, so the targets compete with the load.")
    for program, consequence in (("nginx", "it is left out"), ("wrk", "our own load generator replaces it")):
        if shutil.which(program) is None:
            say(f"Missing: {program}; {consequence}.")


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description="Measure throughput, latency, CPU and memory.")
    parser.add_argument("--quick", action="store_true", help="About 20 seconds: one short round.")
    parser.add_argument("--role", choices=["all", "gateway"], default="all", help="What our process serves.")
    parser.add_argument("--only", choices=PARTS, help="Measure this part alone.")
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else PARTS
    quick = Plan(rounds=1, full_s=1, paced_s=0.5, role=arguments.role)
    plan = quick if arguments.quick else Plan(rounds=3, full_s=4, paced_s=3, role=arguments.role)
    if sys.platform != "linux":
        say("Not measured: CPU time and memory are read from /proc, which only Linux has.")
        return 0
    all_billed = True
    try:
        if "gateway" in parts:
            introduce(plan)
            with tempfile.TemporaryDirectory(prefix="costplus-bench-") as folder:
                all_billed = run(plan, Path(folder))
        if "micro" in parts:
            micro()
        if "rating" in parts:
            rating(quick=arguments.quick)
        if "credit" in parts:
            credit(quick=arguments.quick)
        if "books" in parts:
            books(quick=arguments.quick)
    except BenchFailed as failure:
        say(f"FAILED: {failure}")
        return 1
    if not all_billed:
        say("FAILED: not every answered call was billed.")
    return 0 if all_billed else 1


if __name__ == "__main__":
    sys.exit(main())
