"""A server that misbehaves on purpose, and the pool that talks to it, as one fixture: `net`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from costplus.gateway.upstream import UpstreamPool, UpstreamResponse

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Answer = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One connection as the server sees it; `number` counts connections from 1."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def heard(self) -> bytes:
        """Return one request, head and body; b"" when the client has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        length = [line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
        return head + await self.reader.readexactly(int(length[0].split()[1]) if length else 0)

    async def say(self, *parts: bytes) -> None:
        """Send each part as a segment of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)


@dataclass
class Provider:
    """A server whose connections all run `answer`."""

    answer: Answer
    ssl_context: ssl.SSLContext | None = None
    url: str = ""
    peers: list[Peer] = field(default_factory=list)

    async def __aenter__(self) -> Provider:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.ssl_context)
        scheme = "https" if self.ssl_context else "http"
        self.url = f"{scheme}://localhost:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        with contextlib.suppress(ConnectionError):
            await self.answer(peer)


def always(*parts: bytes, then_close: bool = False) -> Answer:
    async def answer(peer: Peer) -> None:
        while await peer.heard():
            await peer.say(*parts)
            if then_close:
                peer.writer.close()
                return

    return answer


@contextlib.asynccontextmanager
async def talking(answer: Answer, **settings: Any) -> AsyncIterator[tuple[UpstreamPool, Provider]]:
    async with asyncio.timeout(5), Provider(answer) as provider:
        pool = UpstreamPool(base_url=provider.url, **settings)
        try:
            yield pool, provider
        finally:
            await pool.aclose()


async def get(pool: UpstreamPool, path: str = "/", method: str = "GET") -> UpstreamResponse:
    return await pool.request(method=method, path=path, headers=[], body=b"")


async def turns(count: int = 20) -> None:
    """Let the loop deliver what the kernel has."""
    for _ in range(count):
        await asyncio.sleep(0.0005)


@pytest.fixture
def net() -> SimpleNamespace:
    """Return the functions and classes of this file; test files cannot import it."""
    return SimpleNamespace(
        OK=OK, Peer=Peer, Provider=Provider, always=always, get=get, talking=talking, turns=turns
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime(2020, 1, 1)  # noqa: DTZ001 — cryptography compares naive times.

    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start)
        .not_valid_after(start + timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path
