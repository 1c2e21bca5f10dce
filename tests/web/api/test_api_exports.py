"""Exports over HTTP: a CSV stream for the seller's key."""

from __future__ import annotations

import csv
from typing import Any

import pytest

PATH = "/v1/token_billing/exports"
AUTH = {"Authorization": "Bearer sk_test_tests"}


async def rows(api: Any, kind: str, **query: str) -> list[dict[str, str]]:
    answer = await api.client.get(f"{PATH}/{kind}", params={"format": "csv", **query}, headers=AUTH)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(answer.text.splitlines()))


async def test_usage_is_exported_with_exact_amounts_and_utc_instants(api: Any) -> None:
    await api.set_up()
    customer, other = await api.customer(name="@sum"), await api.customer()
    await api.report(customer, 7, identifier="=k")
    await api.report(other, 5)
    (row,) = await rows(api, "usage", customer=customer)
    assert (row["customer"], row["key"], row["input"], row["output"]) == (customer, "'=k", "7", "")
    assert (row["at"], row["currency"]) == ("2026-11-20T12:00:00.000000Z", "usd")
    shown = (await api.get("/v1/token_billing/usage_events", customer=customer))["data"][0]
    assert row["price"] == shown["price"] != "0"
    assert len(await rows(api, "usage")) == 2
    assert await rows(api, "usage", end="2026-11-20") == []
    assert [entry["name"] for entry in await rows(api, "customers")] == ["", "'@sum"]
    assert api.flushes >= 4  # What the gateway queues is in the file.


async def test_invoices_are_exported_line_by_line(api: Any) -> None:
    await api.set_up(subscription_fee_amount="500")
    customer = await api.customer()
    (line,) = await rows(api, "invoices", customer=customer)
    assert (line["total"], line["amount"], line["line_kind"]) == ("5", "5", "fee")
    assert line["number"] and line["status"] in ("open", "paid")


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("nothing", {}, (404, "url_unknown")),
        ("usage", {"format": "xlsx"}, (400, "parameter_invalid_choice")),
        ("usage", {"start": "2026-02-02", "end": "2026-02-02"}, (400, "parameter_invalid_time")),
        ("usage", {"customer": "cus_x"}, (404, "resource_missing")),
        ("usage", {"colour": "red"}, (400, "parameter_unknown")),
    ],
)
async def test_an_export_that_cannot_be_is_refused_before_it_begins(
    api: Any, path: str, query: dict[str, str], expected: tuple[int, str]
) -> None:
    answer = await api.client.get(f"{PATH}/{path}", params=query, headers=AUTH)
    assert (answer.status_code, answer.json()["error"]["code"]) == expected


async def test_an_export_needs_the_sellers_key(api: Any) -> None:
    assert (await api.client.get(f"{PATH}/usage")).status_code == 401
