"""A price that the command line sets while the server runs: callers pay it about a second later."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import stripe

pytestmark = pytest.mark.e2e

KEY = "sk_test_e2e_0123456789"
MODEL = "openai/gpt-4o-mini"


def costplus(*arguments: str) -> dict[str, Any]:
    """Run a command of a second process and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "costplus", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def sold_at(api: httpx2.Client, customer: str) -> str:
    """Return what the customer pays for a million input tokens."""
    models = api.get("/v1/models", headers={"x-stripe-customer-id": customer}).json()["data"]
    (found,) = (model for model in models if model["id"] == MODEL)
    prices = {entry["usage_type"]: entry for entry in found["endpoints"][0]["prices"]}
    return str(prices["input"]["unit_amount_major_units"])


def until(look: Callable[[], str], wanted: str) -> None:
    deadline = time.monotonic() + 10
    while look() != wanted:
        assert time.monotonic() < deadline, f"{look()} never became {wanted}"


def told(receiver: Any, secret: str, type: str) -> Any:
    """Return the object of an event as it reached a real endpoint, its signature checked by Stripe's SDK."""
    headers, body = receiver.wait_for(type)
    stripe.Webhook.construct_event(body, headers["stripe-signature"], secret)
    return json.loads(body)["data"]["object"]


def test_a_price_set_by_the_command_line_reaches_the_running_server(
    serve: Any, receiver: Any, tmp_path: Path
) -> None:
    server = serve(COSTPLUS_PRICES__SYNC="false")
    where = ("--data-dir", str(tmp_path / "data"))
    with httpx2.Client(base_url=server.url, headers={"authorization": f"Bearer {KEY}"}) as api:
        setup = {
            "plan_name": "Plan",
            "default_markup_percent": "100",
            "credit_grant_per_period_amount": "0",
            "price_tracking_preference": "migrate_all",
        }
        assert api.post("/v1/token_billing/onboarding/init", data=setup).status_code == 200
        customer = api.post("/v1/customers", data={"name": "Ann"}).json()["id"]
        assert sold_at(api, customer) == "0.0000003"
        hook = {"url": receiver.url, "enabled_events[]": "*"}
        secret = api.post("/v1/webhook_endpoints", data=hook).json()["secret"]
        made = costplus("prices", "override", MODEL, "input=0.2", *where)

        def cost() -> str:
            shown = api.get(f"/v1/token_billing/prices/{MODEL}").json()["price_version"]
            return str(shown["components"][0]["usd_per_million"])

        until(cost, "0.2")
        until(lambda: sold_at(api, customer), "0.0000004")
        change = told(receiver, secret, "price.change_applied")
        assert (change["id"], change["object"]) == (made["id"], "token_billing.price_change")
        assert (change["kind"], change["model"]) == ("override", "gpt-4o-mini")
        version = told(receiver, secret, "rate_card.version_created")
        assert version["id"] in json.dumps(change["affected"])  # The card that followed.
        costplus("prices", "undo", made["id"], *where)
        until(cost, "0.15")
        until(lambda: sold_at(api, customer), "0.0000003")
