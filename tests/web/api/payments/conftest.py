"""The API with payment providers: the simulated processor calls back over HTTP, to the same application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from costplus.billing.collector import Collector
from costplus.billing.payments.fake import FakeProcessor
from costplus.billing.payments.fake_card import FakeCharge
from costplus.billing.payments.manual import ManualPayments
from costplus.web.app import build_app
from costplus.web.context import WebContext

PATH = "/v1/token_billing"
CALLBACKS = f"{PATH}/callbacks/fake"


@dataclass
class Cashier:
    """A seller's API calls about money, and the processor behind them."""

    api: Any
    fake: FakeProcessor
    collector: Collector
    sent: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    async def customer(self, token: str = "", *, provider: str = "fake", **form: Any) -> str:
        """Create a customer, with a default payment method where a token is given."""
        id = str(await self.api.customer(**form))
        if token:
            await self.attach(id, token, provider=provider)
        return id

    async def attach(self, customer: str, token: str, *, provider: str = "fake", **form: Any) -> str:
        form = {"customer": customer, "provider": provider, "token": token, **form}
        return str((await self.api.post(f"{PATH}/payment_methods", form))["id"])

    async def top_up(self, customer: str, amount: int = 1000, **form: Any) -> dict[str, Any]:
        made = await self.api.post(f"{PATH}/top_ups", {"customer": customer, "amount": amount, **form})
        return dict(made)

    async def payment(self) -> dict[str, Any]:
        """Return the latest payment."""
        return dict((await self.api.get(f"{PATH}/payments"))["data"][0])

    async def call(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Post a callback as a processor does, without any key."""
        answer = await self.api.client.post(CALLBACKS, content=body, headers=dict(headers))
        return answer.status_code, answer.json()

    async def send(self, body: bytes, headers: Mapping[str, str]) -> int:
        """Be the wire between the processor and our server."""
        self.sent.append((body, dict(headers)))
        return (await self.call(body, headers))[0]

    async def call_back(self, **later: Any) -> None:
        """Let time pass and the processor call back."""
        self.api.now += timedelta(**later)
        await self.fake.call_back_due()

    async def charge(self) -> FakeCharge:
        """Return the processor's latest charge."""
        found: FakeCharge = (await self.api.store.read(lambda tx: tx.page(FakeCharge, limit=1)))[0]
        return found

    async def credit(self, customer: str) -> str:
        state = await self.api.get(f"{PATH}/customers/{customer}")
        return str(state["balance"]["credit"])


@pytest.fixture
async def cashier(api: Any) -> AsyncIterator[Cashier]:
    """Return the API of an account that is set up and takes money."""
    holder: list[Cashier] = []

    async def send(body: bytes, headers: Mapping[str, str]) -> int:
        return await holder[0].send(body, headers)

    async def nothing_queued() -> None:
        """Flush a gateway that is not there."""

    fake = FakeProcessor(api.store, secret=b"fake secret", now=lambda: api.now, send=send)
    ports = {"fake": fake, "manual": ManualPayments()}
    collector = Collector(api.store, ports, now=lambda: api.now)
    context = WebContext(
        store=api.store,
        pricing=api.pricing,
        now=lambda: api.now,
        base_url="https://bill.example",
        livemode=False,
        flush=nothing_queued,
        link_secret=b"secret of the tests",
        payments=collector,
    )
    transport = httpx2.ASGITransport(build_app(context), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="https://bill.example") as client:
        api.client = client
        holder.append(Cashier(api, fake, collector))
        await api.set_up()
        yield holder[0]
