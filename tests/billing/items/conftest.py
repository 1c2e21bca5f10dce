"""What the tests of items share: a shop whose card sells items, and reports of their meters.

Rule 1: a test names its item's price; the shop fills in the rest. Amounts are currency units, as text.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.preview import preview
from costplus.billing.report import report
from costplus.billing.settle import Settled
from costplus.billing.store import Tx
from costplus.billing.subscription import Pin
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.core.ids import new_id
from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.core.usage import usage_of
from costplus.metering.event import METER, UsageEvent, usage_event
from costplus.rating.item import CardItem, ItemTier
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion

CALLS = "api_calls"
_LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
_PRICES = (VersionEntry("pv_m", _LONG_AGO, (("input", "1000", 1_000_000, None),)),)
CATALOGUE = Catalogue(  # One token of its only model costs a tenth of a cent.
    Snapshot(
        schema=1,
        taken_on=_LONG_AGO.date(),
        currency="usd",
        sources={"test": "1"},
        providers={"openai": ProviderEntry({"m": ModelEntry("test", _PRICES)}, {})},
    )
)
_keys = itertools.count(1)
_AMOUNTS = ("unit_amount", "package_amount", "minimum_amount", "maximum_amount", "unit_cost", "divide_by")


def tiers(*steps: tuple[int | None, str] | tuple[int | None, str, str]) -> tuple[ItemTier, ...]:
    """Return tiers of (up to, amount of a unit[, flat amount])."""
    return tuple(
        ItemTier(up_to=end, unit_amount=Decimal(unit), flat_amount=Decimal(flat[0] if flat else "0"))
        for end, unit, *flat in steps
    )


def item(kind: str = "per_unit", *, name: str = CALLS, **fields: Any) -> CardItem:
    """Return a valid item; amounts are given as text."""
    given = {key: Decimal(value) if key in _AMOUNTS else value for key, value in fields.items()}
    made = CardItem(**{"event_name": name, "display_name": name.title(), "kind": kind, **given})
    made.check()
    return made


class ItemShop:
    """A shop with the items on its card, and its customer's reports of their use."""

    def __init__(self, shop: Any, *items: CardItem) -> None:
        self.shop = shop
        self.start: datetime = shop.at
        self.pricing = Pricing(CATALOGUE)
        self.sell(*items, since=self.start)

    def sell(self, *items: CardItem, since: datetime) -> RateCardVersion:
        """Pin the customer to a new version with these items."""
        made = replace(
            self.shop.account.version,
            id=new_id("rcv", at=since),
            created=since,
            priced_as_of=None,
            models_as_of=None,
            items={entry.event_name: entry for entry in items},
        )

        moved = self.shop.subscription().moved(Pin(since, made.id))

        def verb(tx: Tx) -> None:
            tx.save(made)
            tx.save(moved)

        self.shop.write(verb)
        return made

    def event(
        self, units: int, *, name: str = CALLS, key: str = "", at: datetime | None = None
    ) -> UsageEvent:
        return usage_event(
            customer="cus_1",
            at=at or self.shop.at,
            key=key or f"report-{next(_keys)}",
            usage=usage_of({"unit": units}),
            source="meter_events_v2",
            provider=METER,
            model=name,
            meter=name,
        )

    def tokens(self, count: int) -> UsageEvent:
        return usage_event(
            customer="cus_1",
            at=self.shop.at,
            key=f"report-{next(_keys)}",
            usage=usage_of({"input": count}),
            source="meter_events_v2",
            provider="openai",
            model="m",
        )

    def report(self, *events: UsageEvent) -> Settled:
        return self.shop.write(lambda tx: report(tx, self.pricing, events, at=self.shop.at))

    def use(self, *units: int, **fields: Any) -> None:
        """Report so many units, each in a request of its own."""
        for count in units:
            self.report(self.event(count, **fields))

    def charged(self) -> Decimal:
        """Return what was charged since the start, in currency units."""
        _, nano = self.shop.write(
            lambda tx: tx.usage_totals("cus_1", self.start, self.start + timedelta(days=400))
        )
        return Decimal(nano) / NANO

    def close(self, ordinal: int = 0) -> Invoice:
        """Let a period end and its invoice become final; return the invoice."""
        self.shop.close(monthly_period(self.start, ordinal).end + timedelta(hours=1))
        assert self.shop.wrongs() == []
        invoice: Invoice = self.shop.invoices()[ordinal]
        assert invoice.status in ("open", "paid")
        return invoice

    def preview(self) -> Invoice:
        customer = self.shop.write(lambda tx: tx.find(Customer, "cus_1"))
        made: Invoice = self.shop.write(lambda tx: preview(tx, customer, at=self.shop.at))
        return made


@pytest.fixture(scope="session")
def items(build: SimpleNamespace) -> SimpleNamespace:
    """Return the builders of items, their tiers, and shops that sell them to `cus_1`."""

    def shop(*sold: CardItem, **request: Any) -> ItemShop:
        made = build.shop(**request)
        made.customer()
        return ItemShop(made, *sold)

    return SimpleNamespace(item=item, tiers=tiers, shop=shop, name=CALLS)
