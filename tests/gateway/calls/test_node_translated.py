"""Released Node SDKs call models of other providers through translation, and are billed.

Rule 1: `openai` and Vercel's chat provider call models that speak Anthropic's, Google's and Amazon's dialect;
`@anthropic-ai/sdk` and Vercel's Anthropic provider call models that do not speak Anthropic's.
Rule 2: the scripts are those of `test_node_sdks`; they see what they see of their own provider.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from node_packages import NodeProject

pytestmark = pytest.mark.e2e

CREDIT_NANO = 10**10
CALLED = ["weather", {"city": "Ålesund", "days": 3}]
PLAIN, TOOL_TURN = {"input": 9, "output": 12}, {"input": 40, "output": 12}
WORDS = 12

CHAT = {
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.5-flash",
    "bedrock": "bedrock/amazon.nova-lite-v1:0",
}
MESSAGES = {
    "openai": "openai/gpt-4o-mini",
    "google": "google/gemini-2.5-flash",
    "bedrock": "bedrock/amazon.nova-lite-v1:0",
}
SCENARIOS = {
    "openai": "chat chat_stream chat_stream_usage chat_tools chat_tools_stream chat_tool_runner chat_think"
    " chat_cached chat_limited chat_provider_refuses stopped_stream chat_untranslatable chat_cut refused",
    "anthropic": "message stream raw_stream tools tools_stream cache_read limited provider_refuses cut"
    " refused",
    "vercel": " ".join(
        f"{shape}_{what}"
        for shape in ("chat", "messages")
        for what in ("text", "stream", "tools", "tools_stream")
    ),
}
TARGETS = {"openai": CHAT, "anthropic": MESSAGES, "vercel": dict(zip(CHAT, MESSAGES, strict=True))}


@pytest.fixture(scope="module")
def served(node_scripts: NodeProject, calls: Any, provider: Any, tmp_path_factory: Any) -> Iterator[Any]:
    """Run a gateway with a customer for every scenario of every target."""
    names = [
        f"{script}_{target}_{scenario}"
        for script, listed in SCENARIOS.items()
        for target in TARGETS[script]
        for scenario in listed.split()
    ]
    folder = tmp_path_factory.mktemp("translated")
    calls.seed(
        folder,
        {f"cus_{name}": 0 if name.endswith("refused") else CREDIT_NANO for name in names},
        keys={f"sk_test_{name}": f"cus_{name}" for name in names},
    )
    with calls.gateway_on(folder, calls.environment(provider.url)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def saw(node_scripts: NodeProject, served: Any) -> Callable[[str, str, str], Any]:
    """Return what a scenario of a script saw of a target; each runs once."""

    @functools.cache
    def run(script: str, target: str) -> Any:
        environ = {"COSTPLUS_URL": served.url, "COSTPLUS_KEY": f"sk_test_{script}_{target}"}
        if script == "vercel":
            environ |= {
                "COSTPLUS_CHAT_MODEL": CHAT[target],
                "COSTPLUS_MESSAGES_MODEL": MESSAGES[TARGETS["vercel"][target]],
            }
        else:
            environ["COSTPLUS_MODEL"] = TARGETS[script][target]
        return node_scripts.run(f"{script}.mjs", environ)

    return lambda script, target, scenario: run(script, target)[scenario]


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


chat_targets = pytest.mark.parametrize("target", CHAT)
messages_targets = pytest.mark.parametrize("target", MESSAGES)


@chat_targets
@pytest.mark.parametrize("scenario", ["chat", "chat_stream", "chat_stream_usage"])
def test_openais_sdk_is_answered_and_billed(saw: Any, booked: Any, target: str, scenario: str) -> None:
    assert is_text(saw("openai", target, scenario))
    assert booked(f"openai_{target}_{scenario}", CHAT[target]) == [PLAIN]


@chat_targets
def test_openais_sdk_is_told_its_usage_as_openai_counts(saw: Any, booked: Any, target: str) -> None:
    usage = saw("openai", target, "chat")["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (9, 12, 21)
    cached = saw("openai", target, "chat_cached")["usage"]
    assert (cached["prompt_tokens"], cached["prompt_tokens_details"]["cached_tokens"]) == (9, 4)
    assert booked(f"openai_{target}_chat_cached", CHAT[target]) == [
        {"input": 5, "cached_input": 4, "output": 12}
    ]


@chat_targets
def test_openais_sdk_sees_usage_in_a_stream_only_where_it_asked(saw: Any, target: str) -> None:
    unasked, asked = saw("openai", target, "chat_stream"), saw("openai", target, "chat_stream_usage")
    assert (unasked["usages"], unasked["without_choices"]) == ([], 0)
    assert [(u["prompt_tokens"], u["completion_tokens"]) for u in asked["usages"]] == [(9, 12)]
    assert unasked["finish"] == asked["finish"] == ["stop"]


@chat_targets
def test_openais_sdk_calls_a_tool_and_answers_with_its_result(saw: Any, booked: Any, target: str) -> None:
    seen = saw("openai", target, "chat_tools")
    assert (seen["called"], seen["finish"]) == ([CALLED], ["tool_calls", "stop"])
    assert is_text(seen)
    assert booked(f"openai_{target}_chat_tools", CHAT[target], count=2) == [TOOL_TURN, TOOL_TURN]


@chat_targets
def test_openais_sdk_gathers_several_calls_from_a_stream(saw: Any, booked: Any, target: str) -> None:
    seen = saw("openai", target, "chat_tools_stream")
    assert (seen["called"], seen["finish"]) == ([CALLED, ["weather", {}]], ["tool_calls"])
    assert is_text(seen)  # Said before the calls.
    assert booked(f"openai_{target}_chat_tools_stream", CHAT[target]) == [TOOL_TURN]


@chat_targets
def test_openais_tool_runner_runs_to_its_answer(saw: Any, booked: Any, target: str) -> None:
    seen = saw("openai", target, "chat_tool_runner")
    assert seen["asked"] == [CALLED[1]]
    assert is_text(seen)
    assert booked(f"openai_{target}_chat_tool_runner", CHAT[target], count=2) == [TOOL_TURN, TOOL_TURN]


@chat_targets
def test_thoughts_are_counted_and_are_not_the_text(saw: Any, booked: Any, target: str) -> None:
    seen = saw("openai", target, "chat_think")
    assert is_text(seen)
    assert seen["usage"]["completion_tokens"] == 17
    (quantities,) = booked(f"openai_{target}_chat_think", CHAT[target])
    assert quantities["output"] + quantities.get("reasoning", 0) == 17


@chat_targets
def test_a_maximum_ends_the_answer_as_length(saw: Any, booked: Any, target: str) -> None:
    seen = saw("openai", target, "chat_limited")
    assert (len(seen["text"].split()), seen["finish"]) == (5, "length")
    assert booked(f"openai_{target}_chat_limited", CHAT[target]) == [{"input": 9, "output": 5}]


@chat_targets
def test_a_stream_that_openais_sdk_stops_is_billed(saw: Any, served: Any, calls: Any, target: str) -> None:
    assert saw("openai", target, "stopped_stream")["chunks"] == 5
    customer = f"cus_openai_{target}_stopped_stream"
    (call,) = calls.until(lambda: served.books.of(customer), "the call is settled")
    assert call.quantities["output"] > 0
    assert call.price_nano == calls.price_nano(CHAT[target], call.quantities)


@chat_targets
def test_a_providers_refusal_is_openais_error_and_costs_nothing(saw: Any, served: Any, target: str) -> None:
    seen = saw("openai", target, "chat_provider_refuses")
    assert (seen["threw"], seen["status"], seen["requests"]) == ("BadRequestError", 400, 1)
    assert "status 400" in seen["message"]  # The provider's own sentence.
    assert served.books.of(f"cus_openai_{target}_chat_provider_refuses") == []


@chat_targets
def test_what_a_provider_cannot_express_is_refused_by_its_name(saw: Any, served: Any, target: str) -> None:
    seen = saw("openai", target, "chat_untranslatable")
    assert (seen["threw"], seen["code"]) == ("BadRequestError", "translation_unsupported")
    assert "logit_bias" in seen["message"]
    assert served.books.of(f"cus_openai_{target}_chat_untranslatable") == []


@chat_targets
def test_a_broken_stream_is_an_error_to_openais_sdk_too(saw: Any, target: str) -> None:
    assert "Error" in saw("openai", target, "chat_cut")["kinds"]


@messages_targets
@pytest.mark.parametrize("scenario", ["message", "stream"])
def test_anthropics_sdk_is_answered_and_billed(saw: Any, booked: Any, target: str, scenario: str) -> None:
    seen = saw("anthropic", target, scenario)
    assert is_text(seen) and seen.get("grown", seen["text"]) == seen["text"]
    assert (seen["stop"], seen["blocks"]) == ("end_turn", ["text"])
    assert (seen["usage"]["input_tokens"], seen["usage"]["output_tokens"]) == (9, 12)
    assert booked(f"anthropic_{target}_{scenario}", MESSAGES[target]) == [PLAIN]


@messages_targets
def test_anthropics_sdk_reads_a_well_formed_stream(saw: Any, booked: Any, target: str) -> None:
    types = [kind for kind in saw("anthropic", target, "raw_stream")["types"] if kind != "ping"]
    assert types[:2] == ["message_start", "content_block_start"]
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(types[2:-3]) == {"content_block_delta"}
    assert booked(f"anthropic_{target}_raw_stream", MESSAGES[target]) == [PLAIN]


@messages_targets
def test_anthropics_sdk_calls_a_tool_and_answers_with_its_result(saw: Any, booked: Any, target: str) -> None:
    seen = saw("anthropic", target, "tools")
    first, second = seen["first"], seen["second"]
    assert (first["blocks"], first["called"], first["stop"]) == (["text", "tool_use"], [CALLED], "tool_use")
    assert is_text(second) and second["stop"] == "end_turn"
    assert booked(f"anthropic_{target}_tools", MESSAGES[target], count=2) == [TOOL_TURN, TOOL_TURN]


@messages_targets
def test_anthropics_sdk_gathers_several_calls_from_a_stream(saw: Any, booked: Any, target: str) -> None:
    seen = saw("anthropic", target, "tools_stream")
    assert (seen["called"], seen["stop"]) == ([CALLED, ["weather", {}]], "tool_use")
    assert booked(f"anthropic_{target}_tools_stream", MESSAGES[target]) == [TOOL_TURN]


@messages_targets
def test_anthropics_sdk_is_told_its_usage_as_anthropic_counts(saw: Any, booked: Any, target: str) -> None:
    usage = saw("anthropic", target, "cache_read")["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (5, 4)
    assert booked(f"anthropic_{target}_cache_read", MESSAGES[target]) == [
        {"input": 5, "cached_input": 4, "output": 12}
    ]


@messages_targets
def test_a_maximum_ends_a_message_as_max_tokens(saw: Any, booked: Any, target: str) -> None:
    seen = saw("anthropic", target, "limited")
    assert (len(seen["text"].split()), seen["stop"]) == (5, "max_tokens")
    assert booked(f"anthropic_{target}_limited", MESSAGES[target]) == [{"input": 9, "output": 5}]


@messages_targets
def test_a_providers_refusal_is_anthropics_error_and_costs_nothing(
    saw: Any, served: Any, target: str
) -> None:
    seen = saw("anthropic", target, "provider_refuses")
    assert (seen["threw"], seen["status"], seen["requests"]) == ("BadRequestError", 400, 1)
    assert "status 400" in seen["message"]
    assert served.books.of(f"cus_anthropic_{target}_provider_refuses") == []


@messages_targets
def test_a_broken_stream_is_an_error_to_anthropics_sdk_too(saw: Any, target: str) -> None:
    assert "Error" in saw("anthropic", target, "cut")["kinds"]


VERCEL = [(shape, target) for shape in ("chat", "messages") for target in CHAT]


def vercel_model(shape: str, target: str) -> str:
    return CHAT[target] if shape == "chat" else MESSAGES[TARGETS["vercel"][target]]


@pytest.mark.parametrize(("shape", "target"), VERCEL)
@pytest.mark.parametrize("what", ["text", "stream"])
def test_vercels_sdk_is_answered_and_billed(
    saw: Any, booked: Any, shape: str, target: str, what: str
) -> None:
    seen = saw("vercel", target, f"{shape}_{what}")
    assert is_text(seen) and seen.get("grown", seen["text"]) == seen["text"]
    assert (seen["finish"], seen["usage"]) == ("stop", PLAIN)
    assert booked(f"vercel_{target}_{shape}_{what}", vercel_model(shape, target)) == [PLAIN]


@pytest.mark.parametrize(("shape", "target"), VERCEL)
@pytest.mark.parametrize("what", ["tools", "tools_stream"])
def test_vercels_sdk_runs_tools_to_an_answer(
    saw: Any, booked: Any, shape: str, target: str, what: str
) -> None:
    seen = saw("vercel", target, f"{shape}_{what}")
    assert (seen["asked"], seen["steps"], seen["finish"]) == ([CALLED[1]], 2, "stop")
    assert is_text(seen)
    turns = booked(f"vercel_{target}_{shape}_{what}", vercel_model(shape, target), count=2)
    assert turns == [TOOL_TURN, TOOL_TURN]


@pytest.mark.parametrize(
    ("script", "target"),
    [*(("openai", target) for target in CHAT), *(("anthropic", target) for target in MESSAGES)],
)
def test_without_credit_an_sdk_throws_its_own_error_at_once(
    saw: Any, served: Any, script: str, target: str
) -> None:
    seen = saw(script, target, "refused")
    assert (seen["status"], seen["requests"]) == (402, 1)
    assert seen["code"] == "customer_credit_exhausted"
    customer = f"cus_{script}_{target}_refused"
    assert served.books.of(customer) == []
    assert served.books.held_nano(customer) == 0
