"""Credit grants, balances, movements and the alerts on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from costplus.core.ids import CustomerId, HoldId
from costplus.ledger.grant import GRANTS_MAX
from costplus.ledger.hold import Hold
from costplus.ledger.reserve import place_hold
from costplus.web.objects.wire import unix

DAY = timedelta(days=1)
PATH = "/v1/billing/credit_grants"
SCOPE = {"filter[type]": "applicability_scope", "filter[applicability_scope][price_type]": "metered"}


@pytest.fixture
async def customer(api: Any) -> str:
    await api.set_up()
    return str(await api.customer())


async def balance(api: Any, customer: str, **query: str) -> tuple[int, int]:
    """Return (available, ledger) in cents."""
    found = await api.get("/v1/billing/credit_balance_summary", customer=customer, **(query or SCOPE))
    (only,) = found["balances"]
    available, ledger = only["available_balance"], only["ledger_balance"]
    return available["monetary"]["value"], ledger["monetary"]["value"]


async def test_a_grant_keeps_what_it_was_created_with(api: Any, customer: str) -> None:
    expires = unix(api.now + DAY)
    grant = await api.grant(
        customer, 1000, name="welcome", category="promotional", priority=3, expires_at=expires,
        **{"metadata[a]": "1"},
    )  # fmt: skip
    assert (grant["name"], grant["category"], grant["priority"]) == ("welcome", "promotional", 3)
    assert (grant["expires_at"], grant["metadata"]) == (expires, {"a": "1"})
    assert grant["amount"] == {"monetary": {"currency": "usd", "value": 1000}, "type": "monetary"}
    assert await api.get(f"{PATH}/{grant['id']}") == grant
    assert await balance(api, customer) == (1000, 1000)


async def test_a_grant_is_paid_of_middle_priority_and_effective_at_once_by_default(
    api: Any, customer: str
) -> None:
    grant = await api.grant(customer, 1)
    assert (grant["category"], grant["priority"], grant["effective_at"]) == ("paid", 50, unix(api.now))
    assert (await api.grant(customer, 1, priority=0))["priority"] == 0


async def test_a_balance_is_rounded_down_to_whole_cents(api: Any, customer: str) -> None:
    await api.grant(customer, 100)
    await api.report(customer, 1)
    assert await balance(api, customer) == (99, 99)
    exact = await api.get(f"/v1/token_billing/customers/{customer}")
    assert exact["balance"]["credit"] == "0.999999805"


async def test_credit_reserved_by_a_call_is_not_available_but_a_lease_is(api: Any, customer: str) -> None:
    await api.grant(customer, 1000)
    for kind, amount_nano in (("lease", 10**9), ("request", 2 * 10**9)):
        hold = Hold(
            id=HoldId(f"hold_{kind}"),
            customer=CustomerId(customer),
            kind=kind,  # type: ignore[arg-type]  # Both are kinds of holds.
            owner="g1",
            amount_nano=amount_nano,
            placed_at=api.now,
            expires_at=api.now + DAY,
        )
        await api.store.write(lambda tx, hold=hold: place_hold(tx, hold, at=api.now))
    assert await balance(api, customer) == (800, 1000)
    state = await api.get(f"/v1/token_billing/customers/{customer}")
    assert (state["balance"]["held"], state["balance"]["available"]) == ("3", "7")


async def test_a_balance_can_be_asked_of_one_grant(api: Any, customer: str) -> None:
    first = await api.grant(customer, 100, priority=1)
    second = await api.grant(customer, 200)
    await api.report(customer, 1_000_000)
    for grant, value in ((first, 80), (second, 200)):
        query = {"filter[type]": "credit_grant", "filter[credit_grant]": grant["id"]}
        assert await balance(api, customer, **query) == (value, value)
    query = {"filter[type]": "credit_grant", "filter[credit_grant]": "credgr_x", "customer": customer}
    refusal = await api.refusal("GET", "/v1/billing/credit_balance_summary", query)
    assert refusal == (404, "resource_missing", "filter[credit_grant]")


async def test_movements_add_up_to_the_rounded_balance_however_small_they_are(
    api: Any, customer: str
) -> None:
    grant = await api.grant(customer, 100)
    for tokens in (20_000, 20_000, 20_000, 300_000):
        await api.report(customer, tokens)
    listed = await api.get("/v1/billing/credit_balance_transactions", customer=customer)
    values = [
        (entry["type"], (entry["credit"] or entry["debit"])["amount"]["monetary"]["value"])
        for entry in listed["data"]
    ]
    assert values[-1] == ("credit", 100)
    assert 100 - sum(value for kind, value in values if kind == "debit") == (await balance(api, customer))[0]
    newest = listed["data"][0]
    path = "/v1/billing/credit_balance_transactions"
    assert await api.get(f"{path}/{newest['id']}") == newest
    assert newest["credit_grant"] == grant["id"]
    page = await api.get(path, customer=customer, credit_grant=grant["id"], limit=2)
    assert page["data"] == listed["data"][:2] and page["has_more"]
    assert await api.refusal("GET", f"{path}/cbtxn_1_2") == (404, "resource_missing", "id")


async def test_an_unused_grant_can_be_voided_and_a_used_one_expired(api: Any, customer: str) -> None:
    unused, used = await api.grant(customer, 100), await api.grant(customer, 200, priority=1)
    await api.report(customer, 1_000_000)
    voided = await api.post(f"{PATH}/{unused['id']}/void")
    assert voided["voided_at"] == unix(api.now)
    refusal = await api.refusal("POST", f"{PATH}/{used['id']}/void")
    assert refusal == (400, "credit_grant_used", None)
    expired = await api.post(f"{PATH}/{used['id']}/expire")
    assert expired["expires_at"] == unix(api.now)
    assert await balance(api, customer) == (0, 0)
    listed = await api.get("/v1/billing/credit_balance_transactions", customer=customer)
    kinds = [entry["debit"]["type"] for entry in listed["data"] if entry["debit"]]
    assert kinds == ["credits_expired", "credits_voided", "credits_applied"]
    for grant in (unused, used):
        for step in ("", "/void", "/expire"):
            refusal = await api.refusal("POST", f"{PATH}/{grant['id']}{step}")
            assert refusal == (400, "credit_grant_ended", "id")


async def test_a_grants_expiry_and_metadata_can_be_changed_and_nothing_else(api: Any, customer: str) -> None:
    grant = await api.grant(customer, 100, expires_at=unix(api.now + DAY))
    path = f"{PATH}/{grant['id']}"
    changed = await api.post(path, {"expires_at": "", "metadata[a]": "1"})
    assert (changed["expires_at"], changed["metadata"]) == (None, {"a": "1"})
    for name, value in (("name", "n"), ("priority", "1"), ("category", "paid")):
        refusal = await api.refusal("POST", path, {name: value})
        assert refusal == (400, "parameter_unknown", name)
    refusal = await api.refusal("POST", path, {"expires_at": unix(api.now)})
    assert refusal == (400, "credit_grant_expiry_invalid", "expires_at")
    assert (await api.event_types())[-3:] == [
        "billing.credit_grant.created",
        "billing.credit_balance_transaction.created",
        "billing.credit_grant.updated",
    ]


VALUE, CURRENCY = "amount[monetary][value]", "amount[monetary][currency]"
PRICE_TYPE = "applicability_config[scope][price_type]"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({VALUE: "0"}, "parameter_invalid_integer", VALUE),
        ({VALUE: "1.5"}, "parameter_invalid_integer", VALUE),
        ({VALUE: str(10**13)}, "amount_invalid", None),
        ({CURRENCY: "eur"}, "currency_mismatch", CURRENCY),
        ({"amount[type]": "tokens"}, "parameter_invalid_choice", "amount[type]"),
        ({"amount[type]": "custom_pricing_unit"}, "parameter_missing", "amount[custom_pricing_unit][id]"),
        ({VALUE: "-1"}, "parameter_invalid_integer", VALUE),
        ({"priority": "-1"}, "parameter_invalid_integer", "priority"),
        ({PRICE_TYPE: ""}, "parameter_missing", PRICE_TYPE),
        ({PRICE_TYPE: "licensed"}, "parameter_invalid_choice", PRICE_TYPE),
        (
            {"applicability_config[scope][prices][0][id]": "price_1"},
            "parameters_exclusive",
            "applicability_config[scope][prices]",
        ),
        ({"priority": "101"}, "parameter_invalid_integer", "priority"),
        ({"expires_at": "1"}, "credit_grant_expiry_invalid", "expires_at"),
        ({"category": "free"}, "parameter_invalid_choice", "category"),
    ],
)
async def test_a_grant_that_makes_no_sense_is_refused(
    api: Any, customer: str, change: dict[str, str], code: str, param: str | None
) -> None:
    form = {
        "customer": customer,
        "amount[type]": "monetary",
        VALUE: "1",
        CURRENCY: "usd",
        PRICE_TYPE: "metered",
    }
    assert await api.refusal("POST", PATH, form | change) == (400, code, param)
    assert (await api.get(PATH, customer=customer))["data"] == []


async def test_a_customer_has_at_most_a_hundred_unused_grants(api: Any, customer: str) -> None:
    for _ in range(GRANTS_MAX):
        await api.grant(customer, 1)
    form = {
        "customer": customer,
        "amount[type]": "monetary",
        VALUE: "1",
        CURRENCY: "usd",
        PRICE_TYPE: "metered",
    }
    assert await api.refusal("POST", PATH, form) == (400, "credit_grants_limit", None)


async def test_grants_are_listed_newest_first_per_customer_or_all(api: Any, customer: str) -> None:
    other = await api.customer()
    ids = [(await api.grant(who, 1))["id"] for who in (customer, other, customer)]
    mine = await api.get(PATH, customer=customer)
    assert [grant["id"] for grant in mine["data"]] == [ids[2], ids[0]]
    assert [grant["id"] for grant in (await api.get(PATH))["data"]] == ids[::-1]
    page = await api.get(PATH, limit=1, starting_after=ids[2])
    assert ([grant["id"] for grant in page["data"]], page["has_more"]) == ([ids[1]], True)
    refusal = await api.refusal("GET", PATH, {"starting_after": "credgr_x"})
    assert refusal == (404, "resource_missing", "starting_after")
    assert await api.refusal("GET", f"{PATH}/credgr_x") == (404, "resource_missing", "id")


async def test_new_credit_pays_what_is_owed(api: Any, customer: str) -> None:
    await api.report(customer, 10_000_000)
    state = await api.get(f"/v1/token_billing/customers/{customer}")
    assert state["balance"]["owed"] == "1.95"
    await api.grant(customer, 1000)
    state = await api.get(f"/v1/token_billing/customers/{customer}")
    assert (state["balance"]["owed"], state["balance"]["credit"]) == ("0", "8.05")


async def test_the_zero_alert_fires_once_when_credit_is_used_up_and_recovers_with_new_credit(
    api: Any, customer: str
) -> None:
    await api.grant(customer, 100)
    await api.report(customer, 20_000_000)
    await api.report(customer, 1)
    (fired,) = (await api.get("/v1/events", type="billing.alert.triggered"))["data"]
    subject = fired["data"]["object"]
    assert (subject["object"], subject["customer"], subject["value"]) == (
        "billing.alert_triggered",
        customer,
        0,
    )
    assert subject["alert"]["alert_type"] == "credit_balance_threshold"
    await api.grant(customer, 1000)
    (recovered,) = (await api.get("/v1/events", type="billing.alert.recovered"))["data"]
    assert recovered["data"]["object"]["value"] == 709


def alert_form(customer: str, value: str = "500") -> dict[str, str]:
    threshold = "credit_balance_threshold"
    return {
        "alert_type": threshold,
        "title": "low",
        f"{threshold}[lte][balance_type]": "monetary",
        f"{threshold}[lte][monetary][currency]": "usd",
        f"{threshold}[lte][monetary][value]": value,
        f"{threshold}[filters][0][type]": "customer",
        f"{threshold}[filters][0][customer]": customer,
    }


async def test_an_alert_of_ones_own_fires_at_its_threshold_for_its_customer(api: Any, customer: str) -> None:
    other = await api.customer()
    alert = await api.post("/v1/billing/alerts", alert_form(customer))
    assert alert["credit_balance_threshold"]["filters"] == [{"type": "customer", "customer": customer}]
    assert alert["credit_balance_threshold"]["lte"]["monetary"] == {"currency": "usd", "value": 500}
    for who in (customer, other):
        await api.grant(who, 600)
        await api.report(who, 10_000_000)
    (fired,) = (await api.get("/v1/events", type="billing.alert.triggered"))["data"]
    assert (fired["data"]["object"]["customer"], fired["data"]["object"]["value"]) == (customer, 405)
    assert await api.get(f"/v1/billing/alerts/{alert['id']}") == alert


async def test_an_alert_sleeps_while_inactive_and_stays_archived(api: Any, customer: str) -> None:
    alert = await api.post("/v1/billing/alerts", alert_form(customer))
    path = f"/v1/billing/alerts/{alert['id']}"
    assert (await api.post(f"{path}/deactivate"))["status"] == "inactive"
    await api.grant(customer, 600)
    await api.report(customer, 10_000_000)
    assert (await api.get("/v1/events", type="billing.alert.triggered"))["data"] == []
    assert (await api.post(f"{path}/activate"))["status"] == "active"
    assert (await api.post(f"{path}/archive"))["status"] == "archived"
    assert await api.refusal("POST", f"{path}/activate") == (400, "alert_archived", "id")
    listed = await api.get("/v1/billing/alerts", customer=customer)
    assert listed["data"] == []  # As Stripe has it: archived alerts are out of the list.


async def test_alerts_that_cannot_be_are_refused(api: Any, customer: str) -> None:
    path, form = "/v1/billing/alerts", alert_form(customer)
    other = {"alert_type": "weather", "title": "x"}
    assert (await api.refusal("POST", path, other))[0] == 400
    two = form | {
        "credit_balance_threshold[filters][1][type]": "customer",
        "credit_balance_threshold[filters][1][customer]": customer,
    }
    assert await api.refusal("POST", path, two) == (400, "not_supported", "credit_balance_threshold[filters]")
    unknown = form | {"credit_balance_threshold[filters][0][customer]": "cus_x"}
    assert (await api.refusal("POST", path, unknown))[:2] == (404, "resource_missing")
    assert await api.refusal("GET", f"{path}/alrt_x") == (404, "resource_missing", "id")


async def test_only_so_many_alerts_are_looked_at(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = await api.customer()
    everybody = {name: value for name, value in alert_form(customer).items() if "filters" not in name}
    for name, form in (("OWN_ALERTS_MAX", alert_form(customer)), ("ALERTS_MAX", everybody)):
        monkeypatch.setattr(f"costplus.web.api.alerts.{name}", 1)
        await api.post("/v1/billing/alerts", form)
        assert await api.refusal("POST", "/v1/billing/alerts", form) == (400, "alerts_limit", None)
