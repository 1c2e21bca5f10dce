"""Processes and what they cost: start one on a core, read its CPU time and memory, end it.

Rule 1: CPU time and memory are the kernel's figures of a process and all that it started, threads included.
Rule 2: what was started is ended, whatever happens in between.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60

TARGET_CORE = 0
LOAD_CORE = 1


class BenchFailed(Exception):
    """A process did not do what it is there for; nothing measured would mean anything."""


def can_pin() -> bool:
    """Return whether processes can be kept on a core of their own."""
    return shutil.which("taskset") is not None and {TARGET_CORE, LOAD_CORE} <= os.sched_getaffinity(0)


def pinned(command: Sequence[str], core: int) -> list[str]:
    """Return the command, kept on `core` where that is possible."""
    return ["taskset", "-c", str(core), *command] if can_pin() else list(command)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and all below it have used, those that have ended included."""
    ticks = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # utime and stime, and those of children that have ended.
    return ticks / _TICKS_PER_S


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and all below it in MB (10⁶ bytes)."""
    total_kib = 0
    for one in family(pid):
        status = Path(f"/proc/{one}/status").read_text()
        total_kib += next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    return total_kib * 1024 / 1e6


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for one in found:  # It grows as it goes.
        for task in Path(f"/proc/{one}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


@dataclass(slots=True)
class Running:
    """A process that serves on `url`; `ready_s` is how long that took from its start."""

    name: str
    process: subprocess.Popen[str]
    url: str
    ready_s: float

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process and all below it have used."""
        return cpu_s(self.process.pid)

    def resident_mb(self) -> float:
        """Return the resident memory of the process and all below it in MB."""
        return resident_mb(self.process.pid)

    def stop(self) -> None:
        """Ask the process to drain and end, and wait for it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise BenchFailed(f"{self.name} did not end within {STOP_TIMEOUT_S} s of SIGTERM.") from None
        if code not in (0, -signal.SIGTERM):
            raise BenchFailed(f"{self.name} ended with exit code {code}.")


def start(
    name: str, command: Sequence[str], *, core: int | None, env: dict[str, str] | None = None
) -> Running:
    """Start a command that says on standard output where it serves, and wait for that line.

    `core` is None where the process may use any.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command if core is None else pinned(command, core),
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    for line in process.stdout:  # Ends where the process does.
        event = json.loads(line)
        if event.get("event") == "ready":
            return Running(name, process, str(event["url"]), time.perf_counter() - began)
    raise BenchFailed(f"{name} did not start: exit code {process.wait()}.")


def start_silent(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    is_ready: str,
    log: Path,
    env: dict[str, str] | None = None,
) -> Running:
    """Start a server that listens on `port`; wait until a GET of the path `is_ready` is answered."""
    began = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(
            pinned(command, TARGET_CORE), stdout=file, stderr=file, text=True, env=env, cwd=log.parent
        )
    running = Running(name, process, f"http://127.0.0.1:{port}", 0)
    until = began + START_TIMEOUT_S
    while not _is_answered(running.url + is_ready):
        if process.poll() is not None or time.perf_counter() > until:
            process.kill()
            said = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise BenchFailed(f"{name} did not start: {' / '.join(said)}")
        time.sleep(0.02)
    running.ready_s = time.perf_counter() - began
    return running


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_answered(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def ending(*started: Running | None) -> Iterator[None]:
    """End what is still running when the block is left."""
    try:
        yield
    finally:
        for running in started:
            if running is not None and running.process.poll() is None:
                running.process.terminate()
                running.process.wait(STOP_TIMEOUT_S)
