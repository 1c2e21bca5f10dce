"""Answers say what remains to be spent, to the nano, and nothing of money where that is turned off."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

DOLLAR = 10**9


def nano(answer: Any, name: str) -> int:
    return int(Decimal(answer.headers[name]) * DOLLAR)


def test_what_remains_is_the_credit_less_what_was_charged(gateway: Any, customer: str) -> None:
    credit = 10 * DOLLAR
    for _ in range(100):  # More than one growth of the lease.
        answer = gateway.chat("[[tokens=5]]", customer)
        credit -= nano(answer, "costplus-charged")
        assert nano(answer, "costplus-remaining") == credit
    gateway.books.wait_for(answer.headers["costplus-request-id"])
    assert gateway.books.credit_nano(customer) == credit


def test_the_head_of_a_stream_counts_what_the_call_holds_as_gone(gateway: Any, customer: str) -> None:
    answer = gateway.chat("[[tokens=5]]", customer, stream=True)
    assert nano(answer, "costplus-remaining") == 10 * DOLLAR - nano(answer, "costplus-held")
    assert "costplus-charged" not in answer.headers


def test_nothing_is_said_where_nothing_limits(gateway: Any) -> None:
    answer = gateway.chat("[[tokens=5]]", "cus_overage")
    assert "costplus-remaining" not in answer.headers and nano(answer, "costplus-charged") > 0


def test_a_refusal_of_the_provider_gives_back_what_was_held(gateway: Any, customer: str) -> None:
    answer = gateway.chat("[[error=429]]", customer)
    assert answer.status_code == 429
    assert nano(answer, "costplus-remaining") == 10 * DOLLAR


def test_amounts_can_be_turned_off(calls: Any, provider: Any, tmp_path: Path) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    with calls.gateway_on(tmp_path, calls.environment(provider.url, money_headers=False)) as gateway:
        for answer in (
            gateway.chat("[[tokens=5]]", "cus_1"),
            gateway.chat("[[tokens=5]]", "cus_1", stream=True),
        ):
            assert [name for name in answer.headers if name.startswith("costplus-")] == [
                "costplus-request-id"
            ]


def test_counted_tokens_refusals_and_the_list_of_models_have_a_request_id(
    gateway: Any, customer: str
) -> None:
    counted = gateway.post("/v1/messages/count_tokens", {"model": "claude-sonnet-4-5"}, customer)
    refused = gateway.chat("hello", customer, model="made-up")
    listed = gateway.http.get("/v1/models")  # Without a key: refused.
    assert listed.json()["error"]["request_id"] == listed.headers["costplus-request-id"]
    for answer in (counted, refused, listed):
        assert answer.headers["costplus-request-id"].startswith("req_")
