"""Stripe's meter events: a payload of texts becomes a usage event.

Rule 1: a token event names `provider/model` (or `provider/creator/model`: who serves it comes first), a
token type and a whole number of tokens. Rule 2: other meters carry a whole number of units, below zero where
it takes units back; one that counts different values takes any text.
Rule 3: the identifier is the event's key: reporting it again is the same event.
Source: spec "Stripe's wire", §2.2, §3 and §5.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from costplus.core.errors import InvalidRequest
from costplus.core.usage import LEAVES, Usage, usage_of
from costplus.metering.event import METER, TOKEN_METER, Source, UsageEvent, usage_event
from costplus.metering.meter import Meter

PAST_MAX = timedelta(days=35)
FUTURE_MAX = timedelta(minutes=5)
DIGITS_MAX = 15
NAME_MAX = 256
TOKEN_DIMENSIONS = ("model", "token_type")

# The names that Stripe, its partners and their documents use for our leaves.
TOKEN_TYPES: Mapping[str, str] = {
    **{name: name for name in LEAVES if name != "unit"},
    "cached": "cached_input",
    "cache_read": "cached_input",
    "cache_write": "cache_write_5m",
    "cached_write": "cache_write_5m",
}
_WHOLE = re.compile(r"-?\d+")


class NoCustomerDefined(InvalidRequest):
    """The payload lacks the key that names the customer."""

    code = "meter_event_no_customer_defined"


class ValueNotFound(InvalidRequest):
    """The payload lacks the key that carries the value."""

    code = "meter_event_value_not_found"


class InvalidValue(InvalidRequest):
    """The value is no whole number, or one of tokens below zero."""

    code = "meter_event_invalid_value"
    remedy = (
        "Give a whole number as text, of tokens 0 or more: fractions are not counted here, and tokens are "
        "taken back by cancelling their event."
    )


class TooManyDigits(InvalidRequest):
    """The value is larger than any real count."""

    code = "meter_event_value_too_many_digits"
    remedy = f"At most {DIGITS_MAX} digits."


class MissingDimensions(InvalidRequest):
    """The payload lacks a key that splits the meter's value."""

    code = "missing_dimension_payload_keys"


class UnknownTokenType(InvalidRequest):
    """No leaf has this name or alias."""

    code = "meter_event_token_type_unknown"
    remedy = f"Use one of {', '.join(TOKEN_TYPES)}."


class TimestampInFuture(InvalidRequest):
    """The event is said to happen later than now."""

    code = "timestamp_in_future"
    remedy = "A timestamp may be at most 5 minutes ahead."


class TimestampTooOld(InvalidRequest):
    """The event is older than what can still be billed."""

    code = "timestamp_too_far_in_past"
    remedy = "A timestamp may be at most 35 days old."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One meter event as it came. `timestamp` is None where the reporter left it to us."""

    event_name: str
    payload: Mapping[str, str]
    identifier: str
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays attached to a usage event: when it arrived, and its payload."""

    received_at: datetime
    payload: dict[str, str]


_decode_kept = msgspec.json.Decoder(Kept).decode


def payload_of(values: Mapping[str, Any], *, param: str) -> dict[str, str]:
    """Return the payload's values as text; whole numbers are taken for their text."""
    payload: dict[str, str] = {}
    for key, value in values.items():
        readable = isinstance(value, str | int) and not isinstance(value, bool)
        if not readable or len(str(value)) > NAME_MAX or "\x00" in str(value):
            raise InvalidValue(
                f"The payload's '{key}' is not a text of at most {NAME_MAX} characters.",
                param=f"{param}[{key}]",
            )
        payload[key] = str(value)
    return payload


def customer_in(reported: Reported, meter: Meter, *, param: str = "payload") -> str:
    """Return the id of the customer that the payload names."""
    customer = reported.payload.get(meter.customer_key)
    if not customer:
        raise NoCustomerDefined(
            f"Customer mapping key {meter.customer_key} not found in payload.",
            param=param,
            remedy=f"Put the customer's id under '{meter.customer_key}'.",
        )
    return customer


def value_in(reported: Reported, meter: Meter, *, param: str = "payload") -> int:
    """Return the whole number that the payload reports.

    A counting meter needs none and takes 1; one that counts different values takes any as one.
    """
    text = reported.payload.get(meter.value_key)
    if meter.formula == "count":
        return 1
    if not text:
        raise ValueNotFound(
            f"Value key {meter.value_key} not found in payload.",
            param=param,
            remedy=f"Put the number under '{meter.value_key}'.",
        )
    if meter.formula == "unique":
        return 1
    named = f"{param}[{meter.value_key}]"
    if not _WHOLE.fullmatch(text) or not text.isascii():
        raise InvalidValue(f"The value '{text}' is not a whole number.", param=named)
    if len(text.lstrip("-")) > DIGITS_MAX:
        raise TooManyDigits(f"The value has {len(text.lstrip('-'))} digits.", param=named)
    if meter.event_name == TOKEN_METER and int(text) < 0:
        raise InvalidValue(f"The value '{text}' is below zero.", param=named)
    return int(text)


def split_model(name: str) -> tuple[str, str]:
    """Return who serves a model and its name there; no provider where the name has none."""
    provider, slash, model = name.partition("/")
    return (provider, model) if slash and provider and model else ("", name)


def _check_dimensions(reported: Reported, meter: Meter, *, param: str) -> None:
    needed = {*meter.dimensions, *(TOKEN_DIMENSIONS if meter.event_name == TOKEN_METER else ())}
    lacking = sorted(key for key in needed if not reported.payload.get(key))
    if lacking:
        raise MissingDimensions(
            f"The payload lacks {', '.join(lacking)}.",
            param=param,
            remedy="Every event on this meter needs its dimension keys.",
        )


def _check_time(at: datetime, *, present: datetime) -> None:
    if at > present + FUTURE_MAX:
        raise TimestampInFuture(
            f"The timestamp {at.isoformat()} is ahead of {present.isoformat()}.", param="timestamp"
        )
    if at < present - PAST_MAX:
        raise TimestampTooOld(
            f"The timestamp {at.isoformat()} is more than {PAST_MAX.days} days before {present.isoformat()}.",
            param="timestamp",
        )


def _usage(reported: Reported, meter: Meter, value: int, *, param: str) -> Usage:
    if meter.event_name != TOKEN_METER:
        return Usage({"unit": value} if value else {})
    token_type = reported.payload["token_type"]
    leaf = TOKEN_TYPES.get(token_type)
    if leaf is None:
        raise UnknownTokenType(f"The token type '{token_type}' is unknown.", param=f"{param}[token_type]")
    return usage_of({leaf: value})


def usage_event_of(
    reported: Reported,
    meter: Meter,
    *,
    present: datetime,
    received_at: datetime,
    source: Source,
    param: str = "payload",
) -> UsageEvent:
    """Return the usage event that was reported; `present` is the customer's now, the default time."""
    customer = customer_in(reported, meter, param=param)
    value = value_in(reported, meter, param=param)
    _check_dimensions(reported, meter, param=param)
    at = present if reported.timestamp is None else reported.timestamp
    _check_time(at, present=present)
    usage = _usage(reported, meter, value, param=param)
    provider, model = METER, meter.event_name
    if meter.event_name == TOKEN_METER:
        provider, model = split_model(reported.payload["model"])
    return usage_event(
        customer=customer,
        at=at,
        key=reported.identifier,
        usage=usage,
        source=source,
        provider=provider,
        model=model,
        requested_model=reported.payload.get("model", "") if meter.event_name == TOKEN_METER else "",
        meter=meter.event_name,
        raw_usage=msgspec.json.encode(Kept(received_at, dict(reported.payload))).decode(),
    )


def reported_again(event: UsageEvent) -> tuple[Reported, datetime]:
    """Return what a kept event was reported as, and when it arrived."""
    kept = _decode_kept(event.raw_usage)
    reported = Reported(
        event_name=event.meter, payload=kept.payload, identifier=event.key, timestamp=event.at
    )
    return reported, kept.received_at


def value_text(event: UsageEvent, meter: Meter) -> str:
    """Return a kept event's value as it was written; the number of an event that nobody wrote."""
    if event.raw_usage:
        reported, _ = reported_again(event)
        if text := reported.payload.get(meter.value_key):
            return text
    return str(event.usage.quantities.get("unit", 0))
