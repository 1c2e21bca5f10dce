"""Records: configuration objects (customers, plans, meters, endpoints, …) kept whole, by id.

Rule 1: a record is a frozen dataclass with an id and a creation instant; saving replaces it whole.
Rule 2: a kind that others point at for what it said then is `IMMUTABLE`: it is saved once and never removed.
Rule 3: money never lives in a record that changes concurrently: balances, grants, holds, events, charges
and postings have ports of their own (`ledger.store`, `metering.store`, `billing.store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol, TypeVar

from costplus.core.errors import Conflict


class RecordImmutable(Conflict):
    """What is stored under this id never changes, and other content was to take its place."""

    code = "record_immutable"
    remedy = "Make a new version; what was charged under this one stays as it was."


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What every configuration object has: a kind, an id, a creation instant."""

    KIND: ClassVar[str]
    IMMUTABLE: ClassVar[bool] = False

    id: str
    created: datetime

    @property
    def parent(self) -> str:
        """The id of the object this one belongs to, or empty; lists can be narrowed by it."""
        return ""

    @property
    def lookup(self) -> str:
        """A second unique key within the kind (an event name, a key's hash), or empty."""
        return ""


R = TypeVar("R", bound=Record)


def check_unchanged(known: object | None, new: object, *, name: str) -> None:
    """Raise `RecordImmutable` where `new` would change what is stored under its id (None: nothing is)."""
    if known is not None and known != new:
        raise RecordImmutable(f"The {name} exists with other content.")


def check_removable(kind: type[Record], id: str) -> None:
    """Raise `RecordImmutable` where records of the kind are kept for ever."""
    if kind.IMMUTABLE:
        raise RecordImmutable(f"The {kind.KIND} '{id}' is kept for ever.")


class RecordStore(Protocol):
    """The record part of one open transaction."""

    def save(self, record: Record) -> None:
        """Insert the record, or replace the one with its id; a new record comes last in order.

        Of an `IMMUTABLE` kind the one with its id must be equal, else `RecordImmutable` is raised.
        """

    def find(self, kind: type[R], id: str) -> R | None:
        """Return the record with this id, or None."""

    def find_by_lookup(self, kind: type[R], lookup: str) -> R | None:
        """Return the record with this `lookup` key, or None."""

    def remove(self, kind: type[R], id: str) -> None:
        """Delete the record, unless its kind is `IMMUTABLE`; nothing happens where it does not exist."""

    def page(
        self,
        kind: type[R],
        *,
        parent: str | None = None,
        limit: int = 100,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[R]:
        """Return up to `limit` records, newest first.

        `older_than` / `newer_than` name a record as the cursor (exclusive); an unknown cursor gives nothing.
        With `newer_than` the page holds the records directly after the cursor, still newest first.
        """
