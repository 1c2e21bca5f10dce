"""Authentication, envelopes, headers, idempotency and limits: what holds for every endpoint."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.core.errors import (
    BillingError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from costplus.web import kernel
from costplus.web.errors import envelope, status_of
from costplus.web.sessions import Session, session_of, token_of

STATUSES = [
    (InvalidRequest, 400),
    (Conflict, 400),
    (Unauthenticated, 401),
    (PaymentRequired, 402),
    (Forbidden, 403),
    (NotFound, 404),
    (TooLarge, 413),
    (Unavailable, 503),
]


@pytest.mark.parametrize(("kind", "status"), STATUSES)
def test_a_refusals_status_follows_from_its_kind(kind: type[BillingError], status: int) -> None:
    error = kind("It is so.", param="x", remedy="Do that.")
    assert status_of(error) == status
    assert envelope(error)["error"] | {"type": ""} == {
        "type": "",
        "code": kind.code,
        "message": "It is so. Do that.",
        "param": "x",
    }
    assert envelope(error)["error"]["type"] == ("api_error" if status == 503 else "invalid_request_error")


async def test_a_key_works_as_bearer_token_and_as_basic_user_name(api: Any) -> None:
    basic = base64.b64encode(b"sk_test_tests:").decode()
    for authorization in ("Bearer sk_test_tests", f"Basic {basic}", f"basic {basic}"):
        answer = await api.send("GET", "/v1/customers", key=None, Authorization=authorization)
        assert answer.status == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer ", "Bearer sk_test_unknown", "Basic %%%", "Basic Og==", "Digest sk_test_tests"],
)
async def test_without_a_valid_key_nothing_is_answered(api: Any, authorization: str) -> None:
    answer = await api.send("GET", "/v1/customers", key=None, Authorization=authorization)
    assert answer.status == 401
    assert answer.error["code"] == "api_key_invalid"
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert "sk_test_unknown" not in answer.error["message"]


async def test_a_revoked_key_stops_working_at_once_although_it_was_remembered(api: Any) -> None:
    made = await api.post("/v1/token_billing/keys", {"name": "second"})
    answer = await api.send("GET", "/v1/customers", key=made["secret"])
    assert answer.status == 200
    await api.delete(f"/v1/token_billing/keys/{made['id']}")
    assert await api.refusal("GET", "/v1/customers", key=made["secret"]) == (401, "api_key_invalid", None)


async def test_a_customers_key_may_not_use_the_sellers_api(api: Any) -> None:
    customer = await api.customer()
    made = await api.post("/v1/token_billing/keys", {"customer": customer})
    assert made["secret"].startswith("sk_cust_")
    assert await api.refusal("GET", "/v1/customers", key=made["secret"]) == (403, "permission_denied", None)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/nothing"), ("DELETE", "/v1/events/evt_1"), ("GET", "/")]
)
async def test_an_unknown_url_is_a_404_in_the_envelope(api: Any, method: str, path: str) -> None:
    answer = await api.send(method, path)
    assert (answer.status, answer.error["code"]) == (404, "url_unknown")
    assert "Unrecognized request URL" not in answer.error["message"]


async def test_every_answer_carries_the_headers_that_sdks_read(api: Any) -> None:
    sent = {"Stripe_Version": "2026-10-28.endive", "Idempotency_Key": "k1"}
    for method, path in (("POST", "/v1/customers"), ("POST", "/v1/nothing")):
        answer = await api.send(method, path, **sent)
        assert answer.headers["Request-Id"].startswith("req_")
        assert answer.headers["Stripe-Version"] == "2026-10-28.endive"
        assert answer.headers["Idempotency-Key"] == "k1"
        assert answer.headers["Stripe-Should-Retry"] == "false"


async def test_a_repeated_request_gets_the_first_answer_and_has_one_effect(api: Any) -> None:
    first = await api.send("POST", "/v1/customers", form={"name": "Ann"}, Idempotency_Key="k1")
    again = await api.send("POST", "/v1/customers", form={"name": "Ann"}, Idempotency_Key="k1")
    assert again.body == first.body
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len((await api.get("/v1/customers"))["data"]) == 1


async def test_an_idempotency_key_is_good_for_one_set_of_parameters(api: Any) -> None:
    await api.post("/v1/customers", {"name": "Ann"}, Idempotency_Key="k1")
    answer = await api.send("POST", "/v1/customers", form={"name": "Bea"}, Idempotency_Key="k1")
    assert (answer.status, answer.error["type"]) == (400, "idempotency_error")
    assert answer.error["code"] == "idempotency_key_in_use"


async def test_idempotency_keys_of_different_api_keys_are_different(api: Any) -> None:
    other = (await api.post("/v1/token_billing/keys"))["secret"]
    await api.post("/v1/customers", {"name": "Ann"}, Idempotency_Key="k1")
    answer = await api.send("POST", "/v1/customers", form={"name": "Bea"}, key=other, Idempotency_Key="k1")
    assert answer.status == 200


async def test_a_refused_request_leaves_its_idempotency_key_unused(api: Any) -> None:
    assert await api.refusal("POST", "/v1/customers", {"nam": "Ann"}, Idempotency_Key="k1") == (
        400,
        "parameter_unknown",
        "nam",
    )
    await api.post("/v1/customers", {"name": "Ann"}, Idempotency_Key="k1")


async def test_an_idempotency_key_has_at_most_255_characters(api: Any) -> None:
    await api.post("/v1/customers", {}, Idempotency_Key="k" * 255)
    refusal = await api.refusal("POST", "/v1/customers", {}, Idempotency_Key="k" * 256)
    assert refusal == (400, "idempotency_key_too_long", None)


async def test_a_repeated_creation_of_a_key_does_not_tell_its_secret_again(api: Any) -> None:
    first = await api.post("/v1/token_billing/keys", {"name": "a"}, Idempotency_Key="k1")
    again = await api.post("/v1/token_billing/keys", {"name": "a"}, Idempotency_Key="k1")
    assert first["secret"] and again == first | {"secret": None}


async def test_a_body_over_four_megabytes_is_refused(api: Any) -> None:
    refusal = await api.refusal("POST", "/v1/customers", {"name": "x" * kernel.BODY_BYTES_MAX})
    assert refusal == (413, "request_too_large", None)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff"])
async def test_v2_takes_json_objects_only(api: Any, body: bytes) -> None:
    response = await api.client.post(
        "/v2/billing/meter_events", content=body, headers={"Authorization": "Bearer sk_test_tests"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "body_not_json")


async def test_v1_takes_form_encoded_text(api: Any) -> None:
    response = await api.client.post(
        "/v1/customers", content=b"name=%ff", headers={"Authorization": "Bearer sk_test_tests"}
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "body_not_form")


async def test_v1_takes_json_too_where_the_caller_says_so(api: Any) -> None:
    answer = await api.send("POST", "/v1/customers", json={"name": "Ann", "metadata": {"tier": 3}})
    assert (answer.body["name"], answer.body["metadata"]) == ("Ann", {"tier": "3"})


async def test_a_defect_is_answered_without_details_and_changes_nothing(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> object:
        raise RuntimeError("the secret is a swordfish")

    monkeypatch.setattr(kernel, "object_of", broken)
    answer = await api.send("POST", "/v1/customers", form={"name": "Ann"}, Idempotency_Key="k1")
    assert (answer.status, answer.error["type"], answer.error["code"]) == (500, "api_error", "internal_error")
    assert "swordfish" not in str(answer.body)
    assert answer.headers["Request-Id"] in answer.error["message"]
    assert answer.headers["Stripe-Should-Retry"] == "true"
    assert not await api.store.read(lambda tx: tx.page(Customer))


async def test_pages_go_forth_and_back_and_say_whether_there_is_more(api: Any) -> None:
    made = [await api.customer(name=str(i)) for i in range(5)][::-1]

    async def page(**query: Any) -> tuple[list[str], bool]:
        listing = await api.get("/v1/customers", **query)
        assert (listing["object"], listing["url"]) == ("list", "/v1/customers")
        return [entry["id"] for entry in listing["data"]], listing["has_more"]

    assert await page() == (made, False)
    assert await page(limit=5) == (made, False)
    assert await page(limit=4) == (made[:4], True)
    assert await page(limit=2, starting_after=made[1]) == (made[2:4], True)
    assert await page(limit=2, starting_after=made[2]) == (made[3:], False)
    assert await page(limit=2, ending_before=made[3]) == (made[1:3], True)
    assert await page(limit=2, ending_before=made[2]) == (made[:2], False)


async def test_lists_refuse_limits_and_cursors_that_make_no_sense(api: Any) -> None:
    customer = await api.customer()
    for limit in ("0", "101", "x"):
        refusal = await api.refusal("GET", "/v1/customers", {"limit": limit})
        assert refusal == (400, "parameter_invalid_integer", "limit")
    both = {"starting_after": customer, "ending_before": customer}
    assert await api.refusal("GET", "/v1/customers", both) == (400, "parameters_exclusive", "starting_after")
    unknown = await api.refusal("GET", "/v1/customers", {"starting_after": "cus_x"})
    assert unknown == (404, "resource_missing", "starting_after")


async def test_expand_is_accepted_everywhere(api: Any) -> None:
    await api.get("/v1/customers", **{"expand[]": "data.subscriptions"})
    await api.post("/v1/customers", {"expand[0]": "tax"})


async def test_the_gateways_queue_is_settled_before_balances_are_read(api: Any) -> None:
    customer = await api.customer()
    before = api.flushes
    await api.get("/v1/billing/credit_balance_summary", customer=customer)
    await api.get("/v1/events")
    await api.get("/v1/invoices")
    assert api.flushes == before + 3


async def test_a_session_token_is_worth_nothing_when_changed_or_signed_elsewhere(api: Any) -> None:
    session = Session("mk_tests", api.now + timedelta(minutes=1))
    token = token_of(session, secret=b"a")
    assert session_of(token, secret=b"a") == session
    assert session_of(token, secret=b"b") is None
    for forged in (token[:-2] + "AA", token[:20], "mesn_", "mesn_%%%"):
        assert session_of(forged, secret=b"a") is None
