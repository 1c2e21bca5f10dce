"""Whatever a consistent usage block says, its leaves are what it says and add up to the provider's totals.

Rule 1: the leaves are drawn first and the block is written from them, the way the provider would; the bytes
arrive one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.wire import READERS, Reading, WireReader

pytestmark = pytest.mark.slow

Leaves = Mapping[str, int]
Block = dict[str, Any]

MEDIA = ("audio", "image")
OF_TEXT = ("input", "cached_input", "output", "reasoning")
OF_MEDIA = tuple(f"{way}_{kind}" for way in ("input", "cached_input", "output") for kind in MEDIA)
COUNTS = st.sampled_from([0, 0, 1, 2, 7, 1_000]) | st.integers(0, 10**7)


def leaves(*names: str) -> st.SearchStrategy[dict[str, int]]:
    return st.fixed_dictionaries(dict.fromkeys(names, COUNTS))


OPENAI_LEAVES = leaves(*OF_TEXT, *OF_MEDIA, "cache_write_5m")
ANTHROPIC_LEAVES = leaves(*OF_TEXT, "cache_write_5m", "cache_write_1h", "web_search")
GEMINI_LEAVES = leaves(*OF_TEXT, *OF_MEDIA)


def summed(used: Leaves, *starts: str) -> int:
    """Return all tokens of the leaves that begin with one of the words."""
    return sum(count for leaf, count in used.items() if leaf.startswith(starts))


def input_total(used: Leaves) -> int:
    return summed(used, "input", "cached_input", "cache_write")


def output_total(used: Leaves) -> int:
    return summed(used, "output", "reasoning")


def openai_block(used: Leaves, *, names: tuple[str, str], empty: bool) -> Block:
    """Return the block of a total that holds its details; `empty` writes the zeros too."""

    def told(details: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in details.items() if value or empty}

    asked, made = names
    media = {f"{kind}_tokens": used[f"input_{kind}"] + used[f"cached_input_{kind}"] for kind in MEDIA}
    cached_media = told({f"{kind}_tokens": used[f"cached_input_{kind}"] for kind in MEDIA})
    details = {
        "cached_tokens": summed(used, "cached_input"),
        "cache_write_tokens": used["cache_write_5m"],
        **media,
        "cached_tokens_details": cached_media,
    }
    generated = {f"{kind}_tokens": used[f"output_{kind}"] for kind in MEDIA}
    return {
        asked: input_total(used),
        made: output_total(used),
        "total_tokens": input_total(used) + output_total(used),
        f"{asked}_details": told(details),
        f"{made}_details": told({"reasoning_tokens": used["reasoning"], **generated}),
    }


def anthropic_block(used: Leaves, *, empty: bool) -> Block:
    """Return the block whose counts stand beside each other; only thinking is inside the output."""
    five, hour = used["cache_write_5m"], used["cache_write_1h"]
    block = {
        "input_tokens": used["input"],
        "cache_read_input_tokens": used["cached_input"],
        "cache_creation_input_tokens": five + hour,
        "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output_total(used),
        "output_tokens_details": {"thinking_tokens": used["reasoning"]},
        "server_tool_use": {"web_search_requests": used["web_search"]},
    }
    return block if empty or hour else {k: v for k, v in block.items() if k != "cache_creation"}


def gemini_block(used: Leaves, *, empty: bool) -> Block:
    """Return the block whose thoughts come on top of the candidates; half of the plain input is of tools."""

    def details(*leaf: str, text: int) -> list[dict[str, Any]]:
        counts = {"TEXT": text, **{kind.upper(): sum(used[f"{x}_{kind}"] for x in leaf) for kind in MEDIA}}
        return [{"modality": kind, "tokenCount": n} for kind, n in counts.items() if n or empty]

    tools = used["input"] // 2
    prompt = input_total(used) - tools
    return {
        "promptTokenCount": prompt,
        "promptTokensDetails": details(
            "input", "cached_input", text=used["input"] - tools + used["cached_input"]
        ),
        "cachedContentTokenCount": summed(used, "cached_input"),
        "cacheTokensDetails": details("cached_input", text=used["cached_input"]),
        "toolUsePromptTokenCount": tools,
        "candidatesTokenCount": summed(used, "output"),
        "candidatesTokensDetails": details("output", text=used["output"]),
        "thoughtsTokenCount": used["reasoning"],
        "totalTokenCount": prompt + tools + output_total(used),
    }


def events(*objects: Block) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in objects)


def chat_stream(block: Block) -> bytes:
    part = {"id": "c", "model": "m", "choices": [{"delta": {"content": "hi"}}], "usage": None}
    return events(part, {**part, "choices": [], "usage": block}) + b"data: [DONE]\n\n"


def responses_stream(block: Block) -> bytes:
    return events({"type": "response.completed", "response": {"id": "r", "model": "m", "usage": block}})


def anthropic_stream(block: Block) -> bytes:
    start = {**block, "output_tokens": 1, "output_tokens_details": {}}
    return events(
        {"type": "message_start", "message": {"id": "m1", "model": "c", "usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": block},
        {"type": "message_stop"},
    )


def gemini_stream(block: Block) -> bytes:
    candidate = {"content": {"parts": [{"text": "hi"}]}}
    begun = {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}}
    ended = {"candidates": [{**candidate, "finishReason": "STOP"}], "usageMetadata": block}
    return events(begun, {**ended, "modelVersion": "gemini-3"})


def gemini_json(block: Block) -> bytes:
    candidates = [{"content": {"parts": []}, "finishReason": "STOP"}]
    return json.dumps({"candidates": candidates, "usageMetadata": block}).encode()


def plain_json(block: Block) -> bytes:
    return json.dumps({"id": "x", "model": "m", "usage": block, "choices": []}).encode()


def openai_chat(used: Leaves, empty: bool) -> Block:
    return openai_block(used, names=("prompt_tokens", "completion_tokens"), empty=empty)


def openai_responses(used: Leaves, empty: bool) -> Block:
    return openai_block(used, names=("input_tokens", "output_tokens"), empty=empty)


Shape = tuple[
    str, st.SearchStrategy[dict[str, int]], Callable[..., Block], Callable[..., bytes], Callable[..., bytes]
]
SHAPES: list[Shape] = [
    ("openai_chat", OPENAI_LEAVES, openai_chat, plain_json, chat_stream),
    ("openai_responses", OPENAI_LEAVES, openai_responses, plain_json, responses_stream),
    ("anthropic_messages", ANTHROPIC_LEAVES, anthropic_block, plain_json, anthropic_stream),
    ("gemini_generate", GEMINI_LEAVES, gemini_block, gemini_json, gemini_stream),
]


def read_by_byte(reader: WireReader, body: bytes) -> Reading:
    for position in range(len(body)):
        reader.feed(body[position : position + 1])
    reader.flush()
    return reader.finish()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[0])
@pytest.mark.parametrize("is_stream", [False, True])
@given(st.data(), st.booleans())
def test_the_leaves_are_what_the_block_says_and_add_up_to_its_totals(
    shape: Shape, is_stream: bool, drawn: st.DataObject, empty: bool
) -> None:
    wire, strategy, write, whole, stream = shape
    used = drawn.draw(strategy)
    block = write(used, empty=empty)
    made = READERS[wire].stream() if is_stream else READERS[wire].json()
    usage = read_by_byte(made, stream(block) if is_stream else whole(block)).usage
    assert usage is not None
    assert usage.flags == ()
    assert dict(usage.quantities) == {leaf: count for leaf, count in used.items() if count}
    assert (usage.input_tokens, usage.output_tokens) == (input_total(used), output_total(used))
