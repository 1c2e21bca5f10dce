"""The roles apart: three processes over one database, and what one commits the others notice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

KEY = "sk_test_roles_0123456789"


@pytest.fixture
def urls(running: Any, provider: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """One process a role; each role's URL."""
    env = {
        "COSTPLUS_SECRET_KEY": KEY,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider,
        "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "simulated",
    }
    with ExitStack() as stack:
        yield {
            role: stack.enter_context(
                running("serve", "--role", role, "--port", "0", "--data-dir", str(tmp_path / "data"), env=env)
            ).url
            for role in ("api", "gateway", "worker")
        }


def call(url: str, customer: str) -> httpx2.Response:
    return httpx2.post(
        f"{url}/v1/chat/completions",
        json={"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": f"Bearer {KEY}", "x-stripe-customer-id": customer},
    )


def test_what_one_process_commits_the_others_notice(urls: dict[str, str], receiver: Any) -> None:
    with httpx2.Client(base_url=urls["api"], auth=(KEY, "")) as api:
        setup = {"plan_name": "Plan", "default_markup_percent": "30", "credit_grant_per_period_amount": "0"}
        assert api.post("/v1/token_billing/onboarding/init", data=setup).status_code == 200
        endpoint = {"url": receiver.url, "enabled_events[]": "*"}
        assert api.post("/v1/webhook_endpoints", data=endpoint).status_code == 200
        customer = api.post("/v1/customers", data={"name": "Ann"}).json()["id"]
        assert call(urls["gateway"], customer).status_code == 200
        blocked = api.post(f"/v1/token_billing/customers/{customer}", data={"on_zero_credit": "block"})
        assert blocked.status_code == 200
        deadline = time.monotonic() + 10
        while (answer := call(urls["gateway"], customer)).status_code == 200:
            assert time.monotonic() < deadline, "the gateway never noticed"
        assert answer.json()["error"]["code"] == "customer_credit_exhausted"
    receiver.wait_for("customer.created")
    health = httpx2.get(urls["worker"] + "/healthz")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert httpx2.get(urls["gateway"] + "/v1/customers").status_code == 404
