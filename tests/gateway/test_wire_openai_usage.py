"""OpenAI's usage block and its relatives, as disjoint leaves, at every edge."""

from __future__ import annotations

import json
from typing import Any

import pytest

from costplus.gateway.wire import READERS, Reading


def block(prompt: Any = 100, completion: Any = 50, total: Any = None, /, **other: Any) -> dict[str, Any]:
    found = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **other}
    return {key: value for key, value in found.items() if value is not None}


def read_usage(usage: Any) -> Reading:
    reader = READERS["openai_chat"].json()
    reader.feed(json.dumps({"model": "m", "usage": usage, "choices": []}).encode())
    return reader.finish()


def inside(**details: Any) -> dict[str, Any]:
    return {"prompt_tokens_details": details}


def outside(**details: Any) -> dict[str, Any]:
    return {"completion_tokens_details": details}


def case(id: str, usage: dict[str, Any], *flags: str, **leaves: int) -> Any:
    return pytest.param(usage, leaves, flags, id=id)


LEAVES = [
    case("plain", block(), input=100, output=50),
    case("zero", block(0, 0, 0)),
    case("cached", block(**inside(cached_tokens=40)), input=60, cached_input=40, output=50),
    case("all cached", block(**inside(cached_tokens=100)), cached_input=100, output=50),
    case("one too many", block(**inside(cached_tokens=101)), "cached_exceeds_input", input=100, output=50),
    case(
        "cached and written",
        block(**inside(cached_tokens=40, cache_write_tokens=60)),
        cached_input=40,
        cache_write_5m=60,
        output=50,
    ),
    case(
        "cached and written exceed",
        block(**inside(cached_tokens=41, cache_write_tokens=60)),
        "cached_exceeds_input",
        input=100,
        output=50,
    ),
    case(
        "audio in and out",
        block(**inside(audio_tokens=30), **outside(audio_tokens=20, text_tokens=30)),
        input=70,
        input_audio=30,
        output=30,
        output_audio=20,
    ),
    case(
        "cached audio is split",
        block(**inside(audio_tokens=30, cached_tokens=40, cached_tokens_details={"audio_tokens": 25})),
        input=55,
        cached_input=15,
        cached_input_audio=25,
        input_audio=5,
        output=50,
    ),
    case(
        "cached audio above audio",
        block(**inside(audio_tokens=3, cached_tokens=40, cached_tokens_details={"audio_tokens": 4})),
        "cached_modality_exceeds_total",
        input=57,
        cached_input=40,
        input_audio=3,
        output=50,
    ),
    case(
        "media overlap the cache",
        block(**inside(image_tokens=70, cached_tokens=40)),
        "modality_overlaps_cache",
        input=60,
        cached_input=40,
        output=50,
    ),
    case("video", block(**inside(video_tokens=90)), input=10, input_video=90, output=50),
    case(
        "reasoning is inside",
        block(100, 50, 150, **outside(reasoning_tokens=30)),
        input=100,
        output=20,
        reasoning=30,
    ),
    case(
        "reasoning without a total is inside", block(**outside(reasoning_tokens=50)), input=100, reasoning=50
    ),
    case(
        "reasoning is on top (xAI)",
        block(100, 50, 230, **outside(reasoning_tokens=80)),
        input=100,
        output=50,
        reasoning=80,
    ),
    case(
        "reasoning exceeds the output",
        block(43, 10, 53, **outside(reasoning_tokens=11)),
        "reasoning_exceeds_output",
        input=43,
        output=10,
    ),
    case(
        "details exceed the output together",
        block(**outside(reasoning_tokens=30, audio_tokens=21)),
        "details_exceed_output",
        input=100,
        output=50,
    ),
    case("image out", block(**outside(image_tokens=45)), input=100, output=5, output_image=45),
    case(
        "predictions stay output",
        block(**outside(accepted_prediction_tokens=10, rejected_prediction_tokens=5)),
        input=100,
        output=50,
    ),
    case("hidden thinking (Google)", block(66, 6, 100), "unattributed_tokens", input=66, output=34),
    case("total below the parts", block(100, 50, 149), "total_mismatch", input=100, output=50),
    case("no completion count", block(100, None, 150), input=100, output=50),
    case("no prompt count", block(None, 50, 150), input=100, output=50),
    case(
        "DeepSeek repeats the hit",
        block(
            100, 50, 150, prompt_cache_hit_tokens=40, prompt_cache_miss_tokens=60, **inside(cached_tokens=40)
        ),
        input=60,
        cached_input=40,
        output=50,
    ),
    case(
        "DeepSeek without a prompt total",
        block(None, 50, prompt_cache_hit_tokens=40, prompt_cache_miss_tokens=60),
        input=60,
        cached_input=40,
        output=50,
    ),
    case("Mistral", block(175, 39, 214, num_cached_tokens=174), input=1, cached_input=174, output=39),
    case("Together", block(cached_tokens=4), input=96, cached_input=4, output=50),
    case(
        "null details",
        block(**inside(cached_tokens=None)) | {"completion_tokens_details": None},
        input=100,
        output=50,
    ),
    case("integral float", block(100.0, 50), input=100, output=50),
    case("text detail", block(**inside(cached_tokens="40")), "malformed_usage", input=100, output=50),
    case("negative detail", block(**outside(reasoning_tokens=-1)), "malformed_usage", input=100, output=50),
    case("boolean detail", block(**inside(cached_tokens=True)), "malformed_usage", input=100, output=50),
    case("text total", block(100, 50, "150"), "malformed_usage", input=100, output=50),
    case("responses' spelling", {"input_tokens": 7, "output_tokens": 3}, input=7, output=3),
    case(
        "OpenRouter's search",
        block(server_tool_use_details={"web_search_requests": 2, "tool_calls_executed": 2}),
        input=100,
        output=50,
        web_search=2,
    ),
    case(
        "OpenRouter's other tools",
        block(server_tool_use_details={"tool_calls_executed": 1}),
        "unmetered_server_tools",
        input=100,
        output=50,
    ),
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


UNREADABLE = [block("100"), block(-1), block(True), block(1.5), block(100, "x"), block(10**13), {}, [1], "7"]


@pytest.mark.parametrize("usage", UNREADABLE, ids=str)
def test_unreadable_totals_give_no_usage_but_keep_the_block(usage: Any) -> None:
    reading = read_usage(usage)
    assert reading.usage is None
    assert json.loads(reading.raw_usage) == usage
