"""The pool: time-outs, kept connections, the queue for them, and TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import uvloop

from costplus.core.errors import Unavailable
from costplus.gateway import http1
from costplus.gateway.upstream import (
    UpstreamBroken,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamPool,
    UpstreamTimeout,
    UpstreamUnreachable,
)

# Time


async def test_a_silent_provider_times_out_by_phase(net: Any) -> None:
    async with net.talking(net.always(b"HTTP/1.1 100 Continue\r\n\r\n"), first_byte_timeout_s=0.02) as (
        pool,
        _,
    ):
        with pytest.raises(UpstreamTimeout) as caught:
            await net.get(pool)
        assert (caught.value.phase, caught.value.code) == ("first_byte", "upstream_timeout")
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"
    async with net.talking(net.always(wire), idle_between_bytes_timeout_s=0.02) as (pool, _):
        response = await net.get(pool)
        with pytest.raises(UpstreamTimeout) as caught:
            await response.read(5)
        assert caught.value.phase == "between_bytes"


async def test_a_slow_provider_that_keeps_talking_does_not_time_out(net: Any) -> None:
    async def answer(peer: Any) -> None:
        await peer.heard()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
        for _ in range(10):
            await asyncio.sleep(0.01)
            await peer.say(b"x")

    async with net.talking(answer, idle_between_bytes_timeout_s=0.06) as (pool, _):
        assert await (await net.get(pool)).read(10) == b"x" * 10


async def test_an_answer_that_comes_byte_by_byte_must_end_in_time_all_the_same(net: Any) -> None:
    async def answer(peer: Any) -> None:
        await peer.heard()
        await peer.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while not peer.writer.is_closing():
            await peer.say(b" ")
            await asyncio.sleep(0.01)

    async with net.talking(answer, idle_between_bytes_timeout_s=1, answer_timeout_s=0.1) as (pool, _):
        response = await net.get(pool)
        with pytest.raises(UpstreamTimeout) as caught:
            await response.read(10_000)
        assert caught.value.phase == "whole_answer"


async def test_a_connection_that_is_not_accepted_in_time_times_out(net: Any) -> None:
    async def answer(peer: Any) -> None:
        await peer.reader.read()

    async with asyncio.timeout(5), net.Provider(answer) as provider:  # It never answers the TLS handshake.
        pool = UpstreamPool(base_url=provider.url.replace("http:", "https:"), connect_timeout_s=0.03)
        with pytest.raises(UpstreamTimeout) as caught:
            await net.get(pool)
        assert caught.value.phase == "connect"
        await pool.aclose()


# The pool


async def test_an_idle_connection_closed_by_the_provider_is_noticed(net: Any) -> None:
    async with net.talking(net.always(net.OK)) as (pool, provider):
        await net.get(pool)
        provider.peers[0].writer.close()
        await net.turns()
        assert (await net.get(pool)).status == 200
        assert len(provider.peers) == 2


async def test_a_kept_connection_that_closes_before_any_byte_is_replaced_once(net: Any) -> None:
    async def answer(peer: Any) -> None:
        await peer.heard()
        await peer.say(net.OK)
        await peer.heard()
        peer.writer.close()  # As if it had been closing when the request came.

    async with net.talking(answer) as (pool, provider):
        for _ in range(3):
            assert await (await net.get(pool)).read(2) == b"ok"
        assert len(provider.peers) == 3


async def test_a_request_is_not_repeated_once_the_provider_may_have_acted_on_it(
    net: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def partial(peer: Any) -> None:
        await peer.heard()
        await peer.say(net.OK)
        await peer.heard()
        await peer.say(b"H")
        peer.writer.close()

    async with net.talking(partial) as (pool, provider):
        await net.get(pool)
        with pytest.raises(UpstreamBroken) as caught:  # A byte had come.
            await net.get(pool)
        assert caught.value.received_any
        assert len(provider.peers) == 1

    async def late(peer: Any) -> None:
        await peer.heard()
        await peer.say(net.OK)
        await peer.heard()
        await asyncio.sleep(0.03)
        peer.writer.close()

    monkeypatch.setattr(http1, "STALE_WINDOW_S", 0.01)
    async with net.talking(late) as (pool, provider):
        await net.get(pool)
        with pytest.raises(UpstreamBroken) as caught:  # Too late to have been idle.
            await net.get(pool)
        assert not caught.value.received_any
        assert len(provider.peers) == 1


async def test_an_expired_connection_is_closed_and_not_used_again(net: Any) -> None:
    closed = asyncio.Event()

    async def answer(peer: Any) -> None:
        while await peer.heard():
            await peer.say(net.OK)
        closed.set()

    async with net.talking(answer, keepalive_s=0.02) as (pool, provider):
        await net.get(pool)
        await closed.wait()  # The sweep did it: nothing else happens here.
        await net.get(pool)
        assert len(provider.peers) == 2


async def test_the_connection_used_last_is_taken_first(net: Any) -> None:
    served: list[int] = []
    quick_is_back = asyncio.Event()

    async def answer(peer: Any) -> None:
        while request := await peer.heard():
            if b" /slow " in request:
                await quick_is_back.wait()
            served.append(peer.number)
            await peer.say(net.OK)

    async with net.talking(answer) as (pool, _):
        slow = asyncio.create_task(net.get(pool, "/slow"))
        await net.get(pool)
        quick_is_back.set()
        await slow
        for _ in range(3):
            await net.get(pool)
    assert served[0] != served[1]
    assert served[2:] == [served[1]] * 3


async def test_requests_over_the_limit_are_served_in_order(net: Any) -> None:
    served = []

    async def answer(peer: Any) -> None:
        while request := await peer.heard():
            served.append(request.split()[1])
            await peer.say(net.OK)

    async with net.talking(answer, connections_max=1) as (pool, provider):
        await asyncio.gather(*(net.get(pool, f"/{number}") for number in range(20)))
        assert served == [b"/%d" % number for number in range(20)]
        assert len(provider.peers) == 1


async def test_a_full_queue_and_a_long_wait_are_overloaded(net: Any) -> None:
    settings = {"connections_max": 1, "waiting_max": 1, "wait_timeout_s": 0.02}
    async with net.talking(net.always(b""), **settings) as (pool, _):
        first = asyncio.create_task(net.get(pool))
        second = asyncio.create_task(net.get(pool))
        await net.turns(2)
        with pytest.raises(UpstreamOverloaded):  # The queue is full.
            await net.get(pool)
        with pytest.raises(UpstreamOverloaded) as caught:  # The wait is too long.
            await second
        assert caught.value.code == "upstream_overloaded"
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_response_given_up_makes_room_and_a_finished_one_keeps_its_connection(net: Any) -> None:
    async def answer(peer: Any) -> None:
        while request := await peer.heard():
            await peer.say(net.OK if b" /whole " in request else net.OK[:-1])

    async with net.talking(answer, connections_max=1) as (pool, provider):
        half = await net.get(pool, "/half")
        waiting = asyncio.create_task(net.get(pool, "/whole"))
        await net.turns(3)
        assert not waiting.done()
        await half.aclose()
        await half.aclose()
        with pytest.raises(UpstreamBroken):
            await half.read(2)
        whole = await waiting
        assert await whole.read(2) == b"ok"
        await whole.aclose()
        await net.get(pool, "/whole")
        assert len(provider.peers) == 2


async def test_cancelled_requests_leave_no_connection_taken(net: Any) -> None:
    async def answer(peer: Any) -> None:
        while request := await peer.heard():
            if b" /mute " not in request:
                await peer.say(net.OK)

    async with net.talking(answer, connections_max=1) as (pool, _):
        for pause_turns in range(6):  # While connecting, sending, waiting for the head.
            mute = asyncio.create_task(net.get(pool, "/mute"))
            queued = asyncio.create_task(net.get(pool))
            await net.turns(pause_turns)
            queued.cancel()
            mute.cancel()
            await asyncio.gather(mute, queued, return_exceptions=True)
            assert (await net.get(pool)).status == 200


async def test_a_failed_connect_passes_its_room_on(net: Any) -> None:
    async with net.Provider(net.always(net.OK)) as provider:
        url = provider.url
    pool = UpstreamPool(base_url=url, connections_max=1)
    outcomes = await asyncio.gather(*(net.get(pool) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UpstreamUnreachable] * 5


async def test_a_closed_pool_ends_what_is_under_way_and_refuses_more(net: Any) -> None:
    heard = asyncio.Event()

    async def answer(peer: Any) -> None:
        await peer.heard()
        heard.set()
        await peer.heard()

    async with net.talking(answer, connections_max=1) as (pool, _):
        busy, queued = asyncio.create_task(net.get(pool)), asyncio.create_task(net.get(pool))
        await heard.wait()
        await pool.aclose()
        with pytest.raises(UpstreamBroken):
            await busy
        with pytest.raises(UpstreamUnreachable):
            await queued
        with pytest.raises(UpstreamUnreachable):
            await net.get(pool)


def test_every_error_is_unavailable_with_a_code_of_its_own() -> None:
    own = (UpstreamPool.__module__, UpstreamError.__module__)  # Others' kinds are theirs to test.
    kinds = [kind for kind in UpstreamError.__subclasses__() if kind.__module__ in own]
    assert {kind.code for kind in kinds} == {
        "upstream_unreachable",
        "upstream_timeout",
        "upstream_broken",
        "upstream_overloaded",
        "upstream_body_too_large",
    }
    assert all(issubclass(kind, Unavailable) for kind in kinds)


# TLS


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_https_is_verified_on_either_loop(net: Any, certificate: Path, run: Any) -> None:
    run(https_is_verified(net, certificate))


async def https_is_verified(net: Any, certificate: Path) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate)
    body = b"x" * 1_000_000
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with asyncio.timeout(5), net.Provider(net.always(wire), ssl_context=server_context) as provider:
        trusting = UpstreamPool(
            base_url=provider.url, ssl_context=ssl.create_default_context(cafile=str(certificate))
        )
        for _ in range(2):
            assert await (await net.get(trusting)).read(len(body)) == body
        assert len(provider.peers) == 1
        await trusting.aclose()
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await net.get(UpstreamPool(base_url=provider.url))
