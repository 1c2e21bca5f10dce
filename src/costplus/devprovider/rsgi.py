"""The part of granian's RSGI that the simulated provider uses, as narrow protocols."""

from __future__ import annotations

from typing import Protocol

from granian import rsgi

ProtocolClosed: type[RuntimeError] = rsgi.ProtocolClosed  # type: ignore[attr-defined]  # Not in its __all__.

Headers = list[tuple[str, str]]


class RequestHeaders(Protocol):
    def get(self, key: str) -> str | None: ...


class Scope(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query_string(self) -> str: ...
    @property
    def headers(self) -> RequestHeaders: ...


class StreamTransport(Protocol):
    async def send_bytes(self, part: bytes) -> None: ...


class HTTPProtocol(Protocol):
    async def __call__(self) -> bytes: ...
    async def client_disconnect(self) -> None: ...
    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...
    def response_stream(self, status: int, headers: Headers) -> StreamTransport: ...
