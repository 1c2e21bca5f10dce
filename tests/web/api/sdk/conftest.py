"""A server of the API on a real socket, and the released SDK's clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from granian.constants import Interfaces
from granian.server.embed import Server

from costplus.billing.customer import ApiKey
from costplus.catalog.catalogue import Catalogue
from costplus.gateway.rsgi_asgi import AsgiOverRsgi
from costplus.rating.pricing import Pricing
from costplus.storage.memory import MemoryStore
from costplus.web.app import build_app
from costplus.web.context import WebContext

KEY = "sk_test_sdk"
METER = "token-billing-tokens"


@dataclass
class Shop:
    """A running server and clients for it."""

    url: str
    meter: str = METER

    def client(self, key: str = KEY) -> stripe.StripeClient:
        bases = {"api": self.url, "meter_events": self.url, "files": self.url, "connect": self.url}
        return stripe.StripeClient(key, base_addresses=bases, max_network_retries=0)  # type: ignore[arg-type]  # A TypedDict.

    def set_up(self, **params: str) -> Any:
        defaults = {"default_markup_percent": "30", "credit_grant_per_period_amount": "0"}
        made = self.client().raw_request("post", "/v1/token_billing/onboarding/init", **(defaults | params))
        return self.client().deserialize(made, api_mode="V1")

    async def sees(self, scenario: Callable[[Any], None]) -> None:
        """Run a scenario of the synchronous SDK beside the server."""
        await asyncio.to_thread(scenario, self)

    @staticmethod
    def payload(customer: str, value: int, *, token_type: str = "input") -> dict[str, str]:
        """Return what a meter event says of tokens."""
        return {
            "stripe_customer_id": customer,
            "value": str(value),
            "model": "openai/gpt-4o-mini",
            "token_type": token_type,
        }

    def grant(self, customer: str, value: int) -> Any:
        """Give a customer credit that it paid for."""
        return self.client().v1.billing.credit_grants.create(
            {
                "customer": customer,
                "name": "top-up",
                "category": "paid",
                "amount": {"type": "monetary", "monetary": {"value": value, "currency": "usd"}},
                "applicability_config": {"scope": {"price_type": "metered"}},
            }
        )

    def available(self, customer: str) -> int:
        """Return the credit that is left, in cents."""
        summary = self.client().v1.billing.credit_balance_summary.retrieve(
            {
                "customer": customer,
                "filter": {"type": "applicability_scope", "applicability_scope": {"price_type": "metered"}},
            }
        )
        monetary = summary.balances[0].available_balance.monetary
        assert monetary is not None
        return monetary.value


async def nothing_queued() -> None:
    """Flush a gateway that is not there."""


@pytest.fixture
async def shop(catalogue: Catalogue) -> AsyncIterator[Shop]:
    store = MemoryStore()
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    await store.write(lambda tx: tx.save(ApiKey(id="mk_1", created=datetime.now(UTC), digest=digest)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    context = WebContext(
        store=store,
        pricing=Pricing(catalogue),
        now=lambda: datetime.now(UTC),
        base_url=f"http://{host}:{port}",
        livemode=False,
        flush=nothing_queued,
        link_secret=b"secret",
    )
    server = Server(
        AsgiOverRsgi(build_app(context)), address=host, port=port, interface=Interfaces.RSGI, websockets=False
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection(host, port)
                break
            await asyncio.sleep(0.005)
    writer.close()
    yield Shop(context.base_url)
    server.stop()
    await serving
