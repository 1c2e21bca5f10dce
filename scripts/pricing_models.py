"""The four ways to sell, each played on a running server over three months of a test clock.

Rule 1: everything goes over HTTP: the released `stripe` SDK where it has the object, plain requests for ours,
the `openai` SDK for calls. Rule 2: prices are fixed by the rate card, so that figures never move with a list.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import requests
import stripe

OURS = "/v1/token_billing"
PATIENCE_S = 30
GPT, MINI = "openai/gpt-4.1", "openai/gpt-4o-mini"
PRICES = {  # In dollars for a million tokens.
    f"{GPT}:input": "3",
    f"{GPT}:output": "12",
    f"{MINI}:input": "0.20",
    f"{MINI}:output": "0.80",
}
SELLER = {
    "name": "Lumen Labs GmbH",
    "address[]": ["Invalidenstraße 117", "10115 Berlin", "Germany"],
    "email": "billing@lumen.example",
    "tax_id": "DE 123 456 789",
    "payment_instructions": "Pay to IBAN DE02 1203 0000 0000 2020 51; say the invoice's number.",
    "footer": "Questions? Reply to billing@lumen.example.",
}
BUYER = {
    "name": "Acme Research, Inc.",
    "email": "accounts@acme.example",
    "address": {
        "line1": "500 Market Street",
        "city": "San Francisco",
        "state": "CA",
        "postal_code": "94105",
        "country": "US",
    },
}


def at(month: int, day: int, hour: int = 0) -> int:
    """Return an instant of 2027, in Unix seconds."""
    return int(datetime(2027, month, day, hour, tzinfo=UTC).timestamp())


@dataclass
class Story:
    """What one way to sell came to: its customer's invoices and receipts, oldest first."""

    name: str
    customer: str = ""
    invoices: list[Any] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)  # What the story met on its way.

    @property
    def documents(self) -> list[tuple[str, str]]:
        """The links of all PDFs, each with its document's number."""
        receipts = [(receipt["receipt_pdf"], receipt["number"]) for receipt in self.receipts]
        return [(invoice.invoice_pdf, invoice.number) for invoice in self.invoices] + receipts


class Book:
    """A seller's installation at a time of its own."""

    def __init__(self, url: str, key: str) -> None:
        bases = {"api": url, "meter_events": url, "files": url, "connect": url}
        self._session = requests.Session()
        self.stripe: Any = stripe.StripeClient(
            key,
            base_addresses=bases,  # type: ignore[arg-type]  # A TypedDict.
            max_network_retries=0,
            http_client=stripe.RequestsClient(session=self._session),
        )
        self.http = httpx2.Client(base_url=url, auth=(key, ""), timeout=60)
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self.clock: str = self.stripe.v1.test_helpers.test_clocks.create({"frozen_time": at(1, 1)}).id
        self.resources: dict[str, str] = {}

    def close(self) -> None:
        self._session.close()
        self.http.close()
        self.openai.close()

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """Send a form to one of our own addresses."""
        answer = self.http.post(path, data=fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read one of our own addresses."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def open(self, plan_name: str, **terms: Any) -> None:
        """Set the account up with a plan, its prices and who sells."""
        made = self.post(f"{OURS}/onboarding/init", plan_name=plan_name, **terms)
        self.resources = made["resources"]
        self.post(f"{OURS}/seller", **SELLER)
        amounts = {f"fixed_prices[{leaf}][amount]": amount for leaf, amount in PRICES.items()}
        self.post(f"{OURS}/rate_cards/{self.resources['rate_card_id']}", **amounts)

    def subscriber(self, **terms: str) -> str:
        """Return a new customer on the default plan, in the story's time."""
        customer: str = self.stripe.v1.customers.create({**BUYER, "test_clock": self.clock}).id
        if terms:
            self.post(f"{OURS}/customers/{customer}", **terms)
        return customer

    def use(self, customer: str, tokens: int, *, model: str = GPT, kind: str = "input", when: int) -> None:
        """Report tokens as a meter event."""
        payload = {
            "stripe_customer_id": customer,
            "value": str(tokens),
            "model": model,
            "token_type": kind,
        }
        told = {"event_name": "token-billing-tokens", "payload": payload}
        stamp = datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")
        self.stripe.v2.billing.meter_events.create({**told, "timestamp": stamp})

    def call(self, customer: str, *, input: int, output: int, model: str = GPT) -> None:
        """Call the simulated provider through the gateway."""
        self.openai.chat.completions.create(
            model=model,
            max_tokens=output,
            messages=[{"role": "user", "content": f"Answer [[input={input}]][[tokens={output}]]"}],
            extra_headers={"X-Stripe-Customer-ID": customer},
        )

    def pass_time(self, to: int) -> None:
        """Move the clock: what is due on the way happens."""
        self.stripe.v1.test_helpers.test_clocks.advance(self.clock, {"frozen_time": to})

    def balance(self, customer: str) -> dict[str, str]:
        """Return the customer's balance in dollars."""
        return dict(self.get(f"{OURS}/customers/{customer}")["balance"])

    def wait_for(self, customer: str, **wanted: str) -> None:
        """Wait until the balance says so: the processor has paid, calls are settled, nothing is held."""
        until = time.monotonic() + PATIENCE_S
        while not wanted.items() <= (balance := self.balance(customer)).items():
            assert time.monotonic() < until, balance
            time.sleep(0.05)

    def told(self, story: Story) -> Story:
        """Return the story with all that was billed."""
        found = self.stripe.v1.invoices.list({"customer": story.customer, "limit": 100}).data
        story.invoices = found[::-1]
        story.receipts = self.get(f"{OURS}/receipts", customer=story.customer, limit=100)["data"][::-1]
        return story


def prepaid(book: Book) -> Story:
    """Credit first: a pack, a recharge by itself, a top-up by hand; at zero the customer is blocked."""
    book.open("Prepaid credit", credit_grant_per_period_amount="0")
    customer = book.subscriber(on_zero_credit="block")
    story = Story("prepaid", customer)
    book.post(f"{OURS}/payment_methods", customer=customer, provider="fake", token="pm_fake_ok")
    pack = book.post(
        f"{OURS}/credit_packs", name="Starter pack", currency="usd", credit="2000", price="2000", bonus="200"
    )
    book.post(f"{OURS}/top_ups", customer=customer, credit_pack=pack["id"])
    book.wait_for(customer, credit="22")

    book.pass_time(at(1, 10))
    book.use(customer, 4_000_000, when=at(1, 5))
    book.call(customer, input=100_000, output=50_000)
    book.wait_for(customer, credit="9.1")
    rule = f"{OURS}/customers/{customer}/auto_recharge"
    book.post(rule, threshold="500", amount="1000")
    book.use(customer, 1_500_000, when=at(1, 9))
    book.wait_for(customer, credit="14.6")
    book.post(rule, enabled="false")

    book.pass_time(at(2, 10))
    book.post(f"{OURS}/top_ups", customer=customer, amount="1500")
    book.wait_for(customer, credit="29.6")
    book.use(customer, 3_000_000, when=at(2, 5))

    book.pass_time(at(3, 10))
    book.use(customer, 6_800_000, when=at(3, 5))
    book.use(customer, 1_000_000, model=MINI, when=at(3, 6))
    book.wait_for(customer, credit="0", held="0")
    try:
        book.call(customer, input=1000, output=10)
    except openai.APIStatusError as refusal:
        story.seen["refusal"] = (refusal.status_code, refusal.code)
    book.pass_time(at(4, 2))
    return book.told(story)


def fixed_fee(book: Book) -> Story:
    """A monthly fee that includes tokens, which roll over once, and credit; beyond both the card's price."""
    book.open(
        "Team",
        subscription_fee_amount="2000",
        credit_grant_per_period_amount="500",
        **{
            "allowances[0][id]": "mini",
            "allowances[0][name]": "1M small tokens",
            "allowances[0][units]": "1000000",
            "allowances[0][models][]": MINI,
            "allowances[0][rollover][periods]": "1",
            "allowances[0][rollover][most]": "400000",
        },
    )
    customer = book.subscriber(on_zero_credit="overage")
    story = Story("fixed-fee", customer)

    book.pass_time(at(1, 20))
    book.use(customer, 700_000, model=MINI, when=at(1, 8))
    book.use(customer, 1_000_000, when=at(1, 9))

    book.pass_time(at(2, 20))
    book.use(customer, 1_500_000, model=MINI, when=at(2, 8))
    book.use(customer, 2_000_000, when=at(2, 9))
    book.call(customer, input=10_000, output=5_000)
    book.wait_for(customer, credit="0")

    book.pass_time(at(3, 20))
    book.use(customer, 400_000, model=MINI, when=at(3, 8))
    book.pass_time(at(4, 2))
    return book.told(story)


def pay_as_you_go(book: Book) -> Story:
    """Usage only, with tax; some of it comes late; then a coupon, and a balance that pays a part."""
    book.open("Pay as you go", credit_grant_per_period_amount="0")
    rate = book.stripe.v1.tax_rates.create(
        {"display_name": "VAT", "percentage": 19, "inclusive": False, "country": "DE"}
    )
    book.post(
        f"{OURS}/invoice_policy",
        **{"default_tax_rates[0]": rate.id, "number_prefix": "LL", "days_until_due": "14"},
    )
    customer = book.subscriber(on_zero_credit="overage")
    story = Story("pay-as-you-go", customer)

    book.pass_time(at(1, 20))
    book.use(customer, 12_345_678, when=at(1, 8))
    book.use(customer, 1_000_001, kind="output", when=at(1, 8))

    book.pass_time(at(2, 10))
    book.use(customer, 5_000_000, when=at(2, 5))
    book.use(customer, 100_000, kind="output", when=at(1, 30))
    book.call(customer, input=20_000, output=4_000)

    book.pass_time(at(3, 10))
    coupon = book.stripe.v1.coupons.create({"percent_off": 10, "duration": "forever", "name": "Early friend"})
    book.post(f"/v1/customers/{customer}/discount", coupon=coupon.id)
    book.stripe.v1.customers.balance_transactions.create(
        customer, {"amount": -500, "currency": "usd", "description": "Goodwill"}
    )
    book.use(customer, 10_000_000, when=at(3, 5))
    book.pass_time(at(4, 2))
    return book.told(story)


def hybrid(book: Book) -> Story:
    """A fee, a committed minimum, included credit, and seats, of which there are more from mid-January on."""
    book.open(
        "Business",
        subscription_fee_amount="5000",
        credit_grant_per_period_amount="1000",
        **{"minimum_spend[amount]": "3000", "minimum_spend[periods]": "1"},
    )
    book.post(f"{OURS}/settings", subscribe_new_customers="false")
    seat = book.post(f"{OURS}/pricing_plans", display_name="Seat", subscription_fee_amount="1200")
    customer = book.subscriber(on_zero_credit="overage")
    story = Story("hybrid", customer)
    plan = book.resources["pricing_plan_id"]
    subscription = book.stripe.v1.subscriptions.create(
        {"customer": customer, "items": [{"price": plan}, {"price": seat["id"], "quantity": 2}]}
    )

    book.pass_time(at(1, 16, 12))
    (seats,) = (item for item in subscription["items"]["data"] if item.price.id == seat["id"])
    book.stripe.v1.subscription_items.update(seats.id, {"quantity": 5})
    book.use(customer, 4_000_000, when=at(1, 9))
    book.call(customer, input=600_000, output=100_000)

    book.pass_time(at(2, 20))
    book.use(customer, 15_000_000, when=at(2, 9))

    book.pass_time(at(4, 2))  # Nothing is used in March.
    return book.told(story)


STORIES = {
    "prepaid": prepaid,
    "fixed-fee": fixed_fee,
    "pay-as-you-go": pay_as_you_go,
    "hybrid": hybrid,
}
