"""A shop whose provider prices move: a price list of two models, a book beside it, usage rated by both.

Rule 1: prices are dollars per million tokens, so one token at 1 costs 1000 nano.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from costplus.billing.card_change import CardFollowed
from costplus.billing.report import report
from costplus.billing.rerate import rate_used
from costplus.billing.settle import Settlement, settle
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.terms import terms_of
from costplus.billing.track import follow
from costplus.catalog.book import BOOK, PriceBase, PriceChange, RecordedPrice
from costplus.catalog.load import book_changed, catalogue_of
from costplus.catalog.snapshot import (
    SCHEMA,
    ComponentEntry,
    ModelEntry,
    ProviderEntry,
    Snapshot,
    VersionEntry,
    component_from_entry,
    price_version_id,
)
from costplus.core.usage import Usage
from costplus.metering.event import usage_event
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCard, RateCardVersion, Tracking

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
OPENAI = "openai"


def components(prices: Mapping[str, str]) -> tuple[ComponentEntry, ...]:
    """Return dollars per million as the snapshot writes them; `input>1000` is for prompts above 1000."""
    found = []
    for leaf, amount in prices.items():
        name, _, above = leaf.partition(">")
        found.append((name, amount, 1_000_000, int(above) if above else None))
    return tuple(found)


def version_entry(model: str, prices: Mapping[str, str], *, valid_from: datetime) -> VersionEntry:
    entries = components(prices)
    id = price_version_id(
        provider=OPENAI,
        model=model,
        currency="usd",
        valid_from=valid_from,
        components=[component_from_entry(entry) for entry in entries],
    )
    return VersionEntry(id=id, valid_from=valid_from, components=entries)


def model_entry(model: str, prices: Mapping[str, str]) -> ModelEntry:
    return ModelEntry("genai-prices", (version_entry(model, prices, valid_from=BEGIN),))


class Market:
    """A shop with a price book."""

    def __init__(self, shop: Any) -> None:
        self.shop = shop
        self._numbers = itertools.count(1)
        models = {
            "large": model_entry("large", {"input": "2", "output": "8"}),
            "small": model_entry("small", {"input": "1", "output": "4"}),
        }
        snapshot = Snapshot(
            SCHEMA, date(2025, 1, 1), "usd", {"genai-prices": "1"}, {OPENAI: ProviderEntry(models, {})}
        )
        body = zlib.compress(msgspec.json.encode(snapshot))
        self.write(lambda tx: tx.save(PriceBase(id=BOOK, created=shop.at, digest="", body=body)))
        self.later(minutes=1)  # What is recorded at the very instant of a version belongs to it.

    def write(self, verb: Any) -> Any:
        return self.shop.write(verb)

    @property
    def at(self) -> datetime:
        return self.shop.at  # type: ignore[no-any-return]  # The shop is conftest's, known only when run.

    def later(self, **span: float) -> None:
        self.shop.at += timedelta(**span)

    @property
    def pricing(self) -> Pricing:
        return Pricing(self.write(catalogue_of))

    def change(
        self,
        model: str = "large",
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        **prices: str,
    ) -> PriceChange:
        """Return a change that is not applied yet; with an end it is the operator's own price."""
        return PriceChange(
            id=f"pc_{next(self._numbers)}",
            created=self.at,
            provider=OPENAI,
            model=model,
            kind="override" if until else "price",
            ends_at=until,
            status="pending",
            digest="",
            components=components(prices),
            effective_at=since or self.at,
        )

    def apply(self, change: PriceChange) -> PriceChange:
        """Record the change's price as of now."""
        prices = {leaf + (f">{when}" if when else ""): amount for leaf, amount, _, when in change.components}
        entry = version_entry(change.model, prices, valid_from=change.effective_at)
        entry = replace(entry, valid_to=change.ends_at)
        known = self.pricing.catalogue.versions(OPENAI, change.model)
        done = replace(
            change,
            status="applied",
            kind=change.kind if known else "new_model",
            old_version=known[-1].id if known else "",
            new_version=entry.id,
            decided_at=self.at,
        )
        recorded = RecordedPrice(
            id=entry.id,
            created=self.at,
            provider=OPENAI,
            model=change.model,
            currency="usd",
            version=entry,
            origin="override" if change.ends_at else "sync",
            change=change.id,
        )

        def verb(tx: Tx) -> None:
            tx.save(recorded)
            tx.save(done)
            book_changed(tx, at=self.at)

        self.write(verb)
        return done

    def move(self, model: str = "large", **prices: Any) -> Sequence[CardFollowed]:
        """Let the price of a model change now and the cards follow."""
        return self.follow(self.apply(self.change(model, **prices)))

    def follow(self, *changes: PriceChange) -> Sequence[CardFollowed]:
        pricing = self.pricing
        return self.write(lambda tx: follow(tx, pricing, changes, at=self.at))  # type: ignore[no-any-return]  # As above.

    @property
    def card(self) -> RateCard:
        return self.write(lambda tx: tx.page(RateCard))[0]  # type: ignore[no-any-return]  # As above.

    @property
    def live(self) -> RateCardVersion:
        id = self.card.live_version
        return self.write(lambda tx: tx.find(RateCardVersion, id))  # type: ignore[no-any-return]  # As above.

    def versions(self) -> Sequence[RateCardVersion]:
        """Return all card versions, oldest first."""
        return list(reversed(self.write(lambda tx: tx.page(RateCardVersion, limit=1000))))

    def rule(self, price_tracking: str | None = None, **options: Any) -> None:
        """Set what the card does about changes."""
        card = self.card
        card = replace(
            card,
            price_tracking=price_tracking or card.price_tracking,  # type: ignore[arg-type]  # One of its words.
            tracking=replace(card.tracking, **options) if options else Tracking(),
        )
        self.write(lambda tx: tx.save(card))

    def use(
        self,
        customer: str = "cus_1",
        *,
        model: str = "large",
        at: datetime | None = None,
        key: str = "",
        **tokens: int,
    ) -> ChargedEvent:
        """Report usage (1000 input tokens) and return it with its charge."""
        event = usage_event(
            customer=customer,
            at=at or self.at,
            key=key or f"use-{next(self._numbers)}",
            usage=Usage(tokens or {"input": 1000}),
            source="meter_events_v2",
            provider=OPENAI,
            model=model,
        )
        pricing = self.pricing
        self.write(lambda tx: report(tx, pricing, [event], at=self.at))
        charged = self.write(lambda tx: tx.charge_of(customer, event.id))
        assert charged is not None
        return charged  # type: ignore[no-any-return]  # As above.

    def call(self, customer: str = "cus_1", *, model: str = "large", **tokens: int) -> ChargedEvent:
        """Settle one call of the gateway, rated as the gateway does, and return it with its charge."""
        event = usage_event(
            customer=customer,
            at=self.at,
            key=f"call-{next(self._numbers)}",
            usage=Usage(tokens),
            source="gateway",
            provider=OPENAI,
            model=model,
        )
        card = self.write(lambda tx: terms_of(tx, customer)).card_at(self.at)
        charge = rate_used(event, pricing=self.pricing, card=card)
        self.write(lambda tx: settle(tx, [Settlement(event=event, charge=charge)], at=self.at))
        charged = self.write(lambda tx: tx.charge_of(customer, event.id))
        assert charged is not None
        return charged  # type: ignore[no-any-return]  # As above.

    def worth(self, customer: str = "cus_1", **fields: Any) -> tuple[int, int]:
        """Return cost and price of usage in nanos."""
        charge = self.use(customer, **fields).charge
        return charge.cost_nano, charge.price_nano


@pytest.fixture
def market(shop: Any) -> Market:
    """Return a market with the customer `cus_1` at 30 % markup, its card following nothing."""
    return Market(shop)


@pytest.fixture(scope="session")
def market_of() -> Callable[[Any], Market]:
    """Return what makes a market of a shop."""
    return Market
