"""Processes and what they cost: start one on a core, read its CPU time and memory, end it.

Rule 1: CPU time and memory are the kernel's figures of the whole process and its children, threads included.
Rule 2: what was started is ended, whatever happens in between.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(slots=True)
class Running:
    """A process that serves on `url`; `ready_s` is how long that took from its start."""

    name: str
    process: subprocess.Popen[str]
    url: str
    ready_s: float

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process and its children have used."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime and stime.
        return ticks / _TICKS_PER_S

    def resident_mb(self) -> float:
        """Return the resident memory in MB (10⁶ bytes)."""
        total_kib = 0
        for pid in self._pids():
            status = Path(f"/proc/{pid}/status").read_text()
            total_kib += next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
        return total_kib * 1024 / 1e6

    def _pids(self) -> list[str]:
        pid = str(self.process.pid)
        tasks = Path(f"/proc/{pid}/task")
        children = [(task / "children").read_text().split() for task in tasks.iterdir()]
        return [pid, *(child for group in children for child in group)]

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


def start(name: str, command: Sequence[str], *, core: int, env: dict[str, str] | None = None) -> Running:
    """Start a costplus command and wait for the line that says where it serves."""
    began = time.perf_counter()
    process = subprocess.Popen(
        pinned(command, core), stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    assert process.stdout is not None
    for line in process.stdout:  # Ends where the process does.
        event = json.loads(line)
        if event.get("event") == "ready":
            return Running(name, process, str(event["url"]), time.perf_counter() - began)
    raise BenchFailed(f"{name} did not start: exit code {process.wait()}.")


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
