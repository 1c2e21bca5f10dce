"""Providers behind a forward proxy: a tunnel for TLS, the whole address for plain HTTP, and its refusals."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvloop

from costplus.gateway.tunnel import forward_proxy_of
from costplus.gateway.upstream import UpstreamPool, UpstreamTimeout, UpstreamUnreachable

POST: dict[str, Any] = {"method": "POST", "path": "/v1/x?y=1", "headers": [("a", "b")], "body": b"hello"}
LOGIN = base64.b64encode(b"me:p@ss").decode()


@dataclass
class Proxy:
    """A real proxy, which knows one user; `heads` are the requests that it was sent itself."""

    answer: bytes = b""  # In place of doing what it is asked.
    heads: list[bytes] = field(default_factory=list)
    port: int = 0
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def url(self, login: str = "me:p%40ss@") -> str:
        return f"http://{login}127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self.tasks.append(own)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            if self.answer:
                writer.write(self.answer)
            elif f"proxy-authorization: Basic {LOGIN}".encode() not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            elif method == "CONNECT":
                host, _, port = target.rpartition(":")
                there = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await self._between(reader, writer, *there)
            else:
                url = urlsplit(target)
                there = await asyncio.open_connection(url.hostname, url.port)
                path = target.partition(url.netloc)[2].encode()
                there[1].write(head.replace(target.encode(), path, 1))
                await self._between(reader, writer, *there)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _between(self, *ends: Any) -> None:
        reader, writer, there_reader, there_writer = ends

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while piece := await source.read(65536):
                    sink.write(piece)
            sink.close()
            with contextlib.suppress(ConnectionError):
                await sink.wait_closed()

        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))


@contextlib.asynccontextmanager
async def proxying(answer: bytes = b"") -> AsyncIterator[Proxy]:
    proxy = Proxy(answer)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    await asyncio.gather(*proxy.tasks)


@contextlib.asynccontextmanager
async def pool_to(url: str, proxy_url: str, **settings: Any) -> AsyncIterator[UpstreamPool]:
    pool = UpstreamPool(base_url=url, proxy=forward_proxy_of(proxy_url), **settings)
    try:
        yield pool
    finally:
        await pool.aclose()


def tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_tls_goes_through_a_tunnel_that_sees_nothing(net: Any, certificate: Path, run: Any) -> None:
    run(tls_goes_through(net, certificate))


async def tls_goes_through(net: Any, certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with (
        asyncio.timeout(10),
        proxying() as proxy,
        net.Provider(net.always(net.OK), ssl_context=tls_of(certificate)) as provider,
        pool_to(provider.url, proxy.url(), ssl_context=trusting) as pool,
    ):
        for _ in range(2):  # The second goes through the same tunnel.
            response = await pool.request(**POST)
            assert (response.status, await response.read(100)) == (200, b"ok")
    target = provider.url.partition("//")[2]
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n".encode())
    assert b"hello" not in head


async def test_plain_http_is_sent_to_the_proxy_with_the_whole_address(net: Any) -> None:
    async with (
        proxying() as proxy,
        net.Provider(net.always(net.OK)) as provider,
        pool_to(provider.url, proxy.url()) as pool,
    ):
        assert await (await pool.request(**POST)).read(100) == b"ok"
    (head,) = proxy.heads
    assert head.startswith(f"POST {provider.url}/v1/x?y=1 HTTP/1.1\r\nhost: ".encode())


async def test_a_certificate_of_another_name_is_refused_through_a_tunnel_too(
    net: Any, certificate: Path
) -> None:
    async with (
        proxying() as proxy,
        net.Provider(net.always(net.OK), ssl_context=tls_of(certificate)) as provider,
        pool_to(provider.url, proxy.url()) as pool,
    ):
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await pool.request(**POST)


@pytest.mark.parametrize(
    ("answer", "login", "said"),
    [
        (b"", "", "407"),
        (b"", "me:wrong@", "407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "", "403 Forbidden"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "", "SSH"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "", "speaks before"),
        (b"HTTP/1.1 200 OK\r\n", "", "no answer"),
    ],
)
async def test_a_proxy_that_lets_nobody_through_is_named(answer: bytes, login: str, said: str) -> None:
    async with proxying(answer) as proxy, pool_to("https://provider.example", proxy.url(login)) as pool:
        with pytest.raises(UpstreamUnreachable, match=said) as raised:
            await pool.request(**POST)
    assert "wrong" not in raised.value.message


async def test_a_proxy_that_is_away_is_named() -> None:
    async with proxying() as proxy:
        url = proxy.url()
    async with pool_to("https://provider.example", url) as pool:
        with pytest.raises(UpstreamUnreachable, match="proxy"):
            await pool.request(**POST)


async def test_a_proxy_that_says_nothing_is_given_up() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with pool_to("https://provider.example", url, connect_timeout_s=0.05) as pool:
        with pytest.raises(UpstreamTimeout):
            await pool.request(**POST)
    gone.set()
    server.close()


@pytest.mark.parametrize(
    "url", ["", "proxy:3128", "https://proxy:1", "socks5://p:1", "http://", "http://p/x"]
)
def test_what_is_no_proxys_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        forward_proxy_of(url)
