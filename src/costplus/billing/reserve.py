"""Reserve credit for a call, capture what it used, release what it did not: for sellers that call providers
themselves.

Rule 1: a hold that credit (and what may be owed beyond it) does not cover is refused, and nothing changes.
Rule 2: a capture is usage like any other: kept once, rated at the prices of the hold's own time. It may
exceed its hold (the rest is owed) and may come after it expired (then it takes the estimate's place).
Rule 3: several calls may share a hold: each captures its part, the last one ends it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from costplus.billing.credit import give
from costplus.billing.customer import Customer
from costplus.billing.notify import announce, cross
from costplus.billing.reservation import (
    CAPTURES_MAX,
    UNNAMED,
    CaptureDiffers,
    HoldEnded,
    NoSuchHold,
    OnExpiry,
    Quoted,
    Reservation,
)
from costplus.billing.settle import Settlement, billed_by, settle
from costplus.billing.store import Tx
from costplus.billing.terms import terms_of
from costplus.billing.unpriced import correction_grant
from costplus.catalog.names import split_provider
from costplus.catalog.price import ModelUnpriced
from costplus.core.errors import InvalidRequest
from costplus.core.ids import CustomerId, HoldId, new_id
from costplus.core.usage import Usage
from costplus.ledger.hold import Hold
from costplus.ledger.reserve import grow_hold, place_hold, release_hold
from costplus.metering.event import UsageEvent, reversed_event, usage_event
from costplus.rating.charge import Charge, explain, rate, reversal_of
from costplus.rating.fallback import stand_in
from costplus.rating.item_charge import charge_of_amount
from costplus.rating.pricing import Pricing
from costplus.rating.quote import BYTES_PER_TOKEN, quote, working
from costplus.rating.waive import list_nano

OWNER = "api"


class HoldWithoutModel(InvalidRequest):
    """Tokens are worth something only where it is known which model they are of."""

    code = "hold_without_model"
    remedy = "Capture an amount, or place the hold with a model."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a hold is for: an amount, or a call of a model whose tokens are given or follow from its bytes."""

    amount_nano: int | None = None
    model: str = ""
    input_tokens: int | None = None
    body_bytes: int = 0
    output_tokens_max: int | None = None
    expires_in: timedelta
    on_expiry: OnExpiry = "capture"
    metadata: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What was used: tokens by leaf, or an amount. `final` ends the hold; `identifier` tells parts apart."""

    usage: Usage | None = None
    amount_nano: int = 0
    identifier: str = "capture"
    final: bool = True


@dataclass(frozen=True, slots=True)
class Sized:
    """The provider and model of a call, what it is expected to cost at most, and its input alone."""

    provider: str
    model: str
    quote: Quoted
    input_charge: Charge


def size(tx: Tx, pricing: Pricing, customer: Customer, ask: Ask, *, at: datetime) -> Sized:
    """Return what a call is expected to cost at most; nothing is changed."""
    card = terms_of(tx, customer.id).card_at(at)
    named, model = split_provider(ask.model)
    priced = pricing.taken(named or "", model, card=card, at=at)
    sheet = priced.quoted
    body_bytes = ask.body_bytes if ask.input_tokens is None else ask.input_tokens * BYTES_PER_TOKEN
    output = ask.output_tokens_max
    made = quote(sheet, body_bytes=body_bytes, output_tokens_max=output)
    quoted = Quoted(
        price_nano=made.charge.price_nano,
        cost_nano=made.charge.cost_nano,
        tokens=working(made, sheet, body_bytes=body_bytes, output_tokens_max=output),
        steps=explain(made.charge).steps,
    )
    prompt = rate(Usage({"input": made.usage.quantities["input"]}), sheet)
    return Sized(priced.sheet.provider, priced.sheet.model, quoted, prompt)


def reserve(tx: Tx, pricing: Pricing, customer: Customer, ask: Ask, *, at: datetime) -> Reservation:
    """Set credit aside at `at`, the customer's present. Raises `InsufficientCredit`."""
    sized = size(tx, pricing, customer, ask, at=at) if ask.model else None
    amount_nano = ask.amount_nano
    if amount_nano is None:
        assert sized is not None
        amount_nano = sized.quote.price_nano
    made = Reservation(
        id=new_id("hold", at=at),
        created=at,
        customer=customer.id,
        currency=customer.currency,
        amount_nano=amount_nano,
        expires_at=at + ask.expires_in,
        provider=sized.provider if sized else "",
        model=sized.model if sized else "",
        quote=sized.quote if sized else None,
        on_expiry=ask.on_expiry,
        estimate_nano=min(amount_nano, sized.input_charge.price_nano) if sized else amount_nano,
        estimate_cost_nano=sized.input_charge.cost_nano if sized else 0,
        estimate_tokens=sized.quote.tokens.input_tokens if sized else 0,
        metadata=ask.metadata or {},
    )
    hold = Hold(
        id=HoldId(made.id),
        customer=CustomerId(customer.id),
        kind="request",
        owner=OWNER,
        amount_nano=amount_nano,
        placed_at=at,
        expires_at=made.expires_at,
        subject=f"{made.provider}/{made.model}" if sized else "",
    )
    overdraft_nano = terms_of(tx, customer.id).overdraft_at(at)
    place_hold(tx, hold, at=at, overdraft_nano=overdraft_nano, currency=customer.currency)
    tx.save(made)
    return made


def _for_update(tx: Tx, id: str) -> tuple[Reservation, Hold]:
    """Return a reservation and its hold, its customer's balance locked. Raises `NoSuchHold`."""
    known = tx.find(Reservation, id)
    if known is not None:
        tx.balance_for_update(known.customer)
        known = tx.find(Reservation, id)
    hold = tx.hold(known.customer, id) if known is not None else None
    if known is None or hold is None:
        raise NoSuchHold(f"No such hold: '{id}'", param="id")
    return known, hold


def grow(tx: Tx, customer: Customer, id: str, *, amount_nano: int, at: datetime) -> Reservation:
    """Reserve more on a hold. Raises `HoldEnded`, `InsufficientCredit`."""
    known, hold = _for_update(tx, id)
    if hold.state != "placed":
        raise HoldEnded(f"Hold {id} is {hold.state}.", param="id")
    overdraft_nano = terms_of(tx, customer.id).overdraft_at(at)
    grow_hold(
        tx,
        customer.id,
        id,
        least_nano=amount_nano,
        most_nano=amount_nano,
        at=at,
        overdraft_nano=overdraft_nano,
        currency=customer.currency,
    )
    known = replace(known, amount_nano=known.amount_nano + amount_nano)
    if not known.model:
        known = replace(known, estimate_nano=known.amount_nano)
    tx.save(known)
    return known


def release(tx: Tx, id: str, *, at: datetime) -> Reservation:
    """Give back what a hold still reserves, and end it. Releasing it again changes nothing."""
    known, hold = _for_update(tx, id)
    if hold.state in ("captured", "expired"):
        raise HoldEnded(f"Hold {id} is {hold.state}.", param="id")
    release_hold(tx, known.customer, id)
    return known


def capture(
    tx: Tx, pricing: Pricing, customer: Customer, id: str, taken: Capture, *, at: datetime
) -> Reservation:
    """Charge what a call used, and free as much of its hold. The same capture again changes nothing."""
    known, hold = _for_update(tx, id)
    event = _event(known, hold, taken)
    before = tx.event_by_key(event.customer, event.key)
    charge = _charge(tx, pricing, known, event, taken)
    if before is not None:
        told = tx.charge_of(before.customer, before.id)
        # What a plan includes, or is only tracked, was waived: the worth is what is compared.
        if before.usage != event.usage or (told and list_nano(told.charge) != list_nano(charge)):
            raise CaptureDiffers(f"Hold {id} has a capture '{taken.identifier}' with other figures.")
        return known
    if hold.state in ("captured", "released") or len(known.captures) >= CAPTURES_MAX:
        raise HoldEnded(f"Hold {id} is {hold.state} and has {len(known.captures)} captures.", param="id")
    if known.swept:
        _take_back_estimate(tx, customer, known, at=at)
    settlement = Settlement(
        event=event, charge=charge, hold=id, release_nano=charge.price_nano, closes=taken.final
    )
    settle(tx, [settlement], at=at)
    known = replace(known, captures=(*known.captures, event.id), swept="")
    tx.save(known)
    return known


def _event(known: Reservation, hold: Hold, taken: Capture) -> UsageEvent:
    return usage_event(
        customer=known.customer,
        at=hold.placed_at,
        key=f"{known.id}/{taken.identifier}",
        usage=taken.usage or Usage({}),
        source="hold",
        provider=known.provider or "hold",
        model=known.model or UNNAMED,
        request_id=known.id,
    )


def _charge(tx: Tx, pricing: Pricing, known: Reservation, event: UsageEvent, taken: Capture) -> Charge:
    """Return the capture's worth at the prices of the time when its hold was placed."""
    if taken.usage is None:
        return charge_of_amount(taken.amount_nano, provider=event.provider, model=event.model)
    if not known.model:
        raise HoldWithoutModel(f"Hold {known.id} is for an amount, not for a model.", param="usage")
    card = terms_of(tx, known.customer).card_at(event.at)
    try:
        sheet = pricing.used(known.provider, known.model, card=card, at=event.at).sheet
    except ModelUnpriced:
        sheet = stand_in(card, provider=known.provider, model=known.model)
    return rate(taken.usage, sheet)


def _take_back_estimate(tx: Tx, customer: Customer, known: Reservation, *, at: datetime) -> None:
    """Undo what the hold was swept to: as credit where the invoice over it is final, else by a reversal."""
    original = tx.charge_of(known.customer, known.swept)
    assert original is not None
    reversal = reversal_of(original.charge)
    if original.billed_at < billed_by(tx, known.customer).finalized_until:
        grant = correction_grant(
            original.event,
            id=original.event.id,
            nano=original.charge.price_nano,
            currency=customer.currency,
            at=at,
            name=f"Estimate of {known.id}",
        )
        if grant.amount_nano:
            crossing = give(tx, grant, at=at)
            announce(tx, "billing.credit_grant.created", grant, at=at)
            cross(tx, crossing, currency=customer.currency, at=at)
        reversal = Charge(price_nano=0, cost_nano=reversal.cost_nano, lines=())
    back = reversed_event(original.event)
    settle(tx, [Settlement(event=back, charge=reversal, reverses=original.transaction)], at=at)
