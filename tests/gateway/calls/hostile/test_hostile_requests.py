"""Whatever a client does with HTTP itself: lies, trickles, pipelines, compresses, asks oddly."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
HELLO = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "gpt-4o-mini", "messages": HELLO},
    MESSAGES: {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    "/providers/cohere/v2/chat": {"model": "command-r-08-2024", "messages": HELLO},
    "/providers/bedrock/model/amazon.nova-lite-v1:0/converse": {
        "messages": [{"role": "user", "content": [{"text": "hello"}]}]
    },
}
GOOD = json.dumps(BODIES[CHAT]).encode()


@pytest.fixture(scope="module")
def hasty(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway that waits a second for a body."""
    folder = tmp_path_factory.mktemp("hasty")
    calls.seed(folder, {"cus_odd": None})
    with calls.gateway_on(folder, calls.environment(provider.url, body_timeout_s=1)) as served:
        yield served
        calls.until(lambda: not served.books.open_intents(), "every call has ended")
        assert served.books.unbalanced() == []
        assert served.process.end() == 0
        assert "Traceback" not in (folder / "stderr.log").read_text()


class Line:
    """A connection of a client's own."""

    def __init__(self, gateway: Any, key: str) -> None:
        url = httpx2.URL(gateway.url)
        self.socket = socket.create_connection((url.host, url.port))
        self.socket.settimeout(10)
        self._key = key

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def head(self, *lines: str, path: str = CHAT, method: str = "POST") -> bytes:
        """Return a request's head."""
        fixed = ["host: x", f"authorization: Bearer {self._key}", "x-stripe-customer-id: cus_odd"]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *fixed, *lines, "", ""]).encode("latin-1")

    def send(self, raw: bytes) -> Line:
        """Send bytes; a server that has closed already will be noticed when reading."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(raw)
        return self

    def answers(self, count: int = 1) -> list[tuple[int, bytes, bytes]]:
        """Return so many answers as (status, head, body); fewer where the connection was closed."""
        seen, found = b"", []
        while len(found) < count:
            head, blank, rest = seen.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            if blank and length and len(rest) >= int(length[1]):
                body, seen = rest[: int(length[1])], rest[int(length[1]) :]
                found.append((int(head.split()[1]), head, body))
                continue
            try:
                piece = self.socket.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                break
            seen += piece
        return found


@pytest.fixture
def line(hasty: Any, calls: Any) -> Iterator[Line]:
    """Open a connection."""
    with Line(hasty, calls.merchant_key) as opened:
        yield opened


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x", "identity, gzip"])
def test_a_compressed_body_is_refused_in_the_callers_dialect(
    hasty: Any, calls: Any, path: str, encoding: str
) -> None:
    headers = {
        "authorization": f"Bearer {calls.merchant_key}",
        "x-stripe-customer-id": "cus_odd",
        "content-encoding": encoding,
    }
    for body in (gzip.compress(json.dumps(BODIES[path]).encode()), json.dumps(BODIES[path]).encode()):
        answer = hasty.http.post(path, content=body, headers=headers)
        assert answer.status_code == 415
        assert "content_encoding_unsupported" in answer.text
    headers["content-encoding"] = "Identity"
    assert hasty.http.post(path, content=body, headers=headers).status_code in (200, 404)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("framing", ["content-length: 5000", "transfer-encoding: chunked"])
def test_a_body_that_comes_byte_by_byte_is_refused_in_time(
    hasty: Any, line: Line, path: str, framing: str
) -> None:
    line.send(line.head(framing, path=path))
    began = time.monotonic()
    line.socket.settimeout(0.1)
    answered = b""
    while not answered and time.monotonic() - began < 5:
        line.send(b"1\r\n \r\n" if "chunked" in framing else b" ")
        try:
            answered = line.socket.recv(65536)
        except TimeoutError:
            continue
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answered and b"connection: close" in answered
    assert 0.9 < time.monotonic() - began < 3


def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(hasty: Any, calls: Any) -> None:
    for framing in (f"content-length: {len(GOOD) + 1}", "transfer-encoding: chunked"):
        with Line(hasty, calls.merchant_key) as opened:
            opened.send(opened.head(framing) + GOOD)
    assert hasty.books.open_intents() == []


def test_pipelined_calls_are_each_answered_and_billed_in_order(hasty: Any, line: Line, calls: Any) -> None:
    bodies = [GOOD, GOOD.replace(b"gpt-4o-mini", b"no-such-model"), GOOD]
    line.send(b"".join(line.head(f"content-length: {len(body)}") + body for body in bodies))
    found = line.answers(3)
    assert [status for status, _, _ in found] == [200, 400, 200]
    for status, head, _ in found:
        id = re.search(rb"costplus-request-id: (\S+)", head)
        assert id is not None
        if status == 200:
            assert hasty.books.wait_for(id[1].decode()).quantities["output"] == 20


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_body_in_chunks_is_read_whole(hasty: Any, line: Line, size: int) -> None:
    chunks = [GOOD[at : at + size] for at in range(0, len(GOOD), size)]
    coded = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    line.send(line.head("transfer-encoding: chunked") + coded + b"0\r\nx-trailer: 1\r\n\r\n")
    ((status, _, _),) = line.answers()
    assert status == 200


LIES = {
    "a length that is too short": (["content-length: 10"], GOOD),
    "two lengths": (["content-length: 10", "content-length: 20"], GOOD),
    "a negative length": (["content-length: -1"], GOOD),
    "a length in words": (["content-length: ten"], GOOD),
    "a length beyond all": (["content-length: 99999999999999999999999"], GOOD),
    "a length over the limit": (["content-length: 999999999"], GOOD),
    "length and chunks": ([f"content-length: {len(GOOD)}", "transfer-encoding: chunked"], GOOD),
    "an unknown coding": (["transfer-encoding: gzip"], GOOD),
    "chunks that are none": (["transfer-encoding: chunked"], b"zz\r\n" + GOOD),
    "a chunk beyond all": (["transfer-encoding: chunked"], b"ffffffffffffffff\r\n" + GOOD),
    "an expectation": ([f"content-length: {len(GOOD)}", "expect: 200-maybe"], GOOD),
    "an upgrade": ([f"content-length: {len(GOOD)}", "upgrade: websocket", "connection: upgrade"], GOOD),
    "a header without a name": ([": x", f"content-length: {len(GOOD)}"], GOOD),
    "a header with a NUL": (["x-a: a\0b", f"content-length: {len(GOOD)}"], GOOD),
    "a header beyond ASCII": (["anthropic-beta: \xe4\xff", f"content-length: {len(GOOD)}"], GOOD),
    "a folded header": (["x-a: a\r\n b", f"content-length: {len(GOOD)}"], GOOD),
    "a huge header": (["x-a: " + "y" * 900_000, f"content-length: {len(GOOD)}"], GOOD),
    "very many headers": ([*(f"x-{n}: y" for n in range(5000)), f"content-length: {len(GOOD)}"], GOOD),
}


@pytest.mark.parametrize("lie", LIES)
def test_http_that_lies_is_refused_or_a_billed_call(hasty: Any, line: Line, lie: str) -> None:
    lines, body = LIES[lie]
    line.send(line.head(*lines) + body)
    for status, head, answer in line.answers():
        assert status == 200 or 400 <= status < 500, (status, answer)
        id = re.search(rb"costplus-request-id: (\S+)", head)
        if status == 200:
            assert id is not None
            assert hasty.books.wait_for(id[1].decode()).price_nano > 0
        elif id is not None:
            assert json.loads(answer)["error"]["code"]


TARGETS = [
    "/providers/openai/v1/chat/completions?a=%00%ff&b=%zz",
    "/providers/openai/v1/chat/completions?a=\xe4",
    "/providers/openai/v1/chat/completions?a[]={}|\\^`'",
    "/providers/openai/v1/%2e%2e/chat/completions",
    "/providers/openai/../../v1/chat/completions",
    "/providers/openai//v1//chat/completions",
    "/providers/openai/v1/chat/completions%0d%0ax-injected:%201",
    "/providers/openai/v1/%c3%a4/chat/completions",
    "/providers/openai/v1/%ff/chat/completions",
    "/providers/",
    "/providers/openai",
    "/providers//v1/chat/completions",
    "/providers/OPENAI/v1/chat/completions",
    "/v1beta/models/%2e%2e%2f%2e%2e:generateContent",
    "/v1beta/models/a%0d%0ab:generateContent",
    "/v1beta/models/" + "x" * 9000 + ":generateContent",
    "http://elsewhere.example/v1/chat/completions",
    "//elsewhere.example/v1/chat/completions",
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:60])
def test_an_odd_address_is_refused_or_a_billed_call(hasty: Any, line: Line, target: str) -> None:
    line.send(line.head(f"content-length: {len(GOOD)}", path=target) + GOOD)
    for status, head, answer in line.answers():
        assert status == 200 or 400 <= status < 500, (status, answer)
        id = re.search(rb"costplus-request-id: (\S+)", head)
        if status == 200:
            assert id is not None
            assert hasty.books.wait_for(id[1].decode()).customer == "cus_odd"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
@pytest.mark.parametrize("path", BODIES)
def test_another_method_is_refused(hasty: Any, calls: Any, path: str, method: str) -> None:
    answer = hasty.http.request(method, path, headers={"authorization": f"Bearer {calls.merchant_key}"})
    assert answer.status_code == 405
    assert method == "HEAD" or "method_not_allowed" in answer.text
