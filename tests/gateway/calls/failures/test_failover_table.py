"""The failure table where several keys or providers serve one name: who is asked next, and who pays for what.

Rule 1: as in `test_failure_table`; the name `smart` is served by the first provider, then by the second.
Rule 2: the customer pays for the attempt that answered, at its own price; each attempt that a provider may
have worked on has a row of its cost.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from failure_rows import COUNTED, Row, Table, check, cost, price, seen

pytestmark = pytest.mark.e2e

TABLE = Table()
row = TABLE.row
FULL, COST = price(100, 30), cost(100, 30)
ASKED, STREAMED = 37, 43  # Tokens that the requests are estimated at.
BUSY = b"HTTP/1.1 429 Too Many\r\nretry-after: 30\r\ncontent-length: 2\r\n\r\n{}"
REJECTED = b"HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\n{}"
GARBAGE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\nwhat?"
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99\r\n\r\n"


def served(world: Any, *urls: str, **more: Any) -> str:
    """Return what a call of `smart` gets where providers at these addresses serve it."""
    with world.own(extra=world.routed(*urls)):
        return seen(world.send(COUNTED, model="smart", **more))


@contextmanager
def nobody() -> Iterator[str]:
    """Yield an address where nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@row(
    "The first provider cannot be reached: the second answers", "200, the answer", charged=FULL, costs=(COST,)
)
def _(world: Any) -> str:
    with nobody() as first:
        return served(world, first, world.provider.url)


for name, words in (("is busy (429)", BUSY), ("rejects our key (401)", REJECTED)):

    @row(f"The first provider {name}: the second answers", "200, the answer", charged=FULL, costs=(COST,))
    def _(world: Any, words: bytes = words) -> str:
        with world.picky({"sk-0": words}) as first:
            return served(world, first.url, world.provider.url)


@row("The first key is busy: the second key answers", "200, the answer", charged=FULL, costs=(COST,))
def _(world: Any) -> str:
    with world.picky({"sk-a": BUSY}) as picky:
        keys = [{"api_key": "sk-a", "weight": 1000}, {"api_key": "sk-b"}]
        extra = {
            "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "",
            "COSTPLUS_PROVIDERS__OPENAI__API_KEYS": json.dumps(keys),
        }
        with world.own(url=picky.url, extra=extra):
            answer = seen(world.send())
    assert picky.asked[-1] == "sk-b"
    return answer


@row(
    "The first provider hangs up before its answer: the second answers",
    "200, the answer",
    charged=FULL,
    costs=(COST, cost(ASKED, 0)),
    flags=("estimated", "failed_attempt"),
)
def _(world: Any) -> str:
    with world.one_that_hangs_up() as first:
        return served(world, first, world.provider.url)


@row(
    "The first provider's answer is garbage: the second answers",
    "200, the answer",
    charged=FULL,
    costs=(COST, cost(ASKED, 0)),
    flags=("estimated", "failed_attempt"),
)
def _(world: Any) -> str:
    with world.picky({"sk-0": GARBAGE}) as first:
        return served(world, first.url, world.provider.url)


@row(
    "The first provider's stream breaks off before its first byte: the second answers",
    "200, a stream whole",
    charged=FULL,
    costs=(COST, cost(STREAMED, 0)),
    flags=("estimated", "failed_attempt"),
)
def _(world: Any) -> str:
    with world.picky({"sk-0": EMPTY}) as first:
        return served(world, first.url, world.provider.url, stream=True)


@row(
    "The same where the card has failed attempts charged (`failed_attempts`)",
    "200, a stream whole",
    charged=FULL + price(STREAMED, 0),
    costs=(COST, cost(STREAMED, 0)),
    flags=("estimated", "failed_attempt"),
)
def _(world: Any) -> str:
    world.set_card(failed_attempts="charged")
    with world.picky({"sk-0": EMPTY}) as first:
        return served(world, first.url, world.provider.url, stream=True)


@row(
    "Both hang up before their answers",
    "502 `upstream_broken`",
    costs=(cost(ASKED, 0), cost(ASKED, 0)),
    flags=("estimated", "failed_attempt") * 2,
)
def _(world: Any) -> str:
    with world.one_that_hangs_up() as first, world.one_that_hangs_up() as second:
        return served(world, first, second)


@row(
    "A dearer model answers in place of the first: the price is of what served, and was held",
    "200, the answer",
    charged=715_000,
    costs=(550_000,),
)
def _(world: Any) -> str:
    with nobody() as first:
        extra = world.routed(first, world.provider.url, models=("gpt-4o-mini", "gpt-4o"))
        with world.own(extra=extra):
            return seen(world.send(COUNTED, model="smart"))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.event)
def test_the_books_show_what_the_table_says(row: Row, world: Any, calls: Any) -> None:
    check(row, world, calls)
    store = f"sqlite:///{world.folder / 'costplus.db'}"
    audited = subprocess.run(
        [sys.executable, "-m", "costplus", "audit", "--database", store],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert audited.returncode == 0, audited.stdout + audited.stderr
