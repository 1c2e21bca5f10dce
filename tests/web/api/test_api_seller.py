"""Who the seller is, told once and shown on invoices."""

from __future__ import annotations

from typing import Any

PATH = "/v1/token_billing/seller"


async def test_what_is_given_changes_and_the_rest_stays(api: Any) -> None:
    assert (await api.get(PATH))["name"] == ""
    address = {"address[0]": "1 Main Street", "address[1]": "Berlin"}
    await api.post(PATH, {"name": "Example AI", "tax_id": "DE1", **address})
    await api.post(PATH, {"tax_id": "", "footer": "Thank you"})
    told = await api.get(PATH)
    assert (told["name"], told["tax_id"], told["footer"]) == ("Example AI", "", "Thank you")
    assert told["address"] == ["1 Main Street", "Berlin"]


async def test_a_name_that_is_too_long_is_refused_and_nothing_changes(api: Any) -> None:
    refused = await api.refusal("POST", PATH, {"name": "x" * 201})
    assert refused == (400, "parameter_invalid_string", "name")
    assert (await api.get(PATH))["name"] == ""
