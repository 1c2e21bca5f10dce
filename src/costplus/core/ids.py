"""Ids: prefixed, time-sortable, made at the edge; event keys are deterministic.

Rule 1: `new_id` is called by verb files only; nouns receive ids as arguments.
Rule 2: the same (event time, customer, idempotency key) always makes the same `event_id`, so a retry is
recognised by the primary key alone (UUIDv8: 48 bits of milliseconds, then a hash; RFC 9562 §5.8).
Rule 3: a customer's `bucket` (hash % 1024) leads every primary key: it is the unit of sharding.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from datetime import UTC, datetime, timedelta
from typing import NewType

CustomerId = NewType("CustomerId", str)  # cus_…
EventId = NewType("EventId", str)  # 32 hex digits of a UUIDv8
GrantId = NewType("GrantId", str)  # credgr_…
HoldId = NewType("HoldId", str)  # hold_…
TransactionId = NewType("TransactionId", str)  # txn_…
InvoiceId = NewType("InvoiceId", str)  # in_…

BUCKETS = 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(at: datetime) -> int:
    """Return whole milliseconds since the epoch of an aware instant."""
    assert at.tzinfo is not None
    return (at - _EPOCH) // _MILLISECOND


def from_milliseconds(ms: int) -> datetime:
    """Return the aware UTC instant `ms` milliseconds after the epoch."""
    return _EPOCH + ms * _MILLISECOND


def new_id(prefix: str, *, at: datetime) -> str:
    """Return `prefix_` + 12 hex digits of milliseconds + 20 random ones, sortable by time within a prefix."""
    return f"{prefix}_{milliseconds(at):012x}{os.urandom(10).hex()}"


def event_id(*, at: datetime, customer: str, key: str) -> EventId:
    """Return the UUIDv8 hex of a usage event: equal arguments make an equal id."""
    digest = hashlib.sha256(f"{customer}\x00{key}".encode()).digest()
    value = (milliseconds(at) & (1 << 48) - 1) << 80 | int.from_bytes(digest[:10], "big")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return EventId(f"{value:032x}")


def bucket_of(customer: str) -> int:
    """Return the customer's shard, 0 … 1023, stable for ever."""
    return zlib.crc32(customer.encode()) % BUCKETS
