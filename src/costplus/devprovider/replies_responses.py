"""OpenAI's responses, as they answer.

Rule 1: pure.   Rule 2: usage stands in the response object, which a stream repeats whole in its last event.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from costplus.devprovider.ask import (
    Ask,
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
from costplus.devprovider.dialect import Dialect, Reply
from costplus.devprovider.faults import openai_fault

_Step = tuple[bytes, bytes]  # An event's type and what it says beside that.


class _Item(msgspec.Struct):
    type: str | None = None
    call_id: str | None = None
    role: str = ""
    content: Content = None
    output: Content = None  # Of a function call that the client made.


class _Responses(msgspec.Struct):
    model: str
    input: str | list[_Item] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    tools: list[Named] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


_responses = msgspec.json.Decoder(_Responses)

_RESPONSE = (
    b'{"id":"resp_%b","object":"response","created_at":%d,"status":"%b","background":false,"error":null,'
    b'"incomplete_details":%b,"instructions":null,"max_output_tokens":%b,"model":%b,"output":[%b],'
    b'"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},'
    b'"service_tier":"default","store":true,"temperature":1.0,"text":{"format":{"type":"text"}},'
    b'"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":%b,"user":null,'
    b'"metadata":{}}'
)
_ITEM = b'{"id":"msg_%b","type":"message","status":"%b","role":"assistant","content":[%b]}'
_PART = b'{"type":"output_text","annotations":[],"logprobs":[],"text":%b}'
_REASONING = b'{"id":"rs_%b","type":"reasoning","summary":[%b]}'
_SUMMARY = b'{"type":"summary_text","text":%b}'
_FUNCTION_CALL = (
    b'{"id":"fc_%b%d","type":"function_call","status":"%b","arguments":%b,"call_id":"call_%b%d","name":%b}'
)
_USAGE = (
    b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d},'
    b'"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
)
_EVENT = b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n'


def read_responses(body: bytes, path: str, query: str) -> Ask:
    """Return what a `responses` body asks; instructions count as one message."""
    asked = _responses.decode(body)
    items = [_Item(role="user", content=asked.input)] if isinstance(asked.input, str) else asked.input
    answered = [item.call_id for item in items if item.type == "function_call_output"]
    if answered and asked.previous_response_id is None:
        check_results([item.call_id for item in items if item.type == "function_call"], answered)
    chars, last_user = text_in([(item.role, item.content or item.output) for item in items])
    return Ask(
        model=asked.model,
        chars=chars + len(asked.instructions or ""),
        messages=len(items) + (1 if asked.instructions else 0),
        last_user=last_user,
        tokens_max=asked.max_output_tokens,
        stream=bool(asked.stream),
        tools=names_of(asked.tools) if asked.tools else frozenset(),
        after_tool=bool(items) and items[-1].type == "function_call_output",
    )


def _usage(counts: Counts) -> bytes:
    prompt, completion = counts.prompt, counts.completion
    return _USAGE % (
        prompt,
        counts.cached,
        counts.cache_write_5m,
        completion,
        counts.reasoning,
        prompt + completion,
    )


def _response(reply: Reply, *, status: bytes, output: bytes, usage: bytes) -> bytes:
    cap = reply.ask.tokens_max
    return _RESPONSE % (
        reply.serial,
        reply.created_s,
        status,
        b'{"reason":"max_output_tokens"}' if status == b"incomplete" else b"null",
        b"null" if cap is None else b"%d" % cap,
        as_json(reply.ask.model),
        output,
        usage,
    )


def _message(reply: Reply, *, status: bytes, content: bytes) -> bytes:
    return _ITEM % (reply.serial, status, content)


def _function_call(reply: Reply, number: int, *, status: bytes, arguments: bytes) -> bytes:
    name = reply.calls[number].name_json
    return _FUNCTION_CALL % (reply.serial, number, status, arguments, reply.serial, number, name)


def _output(reply: Reply, status: bytes) -> list[bytes]:
    """Return the finished items in their order: reasoning, message, calls."""
    items: list[bytes] = []
    if reply.thoughts:
        items.append(_REASONING % (reply.serial, _SUMMARY % reply_json(reply.thoughts)))
    if reply.says:
        items.append(_message(reply, status=status, content=_PART % reply_json(reply.words)))
    for number, call in enumerate(reply.calls):
        items.append(_function_call(reply, number, status=status, arguments=call.arguments_json))
    return items


def whole_response(reply: Reply) -> bytes:
    """Return a finished `response`."""
    status = b"incomplete" if reply.counts.cut_short else b"completed"
    usage = _usage(reply.counts) if reply.with_usage else b"null"
    return _response(reply, status=status, output=b",".join(_output(reply, status)), usage=usage)


def _growing_reasoning(reply: Reply, index: int) -> tuple[bytes, list[_Step]]:
    place = b'"item_id":"rs_%b","output_index":%d,"summary_index":0,' % (reply.serial, index)
    text = reply_json(reply.thoughts)
    steps = [(b"response.reasoning_summary_part.added", place + b'"part":' + _SUMMARY % b'""')]
    steps += [
        (b"response.reasoning_summary_text.delta", b'%b"delta":%b' % (place, piece))
        for piece in pieces_json(reply.thoughts)
    ]
    steps += [
        (b"response.reasoning_summary_text.done", b'%b"text":%b' % (place, text)),
        (b"response.reasoning_summary_part.done", place + b'"part":' + _SUMMARY % text),
    ]
    return _REASONING % (reply.serial, b""), steps


def _growing_message(reply: Reply, index: int) -> tuple[bytes, list[_Step]]:
    place = b'"item_id":"msg_%b","output_index":%d,"content_index":0,' % (reply.serial, index)
    text = reply_json(reply.words)
    steps = [(b"response.content_part.added", place + b'"part":' + _PART % b'""')]
    steps += [
        (b"response.output_text.delta", b'%b"delta":%b,"logprobs":[]' % (place, piece))
        for piece in pieces_json(reply.words)
    ]
    steps += [
        (b"response.output_text.done", b'%b"text":%b,"logprobs":[]' % (place, text)),
        (b"response.content_part.done", place + b'"part":' + _PART % text),
    ]
    return _message(reply, status=b"in_progress", content=b""), steps


def _growing_call(reply: Reply, number: int, index: int) -> tuple[bytes, list[_Step]]:
    place = b'"item_id":"fc_%b%d","output_index":%d,' % (reply.serial, number, index)
    call = reply.calls[number]
    steps = [
        (b"response.function_call_arguments.delta", b'%b"delta":%b' % (place, piece))
        for piece in call.pieces_json()
    ]
    steps.append(
        (b"response.function_call_arguments.done", b'%b"arguments":%b' % (place, call.arguments_json))
    )
    return _function_call(reply, number, status=b"in_progress", arguments=b'""'), steps


def response_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the events of a stream from `response.created` to `response.completed`."""
    started = b'"response":' + _response(reply, status=b"in_progress", output=b"", usage=b"null")
    status = b"incomplete" if reply.counts.cut_short else b"completed"
    growing: list[tuple[bytes, list[_Step]]] = []
    if reply.thoughts:
        growing.append(_growing_reasoning(reply, 0))
    if reply.says:
        growing.append(_growing_message(reply, len(growing)))
    for number in range(len(reply.calls)):
        growing.append(_growing_call(reply, number, len(growing)))
    steps: list[_Step] = [(b"response.created", started), (b"response.in_progress", started)]
    for index, ((opened, grown), done) in enumerate(zip(growing, _output(reply, status), strict=True)):
        steps.append((b"response.output_item.added", b'"output_index":%d,"item":%b' % (index, opened)))
        steps += grown
        steps.append((b"response.output_item.done", b'"output_index":%d,"item":%b' % (index, done)))
    steps.append((b"response." + status, b'"response":' + whole_response(reply)))
    return [_EVENT % (name, name, number, rest) for number, (name, rest) in enumerate(steps)], 1


RESPONSES = Dialect(
    name="responses",
    request_id_header="x-request-id",
    writes=frozenset(("cache_write_5m",)),
    read=read_responses,
    whole=whole_response,
    events=response_events,
    fault=openai_fault,
)
