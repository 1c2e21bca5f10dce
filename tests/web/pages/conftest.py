"""A seller with pages on a memory store, read the way a browser reads them, as one fixture: `seller`."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from costplus.billing.clock import customer_of
from costplus.billing.close import close_customer
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.notify import announce
from costplus.billing.report import report
from costplus.billing.setup import SetUpRequest, set_up
from costplus.billing.store import Tx
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.core.ids import CustomerId, GrantId
from costplus.core.usage import Usage
from costplus.ledger.grant import Grant
from costplus.ledger.post import grant_credit
from costplus.metering.event import usage_event
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import Adjustment
from costplus.storage.memory import MemoryStore
from costplus.web.context import WebContext
from costplus.web.pages import routes

START = datetime(2026, 11, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SECRET = b"link secret"
VOID = {"meta", "link", "br", "input"}

PRICES = Snapshot(
    schema=1,
    taken_on=date(2026, 11, 1),
    currency="usd",
    sources={"test": "1"},
    providers={
        "openai": ProviderEntry(
            models={
                "gpt-4.1-mini": ModelEntry(
                    source="test",
                    versions=(
                        VersionEntry(
                            id="pv_1",
                            valid_from=datetime(2020, 1, 1, tzinfo=UTC),
                            components=(
                                ("input", "0.4", 10**6, None),
                                ("cached_input", "0.1", 10**6, None),
                                ("output", "1.6", 10**6, None),
                            ),
                        ),
                    ),
                )
            },
            unpriced={},
        )
    },
)


class Page(HTMLParser):
    """What a page says; it is an error where its tags do not nest."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__()
        self.status = answer.status_code
        self.text = ""
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.commands: list[str] = []
        self._open: list[str] = []
        self.feed(answer.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "pre":
            self.commands.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, text: str) -> None:
        words = " ".join(text.split())
        self.text += f" {words}" if words else ""
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {words}".strip()
        if "pre" in self._open:
            self.commands[-1] += text

    def row(self, start: str) -> list[str]:
        """Return the cells of the one row whose first cell starts with a text."""
        [row] = [row for row in self.rows if row[0].startswith(start)]
        return row


@dataclass
class Seller:
    """An installation with its pages, a present that only tests move, and login tokens `once-…`."""

    store: MemoryStore = field(default_factory=MemoryStore)
    now: datetime = NOON
    tokens: set[str] = field(default_factory=lambda: {"once"})
    flushed: int = 0
    base_url: str = "http://localhost:4242"
    providers: tuple[str, ...] = ()
    price_sources: dict[str, str] = field(default_factory=dict)
    pricing: Pricing = field(default_factory=lambda: Pricing(Catalogue(PRICES)))

    def consume(self, token: str) -> bool:
        known = token in self.tokens
        self.tokens.discard(token)
        return known

    async def flush(self) -> None:
        self.flushed += 1

    def browser(self) -> httpx2.AsyncClient:
        context = WebContext(
            store=self.store,
            pricing=self.pricing,
            now=lambda: self.now,
            base_url=self.base_url,
            livemode=False,
            flush=self.flush,
            link_secret=SECRET,
            price_sources=self.price_sources,
        )
        app = Starlette(routes=routes(context, self, provider_names=lambda: self.providers))
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=self.base_url)

    async def set_up(self) -> None:
        request = SetUpRequest(
            plan_name="AI",
            models=(),
            default=Adjustment("markup", Decimal(30)),
            price_tracking="disabled",
            fee_minor=500,
            credit_minor=0,
        )
        await self.store.write(lambda tx: set_up(tx, request, at=START))

    async def customer(self, id: str = "cus_ada", name: str = "Ada", **rest: Any) -> None:
        def verb(tx: Tx) -> None:
            tx.save(Customer(id=id, created=START, name=name, email=f"{id}@example.com", **rest))
            announce(tx, "customer.created", customer_of(tx, id), at=START)

        await self.store.write(verb)
        await self.set_up()

    async def grant(self, id: str, *, minor: int, **rest: Any) -> None:
        nano = minor * 10**7
        grant = Grant(
            id=GrantId(id),
            customer=CustomerId("cus_ada"),
            created=START,
            amount_nano=nano,
            remaining_nano=nano,
            currency="usd",
            **{"effective_at": START, **rest},
        )
        await self.store.write(lambda tx: grant_credit(tx, grant, at=START))

    async def use(
        self, key: str, *, customer: str = "cus_ada", model: str = "gpt-4.1-mini", **leaves: int
    ) -> None:
        event = usage_event(
            customer=customer,
            at=NOON,
            key=key,
            usage=Usage(leaves),
            source="gateway",
            provider="openai",
            model=model,
        )
        await self.store.write(lambda tx: report(tx, self.pricing, [event], at=NOON))

    async def close_month(self) -> Invoice:
        """End the month and return the customer's invoice over its usage."""

        def verb(tx: Tx) -> Invoice:
            close_customer(tx, customer_of(tx, "cus_ada"), until=datetime(2026, 12, 2, tzinfo=UTC))
            return tx.page(Invoice, parent="cus_ada")[0]

        return await self.store.write(verb)

    async def busy(self) -> None:
        """Ada has bought credit for 50 cents and used 64.198238."""
        await self.customer()
        await self.grant("credgr_paid", minor=50)
        await self.use("k1", input=1_234_567, cached_input=10, output=3)

    def link(self, invoice_id: str) -> str:
        """Return the path of an invoice's page."""
        return f"/i/{invoice_id}/{hmac.new(SECRET, invoice_id.encode(), hashlib.sha256).hexdigest()[:32]}"

    async def show(self, path: str, **headers: str) -> Page:
        async with self.browser() as browser:
            return Page(await browser.get(path, headers=headers))

    async def show_admin(self, path: str = "/admin") -> Page:
        """Follow a login link and then go to a page."""
        self.tokens.add("again")
        async with self.browser() as browser:
            await browser.get("/admin/login?token=again")
            return Page(await browser.get(path))


@pytest.fixture
def seller() -> Seller:
    return Seller()
