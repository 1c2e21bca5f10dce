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


def bookkeeping(shop: Shop) -> None:
    """Items, tax, an invoice by hand, its lines, payment, credit note and the customer's balance."""
    shop.set_up()
    v1 = shop.client().v1
    customer = v1.customers.create({"name": "Ann", "address": {"country": "DE"}}).id
    rate = v1.tax_rates.create({"display_name": "VAT", "percentage": 19.0, "inclusive": False})
    v1.invoice_items.create({"customer": customer, "amount": 1000, "currency": "usd", "tax_rates": [rate.id]})
    draft = v1.invoices.create(
        {"customer": customer, "pending_invoice_items_behavior": "include", "days_until_due": 14}
    )
    assert draft.id is not None and (draft.total, draft.status) == (1190, "draft")
    added = v1.invoices.add_lines(draft.id, {"lines": [{"amount": 10, "description": "Help"}]})
    line = added.lines.data[1]
    v1.invoices.update_lines(draft.id, {"lines": [{"id": line.id, "amount": 20}]})
    v1.invoices.remove_lines(draft.id, {"lines": [{"id": line.id, "behavior": "delete"}]})
    v1.invoices.update(draft.id, {"description": "Thanks", "metadata": {"po": "7"}})
    final = v1.invoices.finalize_invoice(draft.id)
    assert (final.total, final.status, final.description) == (1190, "open", "Thanks")
    assert v1.invoices.send_invoice(draft.id).due_date == final.due_date is not None
    assert v1.invoices.pay(draft.id, {"paid_out_of_band": True}).amount_paid == 1190
    note = v1.credit_notes.create({"invoice": draft.id, "amount": 119, "reason": "duplicate"})
    assert (note.total_excluding_tax, note.type) == (100, "post_payment")
    assert v1.customers.retrieve(customer).balance == -119
    entries = v1.customers.balance_transactions.list(customer)
    assert [(entry.amount, entry.type) for entry in entries.data] == [(-119, "credit_note")]
    other = v1.invoices.create({"customer": customer})
    assert other.id is not None and v1.invoices.delete(other.id).deleted is True
    listed = v1.invoices.list({"customer": customer, "status": "paid", "created": {"gte": 1}})
    assert [entry.id for entry in listed.data] == [draft.id]


def plan(shop: Shop, **fields: str) -> str:
    """Create a pricing plan and return its id, which is a price's to the SDK."""
    made = shop.client().raw_request("post", "/v1/token_billing/pricing_plans", **fields)
    return str(shop.client().deserialize(made, api_mode="V1")["id"])


def subscribed(shop: Shop) -> None:
    """A trial, an upgrade, a pause and an end, on a test clock."""
    card = shop.set_up()["resources"]["rate_card_id"]
    client = shop.client()
    shop.client().raw_request("post", "/v1/token_billing/settings", subscribe_new_customers="false")
    pro = plan(shop, display_name="Pro", rate_card=card, subscription_fee_amount="3100")
    max_ = plan(shop, display_name="Max", rate_card=card, subscription_fee_amount="6200")
    seat = plan(shop, display_name="Seat", subscription_fee_amount="620")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def to(month: int, day: int) -> None:
        at = start.replace(month=month, day=day)
        client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": int(at.timestamp())})

    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": int(start.timestamp())})
    customer = client.v1.customers.create({"test_clock": clock.id})
    made = client.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": pro}, {"price": seat, "quantity": 2}],
            "trial_period_days": 14,
            "metadata": {"deal": "spring"},
        }
    )
    assert (made.status, made.trial_end, made.metadata["deal"]) == (
        "trialing",
        int((start + timedelta(days=14)).timestamp()),
        "spring",
    )
    to(2, 1)
    active = client.v1.subscriptions.retrieve(made.id)
    assert active.status == "active"
    items = client.v1.subscription_items.list({"subscription": made.id}).data
    assert [(item.price.id, item.price.unit_amount, item.quantity) for item in items] == [
        (pro, 3100, 1),
        (seat, 620, 2),
    ]
    assert items[0].current_period_start == int(start.replace(day=15).timestamp())
    upgraded = client.v1.subscriptions.update(
        made.id,
        {"items": [{"id": items[0].id, "price": max_}], "proration_behavior": "always_invoice"},
    )
    assert upgraded.items.data[0].price.id == max_  # type: ignore[attr-defined]  # A ListObject.
    invoice = client.v1.invoices.retrieve(str(upgraded.latest_invoice))
    assert (invoice.billing_reason, invoice.total) == ("subscription_update", 1400)
    client.v1.subscription_items.update(items[1].id, {"quantity": 5, "proration_behavior": "none"})
    added = client.v1.subscription_items.retrieve(items[1].id)
    assert added.quantity == 5
    client.v1.subscription_items.delete(items[1].id)
    with pytest.raises(stripe.InvalidRequestError) as last:
        client.v1.subscription_items.delete(items[0].id)
    assert last.value.code == "subscription_items_invalid"
    paused_and_ended(client, to, subscription=made.id, customer=customer.id, plan=pro)


def paused_and_ended(
    client: stripe.StripeClient,
    to: Callable[[int, int], None],
    *,
    subscription: str,
    customer: str,
    plan: str,
) -> None:
    """The rest of that subscription's life, from the first of February on."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    paused = client.v1.subscriptions.pause(subscription, {"bill_for": {"unused_time_from": {"type": "now"}}})
    assert paused.status == "paused" and paused.status_details is not None
    to(3, 1)
    resumed = client.v1.subscriptions.resume(subscription, {"billing_cycle_anchor": {"type": "now"}})
    assert (resumed.status, resumed.billing_cycle_anchor) == (
        "active",
        int(start.replace(month=3).timestamp()),
    )
    later = client.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
    assert (later.cancel_at_period_end, later.cancel_at) == (
        True,
        int(start.replace(month=4).timestamp()),
    )
    assert client.v1.subscriptions.update(subscription, {"cancel_at_period_end": False}).cancel_at is None
    held = client.v1.subscriptions.update(subscription, {"pause_collection": {"behavior": "void"}})
    assert held.pause_collection is not None and held.pause_collection.behavior == "void"
    assert client.v1.subscriptions.update(subscription, {"pause_collection": ""}).pause_collection is None
    with pytest.raises(stripe.InvalidRequestError) as second:
        client.v1.subscriptions.create({"customer": customer, "items": [{"price": plan}]})
    assert second.value.code == "subscription_usage_ambiguous"
    ended = client.v1.subscriptions.cancel(
        subscription,
        {"invoice_now": True, "prorate": True, "cancellation_details": {"feedback": "unused"}},
    )
    assert (ended.status, ended.cancellation_details.feedback) == ("canceled", "unused")  # type: ignore[union-attr]  # It is there.
    told = client.v1.events.list({"limit": 100}).data
    kinds = {event.type for event in told if event.type.startswith("customer.subscription.")}
    names = ("created", "updated", "deleted", "paused", "resumed", "trial_will_end")
    assert kinds == {f"customer.subscription.{name}" for name in names}


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


@pytest.mark.parametrize("scenario", [prepaid, invoiced, refused, bookkeeping, subscribed, credited])
async def test_the_sdk_gets_what_it_expects(shop: Shop, scenario: Callable[[Shop], None]) -> None:
    await in_thread(scenario, shop)


def destinations(shop: Shop) -> None:
    core = shop.client().v2.core
    wanted: Any = {
        "name": "thin",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["*"],
        "webhook_endpoint": {"url": "http://localhost:9000/thin"},
        "include": ["webhook_endpoint.signing_secret"],
    }
    made = core.event_destinations.create(wanted)
    assert made.webhook_endpoint is not None
    assert str(made.webhook_endpoint.signing_secret).startswith("whsec_")
    assert core.event_destinations.disable(made.id).status == "disabled"
    assert core.event_destinations.enable(made.id).status == "enabled"
    assert core.event_destinations.update(made.id, {"name": "other"}).name == "other"
    pinged: Any = core.event_destinations.ping(made.id)
    assert type(pinged).__name__ == "V2CoreEventDestinationPingEvent"
    assert pinged.fetch_related_object().id == made.id
    for i in range(5):
        shop.client().v1.customers.create({"name": str(i)})
    listed = core.events.list({"limit": 2, "types": ["v1.customer.created"]})
    events = list(listed.auto_paging_iter())
    assert len(events) == 5 and len({event.id for event in events}) == 5
    assert core.events.retrieve(events[0].id).type == "v1.customer.created"
    assert [entry.id for entry in core.event_destinations.list().auto_paging_iter()] == [made.id]
    core.event_destinations.delete(made.id)
    with pytest.raises(stripe.InvalidRequestError, match="No such event destination"):
        core.event_destinations.retrieve(made.id)


async def test_the_sdk_manages_event_destinations_and_reads_thin_events(shop: Shop) -> None:
    await in_thread(destinations, shop)


def cancellations(shop: Shop) -> None:
    shop.set_up()
    client = shop.client()
    customer = client.v1.customers.create({})
    event: Any = {"event_name": METER, "payload": payload(customer.id, 5), "identifier": "one"}
    client.v2.billing.meter_events.create(event)
    canceled = client.v1.billing.meter_event_adjustments.create(
        {"event_name": METER, "type": "cancel", "cancel": {"identifier": "one"}}
    )
    assert canceled.status == "complete"
    again = client.v2.billing.meter_event_adjustments.create(
        {"event_name": METER, "type": "cancel", "cancel": {"identifier": "one"}}
    )
    assert (again.status, again.cancel.identifier) == ("complete", "one")
    filtered = client.v1.events.list({"created": {"gte": 0}, "delivery_success": True, "limit": 1})
    assert filtered.has_more


async def test_the_sdk_cancels_meter_events_and_filters_events(shop: Shop) -> None:
    await in_thread(cancellations, shop)


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
