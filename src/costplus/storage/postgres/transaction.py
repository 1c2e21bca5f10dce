"""The open transaction of one connection: its locks, all it may read and write, the flush of its writes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, MutableMapping

import asyncpg

from costplus.billing.store import Topic
from costplus.core.money import InvalidAmount
from costplus.rating.sheet import UnitRate
from costplus.storage.postgres.agenda import PostgresAgenda
from costplus.storage.postgres.audit import PostgresAudit
from costplus.storage.postgres.charges import PostgresCharges
from costplus.storage.postgres.faults import is_too_large
from costplus.storage.postgres.ledger import BOOK_LOCK, PostgresLedger
from costplus.storage.postgres.outbox import SQL, PostgresOutbox
from costplus.storage.postgres.postings import PostgresPostings
from costplus.storage.postgres.records import PostgresRecords
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Write, run_together

CHANNEL = "costplus_"  # Followed by the topic.


class PostgresTx(
    PostgresRecords,
    PostgresLedger,
    PostgresPostings,
    PostgresCharges,
    PostgresOutbox,
    PostgresAgenda,
    PostgresAudit,
):
    """Satisfies `billing.store.Tx`. It lives for one try of one verb."""

    def __init__(
        self,
        session: Session,
        customers: Collection[str] | None,
        *,
        rates: MutableMapping[str, UnitRate],
        months: Collection[int] = (),
        reads_only: bool = False,
    ) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self.rates = rates
        self.months = set(months)
        self.touched: set[Topic] = set()
        self._names: set[str] = set()

    def enter(self) -> None:
        if self._has_entered:
            return
        self._has_entered = True
        if self._customers is None:
            self._session.fetch(SQL.lock_alone, BOOK_LOCK)
        else:
            self._lock(sorted(set(self._customers)))

    def lock(self, name: str) -> None:
        self.changing()
        if self._customers is None or name in self._names:
            return
        self._all(SQL.lock_name, _key_of(name))
        self._names.add(name)
        self.forget_shared_records()

    def touch(self, topic: Topic) -> None:
        self.changing()
        self.touched.add(topic)

    def flush(self) -> None:
        if not self._has_entered:
            self.enter()
        try:
            self.copy_events()
            self.copy_charges()
            run_together(self._session, self._writes())
        except asyncpg.DataError as error:
            if not is_too_large(error):
                raise
            raise InvalidAmount("A total is beyond what can be kept.") from error

    def _writes(self) -> Iterator[Write]:
        yield from self.record_writes()
        yield from self.ledger_writes()
        yield from self.posting_writes()
        yield from self.charge_writes()
        yield from self.outbox_writes()
        yield from self.agenda_writes()

    def finish(self, *, sender: str) -> None:
        """Send all that waits, and what other processes are to hear of when it is kept."""
        self.flush()
        if self.touched:
            self._all(SQL.tell, [f"{CHANNEL}{topic}" for topic in sorted(self.touched)], sender)

    def committed(self) -> None:
        """Let other transactions rely on what this one stored."""
        self.rates.update(self.fresh_rates)


def _key_of(name: str) -> int:
    """Return the lock's number; two names share one as good as never, and then they merely take turns."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
