"""The usage event: one customer's consumption at one instant, identified for ever.

Rule 1: `id` follows from (at, customer, key), so a retry is the same event.
Rule 2: `model` is what was served, `requested_model` what was asked for; both are kept.
Rule 3: it keeps what its price depends on, so that it can be rated again and gives the same.
Rule 4: the provider's own usage block stays attached as text, so that every line can be explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from costplus.core.ids import CustomerId, EventId, event_id
from costplus.core.usage import Usage

Source = Literal["gateway", "meter_events_v1", "meter_events_v2", "sweep", "true_up"]

TOKEN_METER = "token-billing-tokens"  # The event name that Stripe's token SDKs report under.
METER = "meter"  # What stands for the provider of usage that is no model's; the model is then the event name.


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """What was used; its worth is a `Charge`."""

    id: EventId
    customer: CustomerId
    at: datetime
    key: str  # Idempotency key, unique per customer.
    meter: str  # Event name of the meter.
    provider: str
    model: str
    requested_model: str
    usage: Usage
    source: Source
    raw_usage: str = ""
    request_id: str = ""
    service_tier: str = ""
    reported_cost: str = ""  # What the provider says the call cost, in its own exact words.
    circumstances: str = (
        ""  # What its price depends on besides tokens and time, as `catalog.context` writes it.
    )


def usage_event(
    *,
    customer: str,
    at: datetime,
    key: str,
    usage: Usage,
    source: Source,
    provider: str = "",
    model: str = "",
    requested_model: str = "",
    meter: str = TOKEN_METER,
    raw_usage: str = "",
    request_id: str = "",
    service_tier: str = "",
    reported_cost: str = "",
    circumstances: str = "",
) -> UsageEvent:
    """Return the event with its deterministic id."""
    return UsageEvent(
        id=event_id(at=at, customer=customer, key=key),
        customer=CustomerId(customer),
        at=at,
        key=key,
        meter=meter,
        provider=provider,
        model=model,
        requested_model=requested_model or model,
        usage=usage,
        source=source,
        raw_usage=raw_usage,
        request_id=request_id,
        service_tier=service_tier,
        reported_cost=reported_cost,
        circumstances=circumstances,
    )
