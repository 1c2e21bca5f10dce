"""Any amount of an invoice is followed down to the events that it was made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from costplus.core.period import add_months
from costplus.web.objects.wire import unix

NANO = 10**9
MODELS = ("openai/gpt-4.1-mini", "openai/gpt-4.1", "openai/gpt-4o-mini")


@pytest.fixture
async def customer(api: Any) -> str:
    """A customer on a test clock."""
    await api.set_up()
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(api.now)})
    return str(await api.customer(test_clock=clock["id"]))


async def end_period(api: Any, customer: str, *, months: int = 1) -> dict[str, Any]:
    """Let the customer's period and its grace pass; return the newest invoice's explanation."""
    clock = (await api.get(f"/v1/customers/{customer}"))["test_clock"]
    to = unix(add_months(api.now, months) + timedelta(hours=2))
    await api.post(f"/v1/test_helpers/test_clocks/{clock}/advance", {"frozen_time": to})
    newest = (await api.get("/v1/invoices", customer=customer))["data"][0]
    return dict(await api.get(f"/v1/token_billing/invoices/{newest['id']}/explain"))


async def charges_of(api: Any, line: dict[str, Any], *, limit: int = 2) -> AsyncIterator[dict[str, Any]]:
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = await api.get(line["charges"], **query)
        assert len(page["data"]) <= limit
        for charge in page["data"]:
            yield charge
        if not page["has_more"]:
            return
        query["starting_after"] = page["data"][-1]["id"]


async def check(api: Any, line: dict[str, Any]) -> list[dict[str, Any]]:
    """A line's charges make its units and its exact amount."""
    charges = [charge async for charge in charges_of(api, line)]
    assert len({charge["id"] for charge in charges}) == len(charges)
    assert sum(charge["quantity"] for charge in charges) == line["quantity"]
    assert sum(Fraction(charge["exact_price"]) for charge in charges) == Fraction(line["exact_amount"])
    return charges


async def test_every_usage_line_is_the_sum_of_its_charges(api: Any, customer: str) -> None:
    for number in range(7):
        for model in MODELS:
            await api.report(customer, 1000 * number + 7, model=model)
            await api.report(customer, 10 * number + 1, model=model, token_type="output")
    explained = await end_period(api, customer)
    lines = [line for line in explained["lines"] if line["kind"] == "usage"]
    assert len(lines) == 2 * len(MODELS)
    rounded_up = Fraction(0)
    for line in lines:
        charges = await check(api, line)
        assert len(charges) == 7
        assert [charge["at"] for charge in charges] == sorted(charge["at"] for charge in charges)
        rounded_up += sum(
            Fraction(charge["event_price"]) - Fraction(charge["exact_price"]) for charge in charges
        )
        assert all(
            0 <= Fraction(c["event_price"]) - Fraction(c["exact_price"]) < Fraction(1, NANO) for c in charges
        )
    # Each event is rounded up to a nano; those roundings are what the ledger has beyond the exact lines.
    exact = sum(Fraction(line["exact_amount"]) for line in lines)
    assert Fraction(explained["usage"]) == exact + rounded_up


async def test_a_charge_says_how_it_came_about_and_names_its_event(api: Any, customer: str) -> None:
    await api.report(customer, 1_000_000, model="openai/gpt-4.1-mini")
    (line,) = (await end_period(api, customer))["lines"]
    (charge,) = await check(api, line)
    assert charge["object"] == "token_billing.line_charge"
    assert charge["working"] == ["1000000 input × 0.0000004 with markup 30%"]
    assert (charge["unit_price"], charge["exact_price"], charge["event_price"]) == (
        "0.00000052",
        "0.52",
        "0.52",
    )
    event = await api.get(f"/v1/token_billing/usage_events/{charge['usage_event']}", customer=customer)
    assert event["quantities"] == {"input": 1_000_000}
    assert line["rate"].startswith("ur_")


async def test_late_usage_is_listed_on_its_own_line_only(api: Any, customer: str) -> None:
    await api.report(customer, 1_000_000)
    used_at = api.now
    await end_period(api, customer)
    api.now = add_months(api.now, 1) + timedelta(hours=3)
    await api.report(customer, 400_000, timestamp=(used_at + timedelta(days=1)).isoformat())
    await api.report(customer, 30_000)
    explained = await end_period(api, customer)
    usual, late = sorted(explained["lines"], key=lambda line: bool(line["late"]))
    assert (usual["late"], late["late"]) == (False, True)
    assert [charge["quantity"] for charge in await check(api, usual)] == [30_000]
    (charge,) = await check(api, late)
    assert (charge["quantity"], charge["billed_at"] > charge["at"]) == (400_000, True)


async def test_a_canceled_event_is_listed_with_what_took_it_back(api: Any, customer: str) -> None:
    for number, value in enumerate((1000, 500)):
        await api.report(customer, value, identifier=f"event-{number}")
    await api.post(
        "/v1/billing/meter_event_adjustments",
        {"event_name": "token-billing-tokens", "type": "cancel", "cancel[identifier]": "event-0"},
    )
    (line,) = (await end_period(api, customer))["lines"]
    charges = await check(api, line)
    assert sorted(charge["quantity"] for charge in charges) == [-1000, 500, 1000]
    (back,) = (charge for charge in charges if charge["quantity"] < 0)
    assert (back["source"], back["corrects"]) == (
        "reversal",
        next(charge["id"] for charge in charges if charge["quantity"] == 1000),
    )


async def test_fees_have_no_charges_and_unknown_lines_and_cursors_are_refused(api: Any) -> None:
    await api.set_up(subscription_fee_amount="500")
    clock = await api.post("/v1/test_helpers/test_clocks", {"frozen_time": unix(api.now)})
    customer = await api.customer(test_clock=clock["id"])
    await api.report(customer, 1_000_000)
    explained = await end_period(api, customer)
    usage, fee = explained["lines"]
    assert fee["charges"] is None
    path = f"/v1/token_billing/invoices/{explained['invoice']}/lines"
    assert (await api.get(f"{path}/{fee['id']}/charges"))["data"] == []
    assert (await api.send("GET", f"{path}/il_none/charges")).status == 404
    refused = await api.refusal("GET", usage["charges"], {"starting_after": "evt_none"})
    assert refused == (404, "resource_missing", "starting_after")
