"""One real call billed end to end, through the released SDKs: from set-up to invoice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import requests
import stripe

from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.ids import from_milliseconds

pytestmark = pytest.mark.e2e

MERCHANT_KEY = "sk_test_e2e_0123456789"
MARKUP = Fraction(130, 100)
NANO = 10**9
DAY_S = 86_400


@pytest.fixture(scope="module")
def prices() -> Callable[[str, str, dict[str, int]], int]:
    """Return Σ tokens × price × 1.30 in nanos, rounded up once: worked out from the price list alone."""
    catalogue = bundled_catalogue()
    now = from_milliseconds(int(time.time() * 1000))

    def price(provider: str, model: str, tokens: dict[str, int]) -> int:
        version, _ = catalogue.price_at(provider, model, at=now)
        base = {c.leaf: Fraction(c.amount) / c.per for c in version.components if not c.when}
        exact = sum(quantity * base[leaf] for leaf, quantity in tokens.items()) * MARKUP * NANO
        return -(-exact.numerator // exact.denominator)

    return price


class Shop:
    """A seller's installation and its callers, driven through the released SDKs."""

    def __init__(self, url: str) -> None:
        self.url = url
        bases = {"api": url, "meter_events": url, "files": url, "connect": url}
        self._session = requests.Session()
        self.stripe = stripe.StripeClient(
            MERCHANT_KEY,
            base_addresses=bases,
            max_network_retries=0,
            http_client=stripe.RequestsClient(session=self._session),
        )
        self.http = httpx2.Client(base_url=url, auth=(MERCHANT_KEY, ""), timeout=30)
        # The unmodified SDKs: another base URL and the merchant's key.
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key=MERCHANT_KEY)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key=MERCHANT_KEY)

    def close(self) -> None:
        self._session.close()
        for client in (self.http, self.openai, self.anthropic):
            client.close()

    def post(self, path: str, **fields: str) -> dict[str, Any]:
        answer = self.http.post(path, data=fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def get(self, path: str) -> dict[str, Any]:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def set_up(self) -> dict[str, Any]:
        return self.post(
            "/v1/token_billing/onboarding/init",
            plan_name="AI plan",
            default_markup_percent="30",
            credit_grant_per_period_amount="0",
        )

    def customer_with_credit(self, clock: str, *, cents: int, on_zero: str) -> str:
        customer = self.stripe.v1.customers.create({"name": "Acme", "test_clock": clock}).id
        self.post(f"/v1/token_billing/customers/{customer}", on_zero_credit=on_zero)
        self.grant(customer, cents)
        return customer

    def grant(self, customer: str, cents: int) -> None:
        self.stripe.v1.billing.credit_grants.create(
            {
                "customer": customer,
                "name": "Prepaid",
                "category": "paid",
                "amount": {"type": "monetary", "monetary": {"value": cents, "currency": "usd"}},
                "applicability_config": {"scope": {"price_type": "metered"}},
            }
        )

    def charges(self, customer: str) -> list[dict[str, Any]]:
        page = self.get(f"/v1/token_billing/usage_events?customer={customer}&limit=100")
        events: list[dict[str, Any]] = page["data"]
        return events


@pytest.fixture
def shop(serve: Callable[..., Any]) -> Iterator[Shop]:
    shop = Shop(serve().url)
    yield shop
    shop.close()


def chat(shop: Shop, customer: str, ask: str) -> Any:
    return shop.openai.chat.completions.create(
        model="openai/gpt-4.1",
        max_tokens=20_000,
        messages=[{"role": "user", "content": ask}],
        extra_headers={"X-Stripe-Customer-ID": customer},
    )


def messages(shop: Shop, customer: str, ask: str) -> Any:
    return shop.anthropic.messages.create(
        model="anthropic/claude-sonnet-4.5",
        max_tokens=30_000,
        messages=[{"role": "user", "content": ask}],
        extra_headers={"X-Stripe-Customer-ID": customer},
        timeout=60,
    )


def streamed_chunks(shop: Shop, customer: str, ask: str) -> int:
    stream = shop.openai.chat.completions.create(
        model="gpt-4o-mini",
        stream=True,
        messages=[{"role": "user", "content": ask}],
        extra_headers={"X-Stripe-Customer-ID": customer},
    )
    return sum(len(chunk.choices) for chunk in stream)


def spend_until_refused(shop: Shop, customer: str) -> tuple[int, openai.APIStatusError]:
    """Call until the credit is gone; return how many calls were answered, and the refusal."""
    for answered in range(200):
        try:
            chat(shop, customer, f"Call {answered} [[tokens=15000]]")
        except openai.APIStatusError as refusal:
            return answered, refusal
    raise AssertionError("never refused")


def test_setting_up_twice_answers_the_same(shop: Shop) -> None:
    first, second = shop.set_up(), shop.set_up()
    assert first["status"] == "initialized"
    assert first["resources"] == second["resources"]


def test_prepaid_credit_is_spent_to_its_end_and_then_blocks(
    shop: Shop, receiver: Any, prices: Callable[..., int]
) -> None:
    shop.set_up()
    endpoint = shop.stripe.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    clock = shop.stripe.v1.test_helpers.test_clocks.create({"frozen_time": int(time.time()) - DAY_S})
    customer = shop.customer_with_credit(clock.id, cents=500, on_zero="block")

    answered, refusal = spend_until_refused(shop, customer)

    assert refusal.status_code == 402
    assert refusal.code == "customer_credit_exhausted"
    headers, body = receiver.wait_for("billing.alert.triggered")
    event = stripe.Webhook.construct_event(body, headers["stripe-signature"], endpoint.secret)
    assert event["data"]["object"]["customer"] == customer
    with pytest.raises(anthropic.APIStatusError) as also:
        messages(shop, customer, "And now?")
    assert also.value.status_code == 402
    assert receiver.count("billing.alert.triggered") == 1

    charged = shop.charges(customer)
    assert len(charged) == answered > 10
    for entry in charged:
        assert entry["price_nano"] == prices("openai", "gpt-4.1", entry["quantities"])
    spent = sum(entry["price_nano"] for entry in charged)
    balance = shop.get(f"/v1/token_billing/customers/{customer}")["balance"]
    assert Fraction(balance["credit"]) * NANO == 5 * NANO - spent
    invoice = final_invoice(shop, clock.id, customer)
    check_invoice(shop, invoice, charges_nano=spent)
    assert invoice.total == 0
    assert invoice.status == "paid"


def test_overage_runs_on_and_is_asked_for_at_the_end_of_the_period(
    shop: Shop, receiver: Any, prices: Callable[..., int]
) -> None:
    shop.set_up()
    endpoint = shop.stripe.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    clock = shop.stripe.v1.test_helpers.test_clocks.create({"frozen_time": int(time.time()) - DAY_S})
    customer = shop.customer_with_credit(clock.id, cents=100, on_zero="overage")

    for number in range(12):
        chat(shop, customer, f"Chat {number} [[tokens=7001]][[cached=3]]")
        messages(shop, customer, f"Message {number} [[tokens=4003]][[cache_write=5]][[input=900]]")
    assert streamed_chunks(shop, customer, "[[tokens=333]]") > 300

    headers, body = receiver.wait_for("billing.alert.triggered")
    stripe.Webhook.construct_event(body, headers["stripe-signature"], endpoint.secret)
    charged = shop.charges(customer)
    assert len(charged) == 25
    for entry in charged:
        assert entry["price_nano"] == prices(entry["provider"], entry["model"], entry["quantities"])
    total = sum(entry["price_nano"] for entry in charged)
    assert total > 1 * NANO
    invoice = final_invoice(shop, clock.id, customer)
    check_invoice(shop, invoice, charges_nano=total)
    assert invoice.status == "open"
    assert invoice.total == (total - 1 * NANO) // 10**7
    page = httpx2.get(invoice.hosted_invoice_url)
    assert page.status_code == 200
    assert f"{invoice.total / 100:.2f}" in page.text
    receiver.wait_for("invoice.finalized")
    assert receiver.count("billing.alert.triggered") == 1


def final_invoice(shop: Shop, clock: str, customer: str) -> Any:
    """Advance the clock past the period and its grace; return the period's invoice."""
    frozen = shop.stripe.v1.test_helpers.test_clocks.retrieve(clock).frozen_time
    shop.stripe.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": frozen + 32 * DAY_S})
    invoices = shop.stripe.v1.invoices.list({"customer": customer}).data
    assert len(invoices) == 1
    return invoices[0]


def check_invoice(shop: Shop, invoice: Any, *, charges_nano: int) -> None:
    """The exact total is the sum of the charges; the lines add up to the subtotal in cents."""
    lines = shop.stripe.v1.invoices.line_items.list(invoice.id, {"limit": 100}).data
    assert sum(line.amount for line in lines) == invoice.subtotal == charges_nano // 10**7
    working = shop.get(f"/v1/token_billing/invoices/{invoice.id}/explain")
    assert Fraction(working["usage"]) * NANO == charges_nano
    assert working["charges_match"] is True
    assert sum(Fraction(line["ledger_amount"]) for line in working["lines"]) * NANO == charges_nano
    unrounded = sum(Fraction(line["exact_amount"]) for line in working["lines"]) * NANO
    assert charges_nano - len(shop.charges(working["customer"])) < unrounded <= charges_nano
    credit = sum(entry.amount for entry in invoice.total_pretax_credit_amounts or [])
    assert invoice.total == invoice.subtotal - credit
