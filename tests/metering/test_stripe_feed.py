"""Stripe's meter events as usage events: names of token types and models, values, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from costplus.core.errors import BillingError
from costplus.core.usage import LEAVES
from costplus.metering.event import TOKEN_METER
from costplus.metering.feeds.stripe import (
    DIGITS_MAX,
    FUTURE_MAX,
    PAST_MAX,
    Reported,
    payload_of,
    reported_again,
    split_model,
    usage_event_of,
)
from costplus.metering.meter import Meter

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def meter(event_name: str = TOKEN_METER, **fields: Any) -> Meter:
    return Meter(id="mtr_1", created=NOON, updated=NOON, display_name="m", event_name=event_name, **fields)


def reported(**changes: Any) -> Reported:
    payload = {"stripe_customer_id": "cus_1", "value": "12", "model": "openai/gpt-4o", "token_type": "input"}
    timestamp = changes.pop("timestamp", None)
    kept = {name: value for name, value in (payload | changes).items() if value is not None}
    return Reported(event_name=TOKEN_METER, payload=kept, identifier="id-1", timestamp=timestamp)


def event_of(found: Reported, on: Meter | None = None) -> Any:
    return usage_event_of(
        found, on or meter(), present=NOON, received_at=NOON + SECOND, source="meter_events_v2"
    )


ALIASES = [
    ("input", "input"),
    ("output", "output"),
    ("cached_input", "cached_input"),
    ("cached", "cached_input"),
    ("cache_read", "cached_input"),
    ("cache_write", "cache_write_5m"),
    ("cached_write", "cache_write_5m"),
    ("cache_write_1h", "cache_write_1h"),
    ("reasoning", "reasoning"),
    ("web_search", "web_search"),
]


@pytest.mark.parametrize(("token_type", "leaf"), ALIASES)
def test_every_name_of_a_token_type_is_its_leaf(token_type: str, leaf: str) -> None:
    assert event_of(reported(token_type=token_type)).usage.quantities == {leaf: 12}


def test_every_leaf_of_tokens_can_be_reported_by_its_own_name() -> None:
    for leaf in LEAVES.keys() - {"unit"}:
        assert event_of(reported(token_type=leaf)).usage.quantities == {leaf: 12}


MODELS = [
    ("openai/gpt-4o", ("openai", "gpt-4o")),
    ("bedrock/anthropic/claude-sonnet-5", ("bedrock", "anthropic/claude-sonnet-5")),
    ("openrouter/anthropic/claude-sonnet-4.5", ("openrouter", "anthropic/claude-sonnet-4.5")),
    ("gpt-4o", ("", "gpt-4o")),
    ("/gpt-4o", ("", "/gpt-4o")),
    ("openai/", ("", "openai/")),
]


@pytest.mark.parametrize(("name", "split"), MODELS)
def test_who_serves_a_model_stands_first_in_its_name(name: str, split: tuple[str, str]) -> None:
    assert split_model(name) == split
    event = event_of(reported(model=name))
    assert (event.provider, event.model, event.requested_model) == (*split, name)


@pytest.mark.parametrize("value", ["0", "1", "007", "9" * DIGITS_MAX])
def test_a_value_is_a_whole_number_of_zero_or_more(value: str) -> None:
    expected = {"input": int(value)} if int(value) else {}
    assert event_of(reported(value=value)).usage.quantities == expected


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"value": None}, "meter_event_value_not_found"),
    ({"value": ""}, "meter_event_value_not_found"),
    ({"value": "-1"}, "meter_event_invalid_value"),
    ({"value": "1.0"}, "meter_event_invalid_value"),
    ({"value": " 1"}, "meter_event_invalid_value"),
    ({"value": "9" * (DIGITS_MAX + 1)}, "meter_event_value_too_many_digits"),
    ({"stripe_customer_id": None}, "meter_event_no_customer_defined"),
    ({"model": None}, "missing_dimension_payload_keys"),
    ({"token_type": ""}, "missing_dimension_payload_keys"),
    ({"token_type": "unit"}, "meter_event_token_type_unknown"),
    ({"timestamp": NOON + FUTURE_MAX + SECOND}, "timestamp_in_future"),
    ({"timestamp": NOON - PAST_MAX - SECOND}, "timestamp_too_far_in_past"),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED)
def test_what_cannot_be_read_is_refused_by_code(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BillingError) as refused:
        event_of(reported(**changes))
    assert refused.value.code == code


def test_the_edges_of_time_are_still_taken_and_no_time_is_now() -> None:
    for at in (NOON + FUTURE_MAX, NOON - PAST_MAX):
        assert event_of(reported(timestamp=at)).at == at
    assert event_of(reported()).at == NOON


def test_other_meters_count_units_by_their_own_keys() -> None:
    calls = meter("calls", customer_key="who", value_key="n", dimensions=("region",))
    found = Reported(event_name="calls", payload={"who": "cus_1", "n": "3", "region": "eu"}, identifier="x")
    event = event_of(found, calls)
    assert (event.customer, event.usage.quantities, event.meter) == ("cus_1", {"unit": 3}, "calls")
    assert (event.provider, event.model) == ("meter", "calls")
    lacking = Reported(event_name="calls", payload={"who": "cus_1", "n": "3"}, identifier="x")
    with pytest.raises(BillingError, match="region"):
        event_of(lacking, calls)
    counting = meter("calls", formula="count")
    once = Reported(event_name="calls", payload={"stripe_customer_id": "cus_1"}, identifier="x")
    assert event_of(once, counting).usage.quantities == {"unit": 1}


def test_an_event_remembers_what_was_reported() -> None:
    event = event_of(reported())
    again, received_at = reported_again(event)
    assert again == reported(timestamp=NOON)
    assert received_at == NOON + SECOND


@pytest.mark.parametrize("value", [True, 1.5, None, ["1"], "x" * 257, "x\x00"])
def test_a_payload_holds_short_texts(value: object) -> None:
    with pytest.raises(BillingError) as refused:
        payload_of({"value": value}, param="payload")
    assert (refused.value.code, refused.value.param) == ("meter_event_invalid_value", "payload[value]")
    assert payload_of({"value": 12}, param="payload") == {"value": "12"}
