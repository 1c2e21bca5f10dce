"""Load the catalogue from the price book, and begin the book where there is none.

Rule 1: the book keeps the snapshot that it began with. Another release of the program brings another
snapshot; that one is a source among the others, so that no price moves without the guards.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from datetime import datetime

from costplus.catalog.book import BOOK, BookState, ModelAlias, PriceBase, PriceEnd, RecordedPrice
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.exchange import Exchange, FxRate
from costplus.catalog.snapshot import Snapshot, decode_snapshot
from costplus.catalog.sources.bundled import bundled_body, bundled_snapshot
from costplus.core.records import R, RecordStore

PAGE = 1000


def begin_book(store: RecordStore, *, at: datetime) -> None:
    """Keep the packaged snapshot as the base of the book; one that has begun stays as it is."""
    if store.find(PriceBase, BOOK) is not None:
        return
    body = bundled_body()
    digest = hashlib.sha256(body).hexdigest()
    store.save(PriceBase(id=BOOK, created=at, digest=digest, body=zlib.compress(body, 6)))


def snapshot_of(base: PriceBase) -> Snapshot:
    """Return the snapshot that a book began with."""
    return decode_snapshot(zlib.decompress(base.body))


def catalogue_of(store: RecordStore) -> Catalogue:
    """Return the catalogue that the book stands for; before it has begun, the packaged snapshot's."""
    base = store.find(PriceBase, BOOK)
    return Catalogue(
        snapshot_of(base) if base else bundled_snapshot(),
        recorded=every(store, RecordedPrice),
        aliases=every(store, ModelAlias),
        ends=every(store, PriceEnd),
        revision=revision_of(store),
        exchange=Exchange(every(store, FxRate)),
    )


def revision_of(store: RecordStore) -> int:
    """Return how often the book has changed."""
    state = store.find(BookState, BOOK)
    return state.revision if state else 0


def book_changed(store: RecordStore, *, at: datetime) -> None:
    """Count a change, so that whoever serves prices loads them again."""
    store.save(BookState(id=BOOK, created=at, revision=revision_of(store) + 1))


def every(store: RecordStore, kind: type[R], *, parent: str | None = None) -> Iterator[R]:
    """Yield every record of a kind, newest first."""
    cursor: str | None = None
    while True:
        page = store.page(kind, parent=parent, limit=PAGE, older_than=cursor)
        yield from page
        if len(page) < PAGE:
            return
        cursor = page[-1].id
