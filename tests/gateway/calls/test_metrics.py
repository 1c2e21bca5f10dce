"""A running gateway says in Prometheus' format what passed, and to nobody without a key for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.e2e

DOLLAR = 10**9
TOKEN = "scrape-only-0123456789"


@pytest.fixture(scope="module")
def served(calls: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway whose metrics have a token of their own."""
    folder: Path = tmp_path_factory.mktemp("metrics")
    calls.seed(folder, {"cus_1": 10 * DOLLAR, "cus_empty": 0}, keys={"sk_test_own": "cus_1"})
    with calls.gateway_on(
        folder, calls.environment(provider.url) | {"COSTPLUS_METRICS_TOKEN": TOKEN}
    ) as gateway:
        yield gateway


def page(gateway: Any, *, token: str = TOKEN, **headers: str) -> httpx2.Response:
    return httpx2.get(
        f"{gateway.url}/metrics", headers={"authorization": f"Bearer {token}", **headers}, trust_env=False
    )


def samples(gateway: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by its name and labels."""
    answer = page(gateway)
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, tuple(sorted(labels.items()))), 0)


MINI = {"provider": "openai", "model": "gpt-4o-mini"}


def test_what_calls_used_cost_and_earned_is_counted_exactly(served: Any, calls: Any) -> None:
    before = samples(served)
    answers = [served.chat("[[tokens=40]]", "cus_1") for _ in range(3)]
    booked = [served.books.wait_for(answer.headers["costplus-request-id"]) for answer in answers]
    after = samples(served)

    def risen(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    assert risen("costplus_requests_total", **MINI, endpoint="openai_chat", status="200") == 3
    for leaf in booked[0].quantities:
        counted = sum(call.quantities[leaf] for call in booked)
        assert risen("costplus_tokens_total", **MINI, type=leaf) == counted
    revenue = sum(call.price_nano for call in booked) / DOLLAR
    assert risen("costplus_revenue_usd_total", **MINI) == pytest.approx(revenue, rel=1e-9)
    cost = sum(call.cost_nano for call in booked) / DOLLAR
    assert risen("costplus_cost_usd_total", **MINI) == pytest.approx(cost, rel=1e-9)
    assert risen("costplus_gateway_overhead_seconds_count") == 3
    assert 0 < risen("costplus_gateway_overhead_seconds_sum") < 3
    assert risen("costplus_gateway_overhead_seconds_bucket", le="+Inf") == 3
    calls.until(lambda: of(samples(served), "costplus_events_unbilled") == 0, "nothing waits for the books")


def test_a_stream_notes_its_first_piece_and_a_broken_one_its_estimate(served: Any) -> None:
    before = samples(served)
    assert served.chat("[[tokens=5]] [[latency=120]]", "cus_1", stream=True).status_code == 200
    served.chat("[[tokens=50]] [[truncate]]", "cus_1", stream=True)
    after = samples(served)

    def risen(name: str, **labels: str) -> float:
        return of(after, name, **labels) - of(before, name, **labels)

    assert risen("costplus_ttft_seconds_count", provider="openai") == 2
    assert risen("costplus_ttft_seconds_sum", provider="openai") >= 0.12
    assert risen("costplus_estimated_calls_total", **MINI) == 1


def test_refusals_are_counted_and_names_that_callers_make_up_are_no_labels(served: Any) -> None:
    before = samples(served)
    assert served.chat("hello", "cus_empty").status_code == 402
    for number in range(20):
        assert served.chat("hello", "cus_1", model=f"made-up-{number}").status_code == 400
        assert served.post(f"/providers/made-up-{number}/v1/x", {}, "cus_1").status_code == 400
    found = samples(served)
    refused = of(found, "costplus_refusals_total", code="customer_credit_exhausted")
    assert refused - of(before, "costplus_refusals_total", code="customer_credit_exhausted") == 1
    assert not [labels for _, labels in found if any("made-up" in value for _, value in labels)]
    assert not [labels for _, labels in found if any("cus_" in value for _, value in labels)]


def test_it_says_how_the_process_and_the_database_stand(served: Any) -> None:
    assert served.chat("[[tokens=5]]", "cus_1").status_code == 200
    found = samples(served)
    assert of(found, "costplus_store_up") == 1
    assert of(found, "costplus_price_age_seconds") > 0
    assert ("costplus_webhook_backlog", ()) in found
    assert of(found, "costplus_journal_bytes") > 0
    assert of(found, "costplus_upstream_connections", provider="openai", state="idle") >= 1
    assert of(found, "costplus_calls_in_flight") == 0
    assert of(found, "process_resident_memory_bytes") > 1_000_000


def test_only_the_token_and_the_merchant_may_look(served: Any) -> None:
    assert page(served, token="sk_test_merchant_of_the_tests").status_code == 200
    for token in ("x", "wrong", "sk_test_own"):  # The last is a customer's.
        refused = page(served, token=token)
        assert refused.status_code == 401
        assert refused.json()["error"]["code"] == "metrics_token_invalid"
        assert refused.headers["www-authenticate"] == "Bearer"


def test_openmetrics_is_spoken_to_whoever_asks_for_it(served: Any) -> None:
    answer = page(served, accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
