"""The released Stripe SDK against a real server on a real socket, as a seller would use it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe
from granian.constants import Interfaces
from granian.server.embed import Server

from costplus.billing.customer import ApiKey
from costplus.catalog.catalogue import Catalogue
from costplus.core.period import add_months
from costplus.gateway.rsgi_asgi import AsgiOverRsgi
from costplus.rating.pricing import Pricing
from costplus.storage.memory import MemoryStore
from costplus.web.app import build_app
from costplus.web.context import WebContext

pytestmark = pytest.mark.e2e

KEY = "sk_test_sdk"
METER = "token-billing-tokens"


@dataclass
class Shop:
    """A running server and clients for it."""

    url: str

    def client(self, key: str = KEY) -> stripe.StripeClient:
        bases = {"api": self.url, "meter_events": self.url, "files": self.url, "connect": self.url}
        return stripe.StripeClient(key, base_addresses=bases, max_network_retries=0)  # type: ignore[arg-type]  # A TypedDict.

    def set_up(self, **params: str) -> Any:
        defaults = {"default_markup_percent": "30", "credit_grant_per_period_amount": "0"}
        made = self.client().raw_request("post", "/v1/token_billing/onboarding/init", **(defaults | params))
        return self.client().deserialize(made, api_mode="V1")


async def nothing_queued() -> None:
    """Flush a gateway that is not there."""


@pytest.fixture
async def shop(catalogue: Catalogue) -> AsyncIterator[Shop]:
    store = MemoryStore()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    await store.write(lambda tx: tx.save(ApiKey(id="mk_1", created=datetime.now(UTC), digest=digest)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    context = WebContext(
        store=store,
        pricing=Pricing(catalogue),
        now=lambda: datetime.now(UTC),
        base_url=f"http://{host}:{port}",
        livemode=False,
        flush=nothing_queued,
        link_secret=b"secret",
    )
    server = Server(
        AsgiOverRsgi(build_app(context)), address=host, port=port, interface=Interfaces.RSGI, websockets=False
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection(host, port)
                break
            await asyncio.sleep(0.005)
    writer.close()
    yield Shop(context.base_url)
    server.stop()
    await serving


async def in_thread(scenario: Callable[[Shop], None], shop: Shop) -> None:
    """Run a scenario of the synchronous SDK beside the server."""
    await asyncio.to_thread(scenario, shop)


def payload(customer: str, value: int, token_type: str = "input") -> dict[str, str]:
    return {
        "stripe_customer_id": customer,
        "value": str(value),
        "model": "openai/gpt-4o-mini",
        "token_type": token_type,
    }


def available(client: stripe.StripeClient, customer: str) -> int:
    summary = client.v1.billing.credit_balance_summary.retrieve(
        {
            "customer": customer,
            "filter": {"type": "applicability_scope", "applicability_scope": {"price_type": "metered"}},
        }
    )
    monetary = summary.balances[0].available_balance.monetary
    assert monetary is not None
    return monetary.value


def grant_credit(client: stripe.StripeClient, customer: str, value: int) -> Any:
    return client.v1.billing.credit_grants.create(
        {
            "customer": customer,
            "name": "top-up",
            "category": "paid",
            "amount": {"type": "monetary", "monetary": {"value": value, "currency": "usd"}},
            "applicability_config": {"scope": {"price_type": "metered"}},
        }
    )


def prepaid(shop: Shop) -> None:
    shop.set_up()
    client = shop.client()
    endpoint = client.v1.webhook_endpoints.create(
        {"url": "https://example.com/hook", "enabled_events": ["billing.alert.triggered"]}
    )
    assert endpoint.secret is not None and endpoint.secret.startswith("whsec_")
    customer = client.v1.customers.create({"name": "Ann", "metadata": {"tier": "gold"}})
    grant = grant_credit(client, customer.id, 1000)
    assert client.v1.billing.credit_grants.retrieve(grant.id).amount.monetary.value == 1000
    for version in ("v1", "v2"):
        event = {
            "event_name": METER,
            "payload": payload(customer.id, 1_000_000),
            "identifier": f"id-{version}",
        }
        billing = client.v1.billing if version == "v1" else client.v2.billing
        for _ in range(2):
            billing.meter_events.create(event)  # type: ignore[union-attr, arg-type]  # Both take it.
    assert available(client, customer.id) == 1000 - 39
    session = client.v2.billing.meter_event_session.create()
    shop.client(session.authentication_token).v2.billing.meter_event_stream.create(
        {
            "events": [
                {
                    "event_name": METER,
                    "identifier": f"s-{i}",
                    "payload": payload(customer.id, 500_000, "output"),
                }
                for i in range(20)
            ]
        }
    )
    assert available(client, customer.id) == 1000 - 39 - 780
    movements = client.v1.billing.credit_balance_transactions.list({"customer": customer.id})
    assert [entry.type for entry in movements.data] == ["debit", "debit", "debit", "credit"]
    (meter,) = client.v1.billing.meters.list().data
    now = int(datetime.now(UTC).timestamp())
    (total,) = client.v1.billing.meters.event_summaries.list(
        meter.id,
        {"customer": customer.id, "start_time": now // 60 * 60 - 120, "end_time": now // 60 * 60 + 120},
    ).data
    assert total.aggregated_value == 12_000_000
    client.v2.billing.meter_events.create(
        {"event_name": METER, "payload": payload(customer.id, 50_000_000, "output")}
    )
    (fired,) = client.v1.events.list({"type": "billing.alert.triggered"}).data
    assert fired.data.object["customer"] == customer.id
    assert client.v1.events.retrieve(fired.id).pending_webhooks == 1


def invoiced(shop: Shop) -> None:
    shop.set_up(subscription_fee_amount="500")
    client = shop.client()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=5)
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": int(start.timestamp())})
    customer = client.v1.customers.create({"test_clock": clock.id})
    client.v2.billing.meter_events.create({"event_name": METER, "payload": payload(customer.id, 10_000_000)})
    preview = client.v1.invoices.create_preview({"customer": customer.id})
    assert (preview.total, preview.billing_reason) == (195 + 500, "upcoming")
    later = add_months(start, 1) + timedelta(hours=2)
    moved = client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": int(later.timestamp())})
    assert moved.status == "ready"
    invoice, first = client.v1.invoices.list({"customer": customer.id}).data
    assert (invoice.total, invoice.status, first.billing_reason) == (695, "open", "subscription_create")
    assert [line.amount for line in client.v1.invoices.line_items.list(invoice.id).data] == [195, 500]
    paid = client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid) == ("paid", 695)
    assert client.v1.invoices.void_invoice(first.id).status == "void"
    (subscription,) = client.v1.subscriptions.list({"customer": customer.id}).data
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


def refused(shop: Shop) -> None:
    client = shop.client()
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.customers.retrieve("cus_x")
    assert (missing.value.code, missing.value.http_status, missing.value.param) == (
        "resource_missing",
        404,
        "id",
    )
    with pytest.raises(stripe.AuthenticationError):
        shop.client("sk_test_wrong").v1.customers.list()
    options: Any = {"idempotency_key": "once"}
    first = client.v1.customers.create({"name": "Ann"}, options)
    assert client.v1.customers.create({"name": "Ann"}, options).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "Bea"}, options)
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        client.v1.customers.create({"nam": "Ann"})  # type: ignore[typeddict-unknown-key]  # That is the point.
    assert unknown.value.code == "parameter_unknown"
    for name in ("a", "b", "c"):
        client.v1.customers.create({"name": name})
    listed = client.v1.customers.list({"limit": 1}).auto_paging_iter()
    assert [customer.name for customer in listed] == ["c", "b", "a", "Ann"]


def credited(shop: Shop) -> None:
    client = shop.client()
    billing = client.v1.billing
    client.raw_request(
        "post",
        "/v1/token_billing/onboarding/init",
        default_markup_percent="30",
        credit_grant_per_period_amount="0",
    )
    customer = client.v1.customers.create({"name": "Ann"})
    (subscription,) = client.v1.subscriptions.list({"customer": customer.id}).data
    price = subscription["items"]["data"][0]["price"]["id"]
    scoped = billing.credit_grants.create(
        {
            "customer": customer.id,
            "category": "promotional",
            "priority": 1,
            "expires_at": int(datetime.now(UTC).timestamp()) + 3600,
            "amount": {"type": "monetary", "monetary": {"value": 700, "currency": "usd"}},
            "applicability_config": {"scope": {"prices": [{"id": price}]}},
        }
    )
    prices = scoped.applicability_config.scope.prices
    assert prices is not None and len(prices) == 1
    spare, short = (grant_credit(client, customer.id, value) for value in (300, 200))
    changed = billing.credit_grants.update(scoped.id, {"metadata": {"a": "1"}, "expires_at": ""})
    assert (changed.metadata["a"], changed.expires_at) == ("1", None)
    assert billing.credit_grants.void_grant(spare.id).voided_at is not None
    assert billing.credit_grants.expire(short.id).expires_at is not None
    listed = billing.credit_grants.list({"customer": customer.id})
    assert [grant.id for grant in listed.data] == [short.id, spare.id, scoped.id]
    summary = billing.credit_balance_summary.retrieve(
        {"customer": customer.id, "filter": {"type": "credit_grant", "credit_grant": scoped.id}}
    )
    money = summary.balances[0].ledger_balance.monetary
    assert money is not None and money.value == 700
    moved = billing.credit_balance_transactions.list({"customer": customer.id, "credit_grant": short.id}).data
    assert [entry.debit and entry.debit.type for entry in moved] == ["credits_expired", None]
    assert billing.credit_balance_transactions.retrieve(moved[0].id).type == "debit"
    told = client.v1.events.list({"type": "billing.credit_balance_transaction.created", "limit": 9}).data
    assert told[0].data.object["id"] == moved[0].id and len(told) == 5
    path = f"/v1/token_billing/customers/{customer.id}"
    client.raw_request("post", path, on_zero_credit="overage", overage_limit="0")
    with pytest.raises(stripe.CardError) as refused:
        client.raw_request("post", "/v1/token_billing/holds", customer=customer.id, amount="7.01")
    assert refused.value.code == "customer_credit_exhausted"


@pytest.mark.parametrize("scenario", [prepaid, invoiced, refused, credited])
async def test_the_sdk_gets_what_it_expects(shop: Shop, scenario: Callable[[Shop], None]) -> None:
    await in_thread(scenario, shop)


def watched(shop: Shop) -> None:
    shop.set_up()
    client = shop.client()
    customer = client.v1.customers.create({"name": "Metered"})
    meter = client.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    alert = client.v1.billing.alerts.create(
        {
            "alert_type": "usage_threshold",
            "title": "many calls",
            "usage_threshold": {
                "filters": [{"type": "customer", "customer": customer.id}],
                "gte": 10,
                "meter": meter.id,
                "recurrence": "one_time",
            },
        }
    )
    assert alert.usage_threshold is not None
    assert (alert.status, alert.usage_threshold.gte, alert.usage_threshold.meter) == ("active", 10, meter.id)
    assert client.v1.billing.alerts.deactivate(alert.id).status == "inactive"
    assert client.v1.billing.alerts.activate(alert.id).status == "active"
    for number in range(3):
        client.v1.billing.meter_events.create(
            {
                "event_name": "calls",
                "identifier": f"call-{number}",
                "payload": {"stripe_customer_id": customer.id, "value": "6"},
            }
        )
    (event,) = client.v1.events.list({"type": "billing.alert.triggered"}).data
    fired = event.data.object
    assert (fired["object"], fired["value"], fired["alert"]["id"]) == (
        "billing.alert_triggered",
        12,
        alert.id,
    )
    assert [entry.id for entry in client.v1.billing.alerts.list({"meter": meter.id}).data] == [alert.id]
    assert client.v1.billing.alerts.archive(alert.id).status == "archived"
    assert client.v1.billing.alerts.list({"meter": meter.id}).data == []


async def test_alerts_on_usage_are_those_of_the_sdk(shop: Shop) -> None:
    await asyncio.to_thread(watched, shop)
