"""A provider that says whatever a test wants, byte by byte, in front of a real gateway process.

Rule 1: a request names its case (`case-17`, in its body or a header), whose script the provider follows.
Rule 2: an outcome is what the client has: status, headers, bytes, and whether the answer ended as it should.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
AT_ONCE = 8
_CASE = re.compile(rb"case-\d+")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_DATA = re.compile(rb"^data:(.*)$", re.MULTILINE)
_TEXT_KEYS = frozenset(("content", "text", "delta", "partial_json"))


@dataclass
class Peer:
    """One request on one connection, as the provider has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: bytes

    async def say(self, *parts: bytes, pause_s: float = 0) -> None:
        """Send each part as a write of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(pause_s)

    def hang_up(self) -> None:
        """Close the connection as one does after an answer."""
        self.writer.close()

    def reset(self) -> None:
        """Drop the connection as a crash does."""
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class RawProvider:
    """A server on a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.heard = 0
        self._scripts: dict[bytes, Script] = {}
        self._numbers = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._peers: set[asyncio.StreamWriter] = set()

    def script(self, answer: Script) -> str:
        """Keep an answer; return the case that a request names to have it."""
        case = f"case-{next(self._numbers)}"
        self._scripts[case.encode()] = answer
        return case

    @contextlib.contextmanager
    def running(self) -> Iterator[RawProvider]:
        """Serve until the block ends."""
        ready = threading.Event()
        thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        thread.start()
        assert ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for writer in tuple(self._peers):
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                request = head + await reader.readexactly(int(length[1]) if length else 0)
                self.heard += 1
                case = _CASE.search(request)
                assert case is not None
                await self._scripts[case[0]](Peer(reader, writer, request))
        self._peers.discard(writer)
        writer.close()


@dataclass(frozen=True)
class Sample:
    """A good call and its good answer."""

    name: str
    path: str
    ask: dict[str, Any]
    content_type: str
    body: bytes
    counted_at: int = 0  # Where in the body the last usage block has ended.
    tokens: tuple[int, int] = (11, 7)


def events(*payloads: Any, named: bool = False) -> bytes:
    """Return payloads as server-sent events."""
    lines = []
    for payload in payloads:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        lines.append((f"event: {payload['type']}\n" if named else "") + f"data: {text}\n\n")
    return "".join(lines).encode()


def _chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini", **fields}


def _chat_stream(*words: str) -> bytes:
    deltas = [_chunk(choices=[{"index": 0, "delta": {"content": word}}]) for word in words]
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    end = _chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    return events(*deltas, end, _chunk(choices=[], usage=usage), "[DONE]")


HELLO = [{"role": "user", "content": "hello"}]
SSE, PLAIN = "text/event-stream", "application/json"
TEXT = "Grüße aus der Ferne 🌍"


def _chat_samples() -> list[Sample]:
    ask = {"model": "gpt-4o-mini", "messages": HELLO}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}}
    whole = _chunk(object="chat.completion", choices=[choice], usage=usage)
    streamed = _chat_stream("Grüße ", "aus der ", "Ferne 🌍")
    counted_at = streamed.index(b"data: [DONE]")
    asked = {**ask, "stream": True, "stream_options": {"include_usage": True}}
    return [
        Sample("chat", CHAT, ask, PLAIN, json.dumps(whole).encode()),
        Sample("chat_sse", CHAT, {**ask, "stream": True}, SSE, streamed, counted_at),
        Sample("chat_sse_usage", CHAT, asked, SSE, streamed, counted_at),
    ]


def _response_samples() -> list[Sample]:
    ask = {"model": "gpt-4o-mini", "input": "hello"}
    final = {
        "id": "resp_1",
        "model": "gpt-4o-mini",
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": TEXT}]}],
        "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18},
    }
    streamed = events(
        {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4o-mini"}},
        {"type": "response.output_text.delta", "delta": TEXT},
        {"type": "response.completed", "response": final},
        named=True,
    )
    return [
        Sample("responses", RESPONSES, ask, PLAIN, json.dumps(final).encode()),
        Sample("responses_sse", RESPONSES, {**ask, "stream": True}, SSE, streamed, len(streamed) - 2),
    ]


def _message_samples() -> list[Sample]:
    ask = {"model": "claude-sonnet-4-5", "max_tokens": 90, "messages": HELLO}
    begun = {"id": "msg_1", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 11, "output_tokens": 1}}
    usage = {"input_tokens": 11, "output_tokens": 7}
    whole = {**begun, "content": [{"type": "text", "text": TEXT}], "usage": usage}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}}
    told = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
    counted = events({"type": "message_start", "message": begun}, delta, delta, told, named=True)
    streamed = counted + events({"type": "message_stop"}, named=True)
    return [
        Sample("messages", MESSAGES, ask, PLAIN, json.dumps(whole).encode()),
        Sample("messages_sse", MESSAGES, {**ask, "stream": True}, SSE, streamed, len(counted)),
    ]


def _samples() -> list[Sample]:
    return [*_chat_samples(), *_response_samples(), *_message_samples()]


SAMPLES = {sample.name: sample for sample in _samples()}


def head(content_type: str | None, *lines: str, status: str = "200 OK") -> bytes:
    """Return a response head."""
    named = [f"content-type: {content_type}"] if content_type else []
    return "\r\n".join([f"HTTP/1.1 {status}", *named, *lines, "", ""]).encode()


def with_length(sample: Sample, content_type: str | None = "", *lines: str, status: str = "200 OK") -> bytes:
    """Return the whole answer, its length declared."""
    kind = sample.content_type if content_type == "" else content_type
    return head(kind, f"content-length: {len(sample.body)}", *lines, status=status) + sample.body


def chunked(*pieces: bytes) -> bytes:
    """Return pieces as HTTP/1.1 chunks, without the last one."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)


def saying(*parts: bytes, then: str = "keep", pause_s: float = 0) -> Script:
    """Return a script that says the parts and then keeps, closes or resets the connection."""

    async def answer(peer: Peer) -> None:
        await peer.say(*parts, pause_s=pause_s)
        if then == "close":
            peer.hang_up()
        elif then == "reset":
            peer.reset()

    return answer


@dataclass(frozen=True)
class Outcome:
    """What the client has of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    @property
    def id(self) -> str:
        """The gateway's id of the call."""
        return self.headers["costplus-request-id"]

    @property
    def code(self) -> str | None:
        """The code of a refusal, or of the error event that ends a stream."""
        found = re.findall(rb'"(?:code|reason)":"([a-z_]+)"', self.body)
        return found[-1].decode() if found else None

    @property
    def shows_text(self) -> bool:
        """Whether the client can have read anything that was generated."""
        datas = _DATA.findall(self.body) or [self.body]
        return any(_has_text(data) for data in datas)


def _has_text(data: bytes) -> bool:
    try:
        pending: list[Any] = [json.loads(data)]
    except (ValueError, RecursionError):
        return False
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            if any(isinstance(node.get(key), str) and node[key] for key in _TEXT_KEYS):
                return True
            pending += node.values()
    return False


class Hostile:
    """A gateway in front of the raw provider."""

    def __init__(self, gateway: Any, provider: RawProvider, merchant_key: str) -> None:
        self.gateway = gateway
        self.provider = provider
        self._headers = {"authorization": f"Bearer {merchant_key}", "content-type": "application/json"}
        self._http = httpx2.Client(base_url=gateway.url, timeout=30, trust_env=False)

    def call(self, sample: Sample, script: Script, *, customer: str = "cus_overage") -> Outcome:
        """Make the sample's call with the provider following a script."""
        case = self.provider.script(script)
        is_native = sample.path.startswith("/providers/")  # Its headers go on, its body as it is.
        body = sample.ask if is_native else {**sample.ask, "metadata": {"case": case}}
        headers = {**self._headers, "x-stripe-customer-id": customer, "x-case": case}
        pieces: list[bytes] = []
        complete = True
        with self._http.stream("POST", sample.path, json=body, headers=headers) as answer:
            try:
                pieces.extend(answer.iter_raw())
            except httpx2.RemoteProtocolError:
                complete = False
        return Outcome(answer.status_code, dict(answer.headers), b"".join(pieces), complete)

    def calls(self, asked: list[tuple[Sample, Script]]) -> list[Outcome]:
        """Make many calls, some at once; return their outcomes in order."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(lambda each: self.call(*each), asked))

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()


def settled(hostile: Hostile, calls: Any, outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the books once every call has ended; what was delivered is in them, what was refused is not.

    A stream that showed nothing may be either; whatever else a client got with a 2xx is billed.
    """
    books = hostile.gateway.books
    calls.until(lambda: not books.open_intents(), "every call has ended")
    due = {each.id for each in outcomes if each.status == 200 and each.shows_text}
    calls.until(lambda: due <= books.booked().keys(), "what was delivered is booked")
    booked = books.booked()
    for each in outcomes:
        if each.status != 200:
            assert each.code, each.body
            assert each.id not in booked, each
    calls.until(lambda: books.held_nano() == 0, "nothing is held")
    assert books.unbalanced() == []
    return dict(booked)


@pytest.fixture(scope="session")
def hostile(calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """Run a gateway in front of a provider that follows scripts."""
    with running_hostile(calls, tmp_path_factory.mktemp("hostile")) as served:
        yield served


@contextlib.contextmanager
def running_hostile(calls: Any, folder: Path, **settings: object) -> Iterator[Hostile]:
    """Run a gateway of its own in front of a raw provider of its own."""
    calls.seed(folder, {"cus_overage": None, "cus_rich": 10**12})
    with (
        RawProvider().running() as provider,
        calls.gateway_on(folder, calls.environment(provider.url, **settings)) as gateway,
    ):
        served = Hostile(gateway, provider, calls.merchant_key)
        try:
            yield served
        finally:
            served.close()


@pytest.fixture(scope="session")
def raw() -> SimpleNamespace:
    """Return the functions and classes of this file; test files cannot import it."""
    return SimpleNamespace(
        SAMPLES=SAMPLES,
        Sample=Sample,
        chunked=chunked,
        events=events,
        head=head,
        running_hostile=running_hostile,
        saying=saying,
        settled=settled,
        with_length=with_length,
    )
