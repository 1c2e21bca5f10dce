"""The customer whose calls are measured: made through the public API, as a newcomer would.

Rule 1: the whole way is on: a plan with a markup, credit in advance, and `block` where it ends.
"""

from __future__ import annotations

import time
from typing import Any

import httpx2

MARKUP_PERCENT = "30"
CREDIT_MINOR = 100_000_000  # A million dollars: no benchmark reaches its end.


def seed(url: str, merchant_key: str) -> str:
    """Set pricing up, make a customer with ample credit and return the customer's own key."""
    with httpx2.Client(base_url=url, auth=(merchant_key, ""), timeout=30) as api:
        _post(
            api,
            "/v1/token_billing/onboarding/init",
            plan_name="Bench",
            default_markup_percent=MARKUP_PERCENT,
            credit_grant_per_period_amount="0",
        )
        customer = _post(api, "/v1/customers", name="Bench")["id"]
        _post(api, f"/v1/token_billing/customers/{customer}", on_zero_credit="block")
        grant = {
            "amount[type]": "monetary",
            "amount[monetary][value]": str(CREDIT_MINOR),
            "amount[monetary][currency]": "usd",
            "applicability_config[scope][price_type]": "metered",
            "effective_at": str(int(time.time()) - 60),
        }
        _post(api, "/v1/billing/credit_grants", customer=customer, name="Bench", **grant)
        return str(_post(api, "/v1/token_billing/keys", customer=customer, name="bench")["secret"])


def _post(api: httpx2.Client, path: str, **fields: str) -> dict[str, Any]:
    answer = api.post(path, data=fields)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body
