"""Whatever bytes a provider answers with: no crash, nothing leaks, and no success goes unbilled."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

NAMES = ["chat", "chat_sse", "chat_sse_usage", "responses", "responses_sse", "messages", "messages_sse"]
STREAMS = [name for name in NAMES if "_sse" in name]
WHOLE = [name for name in NAMES if "_sse" not in name]
GARBAGE = "provider_answer_invalid"


def tokens(call: Any) -> tuple[int, int]:
    """Return the booked input and output tokens."""
    return call.quantities.get("input", 0), call.quantities.get("output", 0)


def same_but_for_usage(raw: Any, sample: Any, body: bytes) -> bool:
    """Return whether a body is the sample's; a usage chunk that was not asked for is taken out."""
    if sample.name == "chat_sse":
        counted = raw.events(json.loads(sample.body.split(b"data: ")[-2]))
        return body == sample.body.replace(counted, b"")
    return bool(body == sample.body)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_cut_in_two_at_every_byte_is_the_same_answer(
    hostile: Any, calls: Any, raw: Any, name: str
) -> None:
    sample = raw.SAMPLES[name]
    wire = raw.with_length(sample)
    step = 1 if name in ("chat", "chat_sse") else 7
    cuts = range(1, len(wire), step)
    outcomes = hostile.calls([(sample, raw.saying(wire[:cut], wire[cut:], pause_s=0.001)) for cut in cuts])
    booked = raw.settled(hostile, calls, outcomes)
    for outcome in outcomes:
        assert (outcome.status, outcome.complete) == (200, True)
        assert same_but_for_usage(raw, sample, outcome.body)
        assert (tokens(booked[outcome.id]), booked[outcome.id].flags) == (sample.tokens, [])


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_in_single_bytes_each_a_chunk_of_its_own_is_the_same_answer(
    hostile: Any, calls: Any, raw: Any, name: str
) -> None:
    sample = raw.SAMPLES[name]
    pieces = [raw.chunked(sample.body[at : at + 1]) for at in range(len(sample.body))]
    script = raw.saying(raw.head(sample.content_type, "transfer-encoding: chunked"), *pieces, b"0\r\n\r\n")
    outcome = hostile.call(sample, script)
    booked = raw.settled(hostile, calls, [outcome])
    assert same_but_for_usage(raw, sample, outcome.body)
    assert tokens(booked[outcome.id]) == sample.tokens


def framed(raw: Any, sample: Any, framing: str, kept: int) -> bytes:
    """Return the first bytes of an answer's body in a framing that tells that it is not all."""
    if framing == "length":
        return raw.head(sample.content_type, f"content-length: {len(sample.body)}") + sample.body[:kept]
    if framing == "chunked":
        head = raw.head(sample.content_type, "transfer-encoding: chunked")
        return bytes(head + raw.chunked(sample.body[:kept]))
    return bytes(raw.head(sample.content_type, "connection: close") + sample.body[:kept])


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_breaks_anywhere_is_billed_by_what_was_seen_of_it(
    hostile: Any, calls: Any, raw: Any, name: str, then: str, framing: str
) -> None:
    sample = raw.SAMPLES[name]
    cuts = sorted({*range(0, len(sample.body), 23), sample.counted_at, sample.counted_at + 1})
    scripts = [raw.saying(framed(raw, sample, framing, cut), then=then) for cut in cuts]
    outcomes = hostile.calls([(sample, script) for script in scripts])
    booked = raw.settled(hostile, calls, outcomes)
    for cut, outcome in zip(cuts, outcomes, strict=True):
        assert outcome.complete
        call = booked.get(outcome.id)
        if outcome.status != 200:  # It broke before its first byte was passed on.
            assert (outcome.status, outcome.code) in ((502, "upstream_broken"), (502, GARBAGE))
        elif cut >= sample.counted_at and then == "close":
            assert call is not None and (tokens(call), "estimated" in call.flags) == (sample.tokens, False)
        elif call is not None and tokens(call) != sample.tokens:
            assert "estimated" in call.flags
        if framing != "close" and outcome.status == 200 and then == "close":
            assert outcome.code == "upstream_broken"  # The client is told, in an event.


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_that_breaks_anywhere_is_a_502(
    hostile: Any, calls: Any, raw: Any, name: str, framing: str
) -> None:
    sample = raw.SAMPLES[name]
    cuts = range(0, len(sample.body), 29)
    outcomes = hostile.calls(
        [(sample, raw.saying(framed(raw, sample, framing, cut), then="close")) for cut in cuts]
    )
    raw.settled(hostile, calls, outcomes)
    assert {outcome.status for outcome in outcomes} == {502}
    assert {outcome.code for outcome in outcomes} <= {"upstream_broken", GARBAGE}


# What a header says


@pytest.mark.parametrize(
    "kind", [None, "application/json", "text/event-stream", "text/plain", "text/html", "x", ";"]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_good_answer_is_billed_whatever_its_content_type_says(
    hostile: Any, calls: Any, raw: Any, name: str, kind: str | None
) -> None:
    sample = raw.SAMPLES[name]
    outcome = hostile.call(sample, raw.saying(raw.with_length(sample, kind)))
    booked = raw.settled(hostile, calls, [outcome])
    assert outcome.status == 200
    assert (tokens(booked[outcome.id]), booked[outcome.id].flags) == (sample.tokens, [])


@pytest.mark.parametrize("blank", [b" ", b"\n", b"\r\n\t "])
def test_blanks_before_a_misdeclared_answer_do_not_hide_it(
    hostile: Any, calls: Any, raw: Any, blank: bytes
) -> None:
    sample = raw.SAMPLES["chat"]
    body = blank * 50 + sample.body
    wire = raw.head("text/event-stream", f"content-length: {len(body)}")
    outcome = hostile.call(sample, raw.saying(wire, body[:10], body[10:], pause_s=0.005))
    booked = raw.settled(hostile, calls, [outcome])
    assert (outcome.status, tokens(booked[outcome.id])) == (200, sample.tokens)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/html"])
@pytest.mark.parametrize(
    "body", [b"", b"<html>login</html>", b"null", b"[]", b"\xff\xfe\x00", b"data: x\n\n"]
)
def test_a_success_without_an_answer_in_it_is_not_billed(
    hostile: Any, calls: Any, raw: Any, name: str, kind: str, body: bytes
) -> None:
    wire = raw.head(kind, f"content-length: {len(body)}") + body
    outcome = hostile.call(raw.SAMPLES[name], raw.saying(wire))
    booked = raw.settled(hostile, calls, [outcome])
    assert outcome.id not in booked
    assert (outcome.status, outcome.code) == (502, GARBAGE) or kind == "text/event-stream"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "gzip, gzip"])
def test_a_compressed_answer_that_nobody_asked_for_is_refused(
    hostile: Any, calls: Any, raw: Any, name: str, encoding: str
) -> None:
    sample = raw.SAMPLES[name]
    packed = gzip.compress(sample.body)
    lines = (f"content-length: {len(packed)}", f"content-encoding: {encoding}")
    outcome = hostile.call(sample, raw.saying(raw.head(sample.content_type, *lines) + packed))
    booked = raw.settled(hostile, calls, [outcome])
    assert (outcome.status, outcome.code, outcome.id in booked) == (502, GARBAGE, False)


def test_a_compressed_refusal_reaches_the_client_with_its_encoding(
    hostile: Any, calls: Any, raw: Any
) -> None:
    packed = gzip.compress(b'{"error":{"message":"slow down","code":"rate_limit"}}')
    lines = (f"content-length: {len(packed)}", "content-encoding: gzip", "retry-after: 3")
    wire = raw.head("application/json", *lines, status="429 Too Many Requests") + packed
    outcome = hostile.call(raw.SAMPLES["chat"], raw.saying(wire))
    assert (outcome.status, outcome.headers["content-encoding"]) == (429, "gzip")
    assert outcome.headers["retry-after"] == "3"
    assert gzip.decompress(outcome.body) == gzip.decompress(packed)
    assert outcome.id not in hostile.gateway.books.booked()


@pytest.mark.parametrize("status", ["300 X", "301 X", "302 X", "303 X", "304 X", "307 X", "308 X", "204 X"])
@pytest.mark.parametrize("name", ["chat", "chat_sse", "messages_sse"])
def test_a_redirection_is_neither_followed_nor_passed_on_nor_billed(
    hostile: Any, calls: Any, raw: Any, name: str, status: str
) -> None:
    sample = raw.SAMPLES[name]
    heard = hostile.provider.heard
    location = f"location: {hostile.provider.url}/elsewhere"
    bodiless = status[:3] in ("204", "304")  # HTTP has no bodies for these.
    wire = raw.head("application/json", location, status=status) if bodiless else None
    outcome = hostile.call(sample, raw.saying(wire or raw.with_length(sample, "", location, status=status)))
    booked = raw.settled(hostile, calls, [outcome])
    assert (outcome.status, outcome.code, outcome.id in booked) == (502, GARBAGE, False)
    assert hostile.provider.heard == heard + 1


# HTTP that lies


def oddities(raw: Any, sample: Any) -> dict[str, tuple[bytes, bool]]:
    """Return answers that are odd as HTTP, each with whether it is an answer all the same."""
    body, kind = sample.body, sample.content_type
    good = raw.with_length(sample)
    coded = "transfer-encoding: chunked"
    flood = [f"x-{number}: {'y' * 90}" for number in range(4000)]
    many = [f"x-{number}: y" for number in range(2000)]
    return {
        "early hints": (b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" * 20 + good, True),
        "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + good, True),
        "hints without end": (b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" * 9000, False),
        "switching": (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            False,
        ),
        "many headers": (raw.with_length(sample, "", *many), True),
        "a flood of headers": (raw.with_length(sample, "", *flood), False),
        "too long a length": (raw.head(kind, f"content-length: {len(body) + 1}") + body, False),
        "two lengths": (
            raw.head(kind, f"content-length: {len(body)}", "content-length: 3") + body,
            False,
        ),
        "negative length": (raw.head(kind, "content-length: -1") + body, False),
        "length and chunks": (
            raw.head(kind, "content-length: 5", coded) + raw.chunked(body) + b"0\r\n\r\n",
            False,
        ),
        "trailers": (
            raw.head(kind, coded, "trailer: x-a") + raw.chunked(body) + b"0\r\nx-a: 1\r\nx-b: 2\r\n\r\n",
            True,
        ),
        "no length": (raw.head(kind, "connection: close") + body, True),
        "HTTP/1.0": (good.replace(b"HTTP/1.1", b"HTTP/1.0"), True),
        "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", False),
        "not HTTP": (b"220 smtp.example.com ESMTP\r\n", False),
        "nothing": (b"", False),
        "status 000": (good.replace(b"200 OK", b"000 OK"), False),
        "status 999": (good.replace(b"200 OK", b"999 OK"), False),
        "bare LF": (good.replace(b"\r\n", b"\n", 2), False),
        "a NUL in a header": (raw.with_length(sample, "", "x-a: a\0b"), False),
        "chunk size is no number": (raw.head(kind, coded) + b"zz\r\n" + body, False),
        "chunk size is huge": (raw.head(kind, coded) + b"ffffffffffffffffff\r\n" + body, False),
        "chunk too long": (raw.head(kind, coded) + b"3\r\n" + body, False),
        "no last chunk": (raw.head(kind, coded) + raw.chunked(body), False),
    }


@pytest.mark.parametrize("name", ["chat", "chat_sse", "messages", "messages_sse"])
def test_http_that_lies_never_makes_an_unbilled_success(
    hostile: Any, calls: Any, raw: Any, name: str
) -> None:
    sample = raw.SAMPLES[name]
    odd = oddities(raw, sample)
    outcomes = hostile.calls([(sample, raw.saying(wire, then="close")) for wire, _ in odd.values()])
    booked = raw.settled(hostile, calls, outcomes)
    for (what, (_, is_answer)), outcome in zip(odd.items(), outcomes, strict=True):
        call = booked.get(outcome.id)
        if is_answer:
            assert (outcome.status, call is not None) == (200, True), what
            assert tokens(call) == sample.tokens, what
        elif outcome.status == 200:  # It had begun; what was shown is billed, and the client told.
            assert outcome.code == "upstream_broken" or call is not None, what
        else:
            assert outcome.status == 502, (what, outcome)


def test_more_than_the_declared_length_is_nobodys(hostile: Any, calls: Any, raw: Any) -> None:
    sample = raw.SAMPLES["chat"]
    stray = raw.with_length(sample) + raw.with_length(sample).replace(b"Ferne", b"Nacht")
    outcomes = [
        hostile.call(sample, raw.saying(stray)),
        hostile.call(sample, raw.saying(raw.with_length(sample))),
    ]
    booked = raw.settled(hostile, calls, outcomes)
    assert [outcome.body for outcome in outcomes] == [sample.body] * 2
    assert len({outcome.id for outcome in outcomes} & booked.keys()) == 2


# Streams that make no sense


def nonsense(raw: Any, sample: Any) -> dict[str, bytes]:
    """Return streams of well-formed HTTP whose events make no sense."""
    pieces = [piece + b"\n\n" for piece in sample.body.split(b"\n\n") if piece]
    return {
        "two streams interleaved": b"".join(piece + piece.replace(b"Gr", b"Br") for piece in pieces),
        "backwards": b"".join(reversed(pieces)),
        "twice": sample.body * 2,
        "an error in the middle": pieces[0] + b'data: {"error":{"message":"no"}}\n\n' + b"".join(pieces[1:]),
        "numbers for words": sample.body.replace(b'"usage": {', b'"usage": {"x": 1e400, '),
        "counts as strings": sample.body.replace(b": 7", b': "7"'),
        "negative counts": sample.body.replace(b": 7", b": -7"),
        "counts beyond all": sample.body.replace(b": 7", b": 99999999999999999999"),
        "usage is a list": sample.body.replace(b'"usage": {', b'"usage": [], "y": {'),
        "deep": pieces[0] + b"data: " + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n\n" + b"".join(pieces[1:]),
        "not UTF-8": sample.body.replace("Grüße".encode(), b"\xff\xfe\xfa"),
        "lone surrogates": sample.body.replace(b'"stop"', b'"\\ud800"'),
        "model is a number": sample.body.replace(b'"model": "', b'"model": 7, "z": "'),
        "carriage returns": sample.body.replace(b"\n", b"\r\n"),
        "comments": b"".join(b": ping\n\n" * 50 + piece for piece in pieces),
        "byte order mark": b"\xef\xbb\xbf" + sample.body,
        "no data fields": sample.body.replace(b"data:", b"dota:"),
    }


@pytest.mark.parametrize("name", STREAMS)
def test_events_that_make_no_sense_are_billed_where_they_show_anything(
    hostile: Any, calls: Any, raw: Any, name: str
) -> None:
    sample = raw.SAMPLES[name]
    odd = nonsense(raw, sample)
    scripts = []
    for body in odd.values():
        wire = raw.head(sample.content_type, f"content-length: {len(body)}") + body
        scripts.append((sample, raw.saying(wire)))
    outcomes = hostile.calls(scripts)
    booked = raw.settled(hostile, calls, outcomes)
    for (what, body), outcome in zip(odd.items(), outcomes, strict=True):
        assert (outcome.status, outcome.complete) == (200, True), (what, outcome)
        call = booked.get(outcome.id)
        if sample.name != "chat_sse":
            assert outcome.body == body, what
        if call is not None:
            assert call.price_nano >= 0 and all(0 <= n <= 10**12 for n in call.quantities.values()), what


def test_leases_and_calls_under_way_are_given_back(raw: Any, calls: Any, tmp_path: Path) -> None:
    async def silent(peer: Any) -> None:
        await peer.reader.read()

    with raw.running_hostile(calls, tmp_path, drain_s=20) as served:
        sample = raw.SAMPLES["chat_sse"]
        for script in (raw.saying(b"", then="reset"), raw.saying(b"HTTP/1.1 200", then="close")):
            outcome = served.call(sample, script, customer="cus_rich")
            assert (outcome.status, outcome.code) == (502, "upstream_broken")
        good = served.call(sample, raw.saying(raw.with_length(sample)), customer="cus_rich")
        raw.settled(served, calls, [good])
        assert served.gateway.process.end() == 0  # With nothing under way it does not wait.
        books = served.gateway.books
        assert books.held_nano() == 0
        (call,) = (each for each in books.of("cus_rich") if "failed_attempt" not in each.flags)
        assert books.credit_nano("cus_rich") == 10**12 - call.price_nano
