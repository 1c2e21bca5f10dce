"""The simulated provider's process: one embedded server on one event loop.

Rule 1: a port that is taken is an error here; the server alone would share it silently (SO_REUSEPORT).
Rule 2: a stop ends what waits first, because the server waits for every request in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from costplus.devprovider.app import App
from costplus.devprovider.captures import load

_BACKLOG = 1024
_CONNECTIONS_MAX = 16_384
_POLL_S = 0.01
# Errors of the application reach stderr; the notice that the embedded server is experimental does not.
_LOGGING: dict[str, Any] = {
    "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
    "formatters": {},
    "loggers": {"_granian": {"handlers": ["console"], "level": "ERROR", "propagate": False}},
}


class _Embedded(Protocol):
    async def serve(self) -> None: ...
    def stop(self) -> None: ...


def run(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    captures: Path | None = None,
    latency_s: float = 0.0,
    error_rate: float = 0.0,
    on_ready: Callable[[str], object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` gets the base URL once connections are accepted."""

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(
            host=host,
            port=port,
            captures=captures,
            latency_s=latency_s,
            error_rate=error_rate,
            on_ready=on_ready,
            stop=stop,
        )

    uvloop.run(until_signal())


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    captures: Path | None = None,
    latency_s: float = 0.0,
    error_rate: float = 0.0,
    on_ready: Callable[[str], object] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set; port 0 takes a free one."""
    assert 0 <= error_rate <= 1
    app = App(captures=load(captures) if captures else None, latency_s=latency_s, error_rate=error_rate)
    with _reserve(host, port) as reserved:
        bound_port = reserved.getsockname()[1]
        server: _Embedded = Server(
            app,
            address=host,
            port=bound_port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_CONNECTIONS_MAX,
            log_level=LogLevels.error,
            log_dictconfig=_LOGGING,
        )
        serving = asyncio.create_task(server.serve())
        await _ready(host, bound_port, serving)
    if on_ready is not None:
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{bound_port}")
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.stop()
        while not serving.done():
            app.end_waiting()
            await asyncio.wait((serving,), timeout=_POLL_S)
    await serving


def _reserve(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port, without listening, until the server has it too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))  # Fails where another socket listens.
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError:
        reserved.close()
        raise
    return reserved


async def _ready(host: str, port: int, serving: asyncio.Task[None]) -> None:
    """Return when the server accepts connections; raise what kept it from starting."""
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(_POLL_S)
    await serving
    raise RuntimeError("the server ended before it was ready")
