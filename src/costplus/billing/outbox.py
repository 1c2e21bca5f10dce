"""Queue events for endpoints: once when they happen, and again when somebody asks for it.

Rule 1: a delivery is written in the transaction of its event. Rule 2: telling an event again is a delivery of
its own with the event's own id, which receivers go by; it comes after what was queued before it.
Rule 3: replaying a range is a job that walks through all events by steps; a step done again changes nothing.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from costplus.billing.alert import AlertTriggered
from costplus.billing.event import EVENT_TYPES, Delivery, Event, RetiringSecret, WebhookEndpoint
from costplus.billing.replay import EndpointDisabled, WebhookReplay
from costplus.billing.store import Tx
from costplus.core.errors import NotFound
from costplus.core.ids import from_milliseconds, new_id
from costplus.core.records import Record
from costplus.ledger.grant import Grant

ENDPOINTS_MAX = 100
AT_ONCE = from_milliseconds(0)  # Whatever a test clock says: deliveries happen in real time.
REPLAY_STEP = 500  # Events looked at in one transaction.
OVERLAP = timedelta(hours=24)
OVERLAP_MAX = timedelta(days=7)


class NoSuchEndpoint(NotFound):
    """The webhook endpoint does not exist."""

    code = "resource_missing"


def new_secret() -> str:
    """Return a signing secret: Stripe's SDKs take the whole text, Standard Webhooks decode its base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def endpoint_of(tx: Tx, id: str) -> WebhookEndpoint:
    """Return the endpoint, or raise `NoSuchEndpoint`."""
    endpoint = tx.find(WebhookEndpoint, id)
    if endpoint is None:
        raise NoSuchEndpoint(f"No such webhook endpoint: '{id}'", param="id")
    return endpoint


def happened(
    tx: Tx,
    type: str,
    subject: Record | Grant,
    *,
    at: datetime,
    request_id: str | None = None,
    idempotency_key: str | None = None,
) -> Event:
    """Record that `type` happened to `subject`, and tell nobody yet."""
    assert type in EVENT_TYPES, type
    shown = subject.sealed() if isinstance(subject, WebhookEndpoint) else subject
    event = Event(
        id=new_id("evt", at=at),
        created=at,
        type=type,
        object_kind=subject.KIND if isinstance(subject, Record) else "grant",
        object_id=subject.id,
        snapshot=msgspec.json.encode(shown),
        request_id=request_id,
        idempotency_key=idempotency_key,
        ordered_by=ordering_key(subject),
    )
    tx.save(event)
    return event


def ordering_key(subject: Record | Grant) -> str:
    """Return what events have to be in order by: their object, or the alert and customer of a crossing."""
    if isinstance(subject, AlertTriggered):
        return f"{subject.alert.id}/{subject.customer}"
    return subject.id


def enqueue_event(tx: Tx, event: Event, endpoints: Iterable[WebhookEndpoint], *, at: datetime) -> None:
    """Queue the event for these endpoints."""
    for endpoint in endpoints:
        tx.save_delivery(
            Delivery(
                id=new_id("whd", at=at),
                event=event.id,
                endpoint=endpoint.id,
                due_at=AT_ONCE,
                object=event.ordered_by,
                created=at,
            )
        )
        tx.touch("outbox")


def tell(tx: Tx, event: Event, *, at: datetime) -> None:
    """Queue the event for every endpoint that wants it."""
    endpoints = tx.page(WebhookEndpoint, limit=ENDPOINTS_MAX)
    enqueue_event(tx, event, (entry for entry in endpoints if entry.wants(event.type)), at=at)


def resend(tx: Tx, event: Event, endpoint: WebhookEndpoint | None, *, at: datetime) -> list[str]:
    """Tell an event again: to one endpoint, or to all that want it now; return the endpoints' ids."""
    if endpoint is not None:
        _check_enabled(endpoint)
        chosen = [endpoint]
    else:
        chosen = [e for e in tx.page(WebhookEndpoint, limit=ENDPOINTS_MAX) if e.wants(event.type)]
    enqueue_event(tx, event, chosen, at=at)
    return [entry.id for entry in chosen]


def ping(tx: Tx, endpoint: WebhookEndpoint, *, at: datetime, request_id: str | None = None) -> Event:
    """Send the endpoint a test event, whatever types it asked for."""
    _check_enabled(endpoint)
    kind = "v2.core.event_destination.ping" if endpoint.payload == "thin" else _PING
    event = happened(tx, kind, endpoint, at=at, request_id=request_id)
    enqueue_event(tx, event, [endpoint], at=at)
    return event


_PING = "token_billing.webhook_endpoint.ping"


def _check_enabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.status == "disabled":
        raise EndpointDisabled(f"The webhook endpoint {endpoint.id} is disabled.")


def rotate_secret(
    tx: Tx, endpoint: WebhookEndpoint, *, overlap: timedelta, at: datetime, secret: str = ""
) -> WebhookEndpoint:
    """Give the endpoint a new secret; the old one signs as well until the overlap ends."""
    until = at + overlap
    older = [old for old in endpoint.retiring if at < old.until]
    # Without an overlap the secret has leaked: it is worth nothing from now on, and neither are older ones.
    kept = [RetiringSecret(secret=endpoint.secret, until=until), *older] if overlap else []
    rotated = replace(endpoint, secret=secret or new_secret(), retiring=tuple(kept[:4]), updated=at)
    tx.save(rotated)
    return rotated


def start_replay(
    tx: Tx,
    endpoint: WebhookEndpoint,
    *,
    start: datetime,
    end: datetime,
    types: tuple[str, ...],
    at: datetime,
) -> WebhookReplay:
    """Begin to tell an endpoint again what happened in `[start, end)`, or return the same that still runs."""
    _check_enabled(endpoint)
    for running in tx.page(WebhookReplay, parent="running", limit=1000):
        if (running.endpoint, running.start, running.end, running.types) == (endpoint.id, start, end, types):
            return running
    replay = WebhookReplay(
        id=new_id("whr", at=at), created=at, endpoint=endpoint.id, start=start, end=end, types=types
    )
    tx.save(replay)
    return replay


def step_replay(tx: Tx, id: str, *, at: datetime) -> WebhookReplay | None:
    """Do a replay's next step, and return how it stands; None where it runs no more.

    Deliveries have to be queued oldest first and events are listed newest first: it walks back to the first
    event of the range, then forward.
    """
    replay = tx.find(WebhookReplay, id)
    if replay is None or replay.status != "running":
        return None
    endpoint = tx.find(WebhookEndpoint, replay.endpoint)
    if endpoint is None or endpoint.status == "disabled":
        replay = replace(replay, status="canceled", ended_at=at)
    elif replay.phase == "looking":
        replay = _look_back(tx, replay, at=at)
    else:
        replay = _go_forward(tx, replay, endpoint, at=at)
    tx.save(replay)
    return replay


def _look_back(tx: Tx, replay: WebhookReplay, *, at: datetime) -> WebhookReplay:
    page = tx.page(Event, limit=REPLAY_STEP, older_than=replay.cursor or None)
    matching = [event for event in page if replay.covers(event)]
    replay = replace(
        replay,
        found=replay.found + len(matching),
        newest=replay.newest or (matching[0].id if matching else ""),
        oldest=matching[-1].id if matching else replay.oldest,
        cursor=page[-1].id if page else replay.cursor,
    )
    if len(page) == REPLAY_STEP:
        return replay
    if not replay.oldest:
        return replace(replay, status="complete", ended_at=at)
    return replace(replay, phase="queueing", cursor="")


def _go_forward(tx: Tx, replay: WebhookReplay, endpoint: WebhookEndpoint, *, at: datetime) -> WebhookReplay:
    if replay.cursor:
        page = list(tx.page(Event, limit=REPLAY_STEP, newer_than=replay.cursor))[::-1]
    else:
        first = tx.find(Event, replay.oldest)
        assert first is not None  # Events are kept.
        page = [first, *list(tx.page(Event, limit=REPLAY_STEP - 1, newer_than=first.id))[::-1]]
    queued, ended = replay.queued, not page
    for event in page:
        if replay.covers(event):
            queued += _queue_once(tx, replay, event, endpoint, at=at)
        if event.id == replay.newest:
            ended = True
            break
    cursor = page[-1].id if page else replay.cursor
    replay = replace(replay, queued=queued, cursor=cursor)
    return replace(replay, status="complete", ended_at=at) if ended else replay


def _queue_once(
    tx: Tx, replay: WebhookReplay, event: Event, endpoint: WebhookEndpoint, *, at: datetime
) -> bool:
    """Queue an event of a replay unless it was; what the endpoint's payload has no words for is left out."""
    if not endpoint.can_tell(event.type):
        return False
    id = "whd_" + hashlib.sha256(f"{replay.id}\x00{event.id}".encode()).hexdigest()[:32]
    if tx.delivery(id) is not None:
        return False
    tx.save_delivery(
        Delivery(
            id=id,
            event=event.id,
            endpoint=endpoint.id,
            due_at=AT_ONCE,
            object=event.ordered_by,
            created=at,
        )
    )
    tx.touch("outbox")
    return True
