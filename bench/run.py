"""The benchmark: the gateway beside nginx; rating, credit and the books in programs of their own.

Rule 1: speed never fails the run; a process that fails, an error or a call that was not billed does (exit 1).
Rule 2: what is missing on this machine is said, and the rest is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gateways import ends_on_sigterm, run
from gateways_report import is_all_billed, tables
from machine import TARGET_CORE, BenchFailed, pinned
from report import books_lines, credit_lines, rating_lines
from rounds import FULL, QUICK, say
from targets import HERE

PARTS = ["gateway", "micro", "rating", "credit", "books"]


def gateway(*, quick: bool) -> bool:
    """Print what the gateway does beside nginx; return whether every call was billed."""
    with tempfile.TemporaryDirectory(prefix="costplus-bench-") as folder:
        result = run(QUICK if quick else FULL, Path(folder), whole=False)
    tables(result)
    return is_all_billed(result)


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


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(description="Measure the gateway, rating, credit and the books.")
    parser.add_argument("--quick", action="store_true", help="About half a minute: one short round.")
    parser.add_argument("--only", choices=PARTS, help="Measure this part alone.")
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else PARTS
    quick = arguments.quick
    if sys.platform != "linux":
        say("Not measured: CPU time and memory are read from /proc, which only Linux has.")
        return 0
    ends_on_sigterm()
    all_billed = True
    try:
        if "gateway" in parts:
            all_billed = gateway(quick=quick)
        if "micro" in parts:
            micro()
        if "rating" in parts:
            rating(quick=quick)
        if "credit" in parts:
            credit(quick=quick)
        if "books" in parts:
            books(quick=quick)
    except BenchFailed as failure:
        say(f"FAILED: {failure}")
        return 1
    if not all_billed:
        say("FAILED: not every answered call was billed.")
    return 0 if all_billed else 1


if __name__ == "__main__":
    sys.exit(main())
