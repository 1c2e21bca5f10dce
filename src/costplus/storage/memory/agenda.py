"""When customers are due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from costplus.storage.memory.tables import Undoable


class MemoryAgenda(Undoable):
    """Satisfies `AgendaStore`."""

    def due_of(self, customer: str) -> datetime | None:
        return self.tables.due.get(customer)

    def set_due(self, customer: str, at: datetime | None) -> None:
        if at is not None:
            self.put(self.tables.due, customer, at)
        elif customer in self.tables.due:
            self.drop(self.tables.due, customer)

    def customers_due(self, at: datetime, *, limit: int) -> Sequence[str]:
        due = sorted((due_at, customer) for customer, due_at in self.tables.due.items() if due_at <= at)
        return [customer for _, customer in due[:limit]]
