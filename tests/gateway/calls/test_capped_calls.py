"""Spend caps on real calls: refused in the caller's dialect, counted by key, exact under concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from costplus.billing.cap_terms import CapTerms, set_caps
from costplus.billing.customer import ApiKey, Customer
from costplus.billing.store import Tx
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.e2e

DOLLAR = 10**9
KEYS = {f"sk_cust_{name}": f"cus_{name}" for name in ("free", "capped", "keyed")}


async def _cap(path: Path) -> None:
    """Cap a customer at a cent a day, and the key of another at nothing at all."""
    at = datetime.now(UTC)

    def verb(tx: Tx) -> None:
        for name, with_key, amount_minor in (("capped", False, 1), ("keyed", True, 0)):
            customer = tx.find(Customer, f"cus_{name}")
            (key,) = tx.page(ApiKey, parent=f"cus_{name}")
            assert customer is not None
            set_caps(
                tx, customer, key if with_key else None, {"day": CapTerms(amount_minor=amount_minor)}, at=at
            )

    store = await SqliteStore.open(path)
    await store.write(verb)
    await store.close()


@pytest.fixture(scope="module")
def served(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway: a customer in overage with a cap, one whose key has one, one without."""
    folder = tmp_path_factory.mktemp("capped")
    calls.seed(folder, {"cus_free": DOLLAR, "cus_capped": None, "cus_keyed": 100 * DOLLAR}, keys=KEYS)
    asyncio.run(_cap(folder / "costplus.db"))
    with calls.gateway_on(folder, calls.environment(provider.url)) as gateway:
        yield gateway


def test_under_a_cap_the_answer_says_how_much_room_remains(served: Any) -> None:
    answer = served.chat("[[tokens=5]]", "cus_capped")
    charged = int(Decimal(answer.headers["costplus-charged"]) * DOLLAR)
    assert int(Decimal(answer.headers["costplus-remaining"]) * DOLLAR) == DOLLAR // 100 - charged


def test_of_many_calls_at_once_a_cap_admits_those_that_fit_and_says_when_it_resets(
    served: Any, calls: Any
) -> None:
    def call(number: int) -> Any:
        return served.chat(f"call {number}", "cus_capped", max_tokens=12_000)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(call, range(48)))
    made = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 402]
    assert made and refused and len(made) + len(refused) == 48
    for answer in refused:
        error = answer.json()["error"]
        assert error["code"] == "spend_cap_reached"
        assert "The day's spend cap of customer cus_capped is reached" in error["message"]
        assert "resets at" in error["message"]
        assert 0 <= int(answer.headers["retry-after"]) <= 86_400
    settled = len(made) + 1  # And the one before.
    calls.until(lambda: len(served.books.of("cus_capped")) == settled, "all calls are settled")
    assert sum(call.price_nano for call in served.books.of("cus_capped")) <= 10_000_000


@pytest.mark.filterwarnings("ignore:The model .* is deprecated")
def test_both_sdks_see_a_402_that_they_do_not_repeat(served: Any) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    chat = openai.OpenAI(api_key="sk_cust_keyed", base_url=f"{served.url}/v1")
    with pytest.raises(openai.APIStatusError) as said:
        chat.chat.completions.create(model="gpt-4o-mini", messages=hello)
    assert (said.value.status_code, said.value.code) == (402, "spend_cap_reached")
    claude = anthropic.Anthropic(api_key="sk_cust_keyed", base_url=served.url)
    with pytest.raises(anthropic.APIStatusError) as told:
        claude.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=hello)
    assert told.value.status_code == 402
    assert told.value.response.json()["error"]["type"] == "billing_error"


def test_a_key_s_cap_leaves_its_customer_s_other_callers_alone(served: Any) -> None:
    assert served.chat("hello", "cus_keyed").status_code == 200  # By the merchant's key.
    assert served.chat("hello", "cus_free").status_code == 200


def test_a_call_is_kept_with_the_key_that_it_came_with(served: Any, calls: Any) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "mine"}]}
    answer = served.post("/v1/chat/completions", body, key="sk_cust_free")
    id = answer.headers["costplus-request-id"]
    served.books.wait_for(id)
    ((kept,),) = served.books.rows("SELECT api_key FROM usage_events WHERE request_id = ?", id)
    ((expected,),) = served.books.rows(
        "SELECT id FROM records WHERE kind = 'api_key' AND parent = 'cus_free'"
    )
    assert kept == expected
