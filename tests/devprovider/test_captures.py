"""Captures: a recorded exchange is found by its id or by its request, and goes out as recorded."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from costplus.devprovider.captures import Captures, endpoint_of, load

CHAT = "/v1/chat/completions"
SHARED = Path(os.environ.get("COSTPLUS_SHARED", Path(__file__).parents[3] / "shared")) / "data"
RECORDINGS = SHARED / "captures.jsonl.gz"


def line_of(id: str, request: object, **other: object) -> dict[str, object]:
    plain = {"provider": "openai", "host": "h", "method": "POST", "path": CHAT, "model": "m", "stream": False}
    answer = {"status": 200, "content_type": "application/json", "response": {"answer": id}}
    return {"id": id, "request": request, **plain, **answer, **other}


@pytest.fixture
def captures(tmp_path: Path) -> Captures:
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    stream = {**chat, "stream": True}
    lines = [
        line_of("plain", chat),
        line_of("again", chat),
        line_of("prefixed", {**chat, "model": "maker/m"}, path="/api/v1/chat/completions"),
        line_of("responses", chat, path="/openai/v1/responses"),
        line_of("sse", stream, content_type="text/event-stream", response="data: é\n\n"),
        line_of(
            "aws",
            {"q": 1},
            path="/model/x/converse-stream",
            content_type="application/vnd.amazon.eventstream",
            response=base64.b64encode(b"\x00\xff").decode(),
        ),
        line_of("unread", None),
    ]
    path = tmp_path / "few.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in lines).encode()))
    return load(path)


def found(captures: Captures, body: object, *, path: str = CHAT, id: str | None = None) -> str | None:
    exchange = captures.find(id=id, path=path, body=json.dumps(body).encode())
    return exchange.id if exchange else None


def test_an_id_decides_whatever_the_request(captures: Captures) -> None:
    assert found(captures, {}, id="unread", path="/anything") == "unread"


def test_a_request_is_found_by_endpoint_and_body_in_any_key_order(captures: Captures) -> None:
    body = {"messages": [{"content": "hi", "role": "user"}], "model": "m"}
    assert found(captures, body, path="/proxy/v1/chat/completions", id="unknown") == "plain"
    assert found(captures, body, path="/v1/responses") == "responses"
    assert found(captures, {**body, "temperature": 0}) is None


def test_an_injected_include_usage_does_not_hide_a_recording(captures: Captures) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    assert found(captures, {**body, "stream_options": {"include_usage": True}}) == "sse"
    assert found(captures, {**body, "stream_options": {"include_usage": True, "other": 1}}) is None


def test_the_exact_model_comes_before_the_one_without_its_prefix(captures: Captures) -> None:
    body = {"model": "maker/m", "messages": [{"role": "user", "content": "hi"}]}
    assert found(captures, body) == "prefixed"
    assert found(captures, {**body, "model": "other/m"}) == "plain"


def test_a_body_that_is_no_object_is_not_found(captures: Captures) -> None:
    assert captures.find(id=None, path=CHAT, body=b"[1]") is None
    assert captures.find(id=None, path=CHAT, body=b"\xff") is None


def test_answers_are_the_bytes_that_were_received(captures: Captures) -> None:
    assert json.loads(captures.by_id["plain"].body) == {"answer": "plain"}
    assert captures.by_id["sse"].body == "data: é\n\n".encode()
    assert captures.by_id["aws"].body == b"\x00\xff"


def test_a_stream_goes_out_in_several_writes_the_same_each_time(captures: Captures) -> None:
    exchange = captures.by_id["sse"]
    writes = exchange.writes()
    assert len(writes) > 1
    assert b"".join(writes) == exchange.body
    assert writes == exchange.writes()


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/messages?beta=true", "messages"),
        ("/chat/completions", "chat/completions"),
        ("/v1beta/models/g:generateContent", "models/g:generateContent"),
        ("/v2/chat", "/v2/chat"),
    ],
)
def test_an_endpoint_is_the_end_of_a_path(path: str, endpoint: str) -> None:
    assert endpoint_of(path) == endpoint


@pytest.fixture(scope="module")
def recordings() -> Iterator[Captures]:
    if not RECORDINGS.exists():
        pytest.skip(f"no recordings at {RECORDINGS}")
    yield load(RECORDINGS)


@pytest.mark.slow
def test_every_recorded_request_finds_an_answer_to_the_same_request(recordings: Captures) -> None:
    with gzip.open(RECORDINGS, "rt") as lines:
        asked = [json.loads(line) for line in lines]
    assert len(recordings.by_id) == len(asked)
    for line in asked:
        if isinstance(line["request"], dict):
            body = json.dumps(line["request"], indent=1).encode()
            exchange = recordings.find(id=None, path=line["path"], body=body)
            assert exchange is not None, line["id"]
            assert endpoint_of(exchange.path) == endpoint_of(line["path"])
            assert exchange.model == line["model"]


def test_every_recorded_answer_goes_out_as_recorded(recordings: Captures) -> None:
    with gzip.open(RECORDINGS, "rt") as lines:
        for line in map(json.loads, lines):
            exchange = recordings.by_id[line["id"]]
            if isinstance(line["response"], dict):
                assert json.loads(exchange.body) == line["response"]
            elif exchange.streams:
                assert b"".join(exchange.writes()) == exchange.body


@pytest.mark.e2e
def test_every_recording_is_replayed_over_a_socket(recordings: Captures) -> None:
    code = (
        "import sys, pathlib; from costplus.devprovider.server import run; "
        "run(captures=pathlib.Path(sys.argv[1]), on_ready=lambda url: print(url, flush=True))"
    )
    command = [sys.executable, "-c", code, str(RECORDINGS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip().removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=5)
        try:
            with gzip.open(RECORDINGS, "rt") as lines:
                for line in map(json.loads, lines):
                    assert_replayed(connection, recordings, line)
        finally:
            connection.close()
            process.terminate()


def assert_replayed(connection: http.client.HTTPConnection, recordings: Captures, line: Any) -> None:
    """Ask as the recorded client did; a body that is no object is asked for by its id."""
    headers = {"authorization": "Bearer k"}
    if not isinstance(line["request"], dict):
        headers["x-capture-id"] = line["id"]
    connection.request("POST", line["path"], json.dumps(line["request"]), headers)
    response = connection.getresponse()
    body = response.read()
    exchange = recordings.by_id[response.headers["x-capture-id"]]
    assert (response.status, body) == (exchange.status, exchange.body)
    assert endpoint_of(exchange.path) == endpoint_of(line["path"])
