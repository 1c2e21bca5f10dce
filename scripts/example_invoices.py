"""Write the invoices and receipts of four ways to sell as PDF, for people to look at.

    python scripts/example_invoices.py [NAME …] [--to build/invoices]

Rule 1: they come from a real server, by their own links; `pricing_models` plays the stories.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from pricing_models import STORIES, Book

KEY = "sk_test_examples_0123456789"


@contextmanager
def running(*arguments: str, **env: str) -> Iterator[str]:
    """Run a costplus command until the block ends; the block gets its address."""
    command = [sys.executable, "-m", "costplus", *arguments, "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
    assert process.stdout is not None
    try:
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                yield str(event["url"])
                return
        raise SystemExit(f"costplus {arguments[0]} ended with {process.wait()} before it was ready")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def documents(name: str, *, provider: str) -> Iterator[tuple[str, bytes]]:
    """Play a story on a server of its own; yield its documents with their file names."""
    env = {
        "COSTPLUS_SECRET_KEY": KEY,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider,
        "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "simulated",
    }
    with TemporaryDirectory() as folder, running("serve", "--data-dir", folder, **env) as url:
        book = Book(url, KEY)
        try:
            story = STORIES[name](book)
            for link, number in story.documents:
                yield f"{name}-{number}.pdf", httpx2.get(link, timeout=60).raise_for_status().content
        finally:
            book.close()


def main() -> None:
    """Write the documents of the stories that are named, of all by default."""
    parser = argparse.ArgumentParser(description="Write example invoices as PDF.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STORIES))
    parser.add_argument("--to", type=Path, default=Path("build/invoices"))
    asked = parser.parse_args()
    if unknown := set(asked.names) - STORIES.keys():
        parser.error(f"no such story: {', '.join(sorted(unknown))}")
    asked.to.mkdir(parents=True, exist_ok=True)
    with running("dev-provider") as provider:
        for name in asked.names or STORIES:
            for file, body in documents(name, provider=provider):
                (asked.to / file).write_bytes(body)
                sys.stdout.write(f"{asked.to / file}\n")


if __name__ == "__main__":
    main()
