"""A seller's own holds over HTTP: reserve, capture, release, and quotes that show their working."""

from __future__ import annotations

from typing import Any

import pytest

HOLDS, QUOTES = "/v1/token_billing/holds", "/v1/token_billing/quotes"
MODEL = "openai/gpt-4o-mini"


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    made = str(await api.customer())
    await api.post(f"/v1/token_billing/customers/{made}", {"on_zero_credit": "block"})
    return made


async def balance(api: Any, customer: str) -> dict[str, str]:
    found: dict[str, str] = (await api.get(f"/v1/token_billing/customers/{customer}"))["balance"]
    return found


async def test_a_hold_is_captured_and_the_rest_comes_back(api: Any, customer: str) -> None:
    await api.grant(customer, 100)
    hold = await api.post(HOLDS, {"customer": customer, "amount": "0.6", "metadata[job]": "7"})
    assert (hold["status"], hold["held"], hold["metadata"]) == ("placed", "0.6", {"job": "7"})
    assert (await balance(api, customer))["available"] == "0.4"
    assert await api.get(f"{HOLDS}/{hold['id']}") == hold
    done = await api.post(f"{HOLDS}/{hold['id']}/capture", {"amount": "0.25"})
    assert (done["status"], done["held"], done["captured"], len(done["captures"])) == (
        "captured", "0", "0.25", 1,
    )  # fmt: skip
    assert (await balance(api, customer))["credit"] == "0.75"
    assert (await api.get(HOLDS, customer=customer))["data"] == [done]


async def test_the_same_request_places_one_hold(api: Any, customer: str) -> None:
    await api.grant(customer, 100)
    form = {"customer": customer, "amount": "0.6"}
    first = await api.post(HOLDS, form, Idempotency_Key="k")
    assert await api.post(HOLDS, form, Idempotency_Key="k") == first
    assert (await balance(api, customer))["held"] == "0.6"


async def test_a_hold_beyond_the_credit_is_refused_with_402(api: Any, customer: str) -> None:
    await api.grant(customer, 100)
    refused = await api.refusal("POST", HOLDS, {"customer": customer, "amount": "1.000000001"})
    assert refused == (402, "customer_credit_exhausted", None)
    await api.post(
        f"/v1/token_billing/customers/{customer}", {"on_zero_credit": "overage", "overage_limit": "1"}
    )
    await api.post(HOLDS, {"customer": customer, "amount": "1.01"})
    refused = await api.refusal("POST", HOLDS, {"customer": customer, "amount": "0.000000001"})
    assert refused[0] == 402


async def test_a_quote_is_what_its_hold_reserves(api: Any, customer: str) -> None:
    await api.grant(customer, 1000)
    form = {"customer": customer, "model": MODEL, "input_tokens": 1000, "max_output_tokens": 99999}
    quote = await api.get(QUOTES, **form)
    assert quote["tokens"]["output_from"] == "model_maximum"
    assert quote["tokens"]["output"] == quote["tokens"]["model_output_maximum"] == 16384
    hold = await api.post(HOLDS, form)
    assert (hold["amount"], hold["model"]) == (quote["amount"], MODEL)
    assert hold["quote"]["steps"] == quote["steps"]
    captured = {"usage[input]": 900, "usage[output]": 10}
    done = await api.post(f"{HOLDS}/{hold['id']}/capture", captured)
    (event,) = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    assert (event["id"], event["source"], event["quantities"]) == (
        done["captures"][0], "hold", {"input": 900, "output": 10},
    )  # fmt: skip


async def test_parts_are_captured_and_a_hold_grows_and_is_released(api: Any, customer: str) -> None:
    await api.grant(customer, 100)
    hold = await api.post(HOLDS, {"customer": customer, "amount": "0.5"})
    path = f"{HOLDS}/{hold['id']}"
    part = {"amount": "0.1", "final": "false", "identifier": "child-1"}
    for _ in range(2):
        assert (await api.post(f"{path}/capture", part))["held"] == "0.4"
    assert (await api.post(path, {"amount": "0.2"}))["held"] == "0.6"
    assert (await api.post(f"{path}/release"))["status"] == "released"
    assert (await balance(api, customer))["available"] == "0.9"
    assert await api.refusal("POST", f"{path}/capture", {"amount": "1"}) == (400, "hold_ended", "id")


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "parameter_missing"),
        ({"amount": "0"}, "amount_invalid"),
        ({"amount": "-1"}, "amount_invalid"),
        ({"amount": "0.0000000001"}, "amount_invalid"),
        ({"amount": "10000000000"}, "amount_invalid"),
        ({"model": "gpt-4o"}, "hold_model_unclear"),
        ({"model": "openai/no-such-model"}, "model_unpriced"),
        ({"amount": "1", "expires_in": "0"}, "parameter_invalid_integer"),
        ({"amount": "1", "expires_in": "604801"}, "parameter_invalid_integer"),
        ({"amount": "1", "on_expiry": "forget"}, "parameter_invalid_choice"),
    ],
)
async def test_a_hold_that_makes_no_sense_is_refused(
    api: Any, customer: str, form: dict[str, str], code: str
) -> None:
    await api.grant(customer, 1000)
    assert (await api.refusal("POST", HOLDS, {"customer": customer, **form}))[1] == code
    assert (await balance(api, customer))["held"] == "0"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "parameter_missing"),
        ({"usage[words]": "1"}, "token_type_unknown"),
        ({"usage[input]": "1", "amount": "1"}, "parameters_exclusive"),
        ({"usage[input]": "1"}, "hold_without_model"),
        ({"usage[input]": "-1"}, "parameter_invalid_integer"),
    ],
)
async def test_a_capture_that_makes_no_sense_is_refused(
    api: Any, customer: str, form: dict[str, str], code: str
) -> None:
    await api.grant(customer, 1000)
    hold = await api.post(HOLDS, {"customer": customer, "amount": "1"})
    assert (await api.refusal("POST", f"{HOLDS}/{hold['id']}/capture", form))[1] == code
    await api.post(f"{HOLDS}/{hold['id']}/capture", {"amount": "1"})
    differs = await api.refusal("POST", f"{HOLDS}/{hold['id']}/capture", {"amount": "2"})
    assert differs[1] == "hold_capture_differs"
    assert await api.refusal("GET", f"{HOLDS}/hold_x") == (404, "resource_missing", "id")


async def test_an_amount_with_more_decimals_than_a_nano_is_refused_and_holds_nothing(
    api: Any, customer: str
) -> None:
    before = await balance(api, customer)
    form = {"customer": customer, "amount": "1.0000000000001"}
    assert await api.refusal("POST", "/v1/token_billing/holds", form) == (400, "amount_invalid", "amount")
    assert await balance(api, customer) == before
