"""What the tests of unpriced usage share: a shop on either store that takes calls and reports at prices."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.report import report
from costplus.billing.resolve import Resolved, resolve
from costplus.billing.settle import Settlement
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.billing.terms import terms_of
from costplus.billing.unpriced import UnpricedUsage
from costplus.catalog.book import RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import every
from costplus.catalog.snapshot import SCHEMA, ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.core.usage import Usage
from costplus.metering.event import Source, UsageEvent, usage_event
from costplus.rating.charge import Charge, rate
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCard, RateCardVersion

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)  # When the shop opens.
DAY = timedelta(days=1)
CUSTOMER = "cus_1"


def prices(learned: Mapping[str, Mapping[str, str]] | None = None) -> Pricing:
    """Return OpenAI's model `known` and what was learned since: model → leaf → USD per million.

    A leaf may end in a number of prompt tokens above which its price counts: `input>1000`.
    """

    def version(model: str, leaves: Mapping[str, str]) -> VersionEntry:
        parts = [(*leaf.partition(">")[::2], usd) for leaf, usd in leaves.items()]
        entries = tuple((leaf, usd, 1_000_000, int(above) if above else None) for leaf, above, usd in parts)
        return VersionEntry(f"pv_{model}_{abs(hash(entries))}", AT - 99 * DAY, entries)

    known = ModelEntry("list", (version("known", {"input": "1", "output": "7"}),))
    recorded = [
        RecordedPrice(
            id=f"rp_{model}",
            created=AT + DAY,
            provider="openai",
            model=model,
            currency="usd",
            version=version(model, leaves),
            origin="sync",
        )
        for model, leaves in (learned or {}).items()
    ]
    listed = {"openai": ProviderEntry({"known": known}, {})}
    snapshot = Snapshot(SCHEMA, AT.date(), "usd", {"list": "1"}, listed)
    return Pricing(Catalogue(snapshot, recorded=recorded))


class Queue:
    """A shop's verbs on usage without a price; everything else is the shop's own.

    Its card sells new models as they come.
    """

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self._keys = itertools.count(1)
        self.card(models_as_of=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shop, name)

    def later(self, by: timedelta) -> None:
        self.shop.at += by

    def card(self, **changes: Any) -> None:
        """Change the card version that everybody is on, such as its rule for models without a price."""
        self.shop.write(lambda tx: self._other_version(tx, changes))

    def _other_version(self, tx: Tx, changes: Mapping[str, Any]) -> None:
        card = tx.find(RateCard, self.shop.account.card.id)
        assert card is not None
        known = tx.find(RateCardVersion, card.live_version)
        assert known is not None
        version = replace(known, id=f"rcv_{next(self._keys)}", **changes)
        tx.save(version)
        tx.save(replace(card, live_version=version.id, latest_version=version.id))
        for subscription in list(every(tx, Subscription)):
            tx.save(replace(subscription, rate_card_version=version.id))

    def call(self, pricing: Pricing, model: str, *, customer: str = CUSTOMER, **leaves: int) -> UsageEvent:
        """Settle a call as the gateway does."""
        event = self._event(model, leaves, customer, "gateway")
        card = self.shop.write(lambda tx: terms_of(tx, customer)).card_at(self.shop.at)
        sheet = pricing.taken("openai", model, card=card, at=self.shop.at).sheet
        self.shop.settle(Settlement(event=event, charge=rate(event.usage, sheet)))
        return event

    def report(self, pricing: Pricing, model: str, *, customer: str = CUSTOMER, **leaves: int) -> UsageEvent:
        """Report usage as a meter event does."""
        event = self._event(model, leaves, customer, "meter_events_v1")
        self.shop.write(lambda tx: report(tx, pricing, [event], at=self.shop.at))
        return event

    def _event(self, model: str, leaves: Mapping[str, int], customer: str, source: Source) -> UsageEvent:
        key = f"event-{next(self._keys)}"
        usage = Usage(leaves)
        return usage_event(
            customer=customer,
            at=self.shop.at,
            key=key,
            usage=usage,
            source=source,
            provider="openai",
            model=model,
        )

    def resolve(self, pricing: Pricing, **filters: Any) -> Resolved:
        return self.shop.write(lambda tx: resolve(tx, pricing, at=self.shop.at, **filters))

    def entry(self, event: UsageEvent) -> UnpricedUsage:
        """Return the event's entry in the queue of unpriced usage."""
        found = self.shop.write(lambda tx: tx.find(UnpricedUsage, event.id))
        assert found is not None
        return found

    def charge(self, event: UsageEvent) -> Charge:
        found = self.shop.write(lambda tx: tx.charge_of(event.customer, event.id))
        assert found is not None
        return found.charge


@pytest.fixture(params=["memory", "sqlite"])
def any_shop(request: pytest.FixtureRequest, build: SimpleNamespace, tmp_path: Path) -> Queue:
    """Return a shop on each store in turn, with the customer `cus_1` and an hour of grace."""
    made = build.shop(store=None if request.param == "memory" else build.sqlite_at_once(tmp_path / "shop.db"))
    made.customer()
    return Queue(made)


@pytest.fixture(scope="session")
def queue() -> SimpleNamespace:
    """Return the builders."""
    return SimpleNamespace(prices=prices, of=Queue, day=DAY, minute=timedelta(minutes=1))
