"""Answers without an end and clients that do not read: what a gateway keeps of them is bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MB = 1 << 20
SENT_MB = 200
GROWTH_MAX_MB = 150  # A whole answer may take 64 MB, and so may what a client has not read yet.


@pytest.fixture(scope="module")
def endless(raw: Any, calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway of this module's own, whose memory is watched."""
    with raw.running_hostile(calls, tmp_path_factory.mktemp("endless")) as served:
        served.call(raw.SAMPLES["chat"], raw.saying(raw.with_length(raw.SAMPLES["chat"])))
        yield served


def peak_mb(hostile: Any) -> int:
    """Return the most memory that the gateway has had, in megabytes."""
    status = Path(f"/proc/{hostile.gateway.process.popen.pid}/status")
    if not status.exists():
        pytest.skip("this system has no /proc")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def pouring(raw: Any, content_type: str, begun: bytes, piece: bytes) -> Any:
    """Return a script that begins an answer and repeats a piece until it has sent 200 MB or is cut off."""

    async def answer(peer: Any) -> None:
        await peer.say(raw.head(content_type, "transfer-encoding: chunked") + raw.chunked(begun))
        chunk = raw.chunked(piece)
        for _ in range(SENT_MB * MB // len(piece)):
            await peer.say(chunk)
        await peer.say(b"0\r\n\r\n")

    return answer


DELTA = b'data: {"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
ENDLESS = {
    "an endless event": ("text/event-stream", DELTA % b"hello" + b"data: ", b"x" * 65536),
    "blanks behind an event": ("text/event-stream", DELTA % b"hello", b"\n" * 65536),
    "blanks before anything": ("text/event-stream", b"\n", b" " * 65536),
    "blanks in JSON": ("application/json", b"{", b" " * 65536),
    "events without end": ("text/event-stream", b"", DELTA % (b"x" * 65000)),
    "comments without end": ("text/event-stream", DELTA % b"hello", b": ping\n\n" * 8000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_without_an_end_is_cut_off_within_bounds(
    endless: Any, raw: Any, calls: Any, what: str
) -> None:
    kind, begun, piece = ENDLESS[what]
    sample = raw.SAMPLES["chat" if kind == "application/json" else "chat_sse_usage"]
    before_mb = peak_mb(endless)
    outcome = endless.call(sample, pouring(raw, kind, begun, piece))
    booked = raw.settled(endless, calls, [outcome])
    grown_mb, passed_mb = peak_mb(endless) - before_mb, len(outcome.body) // MB
    print(f"\n{what}: {grown_mb} MB more at the peak, {passed_mb} MB passed on")  # noqa: T201 — for a reader.
    assert peak_mb(endless) - before_mb < GROWTH_MAX_MB
    if outcome.status == 200:
        assert outcome.code in ("stream_event_too_large", "upstream_body_too_large")
        assert (outcome.id in booked) is outcome.shows_text
        if outcome.shows_text:
            assert "estimated" in booked[outcome.id].flags
    else:
        assert (outcome.status, outcome.code) == (502, "upstream_body_too_large")


def test_a_client_that_does_not_read_is_waited_for_within_bounds_and_billed(
    endless: Any, raw: Any, calls: Any
) -> None:
    before_mb = peak_mb(endless)
    script = pouring(raw, "text/event-stream", b"", DELTA % (b"x" * 65000))
    body = {**raw.SAMPLES["chat_sse"].ask, "user": endless.provider.script(script)}
    content = json.dumps(body).encode()
    url = httpx2.URL(endless.gateway.url)
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-stripe-customer-id: cus_rich\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (calls.merchant_key.encode(), len(content), content)
        )
        client.settimeout(10)
        assert client.recv(1)  # The answer has begun; the rest of it waits at the provider.
        assert peak_mb(endless) - before_mb < GROWTH_MAX_MB
    calls.until(lambda: endless.gateway.books.of("cus_rich"), "the call is settled")
    (call,) = endless.gateway.books.of("cus_rich")
    assert "estimated" in call.flags and call.quantities["output"] > 0
    assert peak_mb(endless) - before_mb < GROWTH_MAX_MB
    calls.until(lambda: endless.gateway.books.held_nano() == 0, "nothing is held")


def test_all_that_leaves_no_connection_and_no_file_open(endless: Any, raw: Any, calls: Any) -> None:
    files = Path(f"/proc/{endless.gateway.process.popen.pid}/fd")
    if not files.exists():
        pytest.skip("this system has no /proc")
    sample = raw.SAMPLES["chat_sse"]
    good = raw.with_length(sample)
    raw.settled(endless, calls, endless.calls([(sample, raw.saying(good))] * 8))
    before = len(list(files.iterdir()))
    scripts = [raw.saying(good[:cut], then="reset") for cut in range(0, len(good), 5)]
    raw.settled(endless, calls, endless.calls([(sample, script) for script in scripts]))
    calls.until(lambda: len(list(files.iterdir())) <= before + 8, "connections are closed")
