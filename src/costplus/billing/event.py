"""Events announce what happened; endpoints receive them; deliveries are attempts to tell one endpoint.

Rule 1: an event is written in the transaction that caused it, together with its deliveries (an outbox).
Rule 2: a delivery is retried with growing pauses over three days, then failed for good; it can be resent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from costplus.core.records import Record

# Pauses between attempts; together they span three days (Standard Webhooks' schedule, one more day added).
RETRY_PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)

EVENT_TYPES = (
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "billing.meter.created",
    "billing.meter.updated",
    "billing.meter.deactivated",
    "billing.meter.reactivated",
    "billing.credit_grant.created",
    "billing.credit_grant.updated",
    "billing.credit_balance_transaction.created",
    "billing.alert.triggered",
    "billing.alert.recovered",
    "token_billing.spend_cap.reached",
    "token_billing.spend_cap.exceeded",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "test_helpers.test_clock.created",
    "test_helpers.test_clock.ready",
    "token_billing.usage.unpriced",
    "token_billing.hold.expired",
    "model.discovered",
    "model.priced",
    "model.alias_moved",
    "model.deprecation_announced",
    "model.retired",
    "model.redirected",
    "price.change_detected",
    "price.change_confirmed",
    "price.change_applied",
    "price.change_held",
    "price.scheduled",
    "price.schedule_cancelled",
    "price.schedule_due",
    "price.promo_ending",
    "price.component_added",
    "price.component_removed",
    "price.source_disagreement",
    "price.correction_reported",
    "source.stale",
    "source.keys_unknown",
    "source.rejected",
    "rate_card.version_created",
    "cost.reconciliation_mismatch",
    "margin.below_target",
    "margin.negative",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Record):
    """What happened to which object; `snapshot` is the object as it was then (JSON of the record)."""

    KIND: ClassVar[str] = "event"

    type: str
    object_kind: str
    object_id: str
    snapshot: bytes
    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint(Record):
    """Where events go. The whole `whsec_…` text is the signing key."""

    KIND: ClassVar[str] = "webhook_endpoint"

    url: str
    secret: str
    enabled_events: tuple[str, ...] = ("*",)
    description: str | None = None
    api_version: str | None = None
    metadata: dict[str, str] | None = None
    status: Literal["enabled", "disabled"] = "enabled"

    def wants(self, type: str) -> bool:
        """Return whether the endpoint asked for events of this type."""
        return self.status == "enabled" and ("*" in self.enabled_events or type in self.enabled_events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The state of telling `endpoint` about `event`."""

    id: str
    event: str
    endpoint: str
    due_at: datetime
    attempts: int = 0
    status: Literal["pending", "delivered", "failed"] = "pending"
    response_status: int | None = None
    error: str = ""
    delivered_at: datetime | None = None


def next_due(attempts: int, *, at: datetime) -> datetime | None:
    """Return when to try again after `attempts` failures, or None where it is time to give up."""
    assert attempts >= 1
    return at + RETRY_PAUSES[attempts - 1] if attempts <= len(RETRY_PAUSES) else None
