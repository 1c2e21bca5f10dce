"""Credit grants and the order in which they burn.

Rule 1: order is priority (lower first) → earlier expiry → promotional before paid → earlier effective →
earlier created → id. Source: spec "Stripe's wire", §5.5.
Rule 2: a grant burns only while it is effective, unexpired and unvoided; what remains at expiry is breakage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import CustomerId, GrantId

GRANTS_MAX = 100  # Unused grants per customer (Stripe's limit).
_NEVER = datetime.max.replace(tzinfo=UTC)


class NoSuchGrant(NotFound):
    """The credit grant does not exist."""

    code = "resource_missing"


class TooManyGrants(InvalidRequest):
    """The customer has the most unused grants that are allowed."""

    code = "credit_grants_limit"
    remedy = f"At most {GRANTS_MAX} unused grants per customer: void or expire some first."


class GrantUsed(InvalidRequest):
    """Only a grant that nothing was paid from can be voided."""

    code = "credit_grant_used"
    remedy = "Expire it instead."


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Credit given to a customer; `remaining_nano` is what has not burnt yet."""

    id: GrantId
    customer: CustomerId
    created: datetime
    amount_nano: int
    remaining_nano: int
    currency: str
    effective_at: datetime
    expires_at: datetime | None = None
    category: Literal["paid", "promotional"] = "paid"
    priority: int = 50
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    voided_at: datetime | None = None
    expired_at: datetime | None = None  # When its remainder was booked as breakage.
    source: Literal["api", "plan", "correction", "rollover"] = "api"
    updated: datetime | None = None
    minor_amount: int = 0  # The amount as it was asked for, in minor units.

    def is_burnable(self, at: datetime) -> bool:
        """Return whether credit of this grant may pay for usage at `at`."""
        return (
            self.remaining_nano > 0
            and self.voided_at is None
            and self.expired_at is None
            and self.effective_at <= at
            and (self.expires_at is None or at < self.expires_at)
        )


def burn_key(grant: Grant) -> tuple[int, datetime, int, datetime, datetime, str]:
    """Return the sort key of the burn order."""
    return (
        grant.priority,
        grant.expires_at or _NEVER,
        0 if grant.category == "promotional" else 1,
        grant.effective_at,
        grant.created,
        grant.id,
    )


def burnable(grants: Sequence[Grant], *, at: datetime) -> list[Grant]:
    """Return the grants that may pay at `at`, in burn order."""
    return sorted((grant for grant in grants if grant.is_burnable(at)), key=burn_key)


def burn(in_order: Sequence[Grant], amount_nano: int) -> tuple[list[tuple[Grant, int]], int]:
    """Take `amount_nano` from the grants in turn: return what each pays, and what none covers."""
    assert amount_nano >= 0
    parts: list[tuple[Grant, int]] = []
    rest = amount_nano
    for grant in in_order:
        if rest == 0:
            break
        part = min(grant.remaining_nano, rest)
        parts.append((grant, part))
        rest -= part
    assert sum(part for _, part in parts) + rest == amount_nano
    return parts, rest


def refill(
    burned: Sequence[tuple[Grant, int]], amount_nano: int, *, at: datetime
) -> tuple[list[tuple[Grant, int]], int]:
    """Give `amount_nano` back to grants that `burned` so much: return what each takes, and what none can.

    The last in burn order gets its credit back first, as if it had never burned. A grant that has ended takes
    nothing: its credit would be lost with it.
    """
    assert amount_nano >= 0
    parts: list[tuple[Grant, int]] = []
    rest = amount_nano
    for grant, paid_nano in sorted(burned, key=lambda entry: burn_key(entry[0]), reverse=True):
        part = min(rest, paid_nano, grant.amount_nano - grant.remaining_nano)
        if part > 0 and replace(grant, remaining_nano=part).is_burnable(at):
            parts.append((grant, part))
            rest -= part
    assert sum(part for _, part in parts) + rest == amount_nano
    return parts, rest
