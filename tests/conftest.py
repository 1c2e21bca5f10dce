"""What all tests share.

Rule 1: an inexact decimal operation is an error everywhere; only the two rounding functions round.
Hypothesis' `decimals()` divides, so give it `places=` (or draw integers and shift them).
Rule 2: property tests are the same on every run, so a red build can be repeated.
Rule 3: absent shared data skips a test with its reason; it never passes it.
Rule 4: no test reaches the internet: what a test starts follows no public price list.
"""

from __future__ import annotations

import asyncio
import decimal
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import settings

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[[Handler], Awaitable[str]]

ROOT = Path(__file__).resolve().parent.parent

os.environ["COSTPLUS_PRICES__SYNC"] = "false"

# New threads copy DefaultContext; this thread, and the event loops it starts, use the current context.
decimal.DefaultContext.traps[decimal.Inexact] = True
decimal.getcontext().traps[decimal.Inexact] = True

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the directory of recorded test data: `$COSTPLUS_SHARED/data`, or beside the repository."""
    directory = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared")) / "data"
    if not directory.is_dir():
        pytest.skip(f"shared data absent: {directory} is not a directory (set COSTPLUS_SHARED)")
    return directory


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Return what serves a handler on a socket of its own and tells its URL; all of it ends with the test."""
    tasks: set[asyncio.Future[None]] = set()
    servers: list[asyncio.Server] = []
    pause = asyncio.sleep  # As it is now: a test may put another one in its place.

    async def start(handler: Handler) -> str:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.ensure_future(handler(reader, writer)))

        servers.append(await asyncio.start_server(connected, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await pause(0)  # The transports close in the next round of the loop.
