"""What can be bought here and for how much: at the caller's own prices, never at what it costs us."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx2
import openai
import pytest

pytestmark = pytest.mark.e2e

KEY = "sk_test_e2e_0123456789"


@pytest.fixture
def url(serve: Callable[..., Any]) -> str:
    server: str = serve().url
    setup = {
        "plan_name": "Plan",
        "default_markup_percent": "30",
        "models[0]": "openai/gpt-4.1",
        "models[1]": "anthropic/claude-sonnet-4.5",
    }
    answer = httpx2.post(f"{server}/v1/token_billing/onboarding/init", data=setup, auth=(KEY, ""))
    assert answer.status_code == 200, answer.text
    return server


def prices(model: dict[str, Any]) -> dict[str, Decimal]:
    (endpoint,) = model["endpoints"]
    return {entry["usage_type"]: Decimal(entry["unit_amount_major_units"]) for entry in endpoint["prices"]}


def test_a_merchants_key_sees_what_a_new_customer_would_pay(url: str) -> None:
    listed = httpx2.get(f"{url}/v1/models", headers={"authorization": f"Bearer {KEY}"}).json()["data"]
    by_id = {model["id"]: model for model in listed}
    assert sorted(by_id) == ["anthropic/claude-sonnet-4-5", "openai/gpt-4.1"]
    assert prices(by_id["openai/gpt-4.1"]) == {
        "input": Decimal("0.0000026"),
        "output": Decimal("0.0000104"),
        "cached_input": Decimal("0.00000065"),
    }


def test_the_sdk_lists_models_with_a_customers_own_key(url: str) -> None:
    with httpx2.Client(base_url=url, auth=(KEY, "")) as api:
        customer = api.post("/v1/customers", data={"name": "Ann"}).json()["id"]
        secret = api.post("/v1/token_billing/keys", data={"customer": customer, "name": "app"}).json()[
            "secret"
        ]
    with openai.OpenAI(base_url=f"{url}/v1", api_key=secret) as client:
        assert [model.id for model in client.models.list()] == [
            "anthropic/claude-sonnet-4-5",
            "openai/gpt-4.1",
        ]


def test_an_unknown_key_sees_nothing(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sk_cust_nobody") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.models.list()
        assert refused.value.code == "api_key_invalid"
