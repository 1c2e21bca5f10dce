"""A call: one admitted request on its way, and how it becomes a settlement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.billing.entitlement import Terms
from costplus.billing.settle import Settlement
from costplus.core.usage import ESTIMATED, Usage, usage_of
from costplus.gateway.dialect import Endpoint
from costplus.gateway.journal import Used
from costplus.gateway.providers import Provider
from costplus.gateway.wire import Reading
from costplus.gateway.wire.request import WireRequest
from costplus.ledger.lease import Lease
from costplus.metering.event import usage_event
from costplus.rating.charge import Charge, ChargeLine, rate
from costplus.rating.quote import Quote
from costplus.rating.sheet import RateSheet, UnitRate

CHARS_PER_TOKEN = 4
OUTPUT_INCOMPLETE = "output_incomplete"  # The wire's flag for output counts that are a placeholder.


@dataclass(slots=True, kw_only=True)
class Call:
    """Everything known about a call from its admission on."""

    id: str
    endpoint: Endpoint
    provider: Provider
    request: WireRequest
    requested_model: str
    terms: Terms
    sheet: RateSheet
    quote: Quote
    at: datetime  # The customer's time at admission: prices are those of this instant.
    body: bytes
    strip_usage: bool
    headers: list[tuple[str, str]] = field(default_factory=list)
    lease: Lease | None = None
    held_nano: int = 0
    flags: tuple[str, ...] = ()  # What is remarkable beside the provider's usage block.
    ended: bool = False  # Accounted for, or void: exactly one of both happens, once.


def measured(call: Call, reading: Reading) -> Usage:
    """Return the provider's own usage; what it does not say is estimated from what was seen, flagged.

    The estimate's output is capped by what the call could have generated. A stream that broke off may have
    told its input but not yet its output.
    """
    usage = reading.usage
    if usage is not None and OUTPUT_INCOMPLETE not in usage.flags:
        return usage
    ceiling = max(call.quote.usage.quantities.get("output", 0), call.sheet.price.output_tokens_max or 0)
    output = min(-(-reading.output_chars // CHARS_PER_TOKEN), ceiling)
    if usage is None:
        return usage_of({"input": call.quote.usage.quantities["input"], "output": output}, flags=[ESTIMATED])
    missing = max(output - usage.output_tokens, 0)
    quantities = {**usage.quantities, "output": usage.quantities.get("output", 0) + missing}
    return usage_of(quantities, flags=[*usage.flags, ESTIMATED])


def used_by(call: Call, usage: Usage, reading: Reading, charge: Charge, *, release_nano: int) -> Used:
    """Return the journal's record of what the call used."""
    return Used(
        id=call.id,
        customer=call.terms.customer.id,
        at=call.at,
        provider=call.sheet.provider,
        model=reading.model or call.sheet.model,
        requested_model=call.requested_model,
        quantities=dict(usage.quantities),
        flags=usage.flags,
        raw_usage=reading.raw_usage.decode("utf-8", "replace"),
        service_tier=reading.service_tier or "",
        reported_cost=reading.reported_cost,
        price_nano=charge.price_nano,
        cost_nano=charge.cost_nano,
        lines=[(line.rate.id, line.quantity) for line in charge.lines],
        unpriced=charge.unpriced,
        hold=call.lease.hold_id if call.lease else "",
        release_nano=release_nano,
    )


def settlement_of(used: Used, rates: Mapping[str, UnitRate]) -> Settlement:
    """Return the settlement that a journal record stands for."""
    charge = Charge(
        price_nano=used.price_nano,
        cost_nano=used.cost_nano,
        lines=tuple(ChargeLine(quantity, rates[id]) for id, quantity in used.lines),
        unpriced=used.unpriced,
    )
    return settlement_with(used, charge)


def settlement_with(used: Used, charge: Charge) -> Settlement:
    """Return the settlement of a journal record and its charge; the event's id follows from the record."""
    event = usage_event(
        customer=used.customer,
        at=used.at,
        key=used.id,
        usage=Usage(used.quantities, used.flags),
        source="gateway",
        provider=used.provider,
        model=used.model,
        requested_model=used.requested_model,
        raw_usage=used.raw_usage,
        request_id=used.id,
        service_tier=used.service_tier,
        reported_cost=used.reported_cost,
    )
    return Settlement(event=event, charge=charge, hold=used.hold, release_nano=used.release_nano)


def charged(call: Call, usage: Usage) -> Charge:
    """Return the charge at the prices of the call's admission.

    What the provider's block shows to have been used but not counted (`unmetered_…`) is said to be unpriced.
    """
    charge = rate(usage, call.sheet)
    unmetered = [flag for flag in usage.flags if flag.startswith("unmetered_")]
    return replace(charge, unpriced=(*charge.unpriced, *unmetered)) if unmetered else charge
