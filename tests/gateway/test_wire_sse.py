"""Cutting a byte stream into events: exact bytes, any cut, every line end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.wire import sse
from costplus.gateway.wire.sse import EventTooLarge, SseSplitter, event_data, event_name

SHAPES = [
    pytest.param(b"data: 1\n\n", b"", b"1", id="LF"),
    pytest.param(b"data: 1\r\n\r\n", b"", b"1", id="CRLF"),
    pytest.param(b"data: 1\r\rx", b"", b"1", id="CR"),
    pytest.param(b"data: 1\n\r\n", b"", b"1", id="LF then CRLF"),
    pytest.param(b"data:1\n\n", b"", b"1", id="no space"),
    pytest.param(b"data:  1\n\n", b"", b" 1", id="only one space is taken"),
    pytest.param(b"data\n\n", b"", b"", id="a field without a value"),
    pytest.param(b"data:\n\n", b"", b"", id="an empty value"),
    pytest.param(b"data: a\ndata: b\n\n", b"", b"a\nb", id="two data lines"),
    pytest.param(b"data\ndata: b\n\n", b"", b"\nb", id="an empty data line first"),
    pytest.param(b"data: a\rdata: b\n\n", b"", b"a\nb", id="two data lines, mixed line ends"),
    pytest.param(b"event: ping\ndata: a\n\n", b"ping", b"a", id="event before data"),
    pytest.param(b"data: a\nevent: ping\n\n", b"ping", b"a", id="event after data (Bedrock)"),
    pytest.param(b"id: 7\nevent:x\nretry: 1\ndata: a\n\n", b"x", b"a", id="other fields"),
    pytest.param(b": processing\n\n", b"", b"", id="a comment alone"),
    pytest.param(b": c\ndata: a\n\n", b"", b"a", id="a comment before data"),
    pytest.param(b"\ndata: a\n\n", b"", b"a", id="a blank line left over"),
    pytest.param(b"\xef\xbb\xbfdata: a\n\n", b"", b"a", id="a byte order mark"),
    pytest.param(b"\xef\xbb\xbfdata: a\ndata: b\n\n", b"", b"a\nb", id="a byte order mark and two lines"),
    pytest.param(b"database: a\n\n", b"", b"", id="a longer field name"),
    pytest.param(b"data: event: x\n\n", b"", b"event: x", id="the word event inside the data"),
]


@pytest.mark.parametrize(("stream", "name", "data"), SHAPES)
def test_an_event_has_its_name_and_its_data(stream: bytes, name: bytes, data: bytes) -> None:
    (event,) = SseSplitter().feed(stream)
    assert event == stream.removesuffix(b"x")
    assert (event_name(event), event_data(event)) == (name, data)


def test_events_in_one_chunk_are_cut_after_each_blank_line() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: 1\n\n: c\n\ndata: 2\n\ndata: 3") == [
        b"data: 1\n\n",
        b": c\n\n",
        b"data: 2\n\n",
    ]
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"\n") == [b"data: 3\n\n"]
    assert splitter.flush() == b""


def test_a_last_cr_waits_for_the_lf_that_may_belong_to_it() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: 1\r\n\r") == []
    assert splitter.feed(b"\ndata: 2") == [b"data: 1\r\n\r\n"]
    assert splitter.flush() == b"data: 2"


def test_an_unfinished_event_is_returned_once_by_flush() -> None:
    splitter = SseSplitter()
    splitter.feed(b"data: [DONE]\n")
    assert splitter.flush() == b"data: [DONE]\n"
    assert splitter.flush() == b""


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("pieces", [1, 2])
def test_an_event_over_the_limit_is_an_error(
    over: int, finished: bool, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 5000)
    frame = b"data: \n\n" if finished else b"data: "
    event = frame[:6] + b"x" * (5000 + over - len(frame)) + frame[6:]
    chunks = [event] if pieces == 1 else [event[:50], event[50:]]
    splitter = SseSplitter()
    if over:
        with pytest.raises(EventTooLarge) as caught:
            [splitter.feed(chunk) for chunk in chunks]
        assert caught.value.code == "stream_event_too_large"
    else:
        events = [found for chunk in chunks for found in splitter.feed(chunk)]
        assert events == ([event] if finished else [])


def test_many_small_events_in_one_chunk_are_no_large_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 5000)
    assert len(SseSplitter().feed(b"data: 1\n\n" * 5000)) == 5000


TOKENS = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: ", b"event: e", b"x", b":", b"\n\n"]))


@given(tokens=TOKENS, cuts=st.lists(st.integers(0, 80)))
def test_where_events_end_depends_on_the_bytes_and_not_on_the_cuts(
    tokens: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(tokens)
    whole = SseSplitter()
    events = [*whole.feed(stream), whole.flush()]
    assert b"".join(events) == stream
    pieces = SseSplitter()
    bounds = [0, *sorted(cuts), len(stream)]
    cut = [e for a, b in pairwise(bounds) for e in pieces.feed(stream[a:b])]
    assert [*cut, pieces.flush()] == events
