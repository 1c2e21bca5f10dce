"""How nouns become rows and come back equal; shared by all adapters.

Rule 1: instants are whole microseconds since the epoch, so that every datetime comes back exactly.
Rule 2: exact numbers are text (`core.money.decimal_text`), nanos are integers, the rest is JSON by type.
Rule 3: a record's JSON is decoded as its own type; what does not fit it is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from costplus.core.ids import bucket_of
from costplus.core.money import decimal_text, parse_exact
from costplus.core.records import R, Record
from costplus.core.usage import Usage
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.scope import ALL_USAGE, Scope
from costplus.metering.event import UsageEvent
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
_record_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_decode_scope = msgspec.json.Decoder(Scope).decode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode


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
        decoder = _record_decoders[kind] = msgspec.json.Decoder(kind)
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
