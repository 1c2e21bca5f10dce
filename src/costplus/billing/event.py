"""Events announce what happened; endpoints receive them; deliveries are attempts to tell one endpoint.

Rule 1: an event is written in the transaction that caused it, together with its deliveries (an outbox).
Rule 2: a delivery is retried with growing pauses over three days, then failed for good; it can be resent.
Rule 3: what happened to one object is told to one endpoint in order: a delivery waits while an earlier one
about the same object is pending and has failed fewer than `HOLDS_ATTEMPTS` times; after that it is overtaken.
Rule 4: an endpoint is told whole objects (`snapshot`) or names of objects to be fetched (`thin`). Types that
begin with v1. or v2. have no object: they are told thinly only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

HOLDS_ATTEMPTS = 4  # About 35 minutes: so long one event may keep later ones of its object waiting.
FAILING_MAX = timedelta(days=5)  # An endpoint that failed for so long without one success is disabled.
LOG_MAX = 20  # Attempts that a delivery remembers one by one.
BODY_MAX = 1024  # Characters of an endpoint's answer that are kept.

EVENT_TYPES = (
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
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
    "invoice.updated",
    "invoice.finalized",
    "invoice.finalization_failed",
    "invoice.sent",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.paid",
    "invoice.overdue",
    "invoice.upcoming",
    "invoice.deleted",
    "invoiceitem.created",
    "invoiceitem.deleted",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "tax_rate.created",
    "tax_rate.updated",
    "coupon.created",
    "coupon.updated",
    "coupon.deleted",
    "customer.discount.created",
    "customer.discount.deleted",
    "customer.tax_id.created",
    "customer.tax_id.deleted",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "payment.created",
    "payment.succeeded",
    "payment.failed",
    "payment.canceled",
    "payment.refunded",
    "payment.refund_failed",
    "payment.requires_action",
    "payment.held",
    "payment.surplus",
    "payment.unmatched",
    "top_up.succeeded",
    "top_up.failed",
    "auto_recharge.stopped",
    "auto_recharge.cap_reached",
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
    "token_billing.webhook_endpoint.ping",
    "token_billing.webhook_endpoint.disabled",
    "v1.billing.meter.error_report_triggered",
    "v1.billing.meter.no_meter_found",
    "v2.core.event_destination.ping",
)

Payload = Literal["snapshot", "thin"]


def is_thin_only(type: str) -> bool:
    """Return whether events of the type have no snapshot to be told."""
    return type.startswith(("v1.", "v2."))


def thin_type(type: str) -> str:
    """Return what an event's type is called where it is told thinly."""
    return type if is_thin_only(type) else f"v1.{type}"


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
    ordered_by: str = ""  # What events about the same have in common: they are told in order.


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiringSecret:
    """A secret that was replaced and signs beside the new one until `until`."""

    secret: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint(Record):
    """Where events go. The whole `whsec_…` text is the signing key.

    One that was made as an event destination of v2 (`is_destination`) is listed there only.
    """

    KIND: ClassVar[str] = "webhook_endpoint"

    url: str
    secret: str
    enabled_events: tuple[str, ...] = ("*",)
    description: str | None = None
    api_version: str | None = None
    metadata: dict[str, str] | None = None
    status: Literal["enabled", "disabled"] = "enabled"
    retiring: tuple[RetiringSecret, ...] = ()
    payload: Payload = "snapshot"
    is_destination: bool = False
    name: str = ""
    updated: datetime | None = None
    disabled_because: Literal["", "user", "gone", "failing"] = ""
    failing_since: datetime | None = None  # When the first attempt failed after the last success.

    def wants(self, type: str) -> bool:
        """Return whether the endpoint asked for events of this type."""
        if self.status != "enabled" or not self.can_tell(type):
            return False
        return "*" in self.enabled_events or not {type, thin_type(type)}.isdisjoint(self.enabled_events)

    def can_tell(self, type: str) -> bool:
        """Return whether the endpoint's payload has words for events of this type."""
        return self.payload == "thin" or not is_thin_only(type)

    def secrets_at(self, at: datetime) -> tuple[str, ...]:
        """Return the secrets that sign at `at`, the newest first."""
        return (self.secret, *(old.secret for old in self.retiring if at < old.until))

    def sealed(self) -> WebhookEndpoint:
        """Return the endpoint without its secrets: what events about it may hold."""
        return replace(self, secret="", retiring=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a delivery; `status` is None where nothing was answered."""

    at: datetime
    status: int | None
    duration_ms: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The state of telling `endpoint` about `event`.

    `object` names what the event is about: deliveries of one object go in order. While it is pending,
    `due_at` is when it may be taken: the next attempt, or the end of somebody's claim.
    """

    id: str
    event: str
    endpoint: str
    due_at: datetime
    attempts: int = 0
    status: Literal["pending", "delivered", "failed"] = "pending"
    response_status: int | None = None
    error: str = ""
    delivered_at: datetime | None = None
    object: str = ""
    created: datetime | None = None
    response_body: str = ""
    log: tuple[Attempt, ...] = ()


def next_due(attempts: int, *, at: datetime) -> datetime | None:
    """Return when to try again after `attempts` failures, or None where it is time to give up."""
    assert attempts >= 1
    return at + RETRY_PAUSES[attempts - 1] if attempts <= len(RETRY_PAUSES) else None
