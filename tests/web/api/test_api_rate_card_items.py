"""Items of a rate card over the API: set up, reported as meter events, invoiced, taken off again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

GRADUATED = {
    "price_model": "graduated",
    "tiers[0][up_to]": "100",
    "tiers[0][unit_amount]": "1",
    "tiers[1][up_to]": "inf",
    "tiers[1][unit_amount]": "0.5",
}


async def path_of(api: Any, **set_up: Any) -> str:
    done = await api.set_up(**set_up)
    return f"/v1/token_billing/rate_cards/{done['resources']['rate_card_id']}/items"


async def meter(api: Any, event_name: str = "images", formula: str = "sum") -> None:
    await api.post(
        "/v1/billing/meters",
        {"display_name": "Images", "event_name": event_name, "default_aggregation[formula]": formula},
    )


async def report(api: Any, customer: str, value: str, **fields: Any) -> Any:
    body = {"event_name": "images", "payload": {"stripe_customer_id": customer, "value": value}, **fields}
    return await api.send("POST", "/v2/billing/meter_events", json=body)


async def test_meter_events_are_charged_by_the_cards_item_and_shown_on_the_invoice(api: Any) -> None:
    path = await path_of(api)
    await meter(api)
    card = await api.post(path, {"event_name": "images", "display_name": "Images", **GRADUATED})
    (item,) = card["live_version"]["items"]
    assert (item["event_name"], item["price_model"], item["unit_amount"]) == ("images", "graduated", None)
    assert item["tiers"][1] == {"flat_amount": "0", "unit_amount": "0.5", "up_to": None}
    customer = await api.customer()
    for value in ("60", "90"):
        assert (await report(api, customer, value)).status == 200
        api.now += timedelta(seconds=1)
    upcoming = await api.post("/v1/invoices/create_preview", {"customer": customer})
    assert upcoming["total"] == 12_500
    shown = [(line["description"], line["quantity"], line["amount"]) for line in upcoming["lines"]["data"]]
    assert shown == [("Images · units 1 to 100", 100, 10_000), ("Images · units over 100", 50, 2_500)]
    (newest, _) = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    assert (newest["meter"], newest["price"], newest["source"]) == ("images", "65", "meter_events_v2")
    assert [step["quantity"] for step in newest["derivation"]["steps"]] == [40, 50]


async def test_the_same_item_again_changes_nothing_and_taking_it_off_makes_a_version(api: Any) -> None:
    path = await path_of(api)
    await meter(api)
    form = {"event_name": "images", "price_model": "package", "package_size": "10", "package_amount": "2"}
    card = await api.post(path, form)
    assert await api.post(path, form) == card
    assert len((await api.get(path.replace("/items", "/versions")))["data"]) == 2
    emptied = await api.delete(f"{path}/images")
    assert emptied["live_version"]["items"] == []
    assert await api.refusal("DELETE", f"{path}/images") == (404, "resource_missing", "event_name")


async def test_customers_move_to_the_item_by_the_cards_own_rule(api: Any) -> None:
    charged = []
    for rule in ("disabled", "migrate_all"):
        path = await path_of(api, price_tracking_preference=rule)
        if rule == "disabled":
            await meter(api)
        before = await api.customer()
        form = {"event_name": "images", "price_model": "per_unit", "unit_amount": "0.1", "unit_cost": "0.04"}
        await api.post(path, form | {"display_name": rule})
        api.now += timedelta(seconds=1)
        await report(api, before, "5")
        (event,) = (await api.get("/v1/token_billing/usage_events", customer=before))["data"]
        charged.append((event["price"], event["cost"]))
    assert charged == [("0", "0"), ("0.5", "0.2")]


async def test_a_new_set_up_of_tokens_keeps_the_items(api: Any) -> None:
    path = await path_of(api)
    await meter(api)
    await api.post(path, {"event_name": "images", "price_model": "per_unit", "unit_amount": "0.1"})
    await api.set_up(default_markup_percent="40")
    card = await api.get(path.removesuffix("/items"))
    assert card["live_version"]["default"]["markup_percent"] == "40"
    assert [item["event_name"] for item in card["live_version"]["items"]] == ["images"]


REFUSED = [
    ({"price_model": "per_unit"}, "parameter_missing", "unit_amount"),
    ({"price_model": "per_unit", "unit_amount": "-1"}, "rate_card_item_invalid", "unit_amount"),
    ({"price_model": "per_unit", "unit_amount": "1e-13"}, "rate_card_item_invalid", "unit_amount"),
    ({"price_model": "per_unit", "unit_amount": "1e10"}, "rate_card_item_invalid", "unit_amount"),
    (
        {"price_model": "per_unit", "unit_amount": "1", "package_size": "2"},
        "parameter_unknown",
        "package_size",
    ),
    ({"price_model": "per_unit", "unit_amount": "1", "divide_by": "3"}, "rate_card_item_invalid", "rounding"),
    ({"price_model": "per_unit", "unit_amount": "1", "divide_by": "0"}, "price_model_invalid", None),
    (
        {"price_model": "per_unit", "unit_amount": "1", "minimum_amount": "2", "maximum_amount": "1"},
        "price_model_invalid",
        "minimum",
    ),
    (
        {"price_model": "per_unit", "unit_amount": "1", "maximum_amount": "1e-10"},
        "rate_card_item_invalid",
        "maximum_amount",
    ),
    ({"price_model": "package", "package_amount": "1"}, "parameter_missing", "package_size"),
    ({"price_model": "volume"}, "price_model_invalid", "tiers"),
    ({"price_model": "graduated", "tiers[0][up_to]": "5"}, "price_model_invalid", "tiers"),
    ({"price_model": "percentage"}, "parameter_invalid_choice", "price_model"),
    (
        {"event_name": "nothing", "price_model": "per_unit", "unit_amount": "1"},
        "no_meter",
        "event_name",
    ),
    (
        {"event_name": "token-billing-tokens", "price_model": "per_unit", "unit_amount": "1"},
        "rate_card_item_meter_invalid",
        "event_name",
    ),
    (
        {"event_name": "token-billing-tokens", "price_model": "per_unit", "unit_amount": "1"},
        "rate_card_item_meter_invalid",
        "event_name",
    ),
]


@pytest.mark.parametrize(("form", "code", "param"), REFUSED)
async def test_an_item_that_leaves_a_unit_without_a_price_is_refused(
    api: Any, form: dict[str, str], code: str, param: str | None
) -> None:
    path = await path_of(api)
    await meter(api)
    refused = await api.refusal("POST", path, {"event_name": "images", **form})
    assert refused[1:] == (code, param)
    assert len((await api.get(path.replace("/items", "/versions")))["data"]) == 1


async def test_a_card_takes_so_many_items_and_no_more(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costplus.billing.card_items.ITEMS_MAX", 1)
    path = await path_of(api)
    form = {"price_model": "per_unit", "unit_amount": "1"}
    for name in ("images", "seats"):
        await meter(api, name)
    await api.post(path, {"event_name": "images", **form})
    refused = await api.refusal("POST", path, {"event_name": "seats", **form})
    assert refused == (400, "rate_card_items_limit", "event_name")
