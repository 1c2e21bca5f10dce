"""How hard invoices are collected: when a declined payment is tried again, and what follows at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from costplus.core.records import Record

POLICY = "collection"  # The one record's id.
RETRIES_MAX = 20
LOOK_FIRST = timedelta(minutes=1)
LOOK_MAX = timedelta(days=1)
ASK_AGAIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPolicy(Record):
    """`retry_days`: pauses after each decline. `finally_`: what becomes of the invoice after the last."""

    KIND: ClassVar[str] = "collection_policy"

    retry_days: tuple[int, ...] = (3, 5, 7)
    finally_: Literal["leave_open", "mark_uncollectible"] = "leave_open"

    def retry_at(self, declines: int, *, at: datetime) -> datetime | None:
        """Return when to try again after so many declines, or None where it is time to give up."""
        assert declines >= 1
        return (
            at + timedelta(days=self.retry_days[declines - 1]) if declines <= len(self.retry_days) else None
        )


def look_at(looks: int, *, at: datetime) -> datetime:
    """Return when to look at an unfinished payment next: after a minute, then ever more rarely."""
    return at + min(LOOK_FIRST * (1 << min(looks, 16)), LOOK_MAX)
