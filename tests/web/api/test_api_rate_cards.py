"""A rate card's terms and what it does about changed prices, changed by its seller."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from costplus.billing.correction import CorrectionLine, PriceCorrection
from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.notice import notice_of
from costplus.billing.notify import announce
from costplus.billing.track import follow
from costplus.billing.weigh import foresee, impact_of
from costplus.catalog.book import PriceChange, RecordedMove, RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import VersionEntry

HOUR = timedelta(hours=1)
MODEL = "openai/gpt-4o-mini"  # 0.15 and 0.6 dollars per million.
DEARER = (("input", "0.3", 1_000_000, None), ("output", "0.6", 1_000_000, None))


async def card_of(api: Any, **form: Any) -> str:
    done = await api.set_up(**form)
    api.now += HOUR
    return f"/v1/token_billing/rate_cards/{done['resources']['rate_card_id']}"


async def charged(api: Any, customer: str, **fields: Any) -> str:
    """Report a million tokens and return their price."""
    api.now += HOUR
    answer = await api.report(customer, 1_000_000, **fields)
    assert answer.status == 200, answer.body
    events = (await api.get("/v1/token_billing/usage_events", customer=customer, limit=1))["data"]
    return str(events[0]["price"])


def price_change(at: datetime, **changes: Any) -> PriceChange:
    move = RecordedMove(leaf="input", when="", old="0.00000015", new="0.0000003", standing="confirmed")
    fields: dict[str, Any] = {
        "id": "pc_1",
        "created": at,
        "provider": "openai",
        "model": "gpt-4o-mini",
        "kind": "price",
        "status": "pending",
        "digest": "d",
        "components": DEARER,
        "effective_at": at,
        "moves": (move,),
        "sources": {"litellm": "git:1"},
        **changes,
    }
    return PriceChange(**fields)


@pytest.fixture
async def dearer(api: Any, catalogue: Catalogue) -> Any:
    """Return what doubles the input price of the model and lets the cards follow."""

    async def apply() -> PriceChange:
        change = price_change(api.now, status="applied", new_version="pv_dear")
        entry = VersionEntry(id="pv_dear", valid_from=api.now, components=DEARER)
        recorded = RecordedPrice(
            id="pv_dear",
            created=api.now,
            provider="openai",
            model="gpt-4o-mini",
            currency="usd",
            version=entry,
            origin="sync",
        )
        api.pricing.adopt(catalogue.with_recorded([recorded]))
        await api.store.write(lambda tx: tx.save(change))
        await api.store.write(lambda tx: follow(tx, api.pricing, [change], at=api.now))
        return change

    return apply


async def test_terms_that_are_sent_make_a_version_and_the_same_again_makes_none(api: Any) -> None:
    card = await card_of(api)
    form = {
        "default_margin_percent": "25",
        "markup_overrides[anthropic]": "40",
        "markup_overrides[OpenAI/gpt-4o]": "50",
        "token_type_overrides[output]": "60",
        f"token_type_overrides[{MODEL}:cached_input]": "70.5",
        f"fixed_prices[{MODEL}:input][amount]": "0.30",
        "fixed_prices[web_search][amount]": "0.05",
        "floor_margin_percent": "5",
        "unpriced": "fallback",
        "fallback_prices[input][amount]": "10",
        "fallback_prices[output][amount]": "20",
        "fallback_prices[web_search][amount]": "10",
        "fallback_prices[web_search][per]": "1000",
    }
    shown = (await api.post(card, form))["live_version"]
    assert shown["default"]["margin_percent"] == "25"
    assert shown["providers"]["anthropic"]["markup_percent"] == "40"
    assert shown["model_overrides"]["openai/gpt-4o"]["markup_percent"] == "50"
    assert set(shown["token_type_overrides"]) == {"output", f"{MODEL}:cached_input"}
    assert shown["fixed_prices"] == {
        f"{MODEL}:input": {"amount": "0.3", "per": 1_000_000},
        "web_search": {"amount": "0.05", "per": 1},
    }
    assert (shown["floor_margin_percent"], shown["unpriced"]) == ("5", "fallback")
    assert shown["fallback_prices"] == {
        "input": {"amount": "10", "per": 1_000_000},
        "output": {"amount": "20", "per": 1_000_000},
        "web_search": {"amount": "10", "per": 1000},
    }
    assert (await api.post(card, form))["live_version"]["id"] == shown["id"]
    assert len((await api.get(f"{card}/versions"))["data"]) == 2
    assert (await api.event_types())[-1] == "rate_card.version_created"


async def test_empty_texts_unset_one_entry_or_all_and_what_is_not_sent_stays(api: Any) -> None:
    card = await card_of(api)
    await api.post(
        card,
        {
            "markup_overrides[anthropic]": "40",
            "markup_overrides[openai]": "50",
            "fixed_prices[web_search][amount]": "1",
            "floor_margin_percent": "5",
        },
    )
    shown = (await api.post(card, {"markup_overrides[anthropic]": "", "floor_margin_percent": ""}))[
        "live_version"
    ]
    assert set(shown["providers"]) == {"openai"} and shown["floor_margin_percent"] is None
    assert set(shown["fixed_prices"]) == {"web_search"}
    shown = (await api.post(card, {"markup_overrides": "", "fixed_prices[web_search]": ""}))["live_version"]
    assert shown["providers"] == shown["fixed_prices"] == {}


async def test_terms_apply_to_new_customers_and_to_all_where_the_card_migrates(api: Any) -> None:
    card = await card_of(api)
    old = await api.customer()
    await api.post(card, {"default_markup_percent": "100"})
    new = await api.customer()
    assert [await charged(api, customer) for customer in (old, new)] == ["0.195", "0.3"]
    await api.post(card, {"default_markup_percent": "200", "price_tracking_preference": "migrate_all"})
    assert [await charged(api, customer) for customer in (old, new)] == ["0.45", "0.45"]
    undone = await api.post(f"{card}/undo")
    assert undone["action"]["subscriptions_moved"] == 2
    assert [await charged(api, customer) for customer in (old, new)] == ["0.195", "0.3"]


async def test_a_fixed_price_is_charged_whatever_it_costs(api: Any) -> None:
    card = await card_of(api)
    await api.post(
        card, {f"fixed_prices[{MODEL}:input][amount]": "1.25", "fixed_prices[output][amount]": "7"}
    )
    customer = await api.customer()
    assert await charged(api, customer) == "1.25"
    assert await charged(api, customer, token_type="output") == "7"


async def test_tracking_options_are_kept_shown_and_unset(api: Any) -> None:
    card = await card_of(api)
    shown = await api.post(
        card,
        {
            "price_tracking_preference": "migrate_all",
            "tracking[new_models]": "new_customers_only",
            "tracking[apply_increases]": "false",
            "tracking[max_increase_percent]": "12.5",
            "tracking[notice_days]": "30",
            "tracking[moves]": "next_period",
        },
    )
    assert shown["price_tracking_preference"] == "migrate_all"
    assert shown["tracking"] == {
        "apply_decreases": True,
        "apply_increases": False,
        "max_increase_percent": "12.5",
        "moves": "next_period",
        "new_models": "new_customers_only",
        "notice_days": 30,
    }
    shown = await api.post(card, {"tracking[max_increase_percent]": "", "tracking[apply_increases]": ""})
    assert (shown["tracking"]["max_increase_percent"], shown["tracking"]["apply_increases"]) == (None, True)
    assert shown["tracking"]["notice_days"] == 30
    assert (await api.post(card, {"tracking": ""}))["tracking"]["notice_days"] == 0
    assert len((await api.get(f"{card}/versions"))["data"]) == 1


MARKUPS = "markup_overrides[openai]"
FIXED = "fixed_prices[input]"
UNKNOWN = "openai/nothing"
REFUSED: list[tuple[dict[str, str], str, str]] = [
    ({"markup_overrides[nobody]": "1"}, "markup_override_unknown", "markup_overrides[nobody]"),
    ({f"markup_overrides[{UNKNOWN}]": "1"}, "markup_override_unknown", f"markup_overrides[{UNKNOWN}]"),
    ({MARKUPS: "-1"}, "markup_invalid", MARKUPS),
    ({MARKUPS: "nan"}, "amount_invalid", MARKUPS),
    ({MARKUPS: "1.1234567"}, "markup_invalid", MARKUPS),
    (
        {"default_markup_percent": "1", "default_margin_percent": "1"},
        "parameters_exclusive",
        "default_margin_percent",
    ),
    ({"token_type_overrides[words]": "1"}, "token_type_unknown", "token_type_overrides[words]"),
    (
        {f"token_type_overrides[{UNKNOWN}:input]": "1"},
        "price_override_unknown",
        f"token_type_overrides[{UNKNOWN}:input]",
    ),
    ({"token_type_overrides[input]": "Infinity"}, "amount_invalid", "token_type_overrides[input]"),
    ({f"{FIXED}[amount]": "-0.01"}, "fixed_price_invalid", f"{FIXED}[amount]"),
    ({f"{FIXED}[amount]": "NaN"}, "amount_invalid", f"{FIXED}[amount]"),
    ({f"{FIXED}[amount]": "0.0000000000001"}, "fixed_price_invalid", f"{FIXED}[amount]"),
    ({f"{FIXED}[amount]": "1", f"{FIXED}[per]": "0"}, "parameter_invalid_integer", f"{FIXED}[per]"),
    ({f"{FIXED}[per]": "1"}, "parameter_missing", f"{FIXED}[amount]"),
    ({FIXED: "1"}, "parameter_invalid_shape", FIXED),
    ({"fixed_prices[gpt:words][amount]": "1"}, "token_type_unknown", "fixed_prices[gpt:words]"),
    ({"floor_margin_percent": "100"}, "markup_invalid", "floor_margin_percent"),
    ({"floor_margin_percent": "30"}, "price_below_floor_margin", "floor_margin_percent"),
    (
        {"floor_margin_percent": "10", f"fixed_prices[{MODEL}:input][amount]": "0.166666"},
        "price_below_floor_margin",
        "fixed_prices",
    ),
    (
        {"floor_margin_percent": "10", f"{FIXED}[amount]": "0.5"},
        "price_below_floor_margin",
        "fixed_prices",
    ),
    ({"unpriced": "free"}, "parameter_invalid_choice", "unpriced"),
    ({"tracking[notice_days]": "-1"}, "parameter_invalid_integer", "tracking[notice_days]"),
    ({"tracking[max_increase_percent]": "-1"}, "markup_invalid", "tracking[max_increase_percent]"),
    ({"tracking[mode]": "all"}, "parameter_unknown", "tracking[mode]"),
    ({"price_tracking_preference": "all"}, "parameter_invalid_choice", "price_tracking_preference"),
]


@pytest.mark.parametrize(("form", "code", "param"), REFUSED)
async def test_terms_that_cannot_be_are_refused_by_name(
    api: Any, form: dict[str, str], code: str, param: str
) -> None:
    card = await card_of(api)
    assert await api.refusal("POST", card, form) == (400, code, param)
    assert len((await api.get(f"{card}/versions"))["data"]) == 1


async def test_a_fee_for_calls_with_customers_own_keys_is_a_cards(api: Any) -> None:
    card = await card_of(api)
    assert (await api.get(card))["live_version"]["own_key_fee_percent"] == "0"
    changed = await api.post(card, {"own_key_fee_percent": "2.5"})
    assert changed["live_version"]["own_key_fee_percent"] == "2.5"
    _, code, param = await api.refusal("POST", card, {"own_key_fee_percent": "-1"})
    assert (code, param) == ("markup_invalid", "own_key_fee_percent")
    unset = await api.post(card, {"own_key_fee_percent": ""})
    assert unset["live_version"]["own_key_fee_percent"] == "0"


async def test_a_fixed_price_at_the_floor_itself_is_sold(api: Any) -> None:
    card = await card_of(api)
    form = {"floor_margin_percent": "10", f"fixed_prices[{MODEL}:input][amount]": "0.166667"}
    assert (await api.post(card, form))["live_version"]["floor_margin_percent"] == "10"


async def test_a_change_that_was_left_is_adopted_and_the_action_undone(api: Any, dearer: Any) -> None:
    card = await card_of(api)
    customer = await api.customer()
    change = await dearer()
    assert await charged(api, customer) == "0.195"
    done = await api.post(f"{card}/adopt", {"price_changes[]": [change.id], "mode": "migrate_all"})
    assert done["action"]["followed"] == ["pc_1"] and done["action"]["subscriptions_moved"] == 1
    assert done["live_version"]["priced_as_of"] == int(api.now.timestamp())
    assert await charged(api, customer) == "0.39"
    await api.post(f"{card}/undo")
    assert await charged(api, customer) == "0.195"
    done = await api.post(f"{card}/adopt", {"all": "true", "mode": "new_customers_only"})
    assert [await charged(api, one) for one in (customer, await api.customer())] == ["0.195", "0.39"]


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ({"mode": "migrate_all"}, "parameter_missing", "price_changes"),
        ({"mode": "migrate_all", "all": "true", "price_changes[]": ["pc_1"]}, "parameters_exclusive", "all"),
        ({"all": "true"}, "parameter_missing", "mode"),
        ({"all": "true", "mode": "disabled"}, "parameter_invalid_choice", "mode"),
        ({"all": "true", "mode": "migrate_all"}, "price_change_followed_already", "price_changes"),
    ],
)
async def test_what_cannot_be_adopted_is_refused_by_name(
    api: Any, form: dict[str, Any], code: str, param: str
) -> None:
    card = await card_of(api)
    assert await api.refusal("POST", f"{card}/adopt", form) == (400, code, param)


async def test_an_unknown_card_or_change_and_nothing_to_undo_are_refused(api: Any) -> None:
    card = await card_of(api)
    path = "/v1/token_billing/rate_cards/rcd_none"
    for action in ("", "/adopt", "/undo"):
        assert await api.refusal("POST", path + action, {}) == (404, "resource_missing", "id")
    assert await api.refusal("POST", f"{card}/undo") == (400, "rate_card_nothing_to_undo", None)
    form = {"mode": "migrate_all", "price_changes[]": ["pc_none"]}
    assert await api.refusal("POST", f"{card}/adopt", form) == (404, "resource_missing", "price_changes")


async def test_a_customer_can_have_an_adjustment_of_its_own_from_now_on(api: Any) -> None:
    await card_of(api)
    customer = await api.customer()
    path = f"/v1/token_billing/customers/{customer}"
    assert (await api.get(path))["adjustment"] is None
    assert await charged(api, customer) == "0.195"
    shown = await api.post(path, {"margin_percent": "50"})
    assert shown["adjustment"] == {"kind": "margin", "margin_percent": "50", "markup_percent": "100"}
    assert await charged(api, customer) == "0.3"
    assert (await api.post(path, {"on_zero_credit": "block"}))["adjustment"]["kind"] == "margin"
    assert (await api.post(path, {"markup_percent": "", "margin_percent": ""}))["adjustment"] is None
    assert await charged(api, customer) == "0.195"
    refusal = await api.refusal("POST", path, {"markup_percent": "1", "margin_percent": "1"})
    assert refusal == (400, "parameters_exclusive", "margin_percent")
    assert (await api.refusal("POST", path, {"markup_percent": "-1"}))[:2] == (400, "markup_invalid")


async def test_a_customer_without_a_subscription_has_nothing_to_adjust(api: Any) -> None:
    customer = await api.customer()
    refusal = await api.refusal("POST", f"/v1/token_billing/customers/{customer}", {"markup_percent": "1"})
    assert refusal[:2] == (400, "customer_not_subscribed")


async def test_events_about_prices_show_what_they_mean(api: Any) -> None:
    card = await card_of(api)
    customer = await api.customer()
    await charged(api, customer)
    api.now += HOUR
    change, pricing = price_change(api.now), api.pricing
    alarm = MarginAlarm(
        id="malm_1",
        created=api.now,
        shortfall="negative",
        rate_card="rcd_1",
        rate_card_version="rcv_1",
        provider="openai",
        model="gpt-4o-mini",
        price_version="pv_1",
        margin_percent="-200/13",
        target_percent="300/13",
        revenue_nano=195_000_000,
        cost_nano=300_000_000,
    )
    line = CorrectionLine(
        customer=customer,
        rate_card="rcd_1",
        events=1,
        cost_booked_nano=1,
        cost_right_nano=3,
        price_booked_nano=2,
        price_followed_nano=4,
    )
    correction = PriceCorrection(
        id="pcor_1",
        created=api.now,
        change="pc_1",
        provider="openai",
        model="gpt-4o-mini",
        effective_at=api.now - HOUR,
        detected_at=api.now,
        lines=(line,),
    )

    def tell(tx: Any) -> None:
        cards = foresee(tx, pricing, [change], at=api.now)
        impact = impact_of(tx, pricing, change, at=api.now)
        announce(tx, "price.change_held", change, at=api.now)
        announce(tx, "price.change_detected", notice_of(change, cards=cards, impact=impact), at=api.now)
        announce(tx, "margin.negative", alarm, at=api.now)
        announce(tx, "price.correction_reported", correction, at=api.now)

    await api.store.write(tell)
    events = (await api.get("/v1/events", limit=4))["data"]
    corrected, margin, detected, held = (event["data"]["object"] for event in events)
    assert held["changes"][0]["percent"] == "100" and held["affected"] is held["impact"] is None
    assert held["components"][0] == {"amount": "0.3", "per": 1_000_000, "token_type": "input", "when": ""}
    assert detected["id"] == held["id"] and detected["affected"]["customers"] == [customer]
    (told,) = detected["affected"]["rate_cards"]
    assert told["left"][0]["reason"] == "tracking_disabled" and card.endswith(told["rate_card"])
    impact = detected["impact"]
    assert (impact["revenue_now"], impact["cost_then"], impact["events"]) == ("0.195", "0.3", 1)
    assert impact["margin_percent_unfollowed"] == "-53.846154"
    assert (margin["margin_percent"], margin["shortfall"]) == ("-15.384616", "negative")
    assert (corrected["cost_understated"], corrected["price_understated"]) == ("0.000000002",) * 2
