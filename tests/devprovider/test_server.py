"""The simulated provider on a real socket, driven by the released SDKs."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from costplus.devprovider.server import run

pytestmark = pytest.mark.e2e

MODEL = "sim-large"
CHAT = "/v1/chat/completions"
SERVE = (
    "import sys, json, pathlib; from costplus.devprovider.server import run; a = json.loads(sys.argv[1]); "
    "a['captures'] = a.get('captures') and pathlib.Path(a['captures']); "
    "run(on_ready=lambda url: print(url, flush=True), **a)"
)
STOP_S = 5


@contextmanager
def provider(**settings: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the simulated provider in a process of its own and stop it as an operator would."""
    command = [sys.executable, "-c", SERVE, json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with provider() as (url, _):
        yield url


@pytest.fixture
def url(served: str) -> str:
    assert ask(served, "POST", "/_sim/reset") == (200, {"reset": True})
    return served


@pytest.fixture
def gpt(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0, timeout=5) as client:
        yield client


def raw(
    url: str, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body), named)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def ask(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
    status, _, answer = raw(url, method, path, body, **headers)
    return status, json.loads(answer)


def stats(url: str) -> Any:
    return ask(url, "GET", "/_sim/stats")[1]


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_a_chat_completion_reports_what_was_directed(gpt: openai.OpenAI, url: str) -> None:
    text = "[[input=1000]] [[cached=100]] [[cache_write=50]] [[tokens=150]] [[reasoning=30]]"
    answer = gpt.chat.completions.create(model=MODEL, messages=said(text))
    usage = answer.usage
    assert usage and usage.prompt_tokens_details and usage.completion_tokens_details
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 180, 1180)
    assert (usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens) == (
        100,
        30,
    )
    assert answer.model == MODEL
    assert len((answer.choices[0].message.content or "").split()) == 150
    assert stats(url)["tokens"] == {
        "input": 850,
        "cached_input": 100,
        "cache_write_5m": 50,
        "output": 150,
        "reasoning": 30,
    }


def test_a_plain_chat_completion_counts_its_text_and_stops_at_the_maximum(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(model=MODEL, messages=said("12345"), max_completion_tokens=7)
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 7)
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("chunk_ms", [0, 1])
def test_a_chat_stream_ends_with_usage_when_asked(gpt: openai.OpenAI, url: str, chunk_ms: int) -> None:
    with gpt.chat.completions.create(
        model=MODEL,
        messages=said(f"[[tokens=5]] [[chunk_ms={chunk_ms}]]"),
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [5]
    assert chunks[-1].choices == []
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert len("".join(text or "" for text in texts).split()) == 5
    assert stats(url)["tokens"]["output"] == 5


def test_a_chat_stream_says_nothing_of_usage_unless_asked(gpt: openai.OpenAI, url: str) -> None:
    with gpt.chat.completions.create(model=MODEL, messages=said("[[tokens=5]]"), stream=True) as stream:
        assert not any("usage" in chunk.model_fields_set for chunk in stream)
    assert stats(url)["tokens"] == {}
    assert stats(url)["tokens_unreported"]["output"] == 5


def test_a_response_is_read_by_the_sdk_whole_and_streamed(gpt: openai.OpenAI) -> None:
    text = "[[input=90]] [[cached=10]] [[tokens=4]] [[reasoning=3]]"
    whole = gpt.responses.create(model=MODEL, input=text)
    with gpt.responses.create(model=MODEL, input=text, stream=True) as stream:
        events = list(stream)
    assert events[0].type == "response.created"
    assert [event.type for event in events].count("response.output_text.delta") == 4
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage
    assert whole.usage
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (90, 7)
    assert whole.usage.output_tokens_details.reasoning_tokens == 3


def test_a_response_cut_by_its_maximum_is_incomplete(gpt: openai.OpenAI) -> None:
    cut = gpt.responses.create(model=MODEL, input="hi", max_output_tokens=2)
    assert cut.status == "incomplete"
    assert cut.incomplete_details and cut.incomplete_details.reason == "max_output_tokens"


def test_embeddings_come_as_the_sdk_asks_for_them(gpt: openai.OpenAI, url: str) -> None:
    answer = gpt.embeddings.create(model=MODEL, input=["abcd", "efgh"], dimensions=8)
    assert [len(item.embedding) for item in answer.data] == [8, 8]
    plain = gpt.embeddings.create(model=MODEL, input="abcd", encoding_format="float")
    assert len(plain.data[0].embedding) == 1536
    assert (answer.usage.prompt_tokens, plain.usage.prompt_tokens) == (2, 1)
    assert stats(url)["tokens"] == {"input": 3}


def test_models_are_listed_in_each_dialect(gpt: openai.OpenAI, claude: anthropic.Anthropic, url: str) -> None:
    assert "gpt-4o" in [model.id for model in gpt.models.list()]
    assert "claude-sonnet-4-5" in [model.id for model in claude.models.list()]
    assert ask(url, "GET", "/v1beta/models?key=k")[1]["models"][0]["name"].startswith("models/gemini")


def test_a_message_reports_disjoint_leaves(claude: anthropic.Anthropic, url: str) -> None:
    text = "[[input=100]] [[cached=10]] [[cache_write=5]] [[cache_write_1h=4]] [[tokens=6]] [[reasoning=2]]"
    answer = claude.messages.create(model=MODEL, max_tokens=50, messages=said(text))
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (
        81,
        10,
        9,
    )
    assert usage.cache_creation and usage.cache_creation.ephemeral_1h_input_tokens == 4
    assert usage.output_tokens == 8
    assert (answer.model, answer.stop_reason) == (MODEL, "end_turn")
    assert stats(url)["tokens"]["cache_write_1h"] == 4


def test_a_message_stream_accumulates_to_the_same_usage(claude: anthropic.Anthropic) -> None:
    text = "[[input=100]] [[cached=10]] [[tokens=6]]"
    with claude.messages.stream(model=MODEL, max_tokens=4, messages=said(text)) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) == 4
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (
        90,
        10,
        4,
    )
    assert final.stop_reason == "max_tokens"


def test_a_message_needs_a_maximum(url: str) -> None:
    body = {"model": MODEL, "messages": said("hi")}
    status, answer = ask(url, "POST", "/v1/messages", body, x_api_key="k")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "max_tokens" in answer["error"]["message"]


def test_gemini_answers_whole_as_events_and_as_an_array(url: str) -> None:
    text = "[[input=50]] [[cached=5]] [[tokens=3]] [[reasoning=2]]"
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    method = f"/v1beta/models/{MODEL}"
    whole = ask(url, "POST", f"{method}:generateContent", body, x_goog_api_key="k")[1]
    counts = {
        "promptTokenCount": 50,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 55,
    }
    assert counts.items() <= whole["usageMetadata"].items()
    assert whole["modelVersion"] == MODEL

    array = ask(url, "POST", f"{method}:streamGenerateContent", body, x_goog_api_key="k")[1]
    _, headers, events = raw(url, "POST", f"{method}:streamGenerateContent?alt=sse&key=k", body)
    assert headers["content-type"] == "text/event-stream"
    streamed = [json.loads(line[6:]) for line in events.decode().split("\r\n\r\n") if line]
    for chunks in (array, streamed):
        assert len(chunks) == 4
        assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("path", ["/chat/completions", "/openai/v1/chat/completions"])
def test_any_prefix_and_none_reach_an_endpoint(url: str, path: str) -> None:
    assert (
        ask(url, "POST", path, {"model": MODEL, "messages": said("hi")}, authorization="Bearer k")[0] == 200
    )


def test_a_call_without_a_key_is_refused_in_its_dialect(url: str) -> None:
    assert ask(url, "POST", CHAT, {})[1]["error"]["code"] == "invalid_api_key"
    assert ask(url, "POST", "/v1/messages", {})[1]["error"]["type"] == "authentication_error"
    status, answer = ask(url, "POST", f"/v1beta/models/{MODEL}:generateContent", {})
    assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert stats(url)["errors_by_status"] == {"401": 3}


def test_a_directed_error_is_the_sdks_own_exception(
    gpt: openai.OpenAI, claude: anthropic.Anthropic, url: str
) -> None:
    with pytest.raises(openai.RateLimitError, match="Rate limit"):
        gpt.chat.completions.create(model=MODEL, messages=said("[[error=429]]"))
    with pytest.raises(anthropic.APIStatusError) as refused:
        claude.messages.create(model=MODEL, max_tokens=1, messages=said("[[error=529]]"))
    assert refused.value.status_code == 529
    assert (stats(url)["errors"], stats(url)["answered"]) == (2, 0)


def test_an_answer_without_usage_still_parses(gpt: openai.OpenAI, url: str) -> None:
    assert gpt.chat.completions.create(model=MODEL, messages=said("[[no_usage]]")).usage is None
    assert stats(url)["tokens_unreported"]["output"] == 20


def test_garbage_is_no_json(url: str) -> None:
    body = {"model": MODEL, "messages": said("[[garbage]]")}
    status, headers, answer = raw(url, "POST", CHAT, body, authorization="k")
    assert (status, headers["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer)


@pytest.mark.parametrize("stream", [False, True])
def test_a_truncated_answer_breaks_the_connection(url: str, stream: bool) -> None:
    body = {"model": MODEL, "messages": said("[[truncate]]"), "stream": stream}
    with pytest.raises(http.client.IncompleteRead) as broken:
        raw(url, "POST", CHAT, body, authorization="k")
    assert broken.value.partial
    assert b"[DONE]" not in broken.value.partial
    assert (stats(url)["broken"], stats(url)["tokens"]) == (1, {})


def test_an_early_end_is_clean_but_lacks_the_terminal_events(url: str) -> None:
    body = {"model": MODEL, "messages": said("[[early_end]]"), "stream": True}
    status, _, answer = raw(url, "POST", CHAT, body, authorization="k")
    assert (status, answer.count(b"data: ")) == (200, 21)
    assert b'"finish_reason":"stop"' not in answer


def test_a_stream_can_break_off_after_its_usage(url: str) -> None:
    body = {"model": MODEL, "messages": said("[[cut_late]]"), "stream": True}
    with pytest.raises(http.client.IncompleteRead) as broken:
        raw(url, "POST", CHAT, body | {"stream_options": {"include_usage": True}}, authorization="k")
    assert b'"usage":{' in broken.value.partial and b"[DONE]" not in broken.value.partial


def test_a_stream_can_end_with_an_error_object(gpt: openai.OpenAI) -> None:
    stream = gpt.chat.completions.create(model=MODEL, messages=said("[[stream_error]]"), stream=True)
    with pytest.raises(openai.APIError):
        list(stream)


def test_latency_delays_the_first_byte(gpt: openai.OpenAI) -> None:
    started_s = time.monotonic()
    gpt.chat.completions.create(model=MODEL, messages=said("[[latency=60]]"))
    assert time.monotonic() - started_s >= 0.06


def test_a_hanging_call_ends_when_its_client_goes(url: str) -> None:
    hasty = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=0.2)
    with hasty, pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(model=MODEL, messages=said("[[hang]]"))
    deadline_s = time.monotonic() + 2
    while not stats(url)["broken"]:
        assert time.monotonic() < deadline_s


def test_a_port_that_is_taken_is_an_error(url: str) -> None:
    with pytest.raises(OSError, match="in use"):
        run(port=int(url.rpartition(":")[2]))


def test_a_stop_ends_hanging_calls_and_slow_streams() -> None:
    with provider() as (url, process), socket.socket() as idle, socket.socket() as hanging:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        for connection, directive in ((idle, "[[tokens=1]]"), (hanging, "[[hang]]")):
            body = json.dumps({"model": MODEL, "messages": said(directive)})
            connection.connect(address)
            head = (
                f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: k\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            connection.sendall((head + body).encode())
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        while stats(url)["requests"].get(CHAT) != 2:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_S) == 0


def test_an_error_rate_of_one_refuses_everything() -> None:
    with provider(error_rate=1.0) as (url, _):
        status, answer = ask(url, "POST", CHAT, {"model": MODEL, "messages": said("hi")}, authorization="k")
        assert (status, "error" in answer, stats(url)["errors_by_status"]) == (503, True, {"503": 1})


def test_a_recording_is_replayed_and_anything_else_simulated(tmp_path: Path) -> None:
    request = {"model": "m", "messages": said("recorded"), "stream": True}
    recorded = {"id": "one", "provider": "p", "path": CHAT, "model": "m", "stream": True, "request": request}
    answer = {
        "status": 200,
        "content_type": "text/event-stream; charset=utf-8",
        "response": "data: é\n\ndata: [DONE]\n\n",
    }
    path = tmp_path / "one.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({**recorded, **answer}).encode()))
    with provider(captures=str(path)) as (url, _):
        assert [item["id"] for item in ask(url, "GET", "/_sim/captures")[1]["captures"]] == ["one"]
        injected = {**request, "stream_options": {"include_usage": True}}
        for body, headers in ((injected, {}), ({"other": 1}, {"x_capture_id": "one"})):
            status, got, replayed = raw(url, "POST", CHAT, body, authorization="k", **headers)
            assert (status, got["x-capture-id"], replayed.decode()) == (200, "one", answer["response"])
            assert got["content-type"] == "text/event-stream"
        simulated = ask(url, "POST", CHAT, {"model": "m", "messages": said("new")}, authorization="k")
        assert simulated[1]["object"] == "chat.completion"
        assert stats(url)["replayed"] == 2
