"""The API in this process, on a store in memory, with the packaged prices and a clock that tests set.

Every object that the official SDK has a class for is checked against that class, in every answer.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from costplus.billing.customer import ApiKey
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.rating.pricing import Pricing
from costplus.storage.memory import MemoryStore
from costplus.web.app import build_app
from costplus.web.auth import digest_of
from costplus.web.context import WebContext

ROOT = Path(__file__).resolve().parents[3]
KEY = "sk_test_tests"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
Check = Callable[[dict[str, Any]], list[str]]

# What Stripe's general release has no words for, and we keep in the shape of its preview or our own.
KNOWN_FAULTS = (
    "billing.alert.alert_type: '",
    *(
        f"billing.alert.{kind}: not in the SDK"
        for kind in ("burn_rate", "credit_balance_threshold", "credit_run_out", "spend_threshold")
    ),
    "billing.alert.usage_threshold.recurrence: 'recurring'",
    "billing.alert_triggered.value: '",  # Text in the preview, and only there:
    *(
        f"billing.alert_triggered.{name}: not in the SDK"
        for name in (
            *("aggregation_period", "currency", "custom_pricing_unit", "external_customer_id"),
            *("group_by", "triggered_at", "window"),
        )
    ),
    "event.type: 'billing.alert.recovered'",
    "tax_rate.effective_at: not in the SDK",
    "tax_rate.ends_at: not in the SDK",
    "v2.core.event.data: not in the SDK",  # They are: in the classes of single types.
    "v2.core.event.related_object: not in the SDK",
    "event.type: 'token_billing.",
    *(f"event.type: '{area}." for area in ("auto_recharge", "payment", "top_up")),
    "billing.credit_grant.applicability_config.scope.",
    "billing.credit_grant.amount.",
    "billing.credit_balance_summary.balances[1].",
    "billing.credit_balance_transaction.debit.amount.",
    "billing.credit_balance_transaction.credit.amount.",
    *(f"event.type: '{area}." for area in ("cost", "margin", "model", "price", "rate_card", "source")),
)


def load_checker() -> Check | None:
    """Return the checker of the shared tools, or None where it is absent."""
    file = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared")) / "tools" / "sdkcheck.py"
    if not file.is_file():
        return None
    spec = importlib.util.spec_from_file_location("sdkcheck", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.class_node = functools.cache(module.class_node)
    check: Check = module.check
    return check


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of Stripe's kinds inside an answer; deletions have a shape of their own."""
    if isinstance(value, dict):
        kind = value.get("object")
        ours = isinstance(kind, str) and (kind.startswith("token_billing.") or kind in ("list", "plan"))
        if isinstance(kind, str) and not ours and not value.get("deleted"):
            yield value
        for inner in value.values():
            yield from objects_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects_in(inner)


@dataclass
class Answer:
    """One answer of the API."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.body["error"])


@dataclass
class Api:
    """Calls the API as a seller; `now` is the server's clock."""

    client: httpx2.AsyncClient
    store: MemoryStore
    pricing: Pricing
    check: Check | None
    now: datetime = NOON
    flushes: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    async def send(
        self,
        method: str,
        path: str,
        *,
        form: dict[str, Any] | None = None,
        json: Any = None,
        key: str | None = KEY,
        **headers: str,
    ) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        query = form if method == "GET" else None
        body = form if method != "GET" else None
        response = await self.client.request(
            method, path, params=query, data=body, json=json, headers={**self.headers, **sent}
        )
        answer = Answer(response.status_code, response.json(), response.headers)
        if self.check is not None:
            for found in objects_in(answer.body):
                faults = [fault for fault in self.check(found) if not fault.startswith(KNOWN_FAULTS)]
                assert not faults, faults
        return answer

    async def post(self, path: str, form: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """Post a form and return what it made."""
        answer = await self.send("POST", path, form=form or {}, **headers)
        assert answer.status == 200, answer.body
        return answer.body

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = await self.send("GET", path, form=query)
        assert answer.status == 200, answer.body
        return answer.body

    async def delete(self, path: str) -> dict[str, Any]:
        answer = await self.send("DELETE", path)
        assert answer.status == 200, answer.body
        return answer.body

    async def refusal(
        self, method: str, path: str, form: dict[str, Any] | None = None, **options: Any
    ) -> tuple[int, str, str | None]:
        """Return status, code and parameter of a request that must be refused."""
        answer = await self.send(method, path, form=form, **options)
        assert answer.status >= 400, answer.body
        assert answer.error["message"] and answer.error["type"], answer.error
        return answer.status, answer.error["code"], answer.error.get("param")

    async def set_up(self, **form: Any) -> dict[str, Any]:
        """Set token billing up at 30 % markup, without credit of its own unless asked for."""
        defaults = {"default_markup_percent": "30", "credit_grant_per_period_amount": "0"}
        return await self.post("/v1/token_billing/onboarding/init", defaults | form)

    async def customer(self, **form: Any) -> str:
        return str((await self.post("/v1/customers", form))["id"])

    async def grant(self, customer: str, value: int, **form: Any) -> dict[str, Any]:
        return await self.post(
            "/v1/billing/credit_grants",
            {
                "customer": customer,
                "amount[type]": "monetary",
                "amount[monetary][value]": value,
                "amount[monetary][currency]": "usd",
                "applicability_config[scope][price_type]": "metered",
                **form,
            },
        )

    async def report(
        self,
        customer: str,
        value: int | str,
        *,
        model: str = "openai/gpt-4o-mini",
        token_type: str = "input",
        **fields: Any,
    ) -> Answer:
        """Report tokens the way Stripe's token SDKs do."""
        headers = {name: fields.pop(name) for name in list(fields) if name[0].isupper()}
        payload = {
            "stripe_customer_id": customer,
            "value": str(value),
            "model": model,
            "token_type": token_type,
        }
        body = {"event_name": "token-billing-tokens", "payload": payload, **fields}
        return await self.send("POST", "/v2/billing/meter_events", json=body, **headers)

    async def event_types(self) -> list[str]:
        """Return the types of what happened, oldest first."""
        events = await self.get("/v1/events", limit=100)
        return [event["type"] for event in reversed(events["data"])]


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return bundled_catalogue()


@pytest.fixture(scope="session")
def sdk_check() -> Check | None:
    return load_checker()


@pytest.fixture
async def api(catalogue: Catalogue, sdk_check: Check | None) -> AsyncIterator[Api]:
    """Return the API with one seller's key."""
    store, pricing = MemoryStore(), Pricing(catalogue)
    key = ApiKey(id="mk_tests", created=NOON - timedelta(days=1), digest=digest_of(KEY), name="tests")
    await store.write(lambda tx: tx.save(key))

    pricing = Pricing(catalogue)

    async def flush() -> None:
        api.flushes += 1

    context = WebContext(
        store=store,
        pricing=pricing,
        now=lambda: api.now,
        base_url="https://bill.example",
        livemode=False,
        flush=flush,
        link_secret=b"secret of the tests",
    )
    transport = httpx2.ASGITransport(build_app(context), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="https://bill.example") as client:
        api = Api(client=client, store=store, pricing=pricing, check=sdk_check)
        yield api
