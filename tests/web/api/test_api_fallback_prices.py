"""What a rate card does about models without a price, as its seller sets it."""

from __future__ import annotations

from typing import Any

import pytest

INIT = "/v1/token_billing/onboarding/init"
FALLBACK = {"fallback_prices[input][amount]": "10", "fallback_prices[output][amount]": "20"}
OUTPUT = "fallback_prices[output]"
OF_A_MODEL = "fallback_prices[openai/gpt-4o-mini:input]"


async def card_of(api: Any) -> str:
    done = await api.set_up()
    return f"/v1/token_billing/rate_cards/{done['resources']['rate_card_id']}"


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"unpriced": "fallback"}, "fallback_prices_missing", "fallback_prices"),
        (
            {"unpriced": "fallback", "fallback_prices[input][amount]": "1"},
            "fallback_prices_missing",
            "fallback_prices",
        ),
        ({f"{OUTPUT}[amount]": "-1"}, "fixed_price_invalid", f"{OUTPUT}[amount]"),
        ({f"{OUTPUT}[amount]": "NaN"}, "amount_invalid", f"{OUTPUT}[amount]"),
        ({f"{OUTPUT}[per]": "1000"}, "parameter_missing", f"{OUTPUT}[amount]"),
        ({f"{OF_A_MODEL}[amount]": "1"}, "token_type_unknown", OF_A_MODEL),
        ({"fallback_prices[words][amount]": "1"}, "token_type_unknown", "fallback_prices[words]"),
    ],
)
async def test_fallback_prices_that_cannot_be_are_refused_by_name(
    api: Any, form: dict[str, str], code: str, param: str
) -> None:
    card = await card_of(api)
    assert await api.refusal("POST", card, form) == (400, code, param)
    assert len((await api.get(f"{card}/versions"))["data"]) == 1


async def test_a_card_that_falls_back_keeps_the_prices_that_it_needs(api: Any) -> None:
    card = await card_of(api)
    await api.post(card, {"unpriced": "fallback", **FALLBACK})
    for form in ({OUTPUT: ""}, {"fallback_prices": ""}):
        assert (await api.refusal("POST", card, form))[1] == "fallback_prices_missing"
    shown = (await api.post(card, {"unpriced": "", "fallback_prices": ""}))["live_version"]
    assert (shown["unpriced"], shown["fallback_prices"]) == ("block", {})


async def test_the_set_up_says_what_becomes_of_usage_without_a_price(api: Any) -> None:
    form = {"unpriced": "fallback", "fallback_prices[input][amount]": "10"}
    assert await api.refusal("POST", INIT, form) == (400, "fallback_prices_missing", "fallback_prices")
    first = await api.post(INIT)
    path = f"/v1/token_billing/rate_cards/{first['resources']['rate_card_id']}"
    assert (await api.get(path))["live_version"]["unpriced"] == "block"
    await api.post(INIT, {**form, "fallback_prices[output][amount]": "20"})
    live = (await api.get(path))["live_version"]
    assert (live["unpriced"], set(live["fallback_prices"])) == ("fallback", {"input", "output"})
    assert await api.post(INIT, {"default_markup_percent": "40"})
    kept = (await api.get(path))["live_version"]
    assert (kept["unpriced"], kept["fallback_prices"]) == ("fallback", live["fallback_prices"])
