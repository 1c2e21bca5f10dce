"""Rows of lists say what is remarkable about an event, and negative figures are shown as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from costplus.billing.store import ChargedEvent, Tx
from costplus.core.usage import Usage
from costplus.metering.event import rerated, reversed_event, usage_event
from costplus.rating.charge import rate, reversal_of
from costplus.rating.fallback import fallback_sheet
from costplus.rating.rate_card import FixedPrice, RateCardVersion, adjustment
from costplus.storage.memory import MemoryStore
from costplus.web.pages.rows import event_row

AT = datetime(2026, 11, 1, tzinfo=UTC)
CARD = RateCardVersion(
    id="rcv_1",
    created=AT,
    rate_card="rcd_1",
    default=adjustment("markup", Decimal(30)),
    fallback={"input": FixedPrice(Decimal(10), 1_000_000)},
)


async def test_a_correction_says_which_event_it_corrects() -> None:
    event = usage_event(
        customer="cus_1",
        at=AT,
        key="k",
        usage=Usage({"input": 10}),
        source="meter_events_v1",
        provider="openai",
        model="new",
    )
    sheet = fallback_sheet(CARD, provider="openai", model="new")
    assert sheet is not None
    first = ChargedEvent(event=event, charge=rate(event.usage, sheet), billed_at=AT)
    back = replace(first, event=reversed_event(event), charge=reversal_of(first.charge))
    again = replace(first, event=rerated(event))

    def verb(tx: Tx) -> list[tuple[str, ...]]:
        return [event_row(tx, entry).notes for entry in (first, back, again)]

    assert await MemoryStore().read(verb) == [
        ("unpriced: fallback",),
        (f"reversal of {event.id}",),
        ("unpriced: fallback", f"rerate reported of {event.id}"),
    ]
