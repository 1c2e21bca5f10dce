"""The usage event: one customer's consumption at one instant, identified for ever.

Rule 1: `id` follows from (at, customer, key), so a retry is the same event.
Rule 2: `model` is what was served, `requested_model` what was asked for; both are kept.
Rule 3: it keeps what its price depends on, so that it can be rated again and gives the same.
Rule 4: a correction is an event of its own: it says again what an event was worth, and uses nothing. The
event that it corrects stays as it is.
Rule 5: the provider's own usage block stays attached as text, so that every line can be explained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from costplus.core.ids import CustomerId, EventId, event_id
from costplus.core.usage import Usage

# `hold` is one call that a seller made itself and captured a hold for, `import` one call from a file,
# `import_reported` a sum. The last three correct an earlier event: `rerate` charges one call and
# `rerate_reported` a reported sum at a price that was not known then; `reversal` takes back what was charged
# meanwhile.
Source = Literal[
    "gateway",
    "meter_events_v1",
    "meter_events_v2",
    "import",
    "import_reported",
    "sweep",
    "hold",
    "true_up",
    "rerate",
    "rerate_reported",
    "reversal",
]
CORRECTIONS: frozenset[Source] = frozenset({"rerate", "rerate_reported", "reversal"})
# Whose events are one call each.
ONE_REQUEST: frozenset[Source] = frozenset({"gateway", "sweep", "hold", "rerate", "import"})

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
    api_key: str = ""  # The id of the key that a call came with.

    @property
    def is_one_request(self) -> bool:
        """Whether it is one call, so that its tokens are one prompt and its answer."""
        return self.source in ONE_REQUEST

    @property
    def is_correction(self) -> bool:
        """Whether it only says again what an earlier event was worth; then it is no usage to be counted."""
        return self.source in CORRECTIONS

    @property
    def is_cancellation(self) -> bool:
        """Whether it takes an event back altogether: what that used counts no more."""
        return self.source == "reversal" and self.key.startswith("cancel:")

    @property
    def corrects(self) -> str:
        """The id of the event that it corrects, or empty."""
        return self.key.partition(":")[2] if self.is_correction else ""


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
    api_key: str = "",
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
        api_key=api_key,
    )


def rerated(event: UsageEvent) -> UsageEvent:
    """Return the event that charges `event` again; it is always the same one, and can be rated as `event`."""
    return _correction(event, "rerate", source="rerate" if event.is_one_request else "rerate_reported")


def reversed_event(event: UsageEvent) -> UsageEvent:
    """Return the event that takes back what `event` was charged; it is always the same one."""
    return replace(_correction(event, "reversal", source="reversal"), usage=Usage({}), raw_usage="")


def canceled_event(event: UsageEvent) -> UsageEvent:
    """Return the event that cancels `event`; it is always the same one."""
    return replace(_correction(event, "cancel", source="reversal"), usage=Usage({}), raw_usage="")


def _correction(event: UsageEvent, what: str, *, source: Source) -> UsageEvent:
    key = f"{what}:{event.id}"
    id = event_id(at=event.at, customer=event.customer, key=key)
    return replace(event, id=id, key=key, source=source)
