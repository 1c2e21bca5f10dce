"""Money on a running server: the SDK is declined and pays, the processor calls back, the server is killed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import requests
import stripe

pytestmark = pytest.mark.e2e

MERCHANT_KEY = "sk_test_e2e_0123456789"
PATH = "/v1/token_billing"
PATIENCE_S = 30


class Shop:
    """A seller's installation, driven through the released SDK and plain HTTP."""

    def __init__(self, url: str) -> None:
        bases = {"api": url, "meter_events": url, "files": url, "connect": url}
        self._session = requests.Session()
        self.stripe = stripe.StripeClient(
            MERCHANT_KEY,
            base_addresses=bases,  # type: ignore[arg-type]  # A TypedDict.
            max_network_retries=0,
            http_client=stripe.RequestsClient(session=self._session),
        )
        self.http = httpx2.Client(base_url=url, auth=(MERCHANT_KEY, ""), timeout=30)

    def close(self) -> None:
        self._session.close()
        self.http.close()

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self.http.post(path, data={name: str(value) for name, value in fields.items()})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def set_up(self) -> None:
        self.post(f"{PATH}/onboarding/init", default_markup_percent="30", credit_grant_per_period_amount="0")

    def customer(self, token: str, **params: Any) -> str:
        customer = self.stripe.v1.customers.create(params).id  # type: ignore[arg-type]  # Any of its parameters.
        self.attach(customer, token)
        return str(customer)

    def attach(self, customer: str, token: str) -> str:
        made = self.post(
            f"{PATH}/payment_methods", customer=customer, provider="fake", token=token, set_default="true"
        )
        return str(made["id"])

    def credit(self, customer: str) -> str:
        return str(self.get(f"{PATH}/customers/{customer}")["balance"]["credit"])

    def credit_becomes(self, customer: str, wanted: str) -> None:
        """Wait for the worker and the processor."""
        until = time.monotonic() + PATIENCE_S
        while (credit := self.credit(customer)) != wanted:
            assert time.monotonic() < until, credit
            time.sleep(0.1)


@pytest.fixture
def shop(serve: Callable[..., Any]) -> Iterator[Shop]:
    shop = Shop(serve().url)
    shop.set_up()
    yield shop
    shop.close()


def test_the_processor_calls_back_over_http_and_credit_appears_once(shop: Shop) -> None:
    customer = shop.customer("pm_fake_delay")
    made = shop.post(f"{PATH}/top_ups", customer=customer, amount=1000)
    assert (made["status"], shop.credit(customer)) == ("pending", "0")
    shop.credit_becomes(customer, "10")
    (kept,) = shop.get(f"{PATH}/callbacks?payment={made['payment']}")["data"]
    assert kept["result"] == "counted"


def test_a_rule_recharges_by_itself(shop: Shop) -> None:
    customer = shop.customer("pm_fake_ok")
    shop.post(f"{PATH}/customers/{customer}/auto_recharge", threshold=0, amount=2000, cool_down_seconds=0)
    shop.credit_becomes(customer, "20")
    assert len(shop.get(f"{PATH}/top_ups?customer={customer}")["data"]) == 1


def test_the_sdk_raises_a_card_error_and_then_pays(shop: Shop) -> None:
    start = int(time.time()) - 5 * 86_400
    clock = shop.stripe.v1.test_helpers.test_clocks.create({"frozen_time": start}).id
    customer = shop.customer("pm_fake_decline_insufficient", test_clock=clock)
    event = {
        "event_name": "token-billing-tokens",
        "payload": {
            "stripe_customer_id": customer,
            "value": "10000000",
            "model": "openai/gpt-4o-mini",
            "token_type": "input",
        },
    }
    shop.stripe.v2.billing.meter_events.create(event)  # type: ignore[arg-type]  # A TypedDict.
    later = {"frozen_time": start + 32 * 86_400}
    shop.stripe.v1.test_helpers.test_clocks.advance(clock, later)  # type: ignore[arg-type]  # A TypedDict.
    (invoice,) = shop.stripe.v1.invoices.list({"customer": customer}).data
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert invoice.collection_method == "charge_automatically" and invoice.next_payment_attempt is not None
    with pytest.raises(stripe.CardError) as declined:
        shop.stripe.v1.invoices.pay(invoice.id)
    assert (declined.value.code, declined.value.http_status) == ("card_declined", 402)
    assert declined.value.error is not None and declined.value.error.decline_code == "insufficient_funds"
    paying = shop.attach(customer, "pm_fake_ok")
    paid = shop.stripe.v1.invoices.pay(invoice.id, {"payment_method": paying})
    assert (paid.status, paid.amount_paid) == ("paid", 195)


def test_a_server_that_is_killed_while_money_is_under_way_counts_it_once(
    serve: Callable[..., Any],
) -> None:
    server = serve()
    shop = Shop(server.url)
    shop.set_up()
    customer = shop.customer("pm_fake_delay")
    shop.post(f"{PATH}/top_ups", customer=customer, amount=1000)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    shop.close()
    shop = Shop(serve().url)
    shop.credit_becomes(customer, "10")
    time.sleep(3)  # Whatever else comes must change nothing.
    assert shop.credit(customer) == "10"
    shop.close()
