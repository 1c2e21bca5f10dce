"""One exchange on the wire: what is sent, every way an answer can be framed, and every way it can break."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from costplus.gateway import http1
from costplus.gateway.upstream import UpstreamBodyTooLarge, UpstreamBroken, UpstreamPool, UpstreamUnreachable

# The request


async def test_a_request_is_sent_with_our_own_framing_and_without_the_callers(net: Any) -> None:
    heard = []

    async def answer(peer: Any) -> None:
        heard.append(await peer.heard())
        await peer.say(net.OK)

    hop_by_hop = ["Connection", "Transfer-Encoding", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer"]
    withheld = [*hop_by_hop, "Upgrade", "Host", "Content-Length", "Accept-Encoding"]
    async with net.talking(answer) as (pool, provider):
        headers = [
            ("Authorization", "Bearer k"),
            *((name, "x") for name in withheld),
            ("X-A", "1"),
            ("X-A", "é"),
        ]
        response = await pool.request(method="POST", path="/v1/chat?a=%20", headers=headers, body=b"{}")
        assert await response.read(10) == b"ok"
    host = provider.url.removeprefix("http://")
    assert heard[0].decode("latin-1") == (
        f"POST /v1/chat?a=%20 HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n"
        "authorization: Bearer k\r\nx-a: 1\r\nx-a: é\r\ncontent-length: 2\r\n\r\n{}"
    )


async def test_a_base_path_and_an_encoding_of_the_pool_are_used(net: Any) -> None:
    heard = []

    async def answer(peer: Any) -> None:
        heard.append(await peer.heard())
        await peer.say(net.OK)

    async with net.Provider(answer) as provider:
        pool = UpstreamPool(base_url=provider.url + "/openai/", accept_encoding="gzip")
        await net.get(pool, "/v1/models")
        await pool.aclose()
    assert heard[0].startswith(b"GET /openai/v1/models HTTP/1.1\r\n")
    assert b"accept-encoding: gzip\r\n\r\n" in heard[0]


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/ HTTP/1.1\r\nx: y", ("a", "b")),
        ("GET", "/a b", ("a", "b")),
        ("GET", "no-slash", ("a", "b")),
        ("GET /", "/", ("a", "b")),
        ("GET", "/", ("a", "b\r\nhost: evil")),
        ("GET", "/", ("a", "b\nc")),
        ("GET", "/", ("a: b", "c")),
        ("GET", "/", ("transfer-encoding ", "chunked")),
        ("GET", "/", ("a", "€")),
    ],
)
async def test_a_request_that_could_smuggle_a_line_is_refused(
    method: str, path: str, header: tuple[str, str]
) -> None:
    pool = UpstreamPool(base_url="http://127.0.0.1:9")
    with pytest.raises(ValueError):
        await pool.request(method=method, path=path, headers=[header], body=b"")


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://k@a", "http://a?b", "localhost:1"])
def test_a_base_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the base URL"):
        UpstreamPool(base_url=url)


# The response

CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\n"
    b"3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n"
)


@pytest.mark.parametrize("wire", [CHUNKED, b"HTTP/1.1 100 Continue\r\nx-i: 1\r\n\r\n" + CHUNKED])
async def test_an_answer_byte_by_byte_is_the_same_answer_and_keeps_its_connection(
    net: Any, wire: bytes
) -> None:
    byte_by_byte = [wire[i : i + 1] for i in range(len(wire))]
    async with net.talking(net.always(*byte_by_byte)) as (pool, provider):
        for _ in range(2):  # The trailer of the first answer must not turn up in the second.
            response = await net.get(pool)
            assert response.status == 200
            assert await response.read(5) == b"abcde"
            assert response.headers[1:] == [("set-cookie", "a"), ("set-cookie", "b")]
            assert response.header("set-cookie") == "a"
            assert response.header("x-trailer") is None
        assert len(provider.peers) == 1


async def test_a_whole_answer_in_one_segment_is_complete_at_once(net: Any) -> None:
    async with net.talking(net.always(net.OK)) as (pool, _):
        response = await net.get(pool)
        assert response.complete
        assert await response.read(2) == b"ok"


async def test_interim_answers_are_skipped_and_switching_protocols_is_broken(net: Any) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with net.talking(net.always(interim, interim, net.OK)) as (pool, _):
        response = await net.get(pool)
        assert (response.status, response.header("link")) == (200, None)
    async with net.talking(net.always(b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx")) as (
        pool,
        _,
    ):
        with pytest.raises(UpstreamBroken):
            await net.get(pool)


@pytest.mark.parametrize(
    ("method", "wire", "connections"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 2),  # Not kept: the parser expects a body.
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 1),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", 2),
        ("GET", b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", 2),
    ],
)
async def test_an_answer_without_a_body_ends_with_its_head(
    net: Any, method: str, wire: bytes, connections: int
) -> None:
    async with net.talking(net.always(wire)) as (pool, provider):
        for _ in range(2):
            response = await net.get(pool, method=method)
            assert response.complete
            assert await response.read(0) == b""
        assert len(provider.peers) == connections


async def test_a_body_without_framing_ends_with_its_connection(net: Any) -> None:
    async with net.talking(net.always(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd", then_close=True)) as (pool, _):
        response = await net.get(pool)
        assert await response.read(4) == b"abcd"
        assert response.complete


async def test_each_network_read_is_one_chunk(net: Any) -> None:
    go_on = asyncio.Event()

    async def answer(peer: Any) -> None:
        await peer.heard()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n")
        await go_on.wait()
        await peer.say(b"1\r\nd\r\n0\r\n\r\n")

    async with net.talking(answer) as (pool, _):
        response = await net.get(pool)
        chunks = []
        async for chunk in response.chunks():
            chunks.append(chunk)
            assert response.complete is (len(chunks) == 2)
            go_on.set()
        assert chunks == [b"abc", b"d"]


async def test_a_reader_that_lags_stops_the_provider(net: Any) -> None:
    size = 64 * 1024 * 1024
    sent = 0

    async def answer(peer: Any) -> None:
        nonlocal sent
        await peer.heard()
        peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(64):
            peer.writer.write(bytes(size // 64))
            await peer.writer.drain()
            sent += size // 64

    async with net.talking(answer) as (pool, _):
        response = await net.get(pool)
        sent_before = -1
        while sent_before != sent:  # Until it has stopped.
            sent_before = sent
            await net.turns()
        assert sent < size // 2
        total = 0
        async for chunk in response.chunks():
            assert len(chunk) <= http1.BUFFER_BYTES_MAX + 256 * 1024  # At most one read over the limit.
            total += len(chunk)
        assert total == size


async def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not(net: Any) -> None:
    async with net.talking(net.always(b"HTTP/1.1 200 OK\r\n\r\nabc", b"d", then_close=True)) as (pool, _):
        assert await (await net.get(pool)).read(4) == b"abcd"
        with pytest.raises(UpstreamBodyTooLarge):
            await (await net.get(pool)).read(3)
    async with net.talking(net.always(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na")) as (pool, _):
        with pytest.raises(UpstreamBodyTooLarge):  # By its declared length, before it comes.
            await (await net.get(pool)).read(3)
    async with net.talking(net.always(net.OK)) as (pool, _):
        with pytest.raises(UpstreamBodyTooLarge):
            await (await net.get(pool)).read(1)


async def test_a_large_body_is_read_past_the_buffer_limit(net: Any) -> None:
    body = b"x" * (4 * http1.BUFFER_BYTES_MAX)
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with net.talking(net.always(wire)) as (pool, provider):
        for _ in range(2):
            response = await net.get(pool)
            await net.turns()  # Until reading has paused.
            assert await response.read(len(body)) == body
        assert len(provider.peers) == 1


# What breaks


@pytest.mark.parametrize(
    ("wire", "received_any"),
    [
        (b"", False),
        (b"HTTP/1.1 200", True),
        (b"SSH-2.0-OpenSSH\r\n", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", True),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000, True),
    ],
)
async def test_an_answer_that_breaks_in_its_head_says_if_anything_came(
    net: Any, wire: bytes, received_any: bool
) -> None:
    async with net.talking(net.always(wire, then_close=True)) as (pool, provider):
        with pytest.raises(UpstreamBroken) as caught:
            await net.get(pool)
        assert caught.value.received_any is received_any
        assert caught.value.code == "upstream_broken"
        assert len(provider.peers) == 1  # A new connection is never tried twice.


@pytest.mark.parametrize(
    "framing", [b"content-length: 5", b"transfer-encoding: chunked", b"transfer-encoding: gzip"]
)
async def test_a_body_cut_short_is_an_error_after_what_came(net: Any, framing: bytes) -> None:
    body = b"3\r\nabc" if b"chunked" in framing else b"abc"
    wire = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body
    async with net.talking(net.always(wire, then_close=True)) as (pool, _):
        response = await net.get(pool)
        chunks = []
        with pytest.raises(UpstreamBroken) as caught:
            async for chunk in response.chunks():
                chunks += [chunk]
        assert b"".join(chunks) == b"abc"
        assert caught.value.received_any
        with pytest.raises(UpstreamBroken):
            await (await net.get(pool)).read(100)


async def test_bytes_behind_a_complete_answer_never_reach_the_next_request(net: Any) -> None:
    async with net.talking(net.always(net.OK + b"HTTP/1.1 500 Evil\r\ncontent-length: 4\r\n\r\nevil")) as (
        pool,
        provider,
    ):
        for _ in range(3):
            response = await net.get(pool)
            assert (response.status, await response.read(10)) == (200, b"ok")
        assert len(provider.peers) == 3


async def test_bytes_on_an_idle_connection_close_it(net: Any) -> None:
    async with net.talking(net.always(net.OK)) as (pool, provider):
        await net.get(pool)
        await provider.peers[0].say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await net.turns()
        assert (await net.get(pool)).status == 200
        assert len(provider.peers) == 2


async def test_a_refused_connection_and_an_unknown_host_are_unreachable(net: Any) -> None:
    async with net.Provider(net.always(net.OK)) as provider:
        url = provider.url
    for dead in (url, "http://nowhere.invalid"):
        with pytest.raises(UpstreamUnreachable) as caught:
            await net.get(UpstreamPool(base_url=dead))
        assert caught.value.code == "upstream_unreachable"
