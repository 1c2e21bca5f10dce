"""Google's generateContent: inclusive cache, modalities, additive thoughts, grounding, three framings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading


def read_json(body: Any, *, wire: str = "gemini_generate") -> Reading:
    reader = READERS[wire].json()
    reader.feed(json.dumps(body).encode())
    return reader.finish()


def read_usage(usage: Any) -> Reading:
    return read_json({"usageMetadata": usage, "candidates": [{"finishReason": "STOP"}]})


def block(prompt: Any = 100, candidates: Any = 50, total: Any = None, /, **other: Any) -> dict[str, Any]:
    found = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": total,
        **other,
    }
    return {key: value for key, value in found.items() if value is not None}


def details(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in counts.items()]


def case(id: str, usage: dict[str, Any], *flags: str, **leaves: int) -> Any:
    return pytest.param(usage, leaves, flags, id=id)


LEAVES = [
    case("plain", block(100, 50, 150), input=100, output=50),
    case("zero", block(0, 0, 0)),
    case("no candidates at all", block(14, None, 14), input=14),
    case("thoughts on top", block(100, 50, 180, thoughtsTokenCount=30), input=100, output=50, reasoning=30),
    case("thoughts only", block(15, None, 17, thoughtsTokenCount=2), input=15, reasoning=2),
    case(
        "thoughts inside, by the total",
        block(100, 50, 150, thoughtsTokenCount=30),
        input=100,
        output=20,
        reasoning=30,
    ),
    case("tools on top", block(13, 194, 496, toolUsePromptTokenCount=289), input=302, output=194),
    case(
        "tools bring an image",
        block(13, 4, toolUsePromptTokenCount=9, toolUsePromptTokensDetails=details(IMAGE=7, TEXT=2)),
        input=15,
        input_image=7,
        output=4,
    ),
    case(
        "tools' details exceed",
        block(13, 4, toolUsePromptTokenCount=6, toolUsePromptTokensDetails=details(IMAGE=7)),
        "tool_use_details_exceed_total",
        input=19,
        output=4,
    ),
    case("cached is inside", block(cachedContentTokenCount=40), input=60, cached_input=40, output=50),
    case("all cached", block(cachedContentTokenCount=100), cached_input=100, output=50),
    case("one too many", block(cachedContentTokenCount=101), "cached_exceeds_input", input=100, output=50),
    case(
        "every modality, and documents are text",
        block(
            promptTokensDetails=details(TEXT=20, DOCUMENT=10, AUDIO=30, IMAGE=15, VIDEO=25),
            candidatesTokensDetails=details(TEXT=20, AUDIO=10, IMAGE=15, VIDEO=5),
        ),
        input=30,
        input_audio=30,
        input_image=15,
        input_video=25,
        output=20,
        output_audio=10,
        output_image=15,
        output_video=5,
    ),
    case(
        "the cache's modalities are inside both",
        block(
            373,
            89,
            cachedContentTokenCount=204,
            promptTokensDetails=details(TEXT=115, IMAGE=258),
            cacheTokensDetails=details(TEXT=63, IMAGE=141),
        ),
        input=52,
        input_image=117,
        cached_input=63,
        cached_input_image=141,
        output=89,
    ),
    case(
        "cached video",
        block(
            cachedContentTokenCount=8,
            promptTokensDetails=details(VIDEO=9),
            cacheTokensDetails=details(VIDEO=8),
        ),
        input=91,
        input_video=1,
        cached_input_video=8,
        output=50,
    ),
    case(
        "more of a modality cached than sent",
        block(
            cachedContentTokenCount=40,
            promptTokensDetails=details(AUDIO=3),
            cacheTokensDetails=details(AUDIO=4),
        ),
        "cached_modality_exceeds_total",
        input=57,
        input_audio=3,
        cached_input=40,
        output=50,
    ),
    case(
        "media and cache overlap without a split",
        block(
            24_643,
            3_110,
            cachedContentTokenCount=24_503,
            promptTokensDetails=details(IMAGE=22_000, TEXT=2_643),
        ),
        "modality_overlaps_cache",
        input=140,
        cached_input=24_503,
        output=3_110,
    ),
    case("details explain less", block(417, promptTokensDetails=details(TEXT=351)), input=417, output=50),
    case(
        "a modality exceeds the prompt",
        block(promptTokensDetails=details(IMAGE=101)),
        "image_exceeds_input",
        input=100,
        output=50,
    ),
    case(
        "pictures and their unnamed rest",
        block(10, 1_304, 1_314, candidatesTokensDetails=details(IMAGE=1_290)),
        input=10,
        output=14,
        output_image=1_290,
    ),
    case("details without a total", {"candidatesTokensDetails": details(IMAGE=1_120)}, output_image=1_120),
    case("the total knows more", block(100, 50, 160), "unattributed_tokens", input=100, output=60),
    case("the total knows less", block(100, 50, 149), "total_mismatch", input=100, output=50),
    case(
        "embeddings' spelling", {"promptTokenCount": 7, "promptTokenDetails": details(IMAGE=7)}, input_image=7
    ),
    case("an unknown modality is text", block(promptTokensDetails=details(SMELL=9)), input=100, output=50),
    case("null details", block() | {"promptTokensDetails": None}, input=100, output=50),
    case("a text for details", block(promptTokensDetails="9"), "malformed_usage", input=100, output=50),
    case("a text for cached", block(cachedContentTokenCount="9"), "malformed_usage", input=100, output=50),
]


@pytest.mark.parametrize(("usage", "leaves", "flags"), LEAVES)
def test_a_usage_block_becomes_disjoint_leaves(
    usage: dict[str, Any], leaves: dict[str, int], flags: tuple[str, ...]
) -> None:
    reading = read_usage(usage)
    assert reading.usage is not None
    assert reading.usage.quantities == leaves
    assert reading.usage.flags == flags
    assert json.loads(reading.raw_usage) == usage


UNREADABLE = [block("1"), block(1, -1), block(thoughtsTokenCount=True), block(1, 2, 3.5), {}, [1], "7"]


@pytest.mark.parametrize("usage", UNREADABLE, ids=str)
def test_unreadable_totals_give_no_usage_but_keep_the_block(usage: Any) -> None:
    reading = read_usage(usage)
    assert reading.usage is None
    assert json.loads(reading.raw_usage) == usage


def grounded(model: str, *metadata: dict[str, Any]) -> Reading:
    candidates = [{"finishReason": "STOP", "groundingMetadata": found} for found in metadata]
    return read_json({"modelVersion": model, "candidates": candidates, "usageMetadata": block()})


SEARCHES = [
    ("gemini-3-flash-preview", ["a", "", "b", "a "], 2),
    ("gemini-10-pro", ["a", "b"], 2),
    ("models/gemini-2.5-pro", ["a", "b"], 1),
    ("gemini-2.5-pro", [""], 0),
    ("gemini-2.5-pro", None, 0),
    ("gemini-3-pro", "a", 1),
    ("gemma-4", ["a", "b"], 2),
]


@pytest.mark.parametrize(("model", "queries", "searches"), SEARCHES)
def test_searches_are_billed_by_query_from_gemini_3_on_and_by_answer_before(
    model: str, queries: Any, searches: int
) -> None:
    usage = grounded(model, {"webSearchQueries": queries}).usage
    assert usage is not None
    assert usage.quantities.get("web_search", 0) == searches


def test_grounding_that_no_leaf_can_carry_is_flagged_and_reading_pages_is_free() -> None:
    maps = {"groundingChunks": [{"maps": {"placeId": "p"}}], "retrievalQueries": ["q"]}
    pages = {"groundingChunks": [{"web": {"uri": "u"}}, {"retrievedContext": {}}, 7]}
    usage = grounded("gemini-2.5-pro", maps, maps, pages).usage
    assert usage is not None
    assert usage.flags == ("unmetered_retrieval_grounding", "unmetered_maps_grounding")
    assert "web_search" not in usage.quantities
    free = grounded("gemini-2.5-pro", pages).usage
    assert free is not None
    assert free.flags == ()


def test_a_body_tells_model_tier_id_and_length() -> None:
    parts = [
        {"text": "abc", "thought": True},
        {"text": "de"},
        {"functionCall": {"name": "f", "args": {"a": 1}}},
        {"executableCode": {"code": "1+1", "language": "PYTHON"}},
        {"codeExecutionResult": {"output": "not generated"}},
        {"inlineData": {"data": "xxxx"}},
    ]
    body = {
        "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": block(trafficType="ON_DEMAND_FLEX"),
        "modelVersion": "gemini-2.5-pro",
        "responseId": "r1",
    }
    reading = read_json(body)
    assert (reading.model, reading.service_tier, reading.response_id) == (
        "gemini-2.5-pro",
        "ON_DEMAND_FLEX",
        "r1",
    )
    assert reading.output_chars == 3 + 2 + len('{"a":1}') + 3
    assert (reading.complete, reading.error) == (True, False)
    assert read_usage(block(serviceTier="standard")).service_tier == "standard"


def part(
    text: str, usage: dict[str, Any] | None, *, finish: str | None = None, index: int = 0
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}]}, "index": index}
    candidate |= {"finishReason": finish} if finish else {}
    found: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-3-pro"}
    return found | ({"usageMetadata": usage} if usage else {})


PARTS = [
    part('he said "{[\\', block(9, 2, 11)),
    part("llo", block(9, 4, 20, thoughtsTokenCount=7), finish="STOP"),
]


def stream_of(parts: list[dict[str, Any]], *, framing: str) -> Reading:
    if framing == "sse":
        reader = READERS["gemini_generate"].stream()
        body = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in parts)
    else:
        reader = READERS["gemini_generate"].json()
        body = json.dumps(parts, indent=2).encode()
    assert b"".join([reader.feed(body[at : at + 1]) for at in range(len(body))]) + reader.flush() == body
    return reader.finish()


@pytest.mark.parametrize("framing", ["sse", "array"])
def test_the_last_counts_of_a_stream_win_in_either_framing(framing: str) -> None:
    reading = stream_of(PARTS, framing=framing)
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 4, "reasoning": 7}
    assert reading.usage.flags == ()
    assert (reading.complete, reading.output_chars) == (True, len('he said "{[\\') + 3)


def test_a_stream_that_broke_off_has_not_counted_its_output() -> None:
    reading = stream_of(PARTS[:1], framing="sse")
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 2}
    assert reading.usage.flags == ("output_incomplete",)
    assert reading.complete is False


def test_an_array_cut_short_keeps_the_elements_that_arrived() -> None:
    reader = READERS["gemini_generate"].json()
    reader.feed(json.dumps(PARTS).encode()[:-30])
    reading = reader.finish()
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 9, "output": 2}
    assert (reading.complete, reading.usage.flags) == (False, ("output_incomplete",))


def test_a_stream_of_two_candidates_is_done_when_both_have_finished() -> None:
    reader = READERS["gemini_generate"].stream()
    parts = [part("a", block(9, 1)), part("b", block(9, 2), index=1), part("", block(9, 3), finish="STOP")]
    for one in parts:
        reader.feed(b"data: " + json.dumps(one).encode() + b"\n\n")
        assert reader.done is False
    last = part("", block(9, 5), finish="MAX_TOKENS", index=1)
    reader.feed(b"data: " + json.dumps(last).encode() + b"\n\n")
    assert reader.done is True


def test_a_refused_prompt_is_complete_and_billed_for_its_input() -> None:
    reading = stream_of(
        [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": block(8, None, 8)}], framing="sse"
    )
    assert reading.usage is not None
    assert (reading.usage.quantities, reading.usage.flags) == ({"input": 8}, ())
    assert reading.complete is True


@pytest.mark.parametrize(
    "body", [{"error": {"code": 404}}, [{"error": {"code": 400}}]], ids=["object", "array"]
)
def test_an_error_body_is_an_error(body: Any) -> None:
    reading = read_json(body)
    assert (reading.error, reading.usage, reading.complete) == (True, None, True)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{]", b'"{}"', b"[{}", b"no", b"[1,[2]]"])
def test_what_is_no_answer_is_not_complete(body: bytes) -> None:
    reader = READERS["gemini_generate"].json()
    reader.feed(body)
    assert (reader.finish().complete, reader.finish().usage) == (False, None)


def test_embeddings_are_input_and_nothing_else() -> None:
    counted = read_json(
        {"embeddings": [], "usageMetadata": {"promptTokenCount": 7}}, wire="gemini_embeddings"
    )
    assert counted.usage is not None
    assert counted.usage.quantities == {"input": 7}
    silent = read_json({"embeddings": [{"values": [0.1]}]}, wire="gemini_embeddings")
    assert (silent.usage, silent.complete, silent.raw_usage) == (None, True, b"")


def predicted(*counts: Any) -> Reading:
    found = [{"embeddings": {"values": [0.5], "statistics": {"token_count": count}}} for count in counts]
    return read_json({"predictions": found}, wire="vertex_predict")


def test_predicted_embeddings_are_counted_text_by_text() -> None:
    reading = predicted(4, 3)
    assert reading.usage is not None
    assert reading.usage.quantities == {"input": 7}
    assert json.loads(reading.raw_usage) == [{"token_count": 4}, {"token_count": 3}]
    assert predicted(4, "3").usage is None
    assert predicted(4, None).usage is None
    pictures = read_json({"predictions": [{"bytesBase64Encoded": "x"}]}, wire="vertex_predict")
    assert (pictures.usage, pictures.complete) == (None, True)
