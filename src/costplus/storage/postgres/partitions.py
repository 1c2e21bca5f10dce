"""Events and charges by month: which partition an id belongs to, and how it is made.

Rule 1: an id begins with its event's millisecond, so a month is a range of ids, and the primary key, which
holds the id, is unique over all months.
Rule 2: what has no month here (before 2020, from 2100 on) has partitions from the first migration.
Rule 3: a partition is made in a transaction of its own, empty, and then attached: nobody waits for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime

from costplus.core.ids import milliseconds
from costplus.storage.postgres.session import Session

FIRST_YEAR, END_YEAR = 2020, 2100
AHEAD = 2  # Months that are made before they come.
PARTITIONED = ("usage_events", "charges")

_STARTS = [
    f"{milliseconds(datetime(year, month, 1, tzinfo=UTC)):012x}"
    for year in range(FIRST_YEAR, END_YEAR)
    for month in range(1, 13)
] + [f"{milliseconds(datetime(END_YEAR, 1, 1, tzinfo=UTC)):012x}"]
_LAST = len(_STARTS) - 2
_LOCK = 0x636F7374_70617274  # "costpart"


class PartitionsMissing(Exception):
    """Some months have no partition yet: they are made, and the verb runs again."""

    def __init__(self, months: set[int]) -> None:
        super().__init__(f"There are no partitions for {len(months)} months.")
        self.months = months


def month_of(id: str) -> int | None:
    """Return the number of the event's month since January 2020, or None where that has no partition."""
    month = bisect_right(_STARTS, id[:12]) - 1
    return month if 0 <= month <= _LAST else None


def month_at(at: datetime) -> int:
    """Return the number of the instant's month."""
    return (at.year - FIRST_YEAR) * 12 + at.month - 1


def name_of(table: str, month: int) -> str:
    """Return the partition's name, such as `charges_2026_03`."""
    return f"{table}_{FIRST_YEAR + month // 12}_{month % 12 + 1:02}"


def present_months(session: Session) -> set[int]:
    """Return the months that have their partitions."""
    rows = session.fetch(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = 'charges'::regclass"
    )
    months = {name_of("charges", month): month for month in range(_LAST + 1)}
    return {months[row[0]] for row in rows if row[0] in months}


def make_partitions(session: Session, wanted: Iterable[int]) -> set[int]:
    """Make what is missing of the months, and commit; return all months that have partitions then."""
    session.begin()
    session.fetch("SELECT pg_advisory_xact_lock($1)", _LOCK)
    present = present_months(session)
    missing = sorted({month for month in wanted if 0 <= month <= _LAST} - present)
    for month in missing:
        for table in PARTITIONED:
            name = name_of(table, month)
            session.script(
                f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL);"
                f"ALTER TABLE {table} ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{_STARTS[month]}') TO ('{_STARTS[month + 1]}')"
            )
    session.commit()
    return present | set(missing)
