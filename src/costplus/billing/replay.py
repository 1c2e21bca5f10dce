"""Replays: telling an endpoint again what happened in a stretch of time, as a job that shows its progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from costplus.billing.event import Event, thin_type
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record


class EndpointDisabled(InvalidRequest):
    """Nothing is sent to a disabled endpoint."""

    code = "webhook_endpoint_disabled"
    remedy = "Enable it first: POST /v1/webhook_endpoints/{id} with disabled=false."


class NoSuchReplay(NotFound):
    """The replay does not exist."""

    code = "resource_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReplay(Record):
    """A range of events on its way to one endpoint: `found` are to be told, `queued` are in the outbox."""

    KIND: ClassVar[str] = "webhook_replay"

    endpoint: str
    start: datetime
    end: datetime
    types: tuple[str, ...] = ()  # None: all.
    status: Literal["running", "complete", "canceled"] = "running"
    phase: Literal["looking", "queueing"] = "looking"
    cursor: str = ""  # The last event that was looked at.
    newest: str = ""  # The events that the range begins and ends with.
    oldest: str = ""
    found: int = 0
    queued: int = 0
    ended_at: datetime | None = None

    @property
    def parent(self) -> str:
        return self.status

    def covers(self, event: Event) -> bool:
        """Return whether the event is to be told again."""
        named = {event.type, thin_type(event.type)}
        return self.start <= event.created < self.end and (not self.types or not named.isdisjoint(self.types))
