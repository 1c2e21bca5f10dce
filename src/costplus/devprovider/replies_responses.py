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
    as_json,
    pieces_json,
    reply_json,
    text_in,
)
from costplus.devprovider.dialect import Dialect, Reply
from costplus.devprovider.faults import openai_fault


class _Item(msgspec.Struct):
    role: str = ""
    content: Content = None
    output: Content = None  # Of a function call that the client made.


class _Responses(msgspec.Struct):
    model: str
    input: str | list[_Item] = ""
    instructions: str | None = None
    stream: bool | None = None
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
_USAGE = (
    b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":%d},'
    b'"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}'
)
_EVENT = b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n'


def read_responses(body: bytes, path: str, query: str) -> Ask:
    """Return what a `responses` body asks; instructions count as one message."""
    asked = _responses.decode(body)
    items = [_Item("user", asked.input)] if isinstance(asked.input, str) else asked.input
    chars, last_user = text_in([(item.role, item.content or item.output) for item in items])
    return Ask(
        model=asked.model,
        chars=chars + len(asked.instructions or ""),
        messages=len(items) + (1 if asked.instructions else 0),
        last_user=last_user,
        tokens_max=asked.max_output_tokens,
        stream=bool(asked.stream),
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


def whole_response(reply: Reply) -> bytes:
    """Return a finished `response`."""
    counts = reply.counts
    status = b"incomplete" if counts.cut_short else b"completed"
    item = _ITEM % (reply.serial, status, _PART % reply_json(counts.output))
    usage = _usage(counts) if reply.with_usage else b"null"
    return _response(reply, status=status, output=item, usage=usage)


def response_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the events of a stream from `response.created` to `response.completed`."""
    serial, text = reply.serial, reply_json(reply.counts.output)
    started = b'"response":' + _response(reply, status=b"in_progress", output=b"", usage=b"null")
    place = b'"item_id":"msg_%b","output_index":0,"content_index":0,' % serial
    status = b"incomplete" if reply.counts.cut_short else b"completed"
    open_item = _ITEM % (serial, b"in_progress", b"")
    done_item = _ITEM % (serial, status, _PART % text)
    steps: list[tuple[bytes, bytes]] = [
        (b"response.created", started),
        (b"response.in_progress", started),
        (b"response.output_item.added", b'"output_index":0,"item":' + open_item),
        (b"response.content_part.added", place + b'"part":' + _PART % b'""'),
    ]
    steps += [
        (b"response.output_text.delta", b'%b"delta":%b,"logprobs":[]' % (place, piece))
        for piece in pieces_json(reply.counts.output)
    ]
    steps += [
        (b"response.output_text.done", b'%b"text":%b,"logprobs":[]' % (place, text)),
        (b"response.content_part.done", place + b'"part":' + _PART % text),
        (b"response.output_item.done", b'"output_index":0,"item":' + done_item),
        (b"response." + status, b'"response":' + whole_response(reply)),
    ]
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
