"""The released SDK sells credit in advance, and credit for one price only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

pytestmark = pytest.mark.e2e


def prepaid(shop: Any) -> None:
    shop.set_up()
    client = shop.client()
    endpoint = client.v1.webhook_endpoints.create(
        {"url": "https://example.com/hook", "enabled_events": ["billing.alert.triggered"]}
    )
    assert endpoint.secret is not None and endpoint.secret.startswith("whsec_")
    customer = client.v1.customers.create({"name": "Ann", "metadata": {"tier": "gold"}})
    grant = shop.grant(customer.id, 1000)
    assert client.v1.billing.credit_grants.retrieve(grant.id).amount.monetary.value == 1000
    for version in ("v1", "v2"):
        event = {
            "event_name": shop.meter,
            "payload": shop.payload(customer.id, 1_000_000),
            "identifier": f"id-{version}",
        }
        billing = client.v1.billing if version == "v1" else client.v2.billing
        for _ in range(2):
            billing.meter_events.create(event)  # type: ignore[union-attr, arg-type]  # Both take it.
    assert shop.available(customer.id) == 1000 - 39
    session = client.v2.billing.meter_event_session.create()
    shop.client(session.authentication_token).v2.billing.meter_event_stream.create(
        {
            "events": [
                {
                    "event_name": shop.meter,
                    "identifier": f"s-{i}",
                    "payload": shop.payload(customer.id, 500_000, token_type="output"),
                }
                for i in range(20)
            ]
        }
    )
    assert shop.available(customer.id) == 1000 - 39 - 780
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
        {"event_name": shop.meter, "payload": shop.payload(customer.id, 50_000_000, token_type="output")}
    )
    (fired,) = client.v1.events.list({"type": "billing.alert.triggered"}).data
    assert fired.data.object["customer"] == customer.id
    assert client.v1.events.retrieve(fired.id).pending_webhooks == 1


async def test_usage_burns_credit_that_was_bought(shop: Any) -> None:
    await shop.sees(prepaid)


def credited(shop: Any) -> None:
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
    spare, short = (shop.grant(customer.id, value) for value in (300, 200))
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


async def test_credit_is_granted_changed_ended_and_held(shop: Any) -> None:
    await shop.sees(credited)
