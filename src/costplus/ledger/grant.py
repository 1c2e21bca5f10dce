"""Credit grants and the order in which they burn.

Rule 1: order is priority (lower first) → earlier expiry → promotional before paid → earlier effective →
earlier created → id. Source: spec "Stripe's wire", §5.5.
Rule 2: a grant burns only while it is effective, unexpired and unvoided, for usage in its scope and currency;
what remains at expiry is breakage.
Rule 3: a grant begins once: then it pays what is owed already. One that is effective later begins later.
Rule 4: usage that comes late burns credit that was effective at its own time, even what has lapsed since.
Rule 5: a grant in custom pricing units is worth what they were worth when it was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Literal

from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import CustomerId, GrantId
from costplus.ledger.scope import ALL_USAGE, Scope, Subject

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
    source: Literal["api", "plan", "correction", "rollover", "top_up"] = "api"
    updated: datetime | None = None
    minor_amount: int = 0  # The amount as it was asked for, in minor units.
    lapsed_nano: int = 0  # Of what was left at expiry, what late usage has not burnt since.
    scope: Scope = ALL_USAGE  # The usage that it pays for.
    begun_at: datetime | None = None  # Since when it takes part; None while that lies ahead.
    unit: str = ""  # The custom pricing unit that it was given in, or empty.
    unit_amount: str = ""  # How many of them, as a decimal.

    @property
    def begins(self) -> bool:
        """Whether its beginning lies ahead, or nobody has come by since."""
        return self.begun_at is None and self.voided_at is None and self.expired_at is None

    def units(self, nano: int) -> Fraction:
        """Return how many custom pricing units a part of the grant stands for, exactly."""
        return Fraction(self.unit_amount) * nano / self.amount_nano if self.amount_nano else Fraction(0)

    def is_burnable(self, at: datetime) -> bool:
        """Return whether credit of this grant may pay for usage at `at`."""
        return (
            self.remaining_nano > 0
            and self.voided_at is None
            and self.expired_at is None
            and self.effective_at <= at
            and (self.expires_at is None or at < self.expires_at)
        )

    def revived(self) -> Grant:
        """Return the grant as if it had not expired: what lapsed remains."""
        if self.expired_at is None:
            return self
        return replace(self, remaining_nano=self.lapsed_nano, expired_at=None)


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


def burnable(grants: Sequence[Grant], *, at: datetime, currency: str = "") -> list[Grant]:
    """Return the grants that may pay at `at` (for usage in that currency, or any), in burn order."""
    return sorted(
        (grant for grant in grants if grant.is_burnable(at) and currency in ("", grant.currency)),
        key=burn_key,
    )


def burnable_late(
    grants: Sequence[Grant], *, used_at: datetime, at: datetime, currency: str = ""
) -> list[Grant]:
    """Return what may pay at `at` for usage of a period that has ended, in order, as if nothing had lapsed.

    First what was effective when it was used; then what pays any debt, which no plan's credit does.
    """
    then = burnable([grant.revived() for grant in grants], at=used_at, currency=currency)
    known = {grant.id for grant in then}
    now = burnable(grants, at=at, currency=currency)
    return [*then, *(grant for grant in now if grant.source != "plan" and grant.id not in known)]


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


@dataclass(frozen=True, slots=True)
class Burned:
    """Who pays: each grant's part, and what is left that none pays."""

    parts: Sequence[tuple[Grant, int]]
    rest_nano: int


def burn_in_scope(in_order: Sequence[Grant], parts: Mapping[Subject, int]) -> Burned:
    """Take each subject's amount from the grants whose scope covers it, in turn."""
    rest = dict(sorted(parts.items(), key=lambda entry: entry[0].key))
    paid: list[tuple[Grant, int]] = []
    for grant in in_order:
        left = grant.remaining_nano
        for subject in rest:
            part = min(left, rest[subject])
            if part == 0 or not grant.scope.covers(subject):
                continue
            rest[subject] -= part
            left -= part
        if left < grant.remaining_nano:
            paid.append((grant, grant.remaining_nano - left))
    assert sum(part for _, part in paid) + sum(rest.values()) == sum(parts.values())
    return Burned(paid, sum(rest.values()))


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
