"""OpenAI's chat completions and embeddings, as they answer.

Rule 1: pure.   Rule 2: `prompt_tokens` holds cached and written ones, `completion_tokens` the reasoning.
Rule 3: a chat stream reports usage only when `stream_options.include_usage` asks, in a chunk of its own
before `[DONE]`; every other chunk then says `"usage":null`.
"""

from __future__ import annotations

import base64
import struct
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from costplus.devprovider.ask import (
    Ask,
    BadAsk,
    Content,
    Counts,
    Named,
    as_json,
    check_results,
    names_of,
    pieces_json,
    reply_json,
    text_in,
)
from costplus.devprovider.dialect import Dialect, Reply, no_events
from costplus.devprovider.faults import openai_fault

DIMENSIONS_DEFAULT = 1536
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class _Call(msgspec.Struct):
    id: str | None = None


class _Message(msgspec.Struct):
    role: str = ""
    content: Content = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Tool(msgspec.Struct):
    function: Named | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Chat(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _AtLeastOne | None = None
    max_completion_tokens: _AtLeastOne | None = None
    tools: list[_Tool] | None = None


class _Embeddings(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


_chat = msgspec.json.Decoder(_Chat)
_embeddings = msgspec.json.Decoder(_Embeddings)

_WHOLE = (
    b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":%b%b,"refusal":null,"annotations":[]},"logprobs":null,'
    b'"finish_reason":"%b"}]%b,"service_tier":"default","system_fingerprint":"fp_costplusdev"}'
)
_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0%b},'
    b'"completion_tokens_details":{"reasoning_tokens":%d,"audio_tokens":0,'
    b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
)
_CHUNK_HEAD = (
    b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,'
    b'"service_tier":"default","system_fingerprint":"fp_costplusdev",'
)
_CALL = b'{"id":"call_%b%d","type":"function","function":{"name":%b,"arguments":%b}}'
_CALL_OPENED = (
    b'{"tool_calls":[{"index":%d,"id":"call_%b%d","type":"function","function":{"name":%b,"arguments":""}}]}'
)
_CALL_GROWN = b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}'
_DELTA = b'%b"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}\n\n'


def read_chat(body: bytes, path: str, query: str) -> Ask:
    """Return what a `chat/completions` body asks."""
    chat = _chat.decode(body)
    if not chat.messages:
        raise BadAsk("messages: at least one message is required")
    chars, last_user = text_in([(message.role, message.content) for message in chat.messages])
    answered = [message.tool_call_id for message in chat.messages if message.role == "tool"]
    if answered:
        calls = [message.tool_calls for message in chat.messages if message.tool_calls]
        check_results([call.id for made in calls for call in made], answered)
    options = chat.stream_options
    return Ask(
        chat.model,
        chars,
        len(chat.messages),
        last_user,
        chat.max_completion_tokens or chat.max_tokens,
        bool(chat.stream),
        options is not None and bool(options.include_usage),
        tools=names_of([tool.function for tool in chat.tools]) if chat.tools else frozenset(),
        after_tool=chat.messages[-1].role == "tool",
    )


def chat_usage(counts: Counts) -> bytes:
    """Return the usage block of a chat completion."""
    prompt, completion = counts.prompt, counts.completion
    writes = b',"cache_write_tokens":%d' % counts.cache_write_5m if counts.cache_write_5m else b""
    return _USAGE % (prompt, completion, prompt + completion, counts.cached, writes, counts.reasoning)


def _finish_reason(reply: Reply) -> bytes:
    if reply.calls:
        return b"tool_calls"
    return b"length" if reply.counts.cut_short else b"stop"


def _beside_text(reply: Reply) -> bytes:
    """Return the thoughts, as those who show any name them, and the tool calls."""
    if not reply.calls and not reply.thoughts:
        return b""
    thoughts = b',"reasoning_content":' + reply_json(reply.thoughts) if reply.thoughts else b""
    calls = [
        _CALL % (reply.serial, number, call.name_json, call.arguments_json)
        for number, call in enumerate(reply.calls)
    ]
    return thoughts + (b',"tool_calls":[%b]' % b",".join(calls) if calls else b"")


def _call_deltas(reply: Reply) -> list[bytes]:
    deltas: list[bytes] = []
    for number, call in enumerate(reply.calls):
        deltas.append(_CALL_OPENED % (number, reply.serial, number, call.name_json))
        deltas += [_CALL_GROWN % (number, piece) for piece in call.pieces_json()]
    return deltas


def whole_chat(reply: Reply) -> bytes:
    """Return a `chat.completion`."""
    counts = reply.counts
    return _WHOLE % (
        reply.serial,
        reply.created_s,
        as_json(reply.ask.model),
        reply_json(reply.words) if reply.says else b"null",
        _beside_text(reply),
        _finish_reason(reply),
        b',"usage":' + chat_usage(counts) if reply.with_usage else b"",
    )


def chat_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the chunks of a chat stream and how many end it."""
    counts = reply.counts
    with_usage = reply.reports_usage
    null = b',"usage":null' if with_usage else b""
    head = _CHUNK_HEAD % (reply.serial, reply.created_s, as_json(reply.ask.model))
    opening = b'{"role":"assistant","content":%b,"refusal":null}' % (b'""' if reply.says else b"null")
    events = [_DELTA % (head, opening, b"null", null)]
    events += [
        _DELTA % (head, b'{"reasoning_content":%b}' % piece, b"null", null)
        for piece in pieces_json(reply.thoughts)
    ]
    before = head + b'"choices":[{"index":0,"delta":{"content":'
    after = b'},"logprobs":null,"finish_reason":null}]%b}\n\n' % null
    events += [before + piece + after for piece in pieces_json(reply.words)]
    events += [_DELTA % (head, delta, b"null", null) for delta in _call_deltas(reply)]
    events.append(_DELTA % (head, b"{}", b'"%b"' % _finish_reason(reply), null))
    if with_usage:
        events.append(head + b'"choices":[],"usage":' + chat_usage(counts) + b"}\n\n")
    events.append(b"data: [DONE]\n\n")
    return events, 3 if with_usage else 2


def read_embeddings(body: bytes, path: str, query: str) -> Ask:
    """Return what an `embeddings` body asks; a token list counts as its length."""
    asked = _embeddings.decode(body)
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    if not inputs:
        raise BadAsk("input: at least one text is required")
    one_token_list = isinstance(inputs[0], int)
    tokens = sum([1 if isinstance(text, int) else len(text) for text in inputs if not isinstance(text, str)])
    texts = [text for text in inputs if isinstance(text, str)]
    return Ask(
        model=asked.model,
        chars=sum(map(len, texts)) + 4 * tokens,
        messages=0,
        last_user=texts[-1] if texts else "",
        tokens_max=0,  # Embeddings have no output.
        dimensions=asked.dimensions or DIMENSIONS_DEFAULT,
        inputs=1 if one_token_list else len(inputs),
        base64=asked.encoding_format == "base64",
    )


@lru_cache(maxsize=64)
def _vector_json(dimensions: int, as_base64: bool) -> bytes:
    """Return a unit vector of so many equal parts, in one of the two encodings."""
    vector = [dimensions**-0.5] * dimensions
    if as_base64:
        packed = struct.pack(f"<{dimensions}f", *vector)
        return msgspec.json.encode(base64.b64encode(packed).decode())
    return msgspec.json.encode(vector)


def whole_embeddings(reply: Reply) -> bytes:
    """Return the list of embeddings."""
    ask, prompt = reply.ask, reply.counts.prompt
    vector = _vector_json(ask.dimensions, ask.base64)
    items = [b'{"object":"embedding","index":%d,"embedding":%b}' % (n, vector) for n in range(ask.inputs)]
    usage = b',"usage":{"prompt_tokens":%d,"total_tokens":%d}' % (prompt, prompt) if reply.with_usage else b""
    return b'{"object":"list","data":[%b],"model":%b%b}' % (b",".join(items), as_json(ask.model), usage)


CHAT = Dialect(
    name="chat/completions",
    request_id_header="x-request-id",
    writes=frozenset(("cache_write_5m",)),
    read=read_chat,
    whole=whole_chat,
    events=chat_events,
    fault=openai_fault,
)
EMBEDDINGS = Dialect(
    name="embeddings",
    request_id_header="x-request-id",
    writes=frozenset(),
    read=read_embeddings,
    whole=whole_embeddings,
    events=no_events,
    fault=openai_fault,
)
