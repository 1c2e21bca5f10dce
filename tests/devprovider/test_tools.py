"""Tool calls and shown thoughts of the simulated provider, as the released SDKs read them.

Rule 1: every dialect is asked the same, whole and as a stream, and both say the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from costplus.devprovider.directives import NONE, Directives, parse
from costplus.devprovider.tool_call import ToolCall

MODEL = "sim-large"
CITY = {"city": "Ålesund", "note": 'a "quoted" \\ text', "days": 3, "at": {"lat": 62.47, "on": True}}
CALL = f"[[tool=weather {json.dumps(CITY)}]]"
BOTH = f"Go. [[think=3]] [[tokens=4]] [[say]] {CALL} [[tool=clock]]"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
CALLS = [("weather", CITY), ("clock", {})]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "costplus", "dev-provider", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[[tool=now]]", (ToolCall("now"),)),
        ('[[tool=a {"x": [1, {"y": "]]"}]}]]', (ToolCall("a", b'{"x":[1,{"y":"]]"}]}'),)),
        ('[[tool=b {}]] and [[tool=a-1 {"n":1e400}]]', (ToolCall("b"), ToolCall("a-1", b'{"n":1e400}'))),
    ],
)
def test_a_tool_call_is_a_name_and_an_object(text: str, calls: tuple[ToolCall, ...]) -> None:
    assert parse(text) == Directives(tools=calls)


@pytest.mark.parametrize(
    "text",
    [
        "[[tool=]]",
        "[[tool=a",
        "[[tool=a b]]",
        "[[tool=a ]]",
        "[[tool=a []]]",
        "[[tool=a {]]",
        "[[tool=a {} ]]",
        '[[tool=a {"x":NaN}]]',
        '[[tool=a {"x":' + "[" * 100_000,
    ],
)
def test_what_is_no_name_and_object_is_text(text: str) -> None:
    assert parse(text) is NONE


def test_the_pieces_of_arguments_join_to_them() -> None:
    call = ToolCall("a", json.dumps(CITY, ensure_ascii=False).encode())
    assert len(call.pieces_json()) > 10
    assert json.loads("".join(json.loads(piece) for piece in call.pieces_json())) == CITY


@contextmanager
def gpt(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        yield client


CHAT_TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("weather", "clock")
]


def test_a_chat_completion_calls_tools_whole_and_streamed(url: str) -> None:
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": BOTH}], "tools": CHAT_TOOLS}
    with gpt(url) as client:
        whole = client.chat.completions.create(**asked)
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
            chunks = [event.chunk for event in stream if event.type == "chunk"]
            streamed = stream.get_final_completion()
    for answer in (whole, streamed):
        (choice,) = answer.choices
        assert choice.finish_reason == "tool_calls"
        assert len((choice.message.content or "").split()) == 4
        called = choice.message.tool_calls or []
        assert [(c.function.name, json.loads(c.function.arguments)) for c in called] == CALLS
        assert len({c.id for c in called}) == 2
        assert answer.usage and answer.usage.completion_tokens == 7
    thoughts = [getattr(c.choices[0].delta, "reasoning_content", None) for c in chunks if c.choices]
    said = getattr(whole.choices[0].message, "reasoning_content")  # noqa: B009  # No type of the SDK has it.
    assert "".join(text for text in thoughts if text) == said
    assert len(said.split()) == 3


def test_a_tool_call_alone_has_no_text_and_its_result_is_answered_in_words(url: str) -> None:
    question: Any = {"role": "user", "content": CALL}
    with gpt(url) as client:
        first = client.chat.completions.create(model=MODEL, messages=[question], tools=CHAT_TOOLS)
        message: Any = first.choices[0].message
        assert message.content is None
        result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Rain."}
        second = client.chat.completions.create(
            model=MODEL, messages=[question, message, result], tools=CHAT_TOOLS
        )
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content
    assert second.choices[0].message.tool_calls is None


def test_a_tool_that_is_not_offered_is_refused(url: str) -> None:
    with gpt(url) as client, pytest.raises(openai.BadRequestError, match="no tool is named 'weather'"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": CALL}])


def test_an_answer_that_its_maximum_ends_calls_nothing(url: str) -> None:
    question: Any = {"role": "user", "content": CALL}
    with gpt(url) as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=[question], tools=CHAT_TOOLS, max_completion_tokens=5
        )
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.tool_calls is None


def test_a_response_calls_tools_whole_and_streamed(url: str) -> None:
    tools: Any = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("weather", "clock")]
    with gpt(url) as client:
        whole = client.responses.create(model=MODEL, input=BOTH, tools=tools)
        with client.responses.stream(model=MODEL, input=BOTH, tools=tools) as stream:
            events = list(stream)
            streamed = stream.get_final_response()
        turns: Any = [{"role": "user", "content": CALL}, *whole.output]
        results: Any = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "Rain."}
            for item in whole.output
            if item.type == "function_call"
        ]
        after = client.responses.create(model=MODEL, input=[*turns, *results], tools=tools)
    for answer in (whole, streamed):
        reasoning, message, *called = answer.output
        assert reasoning.type == "reasoning" and len(reasoning.summary[0].text.split()) == 3
        assert message.type == "message" and len(answer.output_text.split()) == 4
        assert [(c.name, json.loads(c.arguments)) for c in called if c.type == "function_call"] == CALLS
        assert answer.usage and answer.usage.output_tokens == 7
        assert answer.usage.output_tokens_details.reasoning_tokens == 3
    grown = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(grown[:-1])) == CITY
    assert [event.type for event in events].count("response.reasoning_summary_text.delta") == 3
    assert [item.type for item in after.output] == ["message"]


def test_a_message_calls_tools_whole_and_streamed(url: str) -> None:
    tools: Any = [{"name": name, "input_schema": SCHEMA} for name in ("weather", "clock")]
    asked: Any = {"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": BOTH}]}
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        whole = client.messages.create(**asked, tools=tools)
        with client.messages.stream(**asked, tools=tools) as stream:
            streamed = stream.get_final_message()
        block_id = next(block.id for block in whole.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": block_id, "content": "Rain."}
        asked["messages"] += [
            {"role": "assistant", "content": whole.content},
            {"role": "user", "content": [result]},
        ]
        after = client.messages.create(**asked, tools=tools)
        counted = client.messages.count_tokens(
            model=MODEL, messages=[{"role": "user", "content": "12345"}], tools=tools
        )
    for answer in (whole, streamed):
        thinking, text, *called = answer.content
        assert thinking.type == "thinking" and len(thinking.thinking.split()) == 3 and thinking.signature
        assert text.type == "text" and len(text.text.split()) == 4
        assert [(c.name, c.input) for c in called if c.type == "tool_use"] == CALLS
        assert answer.stop_reason == "tool_use"
        assert answer.usage.output_tokens == 7
    assert whole.content[0].model_dump() == streamed.content[0].model_dump()
    assert (after.stop_reason, [block.type for block in after.content]) == ("end_turn", ["thinking", "text"])
    assert counted.input_tokens == 5


def test_gemini_calls_tools_whole_and_streamed(url: str) -> None:
    offered = [types.FunctionDeclaration(name=name) for name in ("weather", "clock")]
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=offered)],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    with genai.Client(api_key="k", http_options=types.HttpOptions(base_url=url)) as client:
        whole = client.models.generate_content(model=MODEL, contents=BOTH, config=config)
        chunks = list(client.models.generate_content_stream(model=MODEL, contents=BOTH, config=config))
        counted = client.models.count_tokens(model=MODEL, contents="12345")
    streamed = [part for chunk in chunks for part in chunk.parts or []]
    for parts in (whole.parts or [], streamed):
        called = [part.function_call for part in parts if part.function_call]
        assert [(call.name, call.args) for call in called] == CALLS
        assert len("".join(part.text or "" for part in parts if part.thought).split()) == 3
        assert len("".join(part.text or "" for part in parts if not part.thought).split()) == 4
        assert any(part.thought_signature for part in parts)
    for said in (whole.usage_metadata, chunks[-1].usage_metadata):
        assert said and (said.candidates_token_count, said.thoughts_token_count) == (4, 3)
    assert counted.total_tokens == 5


def converse(url: str) -> Any:
    return boto3.client(
        "bedrock-runtime",
        aws_access_key_id="k",
        aws_secret_access_key="unused",
        region_name="us-east-1",
        endpoint_url=url,
        config=botocore.config.Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def block_of(events: list[Any], index: int) -> tuple[Any, list[Any]]:
    """Return how a block opened, and its deltas."""
    opened = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
    deltas = [event["contentBlockDelta"] for event in events if "contentBlockDelta" in event]
    start = next((block["start"]["toolUse"] for block in opened if block["contentBlockIndex"] == index), None)
    return start, [delta["delta"] for delta in deltas if delta["contentBlockIndex"] == index]


def test_amazons_converse_calls_tools_whole_and_streamed(url: str) -> None:
    specs = [{"toolSpec": {"name": n, "inputSchema": {"json": SCHEMA}}} for n in ("weather", "clock")]
    text = BOTH + " [[input=100]] [[cached=10]] [[cache_write=5]] [[cache_write_1h=4]]"
    asked = {
        "modelId": "us.sim:0",
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "toolConfig": {"tools": specs},
    }
    client = converse(url)
    whole = client.converse(**asked)
    events = list(client.converse_stream(**asked)["stream"])
    client.close()

    thought, text_block, *called = whole["output"]["message"]["content"]
    assert len(thought["reasoningContent"]["reasoningText"]["text"].split()) == 3
    assert len(text_block["text"].split()) == 4
    assert [(block["toolUse"]["name"], block["toolUse"]["input"]) for block in called] == CALLS
    assert whole["stopReason"] == "tool_use"

    _, thoughts = block_of(events, 0)
    shown = "".join(delta["reasoningContent"].get("text", "") for delta in thoughts)
    assert shown == thought["reasoningContent"]["reasoningText"]["text"]
    assert "".join(delta["text"] for delta in block_of(events, 1)[1]) == text_block["text"]
    for index, (name, arguments) in enumerate(CALLS, 2):
        start, deltas = block_of(events, index)
        assert start["name"] == name
        assert json.loads("".join(delta["toolUse"]["input"] for delta in deltas)) == arguments
    (metadata,) = [event["metadata"] for event in events if "metadata" in event]
    assert metadata["usage"] == whole["usage"]
    assert whole["usage"]["totalTokens"] == 107
    assert whole["usage"]["cacheDetails"] == [
        {"ttl": "5m", "inputTokens": 5},
        {"ttl": "1h", "inputTokens": 4},
    ]


def test_amazons_refusals_are_its_own_exceptions(url: str) -> None:
    client = converse(url)
    with pytest.raises(client.exceptions.ThrottlingException):
        client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "[[error=429]]"}]}])
    with pytest.raises(client.exceptions.ValidationException, match="weather"):
        client.converse_stream(modelId="m", messages=[{"role": "user", "content": [{"text": CALL}]}])
    client.close()


STRAY = "no call of this conversation"


def test_a_result_that_answers_no_call_is_refused(url: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": [{"role": "tool", "tool_call_id": "x", "content": "Rain."}]}),
        ("/v1/responses", {"input": [{"type": "function_call_output", "call_id": "x", "output": "Rain."}]}),
        (
            "/v1/messages",
            {
                "max_tokens": 9,
                "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}],
            },
        ),
        (
            "/v1beta/models/m:generateContent",
            {"contents": [{"parts": [{"functionResponse": {"name": "x", "response": {}}}]}]},
        ),
        (
            "/model/m/converse",
            {"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "x", "content": []}}]}]},
        ),
    ]
    with httpx2.Client(base_url=url, headers={"x-api-key": "k"}, trust_env=False) as http:
        for path, body in asked:
            answer = http.post(path, json={"model": MODEL, **body})
            assert (answer.status_code, STRAY in answer.text) == (400, True), path


@pytest.mark.parametrize(("model", "has_id"), [("gemini-2.5-flash", False), ("gemini-3-flash", True)])
def test_geminis_calls_have_ids_since_its_third_version(url: str, model: str, has_id: bool) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "[[tool=clock]]"}]}],
        "tools": [{"functionDeclarations": [{"name": "clock"}]}],
    }
    with httpx2.Client(base_url=url, headers={"x-goog-api-key": "k"}, trust_env=False) as http:
        answer = http.post(f"/v1beta/models/{model}:generateContent", json=body).json()
    (part,) = answer["candidates"][0]["content"]["parts"]
    assert ("id" in part["functionCall"]) is has_id


def test_counting_tokens_is_in_no_bill(url: str) -> None:
    with httpx2.Client(base_url=url, headers={"x-api-key": "k"}, trust_env=False) as http:
        http.post("/_sim/reset")
        body = {"model": MODEL, "messages": [{"role": "user", "content": "12345"}]}
        assert http.post("/v1/messages/count_tokens", json=body).json() == {"input_tokens": 5}
        stats = http.get("/_sim/stats").json()
    assert (stats["answered"], stats["tokens"]) == (1, {})
