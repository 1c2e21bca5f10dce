"""A delivery on its way: what it needs, what may keep it from being attempted, and what an attempt leaves.

Rule 1: whoever attempts a delivery holds a claim on it: until its `due_at` nobody else takes it. A claim that
is about to end is renewed before an attempt, or given up.
Rule 2: an outcome that came too late to matter changes nothing: what was delivered stays delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from costplus.billing.event import (
    BODY_MAX,
    FAILING_MAX,
    HOLDS_ATTEMPTS,
    LOG_MAX,
    Attempt,
    Delivery,
    Event,
    WebhookEndpoint,
    next_due,
)
from costplus.billing.notify import announce
from costplus.billing.store import Tx

CLAIM = timedelta(seconds=60)
LOOK_AGAIN = timedelta(seconds=1)  # For what somebody else has in hand.


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered; `status` is None where it did not, and `text` says why."""

    status: int | None
    text: str = ""
    body: str = ""
    duration_ms: int = 0

    @property
    def accepts(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint asks never to be called again."""
        return self.status == 410

    @property
    def fault(self) -> str:
        """One line about what went wrong, for lists."""
        if self.status is None:
            return self.text
        return f"HTTP {self.status}: {self.text}" if self.text else f"HTTP {self.status}"


@dataclass(frozen=True, slots=True)
class Parcel:
    """A delivery as it stands now, with what is to be delivered, to whom, and what has to go before it."""

    delivery: Delivery
    endpoint: WebhookEndpoint | None
    event: Event | None
    ahead: Delivery | None = None

    @property
    def obstacle(self) -> str:
        """Why there is nothing to attempt, or empty."""
        if self.endpoint is None:
            return "The endpoint was deleted."
        if self.endpoint.status == "disabled":
            return "The endpoint is disabled."
        return "" if self.event is not None else "The event no longer exists."


def claim(tx: Tx, *, at: datetime, limit: int, but_of: Collection[str] = ()) -> Sequence[Delivery]:
    """Take what is due, and keep others from it for a while."""
    return tx.claim_deliveries(at, at + CLAIM, limit, but_of=but_of)


def parcel_of(tx: Tx, delivery: Delivery) -> Parcel:
    """Look up the present state of everything that a delivery names."""
    return Parcel(
        tx.delivery(delivery.id) or delivery,
        tx.find(WebhookEndpoint, delivery.endpoint),
        tx.find(Event, delivery.event),
        tx.delivery_ahead(delivery, attempts_below=HOLDS_ATTEMPTS),
    )


def is_claimed(known: Delivery | None, delivery: Delivery) -> bool:
    """Return whether the claim that `delivery` was taken with still holds."""
    return known is not None and known.status == "pending" and known.due_at == delivery.due_at


def renew(tx: Tx, delivery: Delivery, *, at: datetime) -> Delivery | None:
    """Claim a delivery for longer; None where the claim was lost."""
    known = tx.delivery(delivery.id)
    if known is None or not is_claimed(known, delivery):
        return None
    renewed = replace(known, due_at=at + CLAIM)
    tx.save_delivery(renewed)
    return renewed


def give_back(tx: Tx, deliveries: Sequence[Delivery], *, at: datetime) -> None:
    """End the claims on deliveries that were not attempted."""
    for delivery in deliveries:
        known = tx.delivery(delivery.id)
        if known is not None and is_claimed(known, delivery):
            tx.save_delivery(replace(known, due_at=at))
            tx.touch("outbox")


def hold_back(tx: Tx, delivery: Delivery, ahead: Delivery, *, at: datetime) -> None:
    """Let a delivery wait for the one ahead: until that is tried again, or while somebody has it in hand."""
    known = tx.delivery(delivery.id)
    if known is not None and is_claimed(known, delivery):
        # What is due within a claim's time may be in hand just now, and done with in a moment.
        again = ahead.due_at if ahead.due_at > at + CLAIM else at + LOOK_AGAIN
        tx.save_delivery(replace(known, due_at=again))


def after(delivery: Delivery, answer: Answer, *, at: datetime) -> Delivery:
    """Return the delivery after an attempt that ended at `at` with `answer`."""
    error = "" if answer.accepts else answer.fault
    attempt = Attempt(at=at, status=answer.status, duration_ms=answer.duration_ms, error=error)
    tried = replace(
        delivery,
        attempts=delivery.attempts + 1,
        response_status=answer.status,
        response_body=answer.body[:BODY_MAX],
        error=error,
        log=(*delivery.log, attempt)[-LOG_MAX:],
    )
    if answer.accepts:
        return replace(tried, status="delivered", delivered_at=at)
    due_at = None if answer.is_gone else next_due(tried.attempts, at=at)
    return replace(tried, status="failed") if due_at is None else replace(tried, due_at=due_at)


def record(tx: Tx, outcome: Delivery, *, answer: Answer | None, at: datetime) -> WebhookEndpoint | None:
    """Keep an attempt's outcome (None: nothing was attempted); return the endpoint where that disabled it."""
    known = tx.delivery(outcome.id)
    if known is not None and known.status == "delivered":
        return None
    tx.save_delivery(outcome)
    endpoint = tx.find(WebhookEndpoint, outcome.endpoint) if answer is not None else None
    if answer is None or endpoint is None or (answer.accepts and endpoint.failing_since is None):
        return None
    tx.lock(f"webhook_endpoint/{endpoint.id}")  # Outcomes of its other deliveries come at the same time.
    endpoint = tx.find(WebhookEndpoint, outcome.endpoint)
    if endpoint is None or endpoint.status == "disabled":
        return None
    if answer.accepts:
        if endpoint.failing_since is not None:
            tx.save(replace(endpoint, failing_since=None))
        return None
    since = endpoint.failing_since or at
    if answer.is_gone or at - since >= FAILING_MAX:
        because: Literal["gone", "failing"] = "gone" if answer.is_gone else "failing"
        disabled = replace(
            endpoint, status="disabled", disabled_because=because, failing_since=since, updated=at
        )
        tx.save(disabled)
        announce(tx, "token_billing.webhook_endpoint.disabled", disabled, at=at)
        return disabled
    if endpoint.failing_since is None:
        tx.save(replace(endpoint, failing_since=since))
    return None
