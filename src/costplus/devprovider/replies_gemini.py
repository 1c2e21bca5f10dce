"""Gemini's generateContent and streamGenerateContent, as they answer.

Rule 1: pure.   Rule 2: `promptTokenCount` holds the cached tokens; `candidatesTokenCount` and
`thoughtsTokenCount` are disjoint; zero counts are left out.
Rule 3: every chunk of a stream carries the usage so far, the last one the final usage.
Rule 4: the model stands in the path, and so does the wish to stream.
"""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec

from costplus.devprovider.ask import (
    Ask,
    BadAsk,
    Counts,
    Named,
    Part,
    as_json,
    check_results,
    names_of,
    pieces_json,
    reply_json,
    text_in,
    text_of,
)
from costplus.devprovider.dialect import Dialect, Reply, no_events
from costplus.devprovider.faults import gemini_fault

_WITHOUT_CALL_IDS = ("gemini-1", "gemini-2")
STREAM_METHOD = "streamGenerateContent"


class _Part(Part, rename="camel"):
    function_call: Named | None = None
    function_response: Named | None = None


class _Content(msgspec.Struct):
    role: str = "user"
    parts: list[_Part] = []


class _Tool(msgspec.Struct, rename="camel"):
    function_declarations: list[Named] = []


class _Config(msgspec.Struct, rename="camel"):
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _Generate(msgspec.Struct, rename="camel"):
    contents: list[_Content]
    system_instruction: _Content | None = None
    generation_config: _Config | None = None
    tools: list[_Tool] = []


_generate = msgspec.json.Decoder(_Generate)

_ANSWER = (
    b'{"candidates":[{"content":{"parts":[%b],"role":"model"}%b,"index":0}]%b,'
    b'"modelVersion":%b,"responseId":"%b"}'
)
_TEXT = b'{"text":%b}'
_THOUGHT = b'{"text":%b,"thought":true}'
_CALL = b'{"functionCall":{"name":%b,"args":%b%b}%b}'
_SIGNATURE = b',"thoughtSignature":"%b"' % base64.b64encode(b"thought of by a simulated provider")


def read_generate(body: bytes, path: str, query: str) -> Ask:
    """Return what a `models/{model}:generateContent` request asks."""
    name, _, method = path.rpartition("/")[2].partition(":")
    asked = _generate.decode(body)
    if not asked.contents:
        raise BadAsk("contents is not specified")
    parts = [part for content in asked.contents for part in content.parts]
    check_results(
        [part.function_call.name for part in parts if part.function_call],
        [part.function_response.name for part in parts if part.function_response],
    )
    system, config = asked.system_instruction, asked.generation_config
    chars, last_user = text_in([(content.role, content.parts) for content in asked.contents])
    return Ask(
        model=name,
        chars=chars + (len(text_of(system.parts)) if system else 0),
        messages=len(asked.contents) + (1 if system else 0),
        last_user=last_user,
        tokens_max=config.max_output_tokens if config else None,
        stream=method == STREAM_METHOD,
        sse="alt=sse" in query.split("&"),
        tools=names_of([named for tool in asked.tools for named in tool.function_declarations]),
        after_tool=any(part.function_response is not None for part in asked.contents[-1].parts),
    )


def _usage(counts: Counts, output: int) -> bytes:
    total = counts.prompt + output + counts.reasoning
    blocks = [b',"usageMetadata":{"promptTokenCount":%d' % counts.prompt]
    if output:
        blocks.append(b',"candidatesTokenCount":%d' % output)
    blocks.append(b',"totalTokenCount":%d' % total)
    if counts.cached:
        blocks.append(b',"cachedContentTokenCount":%d' % counts.cached)
    if counts.reasoning:
        blocks.append(b',"thoughtsTokenCount":%d' % counts.reasoning)
    blocks.append(b',"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]}' % counts.prompt)
    return b"".join(blocks)


def _call_parts(reply: Reply) -> list[bytes]:
    """Return the calls' parts: with an id since Gemini 3, and the first signed where there were thoughts."""
    without_id = reply.ask.model.startswith(_WITHOUT_CALL_IDS)
    return [
        _CALL
        % (
            call.name_json,
            call.arguments,
            b"" if without_id else b',"id":"call%b%d"' % (reply.serial, number),
            b"" if number or not reply.thoughts else _SIGNATURE,
        )
        for number, call in enumerate(reply.calls)
    ]


def _answer(reply: Reply, *, parts: bytes, output: int, last: bool) -> bytes:
    finish = b"MAX_TOKENS" if reply.counts.cut_short else b"STOP"
    return _ANSWER % (
        parts,
        b',"finishReason":"%b"' % finish if last else b"",
        _usage(reply.counts, output) if reply.with_usage else b"",
        as_json(reply.ask.model),
        reply.serial,
    )


def whole_content(reply: Reply) -> bytes:
    """Return a `GenerateContentResponse`."""
    parts = [_THOUGHT % reply_json(reply.thoughts)] if reply.thoughts else []
    if reply.says:
        parts.append(_TEXT % reply_json(reply.words))
    parts += _call_parts(reply)
    return _answer(reply, parts=b",".join(parts), output=reply.counts.output, last=True)


def content_events(reply: Reply) -> tuple[list[bytes], int]:
    """Return the chunks of a stream: server-sent events, or the elements of a JSON array."""
    output = reply.counts.output
    answers = [
        _answer(reply, parts=_THOUGHT % piece, output=0, last=False) for piece in pieces_json(reply.thoughts)
    ]
    answers += [
        _answer(reply, parts=_TEXT % piece, output=number, last=False)
        for number, piece in enumerate(pieces_json(reply.words), 1)
    ]
    answers += [_answer(reply, parts=part, output=output, last=False) for part in _call_parts(reply)]
    answers.append(_answer(reply, parts=_TEXT % b'""', output=output, last=True))
    if reply.ask.sse:
        return [b"data: %b\r\n\r\n" % answer for answer in answers], 1
    opened = [(b"," if number else b"[") + answer for number, answer in enumerate(answers)]
    return [*opened, b"]"], 2


def whole_count(reply: Reply) -> bytes:
    """Return how many tokens the contents have."""
    prompt = reply.counts.prompt
    return b'{"totalTokens":%d,"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]}' % (
        prompt,
        prompt,
    )


GENERATE = Dialect(
    name="generateContent",
    request_id_header="x-request-id",
    writes=frozenset(),
    read=read_generate,
    whole=whole_content,
    events=content_events,
    fault=gemini_fault,
)
COUNT_CONTENTS = Dialect(
    name="countTokens",
    request_id_header="x-request-id",
    writes=frozenset(),
    read=read_generate,
    whole=whole_count,
    events=no_events,
    fault=gemini_fault,
    free=True,
)
