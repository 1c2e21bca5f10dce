"""Records, kept by kind and id; those that customers own are fetched together with their siblings'."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from costplus.core.records import R, Record, check_removable, check_unchanged
from costplus.storage.codec import decode_record, encode_record, micros
from costplus.storage.errors import LookupTaken
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Tables, Write
from costplus.storage.postgres.text import columns_of
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "records.sql")


class PostgresRecords(Tables):
    """Satisfies `RecordStore`. What was found once in a transaction is not asked for again."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self._found: dict[tuple[str, str], Record | None] = {}
        self._pages: dict[str, dict[tuple[str | None, int], Sequence[Any]]] = {}
        self._unsaved: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._unsaved_kinds: set[str] = set()

    def save(self, record: Record) -> None:
        self.changing()
        kind, lookup = record.KIND, record.lookup
        if record.IMMUTABLE:
            check_unchanged(self.find(type(record), record.id), record, name=f"{kind} '{record.id}'")
        row = (kind, record.id, record.parent, lookup, micros(record.created), encode_record(record))
        self._unsaved[kind, record.id] = row
        self._unsaved_kinds.add(kind)
        self._found[kind, record.id] = record
        self._pages.pop(kind, None)
        if type(record).lookup is not Record.lookup:  # Such a key may be another's: that is found at once.
            if lookup:
                self._refuse_taken(kind, record.id, lookup)
            self.flush()

    def _refuse_taken(self, kind: str, id: str, lookup: str) -> None:
        owner = self._one(SQL.find_record_by_lookup, kind, lookup)
        if owner is not None and owner[0] != id:
            del self._unsaved[kind, id]
            del self._found[kind, id]
            raise LookupTaken(f"Another {kind} has the key '{lookup}'.")

    def find(self, kind: type[R], id: str) -> R | None:
        key = (kind.KIND, id)
        if key not in self._found:
            self._find(kind, id)
        found: Any = self._found[key]
        return found  # type: ignore[no-any-return]  # Kept under its own kind.

    def _find(self, kind: type[R], id: str) -> None:
        if not self._has_entered:
            self.enter()
        ids = [id]
        if id in self._siblings:
            ids = [other for other in self._siblings if (kind.KIND, other) not in self._found]
        if len(ids) == 1:
            row = self._one(SQL.find_record, kind.KIND, id)
            self._found[kind.KIND, id] = None if row is None else decode_record(kind, row[0])
            return
        self._found.update(dict.fromkeys((kind.KIND, other) for other in ids))
        for other, body in self._all(SQL.find_records, kind.KIND, ids):
            self._found[kind.KIND, other] = decode_record(kind, body)

    def find_by_lookup(self, kind: type[R], lookup: str) -> R | None:
        row = self._one(SQL.find_record_by_lookup, kind.KIND, lookup)
        return None if row is None else decode_record(kind, row[1])

    def remove(self, kind: type[R], id: str) -> None:
        self.changing()
        check_removable(kind, id)
        self._flush_kind(kind.KIND)
        self._all(SQL.remove_record, kind.KIND, id)
        self._found[kind.KIND, id] = None
        self._pages.pop(kind.KIND, None)

    def page(
        self,
        kind: type[R],
        *,
        parent: str | None = None,
        limit: int = 100,
        older_than: str | None = None,
        newer_than: str | None = None,
    ) -> Sequence[R]:
        if older_than is None and newer_than is None:
            known = self._pages.setdefault(kind.KIND, {})
            if (parent, limit) not in known:
                self._flush_kind(kind.KIND)
                known = self._pages.setdefault(kind.KIND, {})
                known.update(self._first_pages(kind, parent, limit=limit))
            return list(known[parent, limit])
        self._flush_kind(kind.KIND)
        filters = (kind.KIND,) if parent is None else (kind.KIND, parent)
        rows = self._page(
            SQL.records_latest if parent is None else SQL.records_latest_of_parent,
            SQL.records_after if parent is None else SQL.records_after_of_parent,
            SQL.seq_of_record,
            *filters,
            cursor_key=(kind.KIND,),
            limit=limit,
            older_than=older_than,
            newer_than=newer_than,
        )
        return [decode_record(kind, row[0]) for row in rows]

    def _first_pages(
        self, kind: type[R], parent: str | None, *, limit: int
    ) -> dict[tuple[str | None, int], Sequence[Any]]:
        """Return the newest records under (parent, limit): those of a customer's siblings, too."""
        if not self._has_entered:
            self.enter()
        pages: dict[tuple[str | None, int], list[Any]] = {(parent, limit): []}
        if parent in self._siblings:
            pages = {(sibling, limit): [] for sibling in self._siblings}
            for owner, body in self._all(
                SQL.records_latest_of_parents, kind.KIND, list(self._siblings), limit
            ):
                pages[owner, limit].append(decode_record(kind, body))
        else:
            sql, filters = (
                (SQL.records_latest, ()) if parent is None else (SQL.records_latest_of_parent, (parent,))
            )
            for (body,) in self._all(sql, 0, 2**63 - 1, limit, kind.KIND, *filters):
                pages[parent, limit].append(decode_record(kind, body))
        return dict(pages)

    def forget_shared_records(self) -> None:
        own = set(self._siblings)
        self._found = {
            key: record
            for key, record in self._found.items()
            if key[1] in own or key in self._unsaved or (record is not None and record.parent in own)
        }
        for kind, pages in self._pages.items():
            self._pages[kind] = {key: found for key, found in pages.items() if key[0] in own}

    def _flush_kind(self, kind: str) -> None:
        if kind in self._unsaved_kinds:
            self.flush()

    def record_writes(self) -> Iterator[Write]:
        """Yield what waits, and forget that it does."""
        if self._unsaved:
            yield Write("save_records", SQL.save_records, columns_of(self._unsaved.values()))
        self._unsaved = {}
        self._unsaved_kinds = set()
