"""Meter events that are canceled: taken back once, counted no more, in Stripe's words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.close import close_customer
from costplus.billing.customer import Customer
from costplus.billing.resolve import resolve
from costplus.billing.subscription import Subscription
from costplus.ledger.post import credit_of

PATH = "/v1/billing/meter_event_adjustments"
METER = "token-billing-tokens"
DAY = timedelta(days=1)


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


def form(identifier: str, **change: str) -> dict[str, str]:
    return {"event_name": METER, "type": "cancel", "cancel[identifier]": identifier, **change}


async def owed(api: Any, customer: str) -> int:
    balance = await api.store.write(lambda tx: tx.balance_for_update(customer))
    return int(balance.owed_total_nano)


async def credit(api: Any, customer: str) -> int:
    return int(await api.store.read(lambda tx: credit_of(tx, customer, at=api.now)))


async def value(api: Any, customer: str) -> int:
    (meter,) = (await api.get("/v1/billing/meters"))["data"][-1:]
    start = int(api.now.timestamp()) // 86_400 * 86_400 - 86_400 * 2
    sums = await api.get(
        f"/v1/billing/meters/{meter['id']}/event_summaries",
        customer=customer,
        start_time=start,
        end_time=start + 4 * 86_400,
    )
    return int(sums["data"][0]["aggregated_value"])


async def test_a_canceled_event_is_taken_back_once_and_counts_no_more(api: Any, customer: str) -> None:
    await api.report(customer, 1_000_000, identifier="keep")
    before = await owed(api, customer)
    await api.report(customer, 2_000_000, identifier="oops")
    assert await owed(api, customer) == 3 * before
    first = await api.post(PATH, form("oops"))
    assert first == {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": "oops"},
        "event_name": METER,
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }
    assert await api.post(PATH, form("oops")) == first
    assert await owed(api, customer) == before
    assert await value(api, customer) == 1_000_000
    again = await api.report(customer, 2_000_000, identifier="oops")
    assert again.status == 200  # It is known, and stays canceled.
    assert await owed(api, customer) == before


async def test_v2_cancels_too_and_names_its_adjustment(api: Any, customer: str) -> None:
    await api.report(customer, 1_000_000, identifier="oops")
    body = {"event_name": METER, "type": "cancel", "cancel": {"identifier": "oops"}}
    answer = await api.send("POST", "/v2/billing/meter_event_adjustments", json=body)
    assert (answer.body["object"], answer.body["status"]) == (
        "v2.billing.meter_event_adjustment",
        "complete",
    )
    again = await api.send("POST", "/v2/billing/meter_event_adjustments", json=body)
    assert again.body["id"] == answer.body["id"]
    assert await owed(api, customer) == 0


async def test_credit_that_paid_for_a_canceled_event_comes_back_to_its_grant(api: Any, customer: str) -> None:
    await api.grant(customer, 500)
    await api.report(customer, 1_000_000, identifier="oops")
    assert await credit(api, customer) < 5 * 10**9
    await api.post(PATH, form("oops"))
    assert (await credit(api, customer), await owed(api, customer)) == (5 * 10**9, 0)


async def test_what_a_final_invoice_asked_for_comes_back_as_credit(api: Any, customer: str) -> None:
    subscription: Subscription = await api.store.read(lambda tx: tx.page(Subscription, parent=customer)[0])
    api.now = subscription.period.end - timedelta(hours=2)
    await api.report(customer, 10_000_000, identifier="oops")
    charged = await owed(api, customer)
    api.now = subscription.period.end + timedelta(hours=20)

    def close(tx: Any) -> None:
        record = tx.find(Customer, customer)
        close_customer(tx, record, until=api.now)

    await api.store.write(close)
    (invoice,) = (await api.get("/v1/invoices", customer=customer))["data"]
    assert invoice["status"] in ("open", "paid")
    await api.post(PATH, form("oops"))
    await api.post(PATH, form("oops"))
    assert await credit(api, customer) == charged
    assert await api.get(f"/v1/invoices/{invoice['id']}") == invoice
    (grant,) = (await api.get("/v1/billing/credit_grants", customer=customer))["data"]
    assert grant["name"].startswith("Canceled usage: openai/")
    await api.report(customer, 10_000_000)
    assert (await owed(api, customer), await credit(api, customer)) == (0, 0)


async def test_a_customer_hears_that_its_credit_is_back(api: Any, customer: str) -> None:
    await api.grant(customer, 10)
    await api.report(customer, 9_000_000, identifier="oops")
    await api.post(PATH, form("oops"))
    types = await api.event_types()
    assert types[-2:] == ["billing.alert.triggered", "billing.alert.recovered"]


async def test_an_unpriced_event_leaves_the_queue_when_it_is_canceled(api: Any, customer: str) -> None:
    await api.report(customer, 5, model="openai/no-such-model", identifier="oops")
    await api.post(PATH, form("oops"))
    assert (await api.get("/v1/token_billing/unpriced_usage"))["data"] == []
    (entry,) = (await api.get("/v1/token_billing/unpriced_usage", status="resolved"))["data"]
    assert entry["status"] == "resolved"
    done = await api.store.write(lambda tx: resolve(tx, api.pricing, at=api.now))
    assert (done.count, done.still_open) == (0, 0)
    assert await owed(api, customer) == 0


async def test_items_are_counted_without_what_was_canceled(api: Any, customer: str) -> None:
    await api.post(
        "/v1/billing/meters",
        {"display_name": "p", "event_name": "pages", "default_aggregation[formula]": "sum"},
    )
    body = {"event_name": "pages", "payload": {"stripe_customer_id": customer, "value": "7"}}
    await api.send("POST", "/v2/billing/meter_events", json=body | {"identifier": "a"})
    await api.send("POST", "/v2/billing/meter_events", json=body | {"identifier": "b"})
    await api.post(PATH, form("a", event_name="pages"))
    subscription: Subscription = await api.store.read(lambda tx: tx.page(Subscription, parent=customer)[0])
    counted = await api.store.read(lambda tx: tx.metered(customer, "pages", subscription.period.start))
    assert counted.units == 7


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=1)])
async def test_an_event_can_be_canceled_for_24_hours(api: Any, customer: str, late: timedelta) -> None:
    await api.report(customer, 5, identifier="oops")
    api.now += DAY + late
    if late:
        assert await api.refusal("POST", PATH, form("oops")) == (400, "meter_event_cancel_too_late", None)
    else:
        await api.post(PATH, form("oops"))


async def test_an_identifier_has_to_name_one_event(api: Any, customer: str) -> None:
    other = await api.customer()
    for owner in (customer, other):
        await api.report(owner, 5, identifier="both")
    assert await api.refusal("POST", PATH, form("none")) == (404, "meter_event_not_found", None)
    wrong_meter = form("both", event_name="pages")
    assert await api.refusal("POST", PATH, wrong_meter) == (404, "meter_event_not_found", None)
    ambiguous = (400, "meter_event_identifier_ambiguous", None)
    assert await api.refusal("POST", PATH, form("both")) == ambiguous
    await api.post(PATH, form("both", customer=other))
    assert await owed(api, customer) > 0
    assert await owed(api, other) == 0
    refusal = await api.refusal("POST", PATH, form("both") | {"type": "range"})
    assert refusal == (400, "parameter_invalid_choice", "type")
