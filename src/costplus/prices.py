"""`costplus prices`: look at the price book, synchronise it, decide about changes, set prices by hand.

Rule 1: it may run beside a server, which takes what was written over within about a second.
Rule 2: looking works without a database too, by the packaged prices; writing needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from costplus.billing import price_book
from costplus.billing.own_price import own_components
from costplus.billing.price_record import Person
from costplus.billing.price_report import (
    Freshness,
    ModelPrices,
    SourceReading,
    freshness_of,
    model_prices,
    moves_of,
    source_readings,
)
from costplus.billing.price_sync import SyncReport
from costplus.billing.store import Tx
from costplus.bootstrap import open_prices, price_sync, real_now
from costplus.catalog.book import ModelAlias, PriceChange, RecordedMove
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import begin_book, catalogue_of, every
from costplus.catalog.names import canonical_provider
from costplus.catalog.sources.fetch import open_client
from costplus.config import OptionInvalid, Settings
from costplus.core.errors import Unavailable
from costplus.database import look_at, open_existing
from costplus.web.params import day_or_instant

T = TypeVar("T")
Decided = Literal["approve", "reject", "undo"]
DECISIONS: Mapping[Decided, Callable[..., PriceChange]] = {
    "approve": price_book.approve,
    "reject": price_book.reject,
    "undo": price_book.undo,
}
PERSON = "command line"


class NoSourceReached(Unavailable):
    """Not one price list could be asked."""

    code = "price_sources_unreachable"
    remedy = "Prices stay as they are; check the network, or name mirrors in prices.sources.<name>.url."


@dataclass(frozen=True, slots=True)
class Judged:
    """A change with what it moves."""

    change: PriceChange
    moves: tuple[RecordedMove, ...]


@dataclass(frozen=True, slots=True)
class Synced:
    """What a synchronisation did, and how old the prices in use are after it."""

    report: SyncReport
    changes: tuple[Judged, ...]
    freshness: Freshness

    @property
    def reached(self) -> bool:
        return any(source.outcome != "unavailable" for source in self.report.sources)


@dataclass(frozen=True, slots=True)
class History:
    """A model's price versions and everything that was ever decided about it, newest first."""

    prices: ModelPrices
    changes: tuple[Judged, ...]


async def sync(settings: Settings, *, accept: Collection[str] = ()) -> Synced:
    """Ask the followed sources now. `accept` names those that are believed as a whole, whatever moved.

    Raises `OptionInvalid` where nothing is followed or a source is unknown.
    """
    followed = settings.prices.followed
    if not followed:
        raise OptionInvalid("No price list is followed.", remedy="Set prices.sync, and enable a source.")
    strange = sorted(set(accept) - followed.keys())
    if strange:
        known = ", ".join(followed)
        raise OptionInvalid(f"'{strange[0]}' is not followed; followed are {known}.", param="--accept")
    store = await open_existing(settings)
    try:
        pricing = await open_prices(store, at=real_now())
        before = pricing.catalogue
        async with open_client() as client:
            report = await price_sync(settings, store, pricing, real_now).run(client, accept=accept)
        fresh = await store.read(
            lambda tx: freshness_of(tx, pricing.catalogue, followed=followed, at=report.at)
        )
    finally:
        await store.close()
    changes = tuple(Judged(c, moves_of(before, c, at=report.at)) for c in report.changes)
    return Synced(report, changes, fresh)


async def _written(settings: Settings, verb: Callable[[Tx, datetime], T]) -> T:
    """Return what `verb` did, in one transaction. Raises `DatabaseMissing`."""
    store = await open_existing(settings)
    at = real_now()

    def run(tx: Tx) -> T:
        begin_book(tx, at=at)
        return verb(tx, at)

    try:
        return await store.write(run)
    finally:
        await store.close()


async def diff(settings: Settings, *, provider: str = "", model: str = "") -> tuple[Judged, ...]:
    """Return the open changes, of a provider or model or of all, newest first."""
    owner, at = canonical_provider(provider) if provider else "", real_now()

    def look(tx: Tx) -> tuple[Judged, ...]:
        catalogue = catalogue_of(tx)
        return tuple(
            Judged(change, moves_of(catalogue, change, at=at))
            for change in every(tx, PriceChange)
            if change.is_open and owner in ("", change.provider) and model in ("", change.model)
        )

    return await look_at(settings, look)


async def show(settings: Settings, name: str, *, at: str = "") -> ModelPrices:
    """Return everything about a model's price. Raises `NoSuchPrice`."""
    instant = day_or_instant(at, param="--at") if at else real_now()
    return await look_at(settings, lambda tx: _prices(tx, settings, name, catalogue_of(tx), at=instant))


async def history(settings: Settings, name: str) -> History:
    """Return a model's versions and what was decided about it. Raises `NoSuchPrice`."""
    at = real_now()

    def look(tx: Tx) -> History:
        catalogue = catalogue_of(tx)
        found = _prices(tx, settings, name, catalogue, at=at)
        changes = every(tx, PriceChange, parent=found.name)
        return History(found, tuple(Judged(c, moves_of(catalogue, c, at=at)) for c in changes))

    return await look_at(settings, look)


def _prices(tx: Tx, settings: Settings, name: str, catalogue: Catalogue, *, at: datetime) -> ModelPrices:
    provider, model = _split(name)
    followed = settings.prices.followed
    return model_prices(tx, catalogue, provider=provider, model=model, followed=followed, at=at)


async def sources(settings: Settings) -> tuple[SourceReading, ...]:
    """Return every price list and what it said last."""
    at, followed = real_now(), settings.prices.followed
    return await look_at(settings, lambda tx: source_readings(tx, followed=followed, at=at))


async def override(
    settings: Settings,
    name: str,
    prices: Sequence[str],
    *,
    since: str = "",
    until: str = "",
    note: str = "",
    is_new: bool = False,
) -> Judged:
    """Set the operator's own price of a model."""
    provider, model = _split(name)
    components = own_components(_amounts(prices), param="prices")
    valid_from = day_or_instant(since, param="--from") if since else None
    ends_at = day_or_instant(until, param="--until") if until else None

    def verb(tx: Tx, at: datetime) -> PriceChange:
        return price_book.override(
            tx,
            provider=provider,
            model=model,
            components=components,
            valid_from=valid_from,
            ends_at=ends_at,
            is_new=is_new,
            at=at,
            by=Person(name=PERSON, note=note),
        )

    return _done(await _written(settings, verb))


async def redirect(settings: Settings, name: str, target: str, *, since: str = "", note: str = "") -> Judged:
    """Price a model as another one of its provider."""
    provider, model = _split(name)
    begin = day_or_instant(since, param="--since") if since else None

    def verb(tx: Tx, at: datetime) -> PriceChange:
        return price_book.redirect(
            tx,
            provider=provider,
            model=model,
            target=target,
            since=begin or at,
            at=at,
            by=Person(name=PERSON, note=note),
        )

    return _done(await _written(settings, verb))


async def decide(
    settings: Settings, decision: Decided, ids: Sequence[str], *, note: str = ""
) -> tuple[Judged, ...]:
    """Approve, reject or undo changes: all of them, or none where one cannot be."""
    by, verb = Person(name=PERSON, note=note), DECISIONS[decision]

    def run(tx: Tx, at: datetime) -> list[PriceChange]:
        return [verb(tx, id, at=at, by=by) for id in ids]

    return tuple(map(_done, await _written(settings, run)))


async def alias(settings: Settings, name: str, target: str) -> ModelAlias:
    """Declare that a name means a model of the same provider."""
    provider, model = _split(name)

    def verb(tx: Tx, at: datetime) -> ModelAlias:
        return price_book.declare_alias(tx, provider=provider, name=model, target=target, at=at)

    return await _written(settings, verb)


async def remove_alias(settings: Settings, name: str) -> ModelAlias:
    """Take a declared name back."""
    provider, model = _split(name)

    def verb(tx: Tx, at: datetime) -> ModelAlias:
        lookup = f"{canonical_provider(provider)}/{model.strip().lower()}"
        known = tx.find_by_lookup(ModelAlias, lookup)
        return price_book.drop_alias(tx, known.id if known else name, at=at)

    return await _written(settings, verb)


def _done(change: PriceChange) -> Judged:
    return Judged(change, change.moves)


def _split(name: str) -> tuple[str, str]:
    provider, slash, model = name.strip().partition("/")
    if not slash or not provider or not model.strip():
        raise OptionInvalid(f"'{name}' is not written as PROVIDER/MODEL.")
    return provider, model.strip()


def _amounts(prices: Sequence[str]) -> Mapping[str, str]:
    amounts: dict[str, str] = {}
    for text in prices:
        part, equals, amount = text.rpartition("=")
        if not equals or not part:
            raise OptionInvalid(f"'{text}' is not written as LEAF=USD_PER_MTOK.")
        if part in amounts:
            raise OptionInvalid(f"The price of {part} is given twice.")
        amounts[part] = amount
    return amounts
