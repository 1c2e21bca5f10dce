"""The gateway's benchmark: ours beside nginx and two other gateways, each on one core, the load on the other.

Rule 1: speed never fails the run; a process that fails, an error or a call that was not billed does (exit 1).
Rule 2: what is missing on this machine (nginx, PostgreSQL, node, a core) is said, and the rest is measured.
Rule 3: what was found is kept as JSON in `build/`, from which the tables can be printed again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateways_report import is_all_billed, markdown, tables
from machine import LOAD_CORE, TARGET_CORE, BenchFailed, Running, can_pin, ending
from peers import PeerMissing, start_peer, versions
from postgres import Postgres, billed_in_postgres, postgres
from postgres_server import ABSENT
from rounds import FULL, QUICK, WORKLOADS, Plan, measure, memory, say
from scale import two_processes
from targets import (
    HERE,
    Ours,
    Tally,
    Target,
    answered,
    direct,
    start_nginx,
    start_on_sqlite,
    start_provider,
)

BUILD = HERE.parent / "build"
KEPT = BUILD / "bench-gateway.json"
PEERS = ("LiteLLM", "Portkey")
ON_POSTGRES = "costplus PostgreSQL"


def start_on_postgres(server: Postgres, folder: Path, provider: Running) -> Target:
    """Start our gateway on a new PostgreSQL database."""
    url = server.make_database()
    ours = Ours(ON_POSTGRES, folder, provider, database=url)
    return ours.target(ours.start("all", core=TARGET_CORE), billed=lambda: billed_in_postgres(url))


def against_bill(target: Target, asked: Tally) -> dict[str, int]:
    """Return how many calls were answered, by the client's count and the provider's, and how many billed."""
    assert target.billed is not None
    charged = target.billed()
    return {
        "called": target.called,
        "answered": asked.calls,
        "billed": charged.calls,
        "tokens": asked.tokens,
        "tokens_billed": charged.tokens,
    }


def run(plan: Plan, folder: Path, *, whole: bool) -> dict[str, Any]:
    """Measure everything and return what was found; without `whole`, nginx and ours on SQLite alone."""
    notes: list[str] = list(_lacking())
    failed: dict[str, str] = {}
    with ExitStack() as ends:
        server = ends.enter_context(postgres()) if whole else None
        if whole and server is None:
            notes.append(f"PostgreSQL is left out: {ABSENT}.")
        provider = start_provider(core=LOAD_CORE)
        ends.enter_context(ending(provider))
        targets = [direct(provider)]

        def add(target: Target | None) -> None:
            if target is not None:
                targets.append(target)
                ends.enter_context(ending(target.running))

        say("starting what is measured …")
        add(start_nginx(folder / "nginx", provider))
        add(start_on_sqlite("costplus", folder / "sqlite", provider))
        if whole:
            add(start_on_sqlite("costplus fsync", folder / "fsync", provider, fsync=True))
        if server is not None:
            add(start_on_postgres(server, folder / "postgres", provider))
        for name in PEERS if whole else ():
            try:
                add(start_peer(name, folder / name, provider))
            except PeerMissing as missing:
                notes.append(f"{name} is left out: {missing}")
        say("memory, idle and with open streams …")
        occupied = memory(targets, provider, failed)
        served_s = server.cpu_s() if server is not None else 0
        found = measure(targets, plan, failed)
        bills: dict[str, dict[str, int]] = {}
        for target in targets:
            if target.running is not None:
                occupied[target.name]["loaded_mb"] = target.running.resident_mb()
            if target.running is not None and target.billed is not None:
                target.running.stop()
                bills[target.name] = against_bill(target, answered(provider, target.provider_key))
                if server is not None and target.name == ON_POSTGRES:
                    cpu_us = (server.cpu_s() - served_s) / target.called * 1e6
                    notes.append(
                        f"PostgreSQL itself took {cpu_us:,.0f} µs of CPU a call, on the load's core."
                    )
        two = None
        if server is not None:
            two, both, asked = two_processes(server, folder / "two", plan)
            bills[both.name] = against_bill(both, asked)
    notes += [f"{reason} It is left out from there on." for reason in failed.values()]
    return {
        "machine": machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": {"rounds": plan.rounds, "full_s": plan.full_s, "paced_s": plan.paced_s},
        "loads": _loads(targets),
        "found": found,
        "memory": occupied,
        "billed": bills,
        "two": two,
        "notes": notes,
    }


def _loads(targets: Sequence[Target]) -> dict[str, dict[str, dict[str, int]]]:
    return {
        target.name: {
            workload: {"callers": target.loads[workload].callers, "per_s": target.loads[workload].per_s}
            for workload in WORKLOADS
        }
        for target in targets
    }


def _lacking() -> list[str]:
    notes = []
    if not can_pin():
        notes.append("taskset or a second core is missing: nothing is pinned, targets compete with the load.")
    if shutil.which("nginx") is None:
        notes.append("nginx is left out: it is not installed.")
    return notes


def machine() -> str:
    """Return what the figures were found on, and the versions of what was measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    kept = [f"{os.cpu_count()} cores ({cpu})", f"Python {platform.python_version()}"]
    for name, command in (("", ["nginx", "-v"]), ("node ", ["node", "--version"])):
        if shutil.which(command[0]):
            said = subprocess.run(command, capture_output=True, text=True)
            kept.append(name + (said.stderr or said.stdout).strip().rpartition(" ")[2])
    return " · ".join([*kept, *versions()])


def ends_on_sigterm() -> None:
    """Let SIGTERM end this process as an exception does: with all that it started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description="Measure our gateway beside nginx and two others.")
    parser.add_argument("--quick", action="store_true", help="Under two minutes: one short round.")
    parser.add_argument("--markdown", action="store_true", help="Print the README's table besides.")
    parser.add_argument("--last", action="store_true", help="Measure nothing: print what the last run found.")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        say("Not measured: CPU time and memory are read from /proc, which only Linux has.")
        return 0
    ends_on_sigterm()
    BUILD.mkdir(exist_ok=True)
    if arguments.last:
        if not KEPT.exists():
            say(f"FAILED: no run was kept in {KEPT.relative_to(HERE.parent)}.")
            return 1
        result = json.loads(KEPT.read_text())
    else:
        # Below `build`, because a temporary directory may be in memory, where a sync costs nothing.
        with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as folder:
            try:
                result = run(QUICK if arguments.quick else FULL, Path(folder), whole=True)
            except BenchFailed as failure:
                say(f"FAILED: {failure}")
                return 1
        KEPT.write_text(json.dumps(result, indent=1))
    tables(result)
    if arguments.markdown:
        say("\n" + "\n".join(markdown(result)))
    if not is_all_billed(result):
        say("FAILED: not every answered call was billed.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
