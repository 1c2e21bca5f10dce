"""A provider that the API's process stores is used by the gateway's process, with the key that was sealed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KEY = "sk_test_stored_0123456789"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello [[tokens=5]]"}]}
PATIENCE_S = 15


def test_another_process_takes_up_a_stored_provider(
    new_postgres_server: Callable[..., Any], running: Any, provider: str, tmp_path: Path
) -> None:
    env = {
        "COSTPLUS_SECRET_KEY": KEY,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_ENCRYPTION_KEY": "what all processes share",
        "COSTPLUS_DATABASE_URL": asyncio.run(new_postgres_server(durable=False).make_database()),
    }

    def serve(role: str) -> Any:
        folder = str(tmp_path / role)
        return running("serve", "--role", role, "--port", "0", "--data-dir", folder, env=env)

    merchant = {"authorization": f"Bearer {KEY}"}
    with (
        serve("api") as api,
        serve("gateway") as gateway,
        httpx2.Client(base_url=api.url, headers=merchant, timeout=30, trust_env=False) as web,
        httpx2.Client(base_url=gateway.url, headers=merchant, timeout=30, trust_env=False) as http,
    ):
        setup = {"plan_name": "Plan", "default_markup_percent": "30", "credit_grant_per_period_amount": "0"}
        assert web.post("/v1/token_billing/onboarding/init", data=setup).status_code == 200
        customer = web.post("/v1/customers", data={"name": "A"}).json()["id"]
        named = {"x-stripe-customer-id": customer}
        refused = http.post("/v1/chat/completions", json=BODY, headers=named)
        assert refused.json()["error"]["code"] == "provider_not_configured", refused.text
        stored = {"name": "openai", "base_url": provider, "api_key": "sk-sealed"}
        assert web.post("/v1/token_billing/providers", data=stored).status_code == 200
        deadline = time.monotonic() + PATIENCE_S
        while (answer := http.post("/v1/chat/completions", json=BODY, headers=named)).status_code != 200:
            assert time.monotonic() < deadline, answer.text
        assert answer.json()["usage"]["completion_tokens"] == 5
