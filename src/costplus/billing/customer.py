"""Customers of the seller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from costplus.billing.key_limits import NO_LIMITS, KeyLimits
from costplus.billing.shadow import Switch
from costplus.core.errors import NotFound
from costplus.core.records import Record

OnZeroCredit = Literal["block", "overage"]
CollectionMethod = Literal["charge_automatically", "send_invoice"]


class NoSuchCustomer(NotFound):
    """The customer does not exist."""

    code = "resource_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer(Record):
    """Who is billed. `on_zero_credit` overrides the account's default; `test_clock` replaces the real time.

    `profile` keeps what the seller told us and billing does not read (address, phone, …), as it came.
    """

    KIND: ClassVar[str] = "customer"

    name: str | None = None
    email: str | None = None
    description: str | None = None
    currency: str = "usd"
    metadata: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    test_clock: str | None = None
    on_zero_credit: OnZeroCredit | None = None
    timezone: str = "UTC"  # By whose clocks billing periods are counted; an IANA name.
    deleted: bool = False
    default_payment_method: str = ""
    # None: charged by itself where there is a default payment method.
    collection_method: CollectionMethod | None = None
    overage_limit_minor: int | None = None  # What may be owed beyond credit; None: what the plan says.
    shadow: tuple[Switch, ...] = ()  # Since when its usage is only tracked, or asked for again.

    @property
    def parent(self) -> str:
        return self.test_clock or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestClock(Record):
    """A clock that stands still until it is advanced; its customers live by it."""

    __test__ = False  # Not a test class, whatever its name.

    KIND: ClassVar[str] = "test_clock"

    frozen_time: datetime
    name: str | None = None
    status: Literal["ready", "advancing", "internal_failure"] = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Record):
    """A key by its hash: the merchant's (no customer) or a customer's own virtual key."""

    KIND: ClassVar[str] = "api_key"

    digest: str  # SHA-256 hex of the secret.
    name: str = ""
    customer: str = ""
    hint: str = ""  # The secret's last four characters.
    livemode: bool = False
    revoked_at: datetime | None = None
    limits: KeyLimits = NO_LIMITS  # Of a customer's key only.

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def lookup(self) -> str:
        return self.digest
