"""Released SDKs call models of another dialect, and pay by the counts of the model's own provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

pytestmark = pytest.mark.e2e

KEY = "sk_test_translated"
POOR_KEY = "sk_test_translated_poor"
BEDROCK = "bedrock/amazon.nova-2-lite-v1:0"
CHAT_MODELS = ["anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash", BEDROCK]
MESSAGES_MODELS = ["openai/gpt-4o-mini", "google/gemini-2.5-flash", BEDROCK]
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def gateway(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway with a customer who has credit and one who has none."""
    folder = tmp_path_factory.mktemp("translated")
    keys = {KEY: "cus_rich", POOR_KEY: "cus_poor"}
    calls.seed(folder, {"cus_rich": 10**11, "cus_poor": 0}, keys=keys)
    with calls.gateway_on(folder, calls.environment(provider.url)) as served:
        yield served


@pytest.fixture
def chat(gateway: Any) -> Iterator[openai.OpenAI]:
    """Return OpenAI's SDK at the gateway."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def messages(gateway: Any) -> Iterator[anthropic.Anthropic]:
    """Return Anthropic's SDK at the gateway."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


def only_new(gateway: Any, calls: Any, before: set[str]) -> Any:
    """Return the one call that was booked since."""
    (id,) = calls.until(lambda: gateway.books.booked().keys() - before, "the call is settled")
    return gateway.books.booked()[id]


def function(**more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "parameters": WEATHER, **more}}


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_openais_sdk_talks_to_a_model_of_another_dialect(
    gateway: Any, calls: Any, chat: openai.OpenAI, model: str
) -> None:
    before = set(gateway.books.booked())
    answer = chat.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello [[input=9]] [[tokens=20]]"},
        ],
        max_completion_tokens=64,
    )
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    booked = only_new(gateway, calls, before)
    assert answer.usage is not None
    assert (
        booked.quantities
        == {
            "input": answer.usage.prompt_tokens,
            "output": answer.usage.completion_tokens,
        }
        == {"input": 9, "output": 20}
    )
    assert booked.flags == []
    assert booked.price_nano == calls.price_nano(model, booked.quantities)


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_openais_sdk_streams_from_a_model_of_another_dialect(
    gateway: Any, calls: Any, chat: openai.OpenAI, model: str
) -> None:
    before = set(gateway.books.booked())
    stream = chat.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello [[input=9]] [[tokens=30]]"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == (9, 30)
    assert only_new(gateway, calls, before).quantities == {"input": 9, "output": 30}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("model", CHAT_MODELS)
def test_tools_are_called_through_chat(chat: openai.OpenAI, model: str, streams: bool) -> None:
    turns: list[Any] = [{"role": "user", "content": 'Rome? [[tool=weather {"city":"Rome"}]]'}]
    with (
        chat.chat.completions.stream(model=model, messages=turns, tools=[function()], tool_choice="auto")
        if streams
        else _whole(chat, model=model, messages=turns, tools=[function()]) as stream
    ):
        answer = stream.get_final_completion()
    assert answer.choices[0].finish_reason == "tool_calls"
    message = answer.choices[0].message
    (call,) = message.tool_calls or []
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("weather", '{"city":"Rome"}')
    turns.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
    turns[-1]["tool_calls"] = [
        {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    ]
    turns.append({"role": "tool", "tool_call_id": call.id, "content": "18 degrees"})
    again = chat.chat.completions.create(model=model, messages=turns, tools=[function()])
    assert again.choices[0].message.content


class _whole:  # noqa: N801  # Stands beside the SDK's own context manager.
    """A whole answer with the face of a stream's."""

    def __init__(self, sdk: openai.OpenAI, **asked: Any) -> None:
        self._answer = sdk.chat.completions.create(**asked)

    def __enter__(self) -> _whole:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def get_final_completion(self) -> Any:
        return self._answer


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_what_cannot_be_expressed_is_refused_and_costs_nothing(
    gateway: Any, chat: openai.OpenAI, model: str
) -> None:
    before = gateway.books.booked()
    with pytest.raises(openai.BadRequestError) as raised:
        chat.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}], n=2)
    assert (raised.value.code, raised.value.param) == ("translation_unsupported", "n")
    assert gateway.books.booked() == before


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_the_providers_refusal_comes_in_the_callers_dialect(chat: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.RateLimitError) as raised:
        chat.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello [[error=429]]"}]
        )
    assert raised.value.code == "provider_refused"
    assert raised.value.message


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_without_credit_the_sdk_gets_its_own_402(gateway: Any, model: str) -> None:
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=POOR_KEY, max_retries=0) as sdk,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
    assert raised.value.status_code == 402


@pytest.mark.parametrize("model", MESSAGES_MODELS)
def test_anthropics_sdk_talks_to_a_model_of_another_dialect(
    gateway: Any, calls: Any, messages: anthropic.Anthropic, model: str
) -> None:
    before = set(gateway.books.booked())
    answer = messages.messages.create(
        model=model,
        max_tokens=64,
        system="Be brief.",
        messages=[{"role": "user", "content": "Hello [[input=9]] [[tokens=20]]"}],
    )
    assert answer.type == "message" and answer.stop_reason == "end_turn"
    assert answer.content[0].type == "text" and answer.content[0].text
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 20)
    booked = only_new(gateway, calls, before)
    assert booked.quantities == {"input": 9, "output": 20}
    assert booked.price_nano == calls.price_nano(model, booked.quantities)


@pytest.mark.parametrize("model", MESSAGES_MODELS)
def test_anthropics_sdk_streams_and_calls_tools(
    gateway: Any, calls: Any, messages: anthropic.Anthropic, model: str
) -> None:
    before = set(gateway.books.booked())
    turns: list[Any] = [{"role": "user", "content": 'Rome? [[input=9]] [[tool=weather {"city":"Rome"}]]'}]
    tools: list[Any] = [{"name": "weather", "input_schema": WEATHER}]
    with messages.messages.stream(model=model, max_tokens=64, messages=turns, tools=tools) as stream:
        answer = stream.get_final_message()
    call = answer.content[-1]
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("weather", {"city": "Rome"})
    assert answer.stop_reason == "tool_use"
    booked = only_new(gateway, calls, before)
    assert booked.quantities == {"input": 9, "output": answer.usage.output_tokens}
    turns += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}],
        },
    ]
    again = messages.messages.create(model=model, max_tokens=64, messages=turns, tools=tools)
    assert again.content[0].type == "text"


@pytest.mark.parametrize("model", CHAT_MODELS)
def test_a_stream_that_breaks_off_ends_with_an_error_in_the_callers_dialect(
    gateway: Any, calls: Any, chat: openai.OpenAI, model: str
) -> None:
    before = set(gateway.books.booked())
    stream = chat.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello [[tokens=40]] [[truncate]]"}],
        stream=True,
    )
    with pytest.raises(openai.APIError):
        list(stream)
    assert "estimated" in only_new(gateway, calls, before).flags
