"""What a key may ask for in a minute and at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.customer import ApiKey
from costplus.billing.key_limits import KeyLimits, KeyModelInvalid, checked_models
from costplus.gateway.rates import CallOverRate, KeyRates, RateLimited

AT = datetime(2026, 11, 1, tzinfo=UTC)
SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def key(requests: int = 0, tokens: int = 0, parallel: int = 0) -> ApiKey:
    limits = KeyLimits(requests_per_minute=requests, tokens_per_minute=tokens, parallel_requests=parallel)
    return ApiKey(id="mk_1", created=AT, digest="d", customer="cus_1", limits=limits)


def test_a_minutes_calls_pass_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    rates = KeyRates(clock=clock)
    for _ in range(6):
        rates.begin(key(requests=6), 1).end()
    with pytest.raises(RateLimited) as raised:
        rates.begin(key(requests=6), 1)
    assert raised.value.retry_after_s == 10
    clock.now = 10 * SECOND
    rates.begin(key(requests=6), 1)
    with pytest.raises(RateLimited):
        rates.begin(key(requests=6), 1)


def test_tokens_that_were_not_used_are_earned_back_at_once() -> None:
    rates = KeyRates(clock=Clock())
    ticket = rates.begin(key(tokens=1000), 900)
    with pytest.raises(RateLimited):
        rates.begin(key(tokens=1000), 200)
    ticket.used(100)
    ticket.end()
    rates.begin(key(tokens=1000), 900)


def test_more_tokens_than_were_expected_are_counted_too() -> None:
    rates = KeyRates(clock=Clock())
    rates.begin(key(tokens=1000), 10).used(990)
    with pytest.raises(RateLimited) as raised:
        rates.begin(key(tokens=1000), 20)
    assert raised.value.retry_after_s == 1


def test_a_call_that_could_never_pass_is_told_so() -> None:
    with pytest.raises(CallOverRate):
        KeyRates(clock=Clock()).begin(key(tokens=1000), 1001)


def test_calls_at_once() -> None:
    rates = KeyRates(clock=Clock())
    first, _ = rates.begin(key(parallel=2), 1), rates.begin(key(parallel=2), 1)
    with pytest.raises(RateLimited):
        rates.begin(key(parallel=2), 1)
    first.end()
    first.end()  # Twice is once.
    rates.begin(key(parallel=2), 1)
    with pytest.raises(RateLimited):
        rates.begin(key(parallel=2), 1)


def test_a_refusal_counts_nothing() -> None:
    rates = KeyRates(clock=Clock())
    limited = key(requests=2, tokens=100)
    for _ in range(5):
        with pytest.raises(CallOverRate):
            rates.begin(limited, 101)
    rates.begin(limited, 50)
    with pytest.raises(RateLimited):
        rates.begin(limited, 60)
    rates.begin(limited, 50)


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 30 * SECOND), st.integers(1, 60)), min_size=1, max_size=60),
)
def test_no_more_passes_than_was_earned_and_one_minutes_worth(
    limit: int, calls: list[tuple[int, int]]
) -> None:
    clock, passed = Clock(), 0
    rates = KeyRates(clock=clock)
    for wait_ns, tokens in calls:
        clock.now += wait_ns
        try:
            rates.begin(key(tokens=limit), tokens).end()
            passed += tokens
        except (RateLimited, CallOverRate):
            continue
    # What was earned until now, and one full minute's worth from the start; a nano lost a call to rounding.
    assert passed <= limit + clock.now * limit / (60 * SECOND) + 1


def test_which_models_a_key_may_call() -> None:
    limits = KeyLimits(models=("openai/gpt-4o-mini", "anthropic/*"))
    assert limits.allows("openai", "gpt-4o-mini")
    assert limits.allows("anthropic", "claude-sonnet-4-5")
    assert not limits.allows("openai", "gpt-4o")
    assert KeyLimits().allows("any", "model")


@pytest.mark.parametrize("name", ["gpt-4o", "", "/x", "openai/", "*/gpt", "openai/gpt-*"])
def test_what_names_no_model(name: str) -> None:
    with pytest.raises(KeyModelInvalid):
        checked_models([name])


def test_models_are_listed_once() -> None:
    assert checked_models(["openai/*", " openai/* ", "a/b"]) == ("openai/*", "a/b")
