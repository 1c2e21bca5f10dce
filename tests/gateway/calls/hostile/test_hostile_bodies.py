"""Whatever bytes a client sends: a refusal in its dialect or a billed success, and nothing in between.

Rule 1: the simulated provider's tally is what the books are held against, once everything was sent.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.e2e

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
HELLO = [{"role": "user", "content": "hello"}]
PLAIN: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"model": "gpt-4o-mini", "messages": HELLO, "n": 1, "max_tokens": 9}),
    (CHAT, {"model": "gpt-4o-mini", "messages": HELLO, "stream": True, "stream_options": {}}),
    (RESPONSES, {"model": "gpt-4o-mini", "input": "hello", "max_output_tokens": 16}),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["hello", "you"]}),
    (MESSAGES, {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO}),
    (MESSAGES, {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HELLO, "stream": True}),
    ("/v1/messages/count_tokens", {"model": "claude-sonnet-4-5", "messages": HELLO}),
    (GEMINI, {"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "generationConfig": {}}),
    ("/providers/openai/v1/chat/completions", {"model": "gpt-4o-mini", "messages": HELLO}),
    ("/providers/cohere/v2/chat", {"model": "command-r-08-2024", "messages": HELLO}),
    ("/providers/bedrock/model/amazon.nova-lite-v1:0/converse", {"messages": HELLO}),
    ("/providers/openai/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"}),
]
ODD = [
    *(b"NaN", b"Infinity", b"1e400", b"-1", b"0", b"0.5", b"1" * 400, b"true", b"null", b"[]", b"{}", b'""'),
    *(
        b'"\\ud800"',
        b'"\xff\xfe"',
        b'"\\u0000"',
        b"[" * 3000 + b"]" * 3000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ),
    *(b'"' + b"x" * 5000 + b'"', b"'x'", b"{,}", b"[1,]", b"\xef\xbb\xbf1", "\u2028".encode(), b"/* x */ 1"),
]
REFUSALS = {400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 429}


class Front:
    """A gateway in front of the simulated provider, and what was answered so far."""

    def __init__(self, gateway: Any, provider: Any, calls: Any) -> None:
        self.gateway = gateway
        self.provider = provider
        self.calls = calls
        self.passed: list[str] = []
        self.counted = 0  # Token counts answered, which are free.
        self.headers = {
            "authorization": f"Bearer {calls.merchant_key}",
            "x-stripe-customer-id": "cus_fuzz",
            "content-type": "application/json",
        }

    def post(self, path: str, body: bytes, **more: str) -> httpx2.Response:
        """Send bytes; show that the answer is well-formed."""
        answer: httpx2.Response = self.gateway.http.post(path, content=body, headers={**self.headers, **more})
        is_free = path.endswith("count_tokens")
        self.counted += is_free and answer.status_code == 200
        self.note(answer.status_code, {} if is_free else dict(answer.headers), answer.content)
        return answer

    def note(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Show that an answer is well-formed, and note what must be in the books."""
        if status == 200:
            assert body
            if "costplus-request-id" in headers:
                self.passed.append(headers["costplus-request-id"])
            return
        assert status in REFUSALS, (status, body)
        told = json.loads(body)
        assert "gateway_fault" not in body.decode()
        assert told.get("error") or told.get("message") or told.get("detail"), told

    def check(self) -> None:
        """Compare the books with the provider's tally."""
        books = self.gateway.books
        self.calls.until(lambda: not books.open_intents(), "every call has ended")
        self.calls.until(lambda: set(self.passed) <= books.booked().keys(), "what was delivered is booked")
        self.calls.until(lambda: books.held_nano() == 0, "nothing is held")
        stats = httpx2.get(f"{self.provider.url}/_sim/stats", trust_env=False, verify=False).json()
        booked = books.booked()
        assert len(booked) == stats["answered"] - self.counted == len(self.passed)
        for leaf in ("input", "output"):
            assert sum(call.quantities.get(leaf, 0) for call in booked.values()) == stats["tokens"][leaf]
        assert books.unbalanced() == []


@pytest.fixture(scope="module")
def front(calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Run a provider and a gateway of this module's own; compare their figures when all is done."""
    folder = tmp_path_factory.mktemp("bodies")
    calls.seed(folder / "data", {"cus_fuzz": None})
    with calls.started("dev-provider", "--port", "0", folder=folder / "provider") as provider:
        environ = calls.environment(provider.url, body_timeout_s=1, body_bytes_max=2_000_000)
        with calls.gateway_on(folder / "data", environ) as gateway:
            served = Front(gateway, provider, calls)
            yield served
            served.check()
            assert gateway.process.end() == 0
            assert "Traceback" not in (folder / "data" / "stderr.log").read_text()


@pytest.mark.parametrize(("path", "body"), PLAIN)
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd[:20]))
def test_an_odd_value_anywhere_on_top_is_refused_or_billed(
    front: Front, path: str, body: dict[str, Any], odd: bytes
) -> None:
    for key in (*body, "metadata", "user", "previous_response_id", "service_tier", "stream_options", "speed"):
        fields = {name: json.dumps(value).encode() for name, value in body.items()} | {key: odd}
        front.post(path, b"{" + b",".join(b'"%b":%b' % (k.encode(), v) for k, v in fields.items()) + b"}")


@pytest.mark.parametrize(("path", "body"), PLAIN)
def test_a_body_that_ends_anywhere_is_refused(front: Front, path: str, body: dict[str, Any]) -> None:
    whole = json.dumps(body).encode()
    for end in range(0, len(whole), 3):
        assert front.post(path, whole[:end]).status_code in (400, 404)
    for wrapped in (
        b"[%b]" % whole,
        b"%b%b" % (whole, whole),
        b"\0" + whole,
        whole + b"\0",
        b"\xef\xbb\xbf" + whole,
    ):
        front.post(path, wrapped)


@pytest.mark.parametrize(("path", "body"), PLAIN[:5])
def test_of_a_key_that_stands_twice_what_was_understood_is_sent_and_billed(
    front: Front, path: str, body: dict[str, Any]
) -> None:
    text = json.dumps(body)[1:]
    for first in (
        '"model":"gpt-5-pro"',
        '"model":7',
        '"stream":true',
        '"max_tokens":1',
        '"n":9',
        '"messages":[]',
    ):
        front.post(path, f"{{{first},{text}".encode())


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    which=st.integers(0, len(PLAIN) - 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=12)), max_size=4),
    content_type=st.sampled_from(
        [
            "application/json",
            "",
            "text/plain",
            "application/json; charset=utf-16",
            "multipart/form-data",
            "x" * 900,
        ]
    ),
)
def test_a_body_with_bytes_changed_is_refused_or_billed(
    front: Front, which: int, edits: list[tuple[float, int, bytes]], content_type: str
) -> None:
    path, body = PLAIN[which]
    sent = json.dumps(body).encode()
    for share, removed, put in edits:
        at = int(len(sent) * share)
        sent = sent[:at] + put + sent[at + removed :]
    front.post(path, sent, **{"content-type": content_type})


def test_recorded_bodies_with_bytes_changed_are_refused_or_billed(front: Front, shared_data: Path) -> None:
    file = shared_data / "captures.jsonl.gz"
    if not file.exists():
        pytest.skip("captures.jsonl.gz is absent")
    dice = random.Random(7)
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["request"] and row["method"] == "POST"]
    for row in dice.sample(rows, 150):
        own = row["path"] in (CHAT, MESSAGES, RESPONSES, "/v1/embeddings")
        path = row["path"] if own else f"/providers/{row['provider']}{row['path']}"
        body = bytearray(json.dumps(row["request"]).encode()[:1_000_000])
        front.post(path, bytes(body))
        for _ in range(3):
            at = dice.randrange(len(body))
            body[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
            front.post(path, bytes(body))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    boundary=st.sampled_from(["b", "", "b" * 200, "ä", '"b c"', "b; boundary=c"]),
    parts=st.lists(
        st.tuples(
            st.sampled_from(["model", "file", "prompt", "n", "stream", "", "image[]", 'x"y', "ü"]),
            st.sampled_from(["", '; filename="a.wav"', "; filename*=utf-8''%ff"]),
            st.binary(max_size=40) | st.sampled_from([b"whisper-1", b"gpt-image-1", b"true", b"9" * 50]),
        ),
        max_size=5,
    ),
    cut=st.integers(0, 60),
)
def test_a_form_of_any_shape_is_refused_or_billed(
    front: Front, boundary: str, parts: list[tuple[str, str, bytes]], cut: int
) -> None:
    body = b"".join(
        b'--b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (name.encode(), more.encode(), value)
        for name, more, value in parts
    )
    body += b"--b--\r\n"
    kind = f"multipart/form-data; boundary={boundary}".encode("latin-1").decode("latin-1")
    for path in ("/providers/openai/v1/audio/transcriptions", "/providers/openai/v1/images/edits"):
        front.post(
            path, body[: len(body) - cut], **{"content-type": kind.encode("ascii", "replace").decode()}
        )
