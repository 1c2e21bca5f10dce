"""Released Node SDKs work with another base URL, and are billed: what they saw, and what the books hold.

Rule 1: every scenario of a script in `tests/gateway/node` has a key and a customer of its own.
Rule 2: the packages are those of the lock file, unchanged; without them the tests skip and say so.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from node_packages import NodeProject

pytestmark = pytest.mark.e2e

CREDIT_NANO = 10**10
CALLED = ["weather", {"city": "Ålesund", "days": 3}]
PLAIN, TOOL_TURN = {"input": 9, "output": 12}, {"input": 40, "output": 12}
WORDS = 12
GPT, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"
EMBEDDING = "openai/text-embedding-3-small"

SCENARIOS = {
    "openai": "chat chat_stream chat_stream_usage chat_tools chat_tools_stream chat_tool_runner chat_think"
    " chat_cached chat_limited chat_provider_refuses response"
    " response_stream response_tools response_tools_stream embeddings models unknown_model stopped_stream"
    " refused refused_stream",
    "anthropic": "message stream raw_stream tools tools_stream cache_read limited provider_refuses thinking"
    " cached count_tokens unknown_model refused refused_stream",
    "vercel": "embeddings "
    + " ".join(
        f"{model}_{what}"
        for model in ("chat", "messages", "responses")
        for what in ("text", "stream", "tools", "tools_stream", "refused", "refused_stream")
    ),
    "stripe": "text stream by_hand sdk_text sdk_stream refused sdk_refused",
}


@pytest.fixture(scope="module")
def served(node_scripts: NodeProject, calls: Any, provider: Any, tmp_path_factory: Any) -> Iterator[Any]:
    """Run a gateway with a customer for every scenario; those who are to be refused have no credit."""
    names = [f"{script}_{scenario}" for script, listed in SCENARIOS.items() for scenario in listed.split()]
    folder = tmp_path_factory.mktemp("node")
    calls.seed(
        folder,
        {f"cus_{name}": 0 if "refused" in name else CREDIT_NANO for name in names},
        keys={f"sk_test_{name}": f"cus_{name}" for name in names},
    )
    with calls.gateway_on(folder, calls.environment(provider.url)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def saw(node_scripts: NodeProject, served: Any, calls: Any) -> Callable[[str, str], Any]:
    """Return what a scenario of a script saw; each script runs once."""

    @functools.cache
    def run(script: str) -> Any:
        environ = {
            "COSTPLUS_URL": served.url,
            "COSTPLUS_KEY": f"sk_test_{script}",
            "COSTPLUS_SELLER_KEY": calls.merchant_key,
            "COSTPLUS_STRIPE_AI_SDK": os.environ.get("COSTPLUS_STRIPE_AI_SDK", ""),
        }
        return node_scripts.run(f"{script}.mjs", environ)

    return lambda script, scenario: run(script)[scenario]


@pytest.fixture(scope="module")
def booked(served: Any, calls: Any, billed: Any) -> Callable[..., list[dict[str, int]]]:
    """Return how to read what a scenario's calls are booked as, once they are, each at its price."""

    def of(name: str, model: str, *, count: int = 1) -> list[dict[str, int]]:
        return billed(
            served, calls, customer=f"cus_{name}", model=model, count=count, credit_nano=CREDIT_NANO
        )

    return of


def is_text(answer: Any) -> bool:
    return len(answer["text"].split()) == WORDS


@pytest.mark.parametrize("scenario", ["chat", "chat_stream", "chat_stream_usage", "response"])
def test_openais_sdk_is_answered_and_billed(saw: Any, booked: Any, scenario: str) -> None:
    assert is_text(saw("openai", scenario))
    assert booked(f"openai_{scenario}", GPT) == [PLAIN]


def test_openais_sdk_is_told_its_usage(saw: Any) -> None:
    chat, response = saw("openai", "chat")["usage"], saw("openai", "response")["usage"]
    assert (chat["prompt_tokens"], chat["completion_tokens"], chat["total_tokens"]) == (9, 12, 21)
    assert (response["input_tokens"], response["output_tokens"]) == (9, 12)


def test_openais_sdk_sees_usage_in_a_chat_stream_only_where_it_asked(saw: Any) -> None:
    unasked, asked = saw("openai", "chat_stream"), saw("openai", "chat_stream_usage")
    assert (unasked["usages"], unasked["without_choices"]) == ([], 0)
    assert [usage["completion_tokens"] for usage in asked["usages"]] == [12]
    assert unasked["finish"] == asked["finish"] == ["stop"]


def test_openais_sdk_streams_a_response_with_its_reasoning(saw: Any, booked: Any) -> None:
    seen = saw("openai", "response_stream")
    assert seen["items"] == ["reasoning", "message"]
    assert is_text(seen) and seen["grown"] == seen["text"]
    assert booked("openai_response_stream", GPT) == [{**PLAIN, "reasoning": 5}]


@pytest.mark.parametrize("scenario", ["chat_tools", "response_tools"])
def test_openais_sdk_calls_a_tool_and_answers_with_its_result(saw: Any, booked: Any, scenario: str) -> None:
    seen = saw("openai", scenario)
    assert seen["called"] == [CALLED]
    assert is_text(seen)
    assert booked(f"openai_{scenario}", GPT, count=2) == [TOOL_TURN, TOOL_TURN]


def test_openais_sdk_streams_several_tool_calls(saw: Any, booked: Any) -> None:
    chat, response = saw("openai", "chat_tools_stream"), saw("openai", "response_tools_stream")
    assert chat["called"] == [CALLED, ["weather", {}]]
    assert response["called"] == [CALLED]
    assert chat["finish"] == ["tool_calls"]
    assert is_text(chat)
    for seen in (chat, response):
        assert seen["several"]
        assert seen["pieces"].startswith('{"city":"Ålesund","days":3}')
    assert booked("openai_chat_tools_stream", GPT) == [TOOL_TURN]
    assert booked("openai_response_tools_stream", GPT) == [TOOL_TURN]


def test_openais_tool_runner_runs_to_its_answer(saw: Any, booked: Any) -> None:
    seen = saw("openai", "chat_tool_runner")
    assert seen["asked"] == [CALLED[1]]
    assert is_text(seen)
    turns = booked("openai_chat_tool_runner", GPT, count=2)
    assert seen["usage"]["total_tokens"] == sum(sum(turn.values()) for turn in turns)


def test_openais_sdk_is_told_of_thoughts_and_cached_tokens(saw: Any, booked: Any) -> None:
    thought, cached = saw("openai", "chat_think")["usage"], saw("openai", "chat_cached")["usage"]
    assert thought["completion_tokens_details"]["reasoning_tokens"] == 5
    assert cached["prompt_tokens_details"]["cached_tokens"] == 4
    assert booked("openai_chat_think", GPT) == [{**PLAIN, "reasoning": 5}]
    assert booked("openai_chat_cached", GPT) == [{"input": 5, "cached_input": 4, "output": 12}]


def test_an_answer_ends_at_the_maximum_that_an_sdk_sets(saw: Any, booked: Any) -> None:
    chat, message = saw("openai", "chat_limited"), saw("anthropic", "limited")
    assert (len(chat["text"].split()), chat["finish"]) == (5, "length")
    assert (len(message["text"].split()), message["stop"]) == (5, "max_tokens")
    assert booked("openai_chat_limited", GPT) == booked("anthropic_limited", CLAUDE)


def test_openais_sdk_embeds(saw: Any, booked: Any) -> None:
    seen = saw("openai", "embeddings")
    assert (seen["lengths"], seen["usage"]["prompt_tokens"]) == ([8, 8], 2)
    assert booked("openai_embeddings", EMBEDDING) == [{"input": 2}]


def test_openais_sdk_lists_the_models(saw: Any) -> None:
    assert {GPT, CLAUDE} <= set(saw("openai", "models")["ids"])


def test_a_stream_that_openais_sdk_stops_is_billed_too(saw: Any, served: Any, calls: Any) -> None:
    assert saw("openai", "stopped_stream")["chunks"] == 5
    (call,) = calls.until(lambda: served.books.of("cus_openai_stopped_stream"), "the call is settled")
    assert call.quantities["output"] > 0
    assert call.price_nano == calls.price_nano(GPT, call.quantities)


@pytest.mark.parametrize("scenario", ["message", "stream"])
def test_anthropics_sdk_is_answered_and_billed(saw: Any, booked: Any, scenario: str) -> None:
    seen = saw("anthropic", scenario)
    assert is_text(seen) and seen.get("grown", seen["text"]) == seen["text"]
    assert (seen["stop"], seen["blocks"]) == ("end_turn", ["text"])
    assert (seen["usage"]["input_tokens"], seen["usage"]["output_tokens"]) == (9, 12)
    assert booked(f"anthropic_{scenario}", CLAUDE) == [PLAIN]


def test_anthropics_sdk_reads_every_event_of_a_stream(saw: Any, booked: Any) -> None:
    types = saw("anthropic", "raw_stream")["types"]
    assert types[0] == "message_start"
    assert types.count("content_block_delta") == WORDS
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert booked("anthropic_raw_stream", CLAUDE) == [PLAIN]


def test_anthropics_sdk_calls_a_tool_and_answers_with_its_result(saw: Any, booked: Any) -> None:
    first, second = saw("anthropic", "tools")["first"], saw("anthropic", "tools")["second"]
    assert (first["blocks"], first["called"], first["stop"]) == (["text", "tool_use"], [CALLED], "tool_use")
    assert is_text(second) and second["stop"] == "end_turn"
    assert booked("anthropic_tools", CLAUDE, count=2) == [TOOL_TURN, TOOL_TURN]


def test_anthropics_sdk_gathers_tool_calls_from_a_stream(saw: Any, booked: Any) -> None:
    seen = saw("anthropic", "tools_stream")
    assert (seen["called"], seen["stop"]) == ([CALLED, ["weather", {}]], "tool_use")
    assert seen["several"] and seen["pieces"].startswith('{"city":"Ålesund"')
    assert booked("anthropic_tools_stream", CLAUDE) == [TOOL_TURN]


def test_anthropics_sdk_streams_thoughts(saw: Any, booked: Any) -> None:
    seen = saw("anthropic", "thinking")
    assert seen["blocks"] == ["thinking", "text"]
    assert len(seen["thoughts"].split()) == 5
    assert booked("anthropic_thinking", CLAUDE) == [{**PLAIN, "reasoning": 5}]


def test_what_anthropics_sdk_sees_of_the_cache_is_billed_leaf_by_leaf(saw: Any, booked: Any) -> None:
    usage = saw("anthropic", "cached")["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (20, 50)
    assert usage["cache_creation_input_tokens"] == 30
    assert booked("anthropic_cached", CLAUDE) == [
        {"input": 20, "cached_input": 50, "cache_write_5m": 20, "cache_write_1h": 10, "output": 7}
    ]


def test_anthropics_sdk_counts_tokens_for_nothing(saw: Any, served: Any) -> None:
    assert saw("anthropic", "count_tokens")["input_tokens"] == 5
    assert served.books.of("cus_anthropic_count_tokens") == []


MODELS = {"chat": GPT, "responses": GPT, "messages": CLAUDE}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("what", ["text", "stream"])
def test_vercels_sdk_is_answered_and_billed(saw: Any, booked: Any, model: str, what: str) -> None:
    seen = saw("vercel", f"{model}_{what}")
    assert is_text(seen) and seen.get("grown", seen["text"]) == seen["text"]
    assert (seen["finish"], seen["usage"]) == ("stop", PLAIN)
    assert booked(f"vercel_{model}_{what}", MODELS[model]) == [PLAIN]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("what", ["tools", "tools_stream"])
def test_vercels_sdk_runs_tools_to_an_answer(saw: Any, booked: Any, model: str, what: str) -> None:
    seen = saw("vercel", f"{model}_{what}")
    assert (seen["asked"], seen["steps"], seen["finish"]) == ([CALLED[1]], 2, "stop")
    assert is_text(seen)
    assert seen["total"] == {"input": 80, "output": 24}
    assert booked(f"vercel_{model}_{what}", MODELS[model], count=2) == [TOOL_TURN, TOOL_TURN]


def test_vercels_sdk_embeds(saw: Any, booked: Any) -> None:
    seen = saw("vercel", "embeddings")
    assert (seen["lengths"], seen["tokens"]) == ([1536, 1536], 2)
    assert booked("vercel_embeddings", EMBEDDING) == [{"input": 2}]


@pytest.mark.parametrize("scenario", ["text", "stream", "by_hand"])
def test_the_shape_of_stripes_sdk_is_answered_and_billed(saw: Any, booked: Any, scenario: str) -> None:
    assert is_text(saw("stripe", scenario))
    assert booked(f"stripe_{scenario}", GPT) == [PLAIN]


@pytest.mark.parametrize("scenario", ["sdk_text", "sdk_stream"])
@pytest.mark.skipif(
    not os.environ.get("COSTPLUS_STRIPE_AI_SDK"),
    reason="@stripe/ai-sdk is on no public registry: COSTPLUS_STRIPE_AI_SDK may name a built copy's folder",
)
def test_stripes_sdk_itself_is_answered_and_billed(saw: Any, booked: Any, scenario: str) -> None:
    seen = saw("stripe", scenario)
    assert is_text(seen) and seen["usage"] == PLAIN
    assert booked(f"stripe_{scenario}", GPT) == [PLAIN]


REFUSALS = [
    ("openai", "refused", "APIError"),
    ("openai", "refused_stream", "APIError"),
    ("anthropic", "refused", "PaymentRequiredError"),
    ("anthropic", "refused_stream", "PaymentRequiredError"),
    *[("vercel", f"{model}_refused{how}", "APICallError") for model in MODELS for how in ("", "_stream")],
    ("stripe", "refused", "APICallError"),
]


@pytest.mark.parametrize(("script", "scenario", "kind"), REFUSALS)
def test_without_credit_an_sdk_throws_its_own_error_at_once(
    saw: Any, served: Any, script: str, scenario: str, kind: str
) -> None:
    seen = saw(script, scenario)
    assert kind in seen["kinds"]
    assert (seen["status"], seen["requests"]) == (402, 1)  # No SDK repeats it.
    assert "customer_credit_exhausted" in (seen["code"] or seen["body"])
    assert "credit_grants" in seen["message"]
    assert not seen["retryable"]
    customer = f"cus_{script}_{scenario}"
    assert served.books.of(customer) == []
    assert served.books.held_nano(customer) == 0


@pytest.mark.parametrize("name", ["openai_chat_provider_refuses", "anthropic_provider_refuses"])
def test_a_providers_refusal_is_the_sdks_own_error_and_costs_nothing(
    saw: Any, served: Any, name: str
) -> None:
    seen = saw(*name.split("_", 1))
    assert (seen["threw"], seen["status"], seen["requests"]) == ("BadRequestError", 400, 1)
    assert "status 400" in seen["message"]
    assert served.books.of(f"cus_{name}") == []


@pytest.mark.parametrize("script", ["openai", "anthropic"])
def test_a_model_without_a_price_is_a_bad_request_with_a_code(saw: Any, script: str) -> None:
    seen = saw(script, "unknown_model")
    assert (seen["threw"], seen["status"], seen["requests"]) == ("BadRequestError", 400, 1)
    assert seen["code"] == "model_unpriced"
