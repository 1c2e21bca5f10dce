"""A call: one admitted request on its way, and how it becomes a settlement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.entitlement import Terms
from costplus.billing.settle import Settlement
from costplus.catalog.context import RequestContext, asking, circumstances
from costplus.core.usage import ESTIMATED, OTHER_MODEL, Usage, usage_of
from costplus.gateway.credentials.credential import Credential
from costplus.gateway.endpoint import Endpoint
from costplus.gateway.journal import Intent, Used
from costplus.gateway.leases import NOTHING_HELD, Held
from costplus.gateway.rates import NO_TICKET, Ticket
from costplus.gateway.sending import Sending
from costplus.gateway.served import asked_word, kept_for, served_as
from costplus.gateway.wire import Reading
from costplus.gateway.wire.anthropic import iteration_usages
from costplus.gateway.wire.base import EMPTY_READING
from costplus.gateway.wire.openai_media import spoken_tokens
from costplus.gateway.wire.request import WireRequest
from costplus.metering.event import usage_event
from costplus.rating.charge import Charge, ChargeLine, charge_of, rate, uncovered
from costplus.rating.quote import Quote
from costplus.rating.sheet import RateSheet, UnitRate, sheet_for

CHARS_PER_TOKEN = 4
OUTPUT_INCOMPLETE = "output_incomplete"  # The wire's flag for output counts that are a placeholder.


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One lane that may serve a call, and what it would cost there."""

    lane: str
    sending: Sending
    sheet: RateSheet
    quote: Quote
    context: RequestContext
    fast: bool
    flags: tuple[str, ...] = ()
    own_credential: Credential | None = None


@dataclass(slots=True, kw_only=True)
class Call:
    """Everything known about a call from its admission on."""

    id: str
    endpoint: Endpoint  # The caller's.
    sending: Sending
    received: Mapping[str, str]  # The caller's headers.
    request: WireRequest
    requested_model: str
    terms: Terms
    sheet: RateSheet
    quote: Quote
    at: datetime  # The customer's time at admission: prices are those of this instant.
    context: RequestContext  # What the call asked to be.
    candidates: tuple[Candidate, ...] = ()  # Who may serve it, the first to be asked first.
    fast: bool = False  # Whether the model's name asked for its fast mode.
    own_credential: Credential | None = None  # The customer's own for the provider, where it brings one.
    api_key: str = ""  # The id of the key that it came with.
    held: Held = NOTHING_HELD
    ticket: Ticket = NO_TICKET  # Its place among the calls of its key.
    flags: tuple[str, ...] = ()  # What is remarkable beside the provider's usage block.
    usage: Usage | None = None  # What it used, once that is known.
    used: Used | None = None  # The journal's record of it.
    accounting_s: float = 0.0  # How long the accounting kept its answer back.
    ended: bool = False  # Accounted for, or void: exactly one of both happens, once.

    def use(self, candidate: Candidate) -> None:
        """Be a call of that lane from now on."""
        self.sending, self.sheet, self.quote = candidate.sending, candidate.sheet, candidate.quote
        self.context, self.fast = candidate.context, candidate.fast
        self.flags, self.own_credential = candidate.flags, candidate.own_credential


def measured(call: Call, reading: Reading) -> Usage:
    """Return the provider's own usage; what it does not say is estimated from what was seen, flagged.

    The estimate's output is capped by what the call could have generated. A stream that broke off may have
    told its input but not yet its output.
    """
    usage = reading.usage
    if usage is not None:
        usage = kept_for(usage, asked_word(call.request, "prompt_cache_retention"))
        if OUTPUT_INCOMPLETE not in usage.flags:
            return usage
    if usage is None and call.endpoint.wire == "openai_speech":
        spoken = spoken_tokens(len(asked_word(call.request, "input")))
        quantities = {"input": call.quote.usage.quantities["input"], "output_audio": spoken}
        return usage_of(quantities, flags=[ESTIMATED])
    ceiling = max(call.quote.usage.quantities.get("output", 0), call.sheet.price.output_tokens_max or 0)
    output = min(-(-reading.output_chars // CHARS_PER_TOKEN), ceiling)
    if usage is None:
        return usage_of({"input": call.quote.usage.quantities["input"], "output": output}, flags=[ESTIMATED])
    missing = max(output - usage.output_tokens, 0)
    quantities = {**usage.quantities, "output": usage.quantities.get("output", 0) + missing}
    return usage_of(quantities, flags=[*usage.flags, ESTIMATED])


def used_by(call: Call, usage: Usage, reading: Reading, charge: Charge) -> Used:
    """End what the call held, and return the journal's record of what it used."""
    release_nano, caps = call.held.close(charge.price_nano)
    hold = call.held.lease.hold_id if call.held.lease else ""
    return record_of(call, usage, reading, charge, hold=hold, release_nano=release_nano, caps=caps)


def record_of(
    call: Call,
    usage: Usage,
    reading: Reading,
    charge: Charge,
    *,
    id: str = "",
    hold: str = "",
    release_nano: int = 0,
    caps: list[tuple[str, int]] | None = None,
) -> Used:
    """Return the journal's record of what the call used, or under an `id` of its own one of its attempts."""
    return Used(
        id=id or call.id,
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
        circumstances=circumstances(served_context(call, reading)),
        price_nano=charge.price_nano,
        cost_nano=charge.cost_nano,
        lines=[(line.rate.id, line.quantity) for line in charge.lines],
        unpriced=charge.unpriced,
        hold=hold,
        release_nano=release_nano,
        api_key=call.api_key,
        caps=caps or [],
    )


def intent_of(call: Call) -> Intent:
    """Return what must be known should nothing more be heard of the call."""
    return Intent(
        id=call.id,
        customer=call.terms.customer.id,
        at=call.at,
        provider=call.sheet.provider,
        model=call.sheet.model,
        requested_model=call.requested_model,
        input_tokens=call.quote.usage.quantities["input"],
        price_version=call.sheet.price.id,
        circumstances=circumstances(call.context),
        card_version=call.sheet.card.id,
        hold=call.held.lease.hold_id if call.held.lease else "",
        held_nano=call.held.amount_nano,
        api_key=call.api_key,
        own_key=call.own_credential is not None,
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
        circumstances=used.circumstances,
        api_key=used.api_key,
    )
    return Settlement(
        event=event, charge=charge, hold=used.hold, release_nano=used.release_nano, caps=tuple(used.caps)
    )


def served_context(call: Call, reading: Reading) -> RequestContext:
    """Return the circumstances that the call was served in."""
    context = served_as(call.request, reading, asked=call.context)
    return asking(context, [("speed", "fast")]) if call.fast else context


def runs_of(usage: Usage, reading: Reading) -> list[tuple[str, Usage]]:
    """Return (model, usage) of each run of a call that ran on several models; none where it ran on one.

    The model is empty for the call's own. What the runs do not explain (fees per call) is a last part.
    """
    if OTHER_MODEL not in usage.flags:
        return []
    runs = [(model or "", run) for model, run in iteration_usages(reading.raw_usage)]
    if not runs:
        return []
    rest = Counter(usage.quantities)
    for _, run in runs:
        rest.subtract(run.quantities)
    # Thinking is counted for the call as a whole: a run's output holds it.
    if rest["reasoning"] > 0 and rest["output"] == -rest["reasoning"]:
        del rest["reasoning"], rest["output"]
    if any(quantity < 0 for quantity in rest.values()):
        return []
    return [*runs, ("", usage_of(rest))]


def charged(
    call: Call,
    usage: Usage,
    reading: Reading = EMPTY_READING,
    *,
    sheet_of: Callable[[str], RateSheet | None] = lambda model: None,
) -> Charge:
    """Return the charge at the prices of the call's admission, for what the provider says it served.

    Runs on other models are priced each by its own (`sheet_of`) and its own prompt. What the block shows to
    have been used but not counted (`unmetered_…`), and what was served at a price that is not known, is said
    to be unpriced.
    """
    context = served_context(call, reading)
    charge = rate(usage, call.sheet, context=context)
    unpriced = [flag for flag in usage.flags if flag.startswith("unmetered_")]
    runs = runs_of(usage, reading)
    if runs:
        sheets = [sheet_of(model) if model else call.sheet for model, _ in runs]
        parts = [
            rate(run, sheet_for(sheet or call.sheet, usage.flags), context=context)
            for (_, run), sheet in zip(runs, sheets, strict=True)
        ]
        charge = charge_of(
            (line for part in parts for line in part.lines),
            unpriced=(leaf for part in parts for leaf in part.unpriced),
        )
        unpriced += [
            f"model:{model}" for (model, _), sheet in zip(runs, sheets, strict=True) if sheet is None
        ]
    unpriced += [f"{field}={word}" for field, word in uncovered(call.sheet.price, context)]
    return replace(charge, unpriced=(*charge.unpriced, *unpriced)) if unpriced else charge
