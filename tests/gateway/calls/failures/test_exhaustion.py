"""A stream whose customer's credit ends is cut as the released SDKs understand it, before it is overdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types
from openai.types.chat import ChatCompletionUserMessageParam

pytestmark = pytest.mark.e2e

CREDIT_NANO = 1_000_000
LONG = "[[input=20]] [[tokens=3000]] [[chunk_ms=1]]"
OVERSHOOT_TOKENS = 100  # What comes between two looks, and the smallest block.


@pytest.fixture
def cutting(world: Any) -> Iterator[Any]:
    world.set_card(credit_nano=CREDIT_NANO, on_exhaustion="cut")
    with world.own(output_tokens_default=50) as served:
        yield served


def assert_cut(world: Any, gateway: Any, *, output_nano: int, shown: str) -> None:
    world.calls.until(world.rows, "the call is settled")
    ((price_nano, _, flags),) = world.rows()
    assert flags >= {"cut", "estimated"}
    (booked,) = gateway.books.of("cus_own")
    assert booked.quantities["output"] == -(-len(shown) // 4)
    assert CREDIT_NANO * 0.8 < price_nano < CREDIT_NANO + OVERSHOOT_TOKENS * output_nano
    world.calls.until(lambda: gateway.books.held_nano() == 0, "nothing is held")
    assert gateway.books.unbalanced() == []


def test_the_openai_sdk_sees_a_stream_that_reached_its_limit(world: Any, cutting: Any) -> None:
    key, said = world.calls.merchant_key, [ChatCompletionUserMessageParam(role="user", content=LONG)]
    with openai.OpenAI(base_url=f"{cutting.url}/v1", api_key=key, max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o-mini",
                messages=said,
                stream=True,
                stream_options={"include_usage": True},
                extra_headers={"x-stripe-customer-id": "cus_own"},
            )
        )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert choices[-1].finish_reason == "length"
    assert chunks[-1].usage is not None
    shown = "".join(choice.delta.content or "" for choice in choices)
    assert chunks[-1].usage.completion_tokens == -(-len(shown) // 4)
    assert_cut(world, cutting, output_nano=780, shown=shown)


def test_the_google_sdk_sees_an_answer_that_reached_its_limit(world: Any, cutting: Any) -> None:
    options = types.HttpOptions(base_url=cutting.url, headers={"x-stripe-customer-id": "cus_own"})
    client = genai.Client(api_key=world.calls.merchant_key, http_options=options)
    chunks = list(client.models.generate_content_stream(model="gemini-2.5-flash-lite", contents=LONG))
    candidate = (chunks[-1].candidates or [types.Candidate()])[0]
    assert candidate.finish_reason == types.FinishReason.MAX_TOKENS
    shown = "".join(chunk.text or "" for chunk in chunks)
    assert_cut(world, cutting, output_nano=520, shown=shown)


def test_a_call_that_names_its_limit_is_held_for_it_and_never_cut(world: Any, cutting: Any) -> None:
    answer = world.send("[[input=20]] [[tokens=900]] [[chunk_ms=1]]", stream=True, max_tokens=900)
    assert "[DONE]" in answer.text
    world.calls.until(world.rows, "the call is settled")
    assert world.rows() == [(20 * 195 + 900 * 780, 20 * 150 + 900 * 600, set())]
