"""A book in another currency than its providers': rates are stored, named, and usage without one waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.resolve import resolve
from costplus.web.objects.wire import unix

PATH = "/v1/token_billing/fx_rates"


async def rate(api: Any, value: str, **form: Any) -> dict[str, Any]:
    made = {"base": "usd", "quote": "eur", "rate": value, "source": "ecb", **form}
    return dict(await api.post(PATH, made))


async def test_usage_costs_and_sells_in_the_books_currency_by_the_rate_of_its_time(api: Any) -> None:
    await rate(api, "0.5", effective_at=unix(api.now - timedelta(days=3)), stated_on="2026-11-16")
    await rate(api, "0.8", effective_at=unix(api.now - timedelta(days=1)), stated_on="2026-11-18")
    await api.set_up(currency="eur")
    customer = await api.customer()
    assert (await api.get(f"/v1/customers/{customer}"))["currency"] == "eur"
    yesterday = (api.now - timedelta(days=2)).isoformat()
    assert (await api.report(customer, 10_000_000)).status == 200
    assert (await api.report(customer, 10_000_000, timestamp=yesterday)).status == 200
    preview = await api.post("/v1/invoices/create_preview", {"customer": customer})
    shown = [
        (line["pricing"]["unit_amount_decimal"], line["amount"], line["description"])
        for line in preview["lines"]["data"]
    ]
    assert sorted(shown) == [
        ("0.00000975", 97, "openai/gpt-4o-mini · input"),
        ("0.0000156", 156, "openai/gpt-4o-mini · input"),
    ]
    assert (preview["currency"], preview["total"]) == ("eur", 253)
    events = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"]
    said = sorted(event["derivation"]["steps"][0]["working"] for event in events)
    assert "fx usd→eur 0.5 of 2026-11-16 (ecb)" in said[0]
    assert "fx usd→eur 0.8 of 2026-11-18 (ecb)" in said[1]


async def test_without_a_rate_usage_waits_and_is_charged_once_there_is_one(api: Any) -> None:
    await api.set_up(currency="eur")
    customer = await api.customer()
    await api.report(customer, 10_000_000)
    (waiting,) = (await api.get("/v1/token_billing/unpriced_usage"))["data"]
    assert waiting["customer"] == customer
    await rate(api, "0.8", effective_at=unix(api.now - timedelta(days=1)))
    api.now += timedelta(minutes=1)
    await api.store.write(lambda tx: resolve(tx, api.pricing, at=api.now))
    preview = await api.post("/v1/invoices/create_preview", {"customer": customer})
    assert preview["total"] == 156


async def test_a_book_keeps_its_currency(api: Any) -> None:
    await api.set_up(currency="eur")
    form = {"default_markup_percent": "30", "currency": "usd"}
    refusal = await api.refusal("POST", "/v1/token_billing/onboarding/init", form)
    assert refusal == (400, "currency_mismatch", "currency")
    await api.set_up()


REFUSED = [
    ({"rate": "0"}, "fx_rate_invalid", "rate"),
    ({"rate": "-1"}, "fx_rate_invalid", "rate"),
    ({"rate": "0.1234567890123"}, "fx_rate_invalid", "rate"),
    ({"base": "eur"}, "fx_rate_invalid", "quote"),
    ({"base": "us"}, "fx_rate_invalid", "base"),
    ({"stated_on": "yesterday"}, "fx_rate_invalid", "stated_on"),
    ({"source": ""}, "parameter_missing", "source"),
]


@pytest.mark.parametrize(("form", "code", "param"), REFUSED)
async def test_rates_that_cannot_be_are_refused(
    api: Any, form: dict[str, str], code: str, param: str
) -> None:
    good = {"base": "usd", "quote": "eur", "rate": "0.9", "source": "ecb"}
    _, found, where = await api.refusal("POST", PATH, good | form)
    assert (found, where) == (code, param)
    assert (await api.get(PATH))["data"] == []


async def test_rates_are_listed_by_their_currencies(api: Any) -> None:
    made = await rate(api, "0.92")
    await rate(api, "150.5", quote="jpy")
    assert [entry["id"] for entry in (await api.get(PATH, quote="eur"))["data"]] == [made["id"]]
    assert (await api.get(f"{PATH}/{made['id']}"))["stated_on"] == "2026-11-20"
    assert await api.refusal("GET", f"{PATH}/fx_x") == (404, "resource_missing", "id")


@pytest.mark.parametrize(("currency", "value", "total"), [("jpy", "150", 292), ("kwd", "0.3", 585)])
async def test_currencies_of_no_and_three_decimals_go_all_the_way(
    api: Any, currency: str, value: str, total: int
) -> None:
    await rate(api, value, quote=currency, effective_at=unix(api.now - timedelta(days=1)))
    await api.set_up(currency=currency)
    customer = await api.customer()
    await api.grant(customer, 100, **{"amount[monetary][currency]": currency})
    await api.report(customer, 10_000_000)
    preview = await api.post("/v1/invoices/create_preview", {"customer": customer})
    assert (preview["subtotal"], preview["total"], preview["currency"]) == (total, total - 100, currency)
