"""A Starlette application on a real RSGI server, asked over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from costplus.gateway.rsgi_asgi import AsgiOverRsgi


class Site:
    """The application under test and what it saw."""

    def __init__(self) -> None:
        self.upload_cut_short = asyncio.Event()
        self.stream_started = asyncio.Event()
        self.stream_cancelled = asyncio.Event()
        self.address = ("127.0.0.1", 0)

    async def show(self, request: Request) -> Response:
        scope = request.scope
        return JSONResponse(
            {
                "method": request.method,
                "path": scope["path"],
                "raw_path": scope["raw_path"].decode(),
                "query": list(request.query_params.multi_items()),
                "x": request.headers.getlist("x-a"),
                "client": request.client.host if request.client else None,
                "server": list(scope["server"]),
                "http_version": scope["http_version"],
            }
        )

    async def form(self, request: Request) -> Response:
        async with request.form() as form:
            return JSONResponse({name: len(str(value)) for name, value in form.items()})

    async def echo(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            self.upload_cut_short.set()
            raise
        return Response(body)

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(3):
                yield b"piece %d\n" % number
                await asyncio.sleep(0)

        return StreamingResponse(pieces(), media_type="text/plain")

    async def endless(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            self.stream_started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.stream_cancelled.set()

        return StreamingResponse(pieces())

    async def cookies(self, request: Request) -> Response:
        response = PlainTextResponse("ok")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    async def fail(self, request: Request) -> Response:
        raise LookupError("a fault of the application")

    async def nothing(self, request: Request) -> Response:
        return Response(status_code=int(request.query_params["status"]))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    routes = [
        Route("/show/{rest:path}", site.show),
        Route("/form", site.form, methods=["POST"]),
        Route("/echo", site.echo, methods=["POST"]),
        Route("/stream", site.stream),
        Route("/endless", site.endless),
        Route("/cookies", site.cookies),
        Route("/fail", site.fail),
        Route("/nothing", site.nothing),
    ]
    with socket.socket() as probe:
        probe.bind(site.address)
        site.address = probe.getsockname()
    server = Server(
        AsgiOverRsgi(Starlette(routes=routes)),
        address=site.address[0],
        port=site.address[1],
        interface=Interfaces.RSGI,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection(*site.address)
                break
            await asyncio.sleep(0.005)
    await closed(writer)
    yield site
    server.stop()
    await serving


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def ask(
    site: Site, line: str, *, headers: str = "", body: bytes = b""
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send one request on its own connection; return status, headers and the body as it was framed."""
    reader, writer = await asyncio.open_connection(*site.address)
    writer.write(f"{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\r\n".encode() + body)
    async with asyncio.timeout(5):
        answer = await reader.read()
    await closed(writer)
    head, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    return int(first.split()[1]), pairs, rest


async def test_the_scope_carries_path_query_repeated_headers_and_both_addresses(site: Site) -> None:
    line = "GET /show/a%20b/%C3%A9?q=%20x%2By&q=&n=1"
    status, headers, body = await ask(site, line, headers="x-a: 1\r\nx-a: 2\r\n")
    assert (status, dict(headers)["content-type"]) == (200, "application/json")
    expected = JSONResponse(
        {
            "method": "GET",
            "path": "/show/a b/é",
            "raw_path": "/show/a%20b/%C3%A9",
            "query": [("q", " x+y"), ("q", ""), ("n", "1")],
            "x": ["1", "2"],
            "client": "127.0.0.1",
            "server": list(site.address),
            "http_version": "1.1",
        }
    )
    assert body == expected.body


async def test_a_form_of_a_megabyte_arrives_whole(site: Site) -> None:
    form = urlencode({"a": "é" * 100_000, "b": "x" * 500_000}).encode()
    headers = f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(form)}\r\n"
    status, _, body = await ask(site, "POST /form", headers=headers, body=form)
    assert (status, body) == (200, b'{"a":100000,"b":500000}')


async def test_a_chunked_upload_arrives_whole(site: Site) -> None:
    body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    status, _, echoed = await ask(site, "POST /echo", headers="transfer-encoding: chunked\r\n", body=body)
    assert (status, echoed) == (200, b"abcde")


@pytest.mark.parametrize("framing", ["content-length: 10", "transfer-encoding: chunked"])
async def test_an_upload_cut_short_is_a_disconnect_and_not_a_shorter_body(site: Site, framing: str) -> None:
    _, writer = await asyncio.open_connection(*site.address)
    writer.write(f"POST /echo HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\n3\r\nabc\r\n".encode())
    await writer.drain()
    await closed(writer)
    async with asyncio.timeout(5):
        await site.upload_cut_short.wait()


async def test_a_streamed_answer_arrives_in_chunks(site: Site) -> None:
    status, headers, body = await ask(site, "GET /stream")
    assert (status, dict(headers)["transfer-encoding"]) == (200, "chunked")
    assert body == b"".join(b"8\r\npiece %d\n\r\n" % number for number in range(3)) + b"0\r\n\r\n"


async def test_a_silent_stream_is_cancelled_when_its_client_leaves(site: Site) -> None:
    _, writer = await asyncio.open_connection(*site.address)
    writer.write(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n")
    async with asyncio.timeout(5):
        await site.stream_started.wait()
        await closed(writer)
        await site.stream_cancelled.wait()


async def test_every_set_cookie_is_kept(site: Site) -> None:
    _, headers, _ = await ask(site, "GET /cookies")
    assert [value.partition(";")[0] for name, value in headers if name == "set-cookie"] == ["a=1", "b=2"]


async def test_an_exception_in_the_application_is_a_plain_500(site: Site) -> None:
    status, headers, body = await ask(site, "GET /fail")
    assert (status, body) == (500, b"Internal Server Error")
    assert dict(headers)["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /nothing?status=204", 204), ("GET /nothing?status=304", 304), ("HEAD /stream", 200)],
)
async def test_an_answer_without_a_body_has_none(site: Site, line: str, status: int) -> None:
    answered, _, body = await ask(site, line)
    assert (answered, body) == (status, b"")


async def test_a_websocket_is_refused(site: Site) -> None:
    headers = (
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nupgrade: websocket\r\n"
    )
    reader, writer = await asyncio.open_connection(*site.address)
    writer.write(f"GET /show/x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\n{headers}\r\n".encode())
    async with asyncio.timeout(5):
        line = await reader.readline()
    assert line.startswith(b"HTTP/1.1 4")
    await closed(writer)


async def answer_only_a_start(scope: object, receive: object, send: object) -> None:
    return None


async def test_an_application_that_answers_nothing_is_a_500() -> None:
    answers: list[int] = []

    class Headers:
        def items(self) -> list[tuple[str, str]]:
            return []

        def get(self, key: str) -> str | None:
            return None

    class Scope:
        proto, http_version, scheme, method, path, query_string = "http", "1.1", "http", "GET", "/", ""
        server = client = "[::1]:80"
        authority = "h"
        headers = Headers()

    class Proto:
        def response_bytes(self, status: int, headers: object, body: bytes) -> None:
            answers.append(status)

    await AsgiOverRsgi(answer_only_a_start)(Scope(), Proto())  # type: ignore[arg-type]  # Only what is used.
    assert answers == [500]
