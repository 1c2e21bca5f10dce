"""What is known of a model's price and of where prices come from: for the API and the command line.

Rule 1: everything is read as of `at`; nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from costplus.billing.price_book import NoSuchPrice
from costplus.billing.store import Tx
from costplus.catalog.book import ModelAlias, ModelMark, PriceChange, RecordedMove, RecordedPrice, SourceState
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import every
from costplus.catalog.names import canonical_provider
from costplus.catalog.price import ModelUnpriced, PriceVersion
from costplus.catalog.recorded import announced_over, moves_between
from costplus.catalog.snapshot import ScheduledEntry
from costplus.catalog.sources.registry import SOURCES
from costplus.catalog.survey import listed

SourceStatus = Literal["ok", "stale", "unavailable", "rejected", "never_asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """One price list as it stands at `at`: whether it is followed, and what it said last."""

    name: str
    url: str
    is_followed: bool
    stale_after_days: int
    state: SourceState | None
    at: datetime

    @property
    def id(self) -> str:
        return self.name

    @property
    def accepted_at(self) -> datetime | None:
        return self.state.accepted_at if self.state else None

    @property
    def is_stale(self) -> bool:
        """Whether it has had no new revision for longer than is usual."""
        accepted = self.accepted_at
        return accepted is not None and self.at - accepted > timedelta(days=self.stale_after_days)

    @property
    def status(self) -> SourceStatus:
        if self.state is None or self.state.checked_at is None:
            return "never_asked"
        if self.state.status == "ok" and self.is_stale:
            return "stale"
        return self.state.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old the prices in use are: the snapshot that they begin with, and each followed source."""

    taken_on: date
    sources: tuple[SourceReading, ...]
    at: datetime

    @property
    def snapshot_age_days(self) -> int:
        return (self.at.date() - self.taken_on).days

    @property
    def heard_at(self) -> datetime | None:
        """When the newest revision of any source was accepted, or None."""
        return max((source.accepted_at for source in self.sources if source.accepted_at), default=None)

    @property
    def age_days(self) -> int:
        """Days since anything was last heard: of the newest accepted revision, else the snapshot's."""
        heard = [self.heard_at.date()] if self.heard_at else []
        return (self.at.date() - max([self.taken_on, *heard])).days


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A price version, and how it was recorded; None for one of the snapshot."""

    price: PriceVersion
    recorded: RecordedPrice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """Everything about one model's price; versions are newest first."""

    provider: str
    model: str
    at: datetime
    current: KnownVersion | None
    versions: tuple[KnownVersion, ...]
    announced: tuple[ScheduledEntry, ...]  # What the snapshot knows of the future.
    open_changes: tuple[PriceChange, ...]
    mark: ModelMark | None
    aliases: tuple[ModelAlias, ...]
    freshness: Freshness

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


def source_readings(tx: Tx, *, followed: Mapping[str, str], at: datetime) -> tuple[SourceReading, ...]:
    """Return every price list that is known, those that are followed and the others."""
    return tuple(
        SourceReading(
            name=name,
            url=followed.get(name, source.url),
            is_followed=name in followed,
            stale_after_days=source.stale_after_days,
            state=tx.find(SourceState, name),
            at=at,
        )
        for name, source in SOURCES.items()
    )


def freshness_of(tx: Tx, catalogue: Catalogue, *, followed: Mapping[str, str], at: datetime) -> Freshness:
    """Return how old the prices in use are."""
    readings = source_readings(tx, followed=followed, at=at)
    known = tuple(reading for reading in readings if reading.is_followed or reading.accepted_at)
    return Freshness(taken_on=catalogue.taken_on, sources=known, at=at)


def named_model(catalogue: Catalogue, provider: str, model: str, *, at: datetime) -> tuple[str, str]:
    """Return the provider and exact id that a name means. Raises `NoSuchPrice`."""
    canonical = canonical_provider(provider)
    if catalogue.versions(canonical, model):
        return canonical, model
    try:
        price, _ = catalogue.price_at(provider, model, at=at)
    except ModelUnpriced as error:
        raise NoSuchPrice(error.message, param="model") from error
    return price.provider, price.model


def model_prices(
    tx: Tx,
    catalogue: Catalogue,
    *,
    provider: str,
    model: str,
    followed: Mapping[str, str],
    at: datetime,
) -> ModelPrices:
    """Return everything about a model's price, which is in force at `at`. Raises `NoSuchPrice`."""
    provider, model = named_model(catalogue, provider, model, at=at)
    parent = f"{provider}/{model}"
    recorded = {entry.id: entry for entry in every(tx, RecordedPrice, parent=parent)}
    versions = tuple(
        KnownVersion(price, recorded.get(price.id)) for price in reversed(catalogue.versions(provider, model))
    )
    current = catalogue.current(provider, model, at=at)
    return ModelPrices(
        provider=provider,
        model=model,
        at=at,
        current=None if current is None else KnownVersion(current, recorded.get(current.id)),
        versions=versions,
        announced=catalogue.scheduled(provider, model),
        open_changes=tuple(c for c in every(tx, PriceChange, parent=parent) if c.is_open),
        mark=tx.find(ModelMark, parent),
        aliases=tuple(a for a in every(tx, ModelAlias, parent=provider) if a.target == model),
        freshness=freshness_of(tx, catalogue, followed=followed, at=at),
    )


def moves_of(catalogue: Catalogue, change: PriceChange, *, at: datetime) -> tuple[RecordedMove, ...]:
    """Return what a change moves; of one that is announced for later, measured by the price of now."""
    if change.moves or not change.is_open:
        return change.moves
    old = listed(catalogue, (change.provider, change.model), at=at)
    return moves_between(old, announced_over(old, change))
