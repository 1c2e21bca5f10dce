"""Providers' keys in the store: used at once, in no file in plain, and a customer's own in place of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.e2e

OURS, NEXT, BROUGHT, WRONG = (
    "sk-ours-4711-secret",
    "sk-next-0815-secret",
    "sk-brought-9-secret",
    "sk-wrong-secret",
)
AS_PLAIN = {"authorization": "Bearer sk_test_plain"}
KEYS = {"sk_test_plain": "cus_plain", "sk_test_own": "cus_own", "sk_test_broke": "cus_broke"}


def judged(asked: Any) -> tuple[int, dict[str, Any]] | None:
    """Accept the three keys that are good; the front keeps what it was shown."""
    good = asked.headers.get("authorization") in [f"Bearer {key}" for key in (OURS, NEXT, BROUGHT)]
    return None if good else (401, {"error": {"message": "Incorrect API key provided"}})


@pytest.fixture(scope="module")
def served(
    calls: Any, fronts: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any]]:
    folder = tmp_path_factory.mktemp("stored")
    calls.seed(folder, {"cus_plain": None, "cus_own": None, "cus_broke": 0}, keys=KEYS)
    with fronts.front(provider.url) as told:
        told.judge = judged
        environ = {"COSTPLUS_SECRET_KEY": calls.merchant_key, "COSTPLUS_LOG_LEVEL": "debug"}
        with calls.gateway_on(folder, environ, role="all") as gateway:
            yield gateway, told


def api(gateway: Any, method: str, path: str, *, key: str = "", **form: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key or 'sk_test_merchant_of_the_tests'}"}
    found: httpx2.Response = gateway.http.request(
        method, f"/v1/token_billing/{path}", data=form or None, headers=headers
    )
    return found


def chat(gateway: Any, key: str) -> httpx2.Response:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello [[input=100]]"}]}
    found: httpx2.Response = gateway.post("/v1/chat/completions", body, key=key)
    return found


def shown(told: Any) -> str:
    """Return the key that the provider was shown last."""
    return str(told.asked[-1].headers["authorization"]).removeprefix("Bearer ")


@pytest.fixture(scope="module")
def stored(served: tuple[Any, Any]) -> dict[str, Any]:
    """Store a provider, which nobody configured before."""
    gateway, told = served
    assert chat(gateway, "sk_test_plain").json()["error"]["code"] == "provider_not_configured"
    assert gateway.http.get("/v1/models", headers=AS_PLAIN).json()["data"] == []
    made = api(gateway, "POST", "providers", name="openai", base_url=told.url, api_key=OURS)
    assert made.status_code == 200, made.text
    assert gateway.http.get("/v1/models", headers=AS_PLAIN).json()["data"]
    found: dict[str, Any] = made.json()
    return found


def test_a_stored_provider_is_used_at_once_and_its_next_key_too(
    served: tuple[Any, Any], stored: dict[str, Any]
) -> None:
    gateway, told = served
    assert (stored["name"], stored["hint"], stored["base_url"]) == ("openai", OURS[-4:], told.url)
    assert chat(gateway, "sk_test_plain").status_code == 200
    assert shown(told) == OURS
    changed = api(gateway, "POST", f"providers/{stored['id']}", api_key=NEXT)
    assert changed.json()["base_url"] == told.url
    assert chat(gateway, "sk_test_plain").status_code == 200
    assert shown(told) == NEXT


def test_a_customers_own_key_is_used_for_its_calls_which_cost_nothing(
    served: tuple[Any, Any], stored: dict[str, Any]
) -> None:
    gateway, told = served
    for customer in ("cus_own", "cus_broke"):
        made = api(gateway, "POST", "provider_keys", customer=customer, provider="openai", api_key=BROUGHT)
        assert made.json()["hint"] == BROUGHT[-4:], made.text
    for key in ("sk_test_own", "sk_test_broke"):  # The second has no credit: nothing is asked of it.
        answer = chat(gateway, key)
        assert answer.status_code == 200, answer.text
        assert shown(told) == BROUGHT
    assert chat(gateway, "sk_test_plain").status_code == 200
    assert shown(told) != BROUGHT
    (event,) = api(gateway, "GET", "usage_events?customer=cus_own").json()["data"]
    assert event["flags"] == ["byok"]
    (booked,) = gateway.books.of("cus_own")
    assert (booked.price_nano, booked.cost_nano, booked.flags) == (0, 0, ["byok"])
    assert booked.quantities["input"] == 100
    assert gateway.books.of("cus_plain")[-1].price_nano > 0


def test_the_card_may_ask_a_fee_for_calls_with_the_customers_own_key(
    served: tuple[Any, Any], stored: dict[str, Any]
) -> None:
    gateway, told = served
    (card,) = api(gateway, "GET", "rate_cards").json()["data"]
    changed = api(gateway, "POST", f"rate_cards/{card['id']}", own_key_fee_percent="5")
    assert changed.status_code == 200, changed.text
    merchant = {"authorization": "Bearer sk_test_merchant_of_the_tests"}
    made = gateway.http.post("/v1/customers", data={"name": "New"}, headers=merchant).json()["id"]
    api(gateway, "POST", "provider_keys", customer=made, provider="openai", api_key=BROUGHT)
    key = api(gateway, "POST", "keys", customer=made).json()["secret"]
    answer = chat(gateway, key)
    assert answer.status_code == 200, answer.text
    assert shown(told) == BROUGHT
    booked = gateway.books.wait_for(answer.headers["costplus-request-id"])
    list_nano = 150 * booked.quantities["input"] + 600 * booked.quantities["output"]
    assert (booked.price_nano, booked.cost_nano) == (ceil(list_nano * Fraction(5, 100)), 0)
    assert booked.flags == ["byok"]


def test_a_rejected_key_is_its_customers_to_mend_and_costs_nothing(
    served: tuple[Any, Any], stored: dict[str, Any]
) -> None:
    gateway, _ = served
    (key,) = api(gateway, "GET", "provider_keys?customer=cus_broke").json()["data"]
    assert api(gateway, "POST", f"provider_keys/{key['id']}", api_key=WRONG).status_code == 200
    answer = chat(gateway, "sk_test_broke")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "provider_key_rejected")
    assert api(gateway, "DELETE", f"provider_keys/{key['id']}").json()["deleted"] is True
    assert chat(gateway, "sk_test_broke").status_code == 402  # It is sold to again, and has no credit.


@pytest.mark.parametrize(
    ("path", "form", "code"),
    [
        ("providers", {"name": "a b", "api_key": "x"}, "provider_name_invalid"),
        ("providers", {"name": "openai", "api_key": "x"}, "provider_key_exists"),
        ("providers", {"name": "mine", "api_key": "x"}, "settings_invalid"),
        ("providers", {"name": "mine", "base_url": "http://x", "wire": "smoke"}, "settings_invalid"),
        (
            "providers",
            {"name": "vertex", "region": "r", "service_account": "/etc/passwd"},
            "settings_invalid",
        ),
        (
            "provider_keys",
            {"customer": "cus_nobody", "provider": "openai", "api_key": "x"},
            "resource_missing",
        ),
        (
            "provider_keys",
            {"customer": "cus_own", "provider": "openai", "api_key": "x"},
            "provider_key_exists",
        ),
        ("provider_keys", {"customer": "cus_own", "provider": "cohere"}, "parameter_missing"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    served: tuple[Any, Any], stored: dict[str, Any], path: str, form: dict[str, str], code: str
) -> None:
    answer = api(served[0], "POST", path, **form)
    assert answer.json()["error"]["code"] == code


def test_a_customers_key_administers_no_providers(served: tuple[Any, Any]) -> None:
    assert api(served[0], "GET", "providers", key="sk_test_own").status_code in (401, 403)


def test_no_secret_is_in_any_file_log_or_answer(served: tuple[Any, Any], stored: dict[str, Any]) -> None:
    gateway, _ = served
    for listed in ("providers", "provider_keys"):
        assert "-secret" not in api(gateway, "GET", listed).text
    files = [path for path in gateway.folder.rglob("*") if path.is_file()]
    assert {"costplus.db", "stderr.log"} <= {path.name for path in files}
    for path in files:
        assert b"-secret" not in path.read_bytes(), path


def test_the_books_of_such_calls_are_proven(served: tuple[Any, Any], stored: dict[str, Any]) -> None:
    gateway, _ = served
    audit = [sys.executable, "-m", "costplus", "audit", "--data-dir", str(gateway.folder)]
    found = subprocess.run(audit, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
