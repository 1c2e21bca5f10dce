"""The tables, and the undo log through which every change of them goes.

Rule 1: a change is `put` or `drop`, so that it can be taken back.
Rule 2: values are never changed in place.
Rule 3: order is a row's `seq`, given once; a rolled-back verb may leave a gap in it, which nothing shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

from costplus.billing.event import Delivery
from costplus.billing.store import ChargedEvent, StoredReply, Topic
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.transaction import Transaction
from costplus.metering.event import UsageEvent
from costplus.rating.item_charge import Metered
from costplus.rating.sheet import UnitRate

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record as it is kept: encoded, so that a reader cannot change it for others."""

    seq: int
    id: str
    parent: str
    lookup: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Cursors:
    """Where a page begins: below the row `older_than`, or directly above the row `newer_than`."""

    older_than: str | None = None
    newer_than: str | None = None

    def known_in(self, rows: Container[str]) -> bool:
        """Return whether every cursor that is given exists."""
        return all(id is None or id in rows for id in (self.older_than, self.newer_than))

    def cut(self, rows: Iterable[tuple[int, V]], *, limit: int, seq_of: Callable[[str], int]) -> list[V]:
        """Return the page of `(seq, row)` pairs, newest first."""
        kept = dict(rows)
        if self.older_than is not None:
            kept = {seq: row for seq, row in kept.items() if seq < seq_of(self.older_than)}
        if self.newer_than is not None:
            kept = {seq: row for seq, row in kept.items() if seq > seq_of(self.newer_than)}
            return [kept[seq] for seq in sorted(sorted(kept)[:limit], reverse=True)]
        return [kept[seq] for seq in sorted(kept, reverse=True)[:limit]]


@dataclass(slots=True)
class Tables:
    """Everything the store remembers. Inner dictionaries keep the order in which rows came."""

    records: dict[str, dict[str, RecordRow]] = field(default_factory=lambda: defaultdict(dict))
    lookups: dict[tuple[str, str], str] = field(default_factory=dict)
    events: dict[str, dict[str, UsageEvent]] = field(default_factory=lambda: defaultdict(dict))
    keys: dict[tuple[str, str], tuple[UsageEvent, ...]] = field(default_factory=dict)
    charges: dict[str, dict[str, ChargedEvent]] = field(default_factory=lambda: defaultdict(dict))
    unit_rates: dict[str, UnitRate] = field(default_factory=dict)
    metered: dict[tuple[str, str, datetime], Metered] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)
    transactions: dict[str, dict[str, Transaction]] = field(default_factory=lambda: defaultdict(dict))
    accounts: dict[tuple[int, str], int] = field(default_factory=dict)
    grants: dict[str, dict[str, tuple[int, Grant]]] = field(default_factory=lambda: defaultdict(dict))
    grant_owners: dict[str, str] = field(default_factory=dict)
    holds: dict[str, dict[str, Hold]] = field(default_factory=lambda: defaultdict(dict))
    deliveries: dict[str, tuple[int, Delivery]] = field(default_factory=dict)
    replies: dict[str, StoredReply] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    due: dict[str, datetime] = field(default_factory=dict)


class Undoable:
    """One open transaction on the tables."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.touched: set[Topic] = set()
        self._undo: list[Callable[[], object]] = []
        self._seq = 0

    @property
    def changed(self) -> bool:
        """Whether anything was written since the transaction began."""
        return bool(self._undo)

    def put(self, table: MutableMapping[K, V], key: K, value: V) -> None:
        """Set a row."""
        if key in table:
            self._undo.append(partial(table.__setitem__, key, table[key]))
        else:
            self._undo.append(partial(table.pop, key))
        table[key] = value

    def drop(self, table: MutableMapping[K, V], key: K) -> None:
        """Remove a row that exists."""
        self._undo.append(partial(table.__setitem__, key, table.pop(key)))

    def next_seq(self) -> int:
        """Return a number above all earlier ones."""
        self._seq += 1
        return self._seq

    def commit(self) -> set[Topic]:
        """Keep all changes; return the topics touched."""
        touched, self.touched = self.touched, set()
        self._undo.clear()
        return touched

    def rollback(self) -> None:
        """Take all changes back, the latest first."""
        while self._undo:
            self._undo.pop()()
        self.touched.clear()
