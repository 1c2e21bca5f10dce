"""Fetching from a real server on a real socket: what it may do to us, and what we then do."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest

from costplus import __version__
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import SourceRejected
from costplus.catalog.snapshot import SCHEMA, Snapshot
from costplus.catalog.sources.fetch import (
    BACKOFF_S,
    REDIRECTS_MAX,
    RETRY_AFTER_S_MAX,
    TRIES,
    Fetched,
    SourceUnavailable,
    fetch,
    open_client,
)
from costplus.catalog.sources.registry import SOURCES

pytestmark = pytest.mark.slow

AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
BODY = b'{"gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1e-6}}'


def answer(status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> bytes:
    """Return an HTTP answer; `length` is what it claims of its body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    lines += [f"content-length: {len(body) if length is None else length}", "connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Server:
    """Answers each request with the next of its answers, the last one for ever, and remembers requests.

    After an answer comes `more`, again and again, until the other side has enough; with `silent`, nothing.
    """

    url: str = ""
    answers: list[bytes] = field(default_factory=list)
    more: bytes = b""
    silent: bool = False
    heard: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport), suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            self.heard.append({k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:]) if k})
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()
            while self.more:
                writer.write(self.more)
                self.sent += len(self.more)
                await writer.drain()
                await asyncio.sleep(0)
            if self.silent:
                await asyncio.Event().wait()


@pytest.fixture
async def server(listen: Callable[[Any], Awaitable[str]]) -> Server:
    server = Server()
    server.url = f"{await listen(server.serve)}/prices.json"
    return server


class Waiting:
    """Stands in for waiting, and remembers for how long it was asked to."""

    def __init__(self) -> None:
        self.pauses_s: list[int] = []

    async def __call__(self, pause_s: int) -> None:
        self.pauses_s.append(pause_s)


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def get(server: Server, waiting: Waiting) -> AsyncIterator[Callable[..., Any]]:
    """Fetch from the server (or another URL) without ever really waiting."""
    async with open_client(trust_env=False) as client:

        async def get(url: str = "", **options: Any) -> Fetched:
            return await fetch(
                url or server.url, source="litellm", client=client, now=lambda: AT, pause=waiting, **options
            )

        yield get


async def test_a_document_comes_with_its_validators_and_next_time_costs_nothing(
    server: Server, get: Any
) -> None:
    day = "Tue, 24 Nov 2026 08:00:00 GMT"
    server.answers = [answer(200, BODY, etag='W/"1"', last_modified=day), answer(304)]
    first = await get()
    assert (first.body, first.sha256) == (BODY, hashlib.sha256(BODY).hexdigest())
    assert (first.etag, first.last_modified, first.fetched_at) == ('W/"1"', day, AT)
    assert first.revision == 'etag:W/"1"'
    again = await get(etag=first.etag, last_modified=first.last_modified)
    assert (again.body, again.sha256, again.etag, again.last_modified) == (None, "", 'W/"1"', day)
    assert (server.heard[1]["if-none-match"], server.heard[1]["if-modified-since"]) == ('W/"1"', day)
    assert "if-none-match" not in server.heard[0]
    assert server.heard[0]["user-agent"] == f"costplus/{__version__}"


async def test_a_document_without_an_etag_is_named_by_its_hash(server: Server, get: Any) -> None:
    server.answers = [answer(200, BODY)]
    fetched = await get()
    assert fetched.revision == f"sha256:{fetched.sha256}"


async def test_not_modified_without_a_question_is_no_answer(server: Server, get: Any) -> None:
    server.answers = [answer(304)]
    with pytest.raises(SourceUnavailable, match="HTTP 304"):
        await get()


RETRY_AFTER = [
    ("1", 1),
    ("0", 0),
    ("86400", RETRY_AFTER_S_MAX),
    (format_datetime(AT + timedelta(seconds=9), usegmt=True), 10),
    (format_datetime(AT - timedelta(seconds=9), usegmt=True), 0),
    ("soon", BACKOFF_S),
    ("", BACKOFF_S),
]


@pytest.mark.parametrize(("text", "pause_s"), RETRY_AFTER)
async def test_a_server_says_when_to_come_back(
    server: Server, get: Any, waiting: Waiting, text: str, pause_s: int
) -> None:
    server.answers = [answer(429, retry_after=text), answer(200, BODY)]
    assert (await get()).body == BODY
    assert waiting.pauses_s == [pause_s]


async def test_a_server_that_recovers_is_asked_three_times(
    server: Server, get: Any, waiting: Waiting
) -> None:
    server.answers = [answer(503), answer(503), answer(200, BODY)]
    assert (await get()).body == BODY
    assert waiting.pauses_s == [BACKOFF_S, 2 * BACKOFF_S]


async def test_a_server_that_does_not_recover_is_unavailable(server: Server, get: Any) -> None:
    server.answers = [answer(503)]
    with pytest.raises(SourceUnavailable, match="is not available: HTTP 503") as error:
        await get()
    assert error.value.code == "source_unavailable"
    assert "prices.sources" in error.value.remedy
    assert len(server.heard) == TRIES


@pytest.mark.parametrize("status", [204, 401, 403, 404, 410])
async def test_what_asking_again_does_not_change_is_not_asked_again(
    server: Server, get: Any, status: int
) -> None:
    server.answers = [answer(status)]
    with pytest.raises(SourceUnavailable, match=f"HTTP {status}"):
        await get()
    assert len(server.heard) == 1


async def test_a_body_cut_short_is_fetched_again(server: Server, get: Any) -> None:
    whole = gzip.compress(BODY, mtime=0)
    server.answers = [
        answer(200, BODY[:20], length=len(BODY)),
        answer(200, whole[:-4], content_encoding="gzip"),
        answer(200, whole, content_encoding="gzip"),
    ]
    assert (await get()).body == BODY
    assert len(server.heard) == 3


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(BODY, "gzip"), (gzip.compress(BODY, mtime=0) + b"tail", "gzip"), (BODY, "br"), (BODY, "gzip, gzip")],
)
async def test_a_body_that_cannot_be_decompressed_is_no_document(
    server: Server, get: Any, body: bytes, encoding: str
) -> None:
    server.answers = [answer(200, body, content_encoding=encoding)]
    with pytest.raises(SourceUnavailable):
        await get()


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_body_of_just_the_limit_fits_and_one_more_byte_does_not(
    server: Server, get: Any, compressed: bool
) -> None:
    body = gzip.compress(BODY * 50) if compressed else BODY * 50
    server.answers = [answer(200, body, content_encoding="gzip" if compressed else "identity")]
    assert len((await get(bytes_max=len(BODY) * 50)).body) == len(BODY) * 50
    with pytest.raises(SourceRejected) as refused:
        await get(bytes_max=len(BODY) * 50 - 1)
    assert (refused.value.reason, refused.value.source) == ("too_large", "litellm")
    assert len(server.heard) == 2


async def test_a_bomb_is_noticed_while_it_goes_off(server: Server, get: Any) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 100_000
    server.answers = [answer(200, bomb, content_encoding="gzip")]
    with pytest.raises(SourceRejected, match="more than 1048576 bytes"):
        await get(bytes_max=1 << 20)


async def test_an_endless_body_is_not_read_to_its_end(server: Server, get: Any) -> None:
    server.answers = [answer(200, length=1 << 40)]
    server.more = b" " * 65_536
    with pytest.raises(SourceRejected):
        await get(bytes_max=1 << 20)
    assert server.sent < 32 << 20


async def test_a_redirect_is_followed_and_a_circle_is_not(server: Server, get: Any) -> None:
    server.answers = [answer(302, location="/elsewhere.json"), answer(200, BODY)]
    assert (await get()).body == BODY
    server.answers = [answer(302, location="/prices.json")]
    server.heard.clear()
    with pytest.raises(SourceUnavailable, match="redirects"):
        await get()
    assert len(server.heard) == REDIRECTS_MAX + 1


async def test_an_encrypted_address_never_becomes_a_plain_one(server: Server) -> None:
    def redirect(request: httpx2.Request) -> httpx2.Response:
        if request.url.scheme == "https":
            return httpx2.Response(302, headers={"location": server.url})
        return httpx2.Response(200, content=BODY)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(redirect)) as client:
        with pytest.raises(SourceUnavailable, match="without encryption"):
            await fetch("https://prices.example/x", source="litellm", client=client, now=lambda: AT)


async def test_a_page_instead_of_a_document_is_rejected_when_it_is_read(server: Server, get: Any) -> None:
    server.answers = [answer(200, b"<html>Rate limited</html>", content_type="text/html")]
    fetched = await get()
    catalogue = Catalogue(Snapshot(SCHEMA, AT.date(), "USD", {}, {}))
    with pytest.raises(SourceRejected) as refused:
        SOURCES["litellm"].view(fetched.body, catalogue=catalogue, revision=fetched.revision, as_of=AT)
    assert refused.value.reason == "not_parseable"


async def test_nobody_there_is_unavailable_after_three_tries(get: Any, waiting: Waiting) -> None:
    unused = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = unused.sockets[0].getsockname()[1]
    unused.close()
    await unused.wait_closed()
    with pytest.raises(SourceUnavailable, match="ConnectError"):
        await get(f"http://127.0.0.1:{port}/x")
    assert len(waiting.pauses_s) == TRIES - 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "prices.json", "http://127.0.0.1:port/x"])
async def test_an_address_that_is_none_is_said_once(get: Any, waiting: Waiting, url: str) -> None:
    with pytest.raises(SourceUnavailable, match="cannot be used"):
        await get(url)
    assert not waiting.pauses_s


async def test_a_server_that_says_nothing_is_left_in_time(server: Server, get: Any) -> None:
    server.answers, server.silent = [b""], True
    with pytest.raises(SourceUnavailable, match="no whole answer within 50 ms"):
        await get(timeout_ms=50)
    assert len(server.heard) == TRIES


async def test_a_server_that_drips_is_left_in_time(server: Server, get: Any) -> None:
    server.answers, server.silent = [answer(200, b"[", length=9)], True
    with pytest.raises(SourceUnavailable, match="no whole answer within 50 ms"):
        await get(timeout_ms=50)
