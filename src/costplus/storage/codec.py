"""How nouns become rows and come back equal; shared by all adapters.

Rule 1: instants are whole microseconds since the epoch, so that every datetime comes back exactly.
Rule 2: exact numbers are text (`core.money.decimal_text`), nanos are integers, the rest is JSON by type.
Rule 3: a record's JSON is decoded as its own type; what does not fit it is an error.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from costplus.billing.event import Attempt, Delivery
from costplus.billing.store import ChargedEvent, StoredReply
from costplus.core.ids import CustomerId, bucket_of
from costplus.core.money import decimal_text, parse_exact
from costplus.core.records import R, Record
from costplus.core.usage import Usage
from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.scope import ALL_USAGE, Scope
from costplus.ledger.transaction import Posting, Transaction
from costplus.metering.event import UsageEvent
from costplus.rating.charge import Charge, ChargeLine
from costplus.rating.rate_card import Adjustment
from costplus.rating.sheet import UnitRate

Row = Sequence[Any]

KEY_WINDOW = timedelta(days=35)  # How far a retry may move its timestamp and still be the same event.

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
HOUR_US = timedelta(hours=1) // _MICROSECOND
KEY_WINDOW_US = KEY_WINDOW // _MICROSECOND

encode_json = msgspec.json.Encoder().encode
_decode_usage = msgspec.json.Decoder(Usage).decode
# msgspec notes on a dataclass what it learns of it while it is still learning: a second thread that builds
# a decoder of the same dataclass then decodes by half a description, and the process dies. So records' are
# built one at a time, and all others as their module is imported.
_record_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_building_decoder = threading.Lock()
_decode_scope = msgspec.json.Decoder(Scope).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_decode_paid = msgspec.json.Decoder(dict[int, dict[str, int]]).decode
_decode_owed = msgspec.json.Decoder(dict[int, int]).decode
_decode_fired = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_log = msgspec.json.Decoder(tuple[Attempt, ...]).decode
decode_lines = msgspec.json.Decoder(list[tuple[str, int]]).decode
_decode_unpriced = msgspec.json.Decoder(tuple[str, ...]).decode


def micros(at: datetime) -> int:
    """Return whole microseconds since the epoch of an aware instant."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(us: int) -> datetime:
    """Return the aware UTC instant `us` microseconds after the epoch."""
    return _EPOCH + us * _MICROSECOND


def micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def from_micros_or_none(us: int | None) -> datetime | None:
    return None if us is None else from_micros(us)


def hour_of(us: int) -> int:
    """Return the start of the hour that holds the instant, both in microseconds."""
    return us - us % HOUR_US


def encode_record(record: Record) -> bytes:
    return encode_json(record)


def decode_record(kind: type[R], body: bytes) -> R:
    decoder = _record_decoders.get(kind)
    if decoder is None:
        with _building_decoder:
            decoder = _record_decoders.setdefault(kind, msgspec.json.Decoder(kind))
    record: R = decoder.decode(body)
    return record


def event_row(event: UsageEvent, *, bucket: int, at_us: int) -> Row:
    return (
        bucket,
        event.customer,
        event.id,
        at_us,
        event.key,
        event.meter,
        event.provider,
        event.model,
        event.requested_model,
        encode_json(event.usage),
        event.source,
        event.raw_usage,
        event.request_id,
        event.service_tier,
        event.reported_cost,
        event.circumstances,
        event.api_key,
    )


def event_from_row(row: Row) -> UsageEvent:
    """Read back what `event_row` wrote, without its bucket."""
    return UsageEvent(
        customer=row[0],
        id=row[1],
        at=from_micros(row[2]),
        key=row[3],
        meter=row[4],
        provider=row[5],
        model=row[6],
        requested_model=row[7],
        usage=_decode_usage(row[8]),
        source=row[9],
        raw_usage=row[10],
        request_id=row[11],
        service_tier=row[12],
        reported_cost=row[13],
        circumstances=row[14],
        api_key=row[15],
    )


EVENT_COLUMNS = 16  # How many of them `event_from_row` reads; a charge's follow.


def charge_row(entry: ChargedEvent, lines: Sequence[tuple[str, int]], *, bucket: int, billed_us: int) -> Row:
    """Return the row of a charge; its lines are (id of the unit rate, quantity)."""
    charge = entry.charge
    return (
        bucket,
        entry.event.customer,
        entry.event.id,
        billed_us,
        charge.price_nano,
        charge.cost_nano,
        encode_json(lines),
        encode_json(charge.unpriced),
        entry.transaction,
    )


def charged_from_row(row: Row, lines: Iterable[ChargeLine]) -> ChargedEvent:
    """Read back an event's columns with its charge's; its lines come with their rates."""
    billed_us, price_nano, cost_nano, _, unpriced, transaction = row[EVENT_COLUMNS:]
    charge = Charge(
        price_nano=price_nano, cost_nano=cost_nano, lines=tuple(lines), unpriced=_decode_unpriced(unpriced)
    )
    return ChargedEvent(
        event=event_from_row(row), charge=charge, billed_at=from_micros(billed_us), transaction=transaction
    )


def unit_rate_row(rate: UnitRate) -> Row:
    return (
        rate.id,
        rate.provider,
        rate.model,
        rate.leaf,
        rate.priced_as,
        rate.above_prompt_tokens,
        decimal_text(rate.unit_cost),
        decimal_text(rate.unit_price),
        rate.adjustment.kind,
        str(rate.adjustment.percent),
        rate.price_version,
        rate.rate_card_version,
        rate.conditions,
        rate.basis_version,
        rate.waived,
        "" if rate.list_price is None else decimal_text(rate.list_price),
    )


def unit_rate_from_row(row: Row) -> UnitRate:
    return UnitRate(
        id=row[0],
        provider=row[1],
        model=row[2],
        leaf=row[3],
        priced_as=row[4],
        above_prompt_tokens=row[5],
        unit_cost=parse_exact(row[6]),
        unit_price=parse_exact(row[7]),
        adjustment=Adjustment(row[8], Decimal(row[9])),
        price_version=row[10],
        rate_card_version=row[11],
        conditions=row[12],
        basis_version=row[13],
        waived=row[14],
        list_price=parse_exact(row[15]) if row[15] else None,
    )


def grant_row(grant: Grant) -> Row:
    return (
        bucket_of(grant.customer),
        grant.customer,
        grant.id,
        micros(grant.created),
        grant.amount_nano,
        grant.remaining_nano,
        grant.currency,
        micros(grant.effective_at),
        micros_or_none(grant.expires_at),
        grant.category,
        grant.priority,
        grant.name,
        encode_json(grant.metadata),
        micros_or_none(grant.voided_at),
        micros_or_none(grant.expired_at),
        grant.source,
        micros_or_none(grant.updated),
        grant.minor_amount,
        grant.lapsed_nano,
        None if grant.scope.is_all else encode_json(grant.scope),
        micros_or_none(grant.begun_at),
        grant.unit,
        grant.unit_amount,
    )


def grant_from_row(row: Row) -> Grant:
    """Read back what `grant_row` wrote, without its bucket."""
    return Grant(
        customer=row[0],
        id=row[1],
        created=from_micros(row[2]),
        amount_nano=row[3],
        remaining_nano=row[4],
        currency=row[5],
        effective_at=from_micros(row[6]),
        expires_at=from_micros_or_none(row[7]),
        category=row[8],
        priority=row[9],
        name=row[10],
        metadata=_decode_metadata(row[11]),
        voided_at=from_micros_or_none(row[12]),
        expired_at=from_micros_or_none(row[13]),
        source=row[14],
        updated=from_micros_or_none(row[15]),
        minor_amount=row[16],
        lapsed_nano=row[17],
        scope=ALL_USAGE if row[18] is None else _decode_scope(row[18]),
        begun_at=from_micros_or_none(row[19]),
        unit=row[20],
        unit_amount=row[21],
    )


def hold_row(hold: Hold) -> Row:
    return (
        bucket_of(hold.customer),
        hold.customer,
        hold.id,
        hold.kind,
        hold.owner,
        hold.amount_nano,
        micros(hold.placed_at),
        micros(hold.expires_at),
        hold.state,
        hold.captured_nano,
        hold.subject,
    )


def hold_from_row(row: Row) -> Hold:
    """Read back what `hold_row` wrote, without its bucket."""
    return Hold(
        customer=row[0],
        id=row[1],
        kind=row[2],
        owner=row[3],
        amount_nano=row[4],
        placed_at=from_micros(row[5]),
        expires_at=from_micros(row[6]),
        state=row[7],
        captured_nano=row[8],
        subject=row[9],
    )


def balance_row(balance: Balance) -> Row:
    return (
        bucket_of(balance.customer),
        balance.customer,
        balance.held_nano,
        balance.carried_nano,
        encode_json(balance.owed_nano),
        encode_json(balance.fired),
        encode_json(balance.paid_nano),
    )


def balance_from_row(customer: str, row: Row) -> Balance:
    """Read back what `balance_row` wrote, without its bucket and customer."""
    return Balance(
        customer=CustomerId(customer),
        held_nano=row[0],
        carried_nano=row[1],
        owed_nano=_decode_owed(row[2]),
        fired=_decode_fired(row[3]),
        paid_nano=_decode_paid(row[4]),
    )


def transaction_from_row(customer: str, row: Row, postings: Sequence[Posting]) -> Transaction:
    _, id, at, kind, reference = row
    return Transaction(
        id=id,
        customer=CustomerId(customer),
        at=from_micros(at),
        kind=kind,
        postings=tuple(postings),
        reference=reference,
    )


def delivery_row(delivery: Delivery) -> Row:
    return (
        delivery.id,
        delivery.event,
        delivery.endpoint,
        micros(delivery.due_at),
        delivery.attempts,
        delivery.status,
        delivery.response_status,
        delivery.error,
        micros_or_none(delivery.delivered_at),
        delivery.object,
        micros_or_none(delivery.created),
        delivery.response_body,
        encode_json(delivery.log),
    )


def delivery_from_row(row: Row) -> Delivery:
    return Delivery(
        id=row[0],
        event=row[1],
        endpoint=row[2],
        due_at=from_micros(row[3]),
        attempts=row[4],
        status=row[5],
        response_status=row[6],
        error=row[7],
        delivered_at=from_micros_or_none(row[8]),
        object=row[9],
        created=from_micros_or_none(row[10]),
        response_body=row[11],
        log=_decode_log(row[12]),
    )


def reply_row(reply: StoredReply) -> Row:
    return reply.key, reply.request_digest, reply.status, reply.body, micros(reply.created)


def reply_from_row(row: Row) -> StoredReply:
    return StoredReply(
        key=row[0], request_digest=row[1], status=row[2], body=row[3], created=from_micros(row[4])
    )
