"""Every record kind comes back equal from its stored form, with few fields set and with all of them."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.records import Record
from costplus.rating.rate_card import Adjustment
from costplus.storage import codec

FLOORS = ("core", "catalog", "metering", "ledger", "rating", "billing")
SCALARS = {
    str: "ü\n\"'",
    int: 2**63 - 1,
    bool: True,
    bytes: b"\x00\xff",
    datetime: datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    Decimal: Decimal("12.340"),
    Any: {"nested": [1, "a", None, True]},
}


def record_kinds() -> list[type[Record]]:
    """Return every record class below `web` and `gateway`, found by importing the floors."""
    for floor in FLOORS:
        package = importlib.import_module(f"costplus.{floor}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    def below(kind: type[Record]) -> Iterator[type[Record]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    # A slotted dataclass is made twice; its module's name is bound to the one that counts.
    found = {kind for kind in below(Record) if vars(sys.modules[kind.__module__]).get(kind.__name__) is kind}
    return sorted(found, key=lambda kind: kind.__name__)


def value_of(kind: Any) -> Any:
    """Return a value of the type with everything in it that can be set."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if hasattr(kind, "__supertype__"):
        return value_of(kind.__supertype__)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: value_of(hints[field.name]) for field in dataclasses.fields(kind)})
    if origin is typing.Literal:
        return arguments[-1]
    if origin in (typing.Union, types.UnionType):
        return value_of(next(one for one in arguments if one is not type(None)))
    if origin is tuple:
        inner = arguments[:1] * 2 if arguments[1:] == (...,) else arguments
        return tuple(value_of(one) for one in inner)
    if origin in (dict, Mapping):
        return {value_of(arguments[0]): value_of(arguments[1])}
    return SCALARS[kind]


def smallest_of(kind: type[Record]) -> Record:
    """Return a record with only what must be given."""
    hints = typing.get_type_hints(kind)
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    return kind(**{name: value_of(hints[name]) for name in required})


KINDS = record_kinds()


def test_records_were_found_and_their_kinds_are_distinct() -> None:
    assert {"Customer", "Meter", "RateCardVersion", "Invoice", "UnpricedUsage"} <= {k.__name__ for k in KINDS}
    assert len({kind.KIND for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_record_comes_back_equal(kind: type[Record]) -> None:
    for record in (smallest_of(kind), value_of(kind)):
        back = codec.decode_record(kind, codec.encode_record(record))
        assert back == record
        assert (back.parent, back.lookup) == (record.parent, record.lookup)


@pytest.mark.parametrize("percent", ["0", "30", "30.0", "1E+2", "12.345678"])
def test_a_unit_rate_comes_back_with_its_digits(build: SimpleNamespace, percent: str) -> None:
    rate = build.sheet().bands[0][1].by_leaf["input"][2]
    changed = dataclasses.replace(
        rate, adjustment=Adjustment("markup", Decimal(percent)), unit_price=Fraction(1, 3)
    )
    back = codec.unit_rate_from_row(codec.unit_rate_row(changed))
    assert back == changed
    assert str(back.adjustment.percent) == percent


@pytest.mark.parametrize("us", [0, -1, 1, 2**51 + 1, -(2**55)])
def test_instants_come_back_to_the_microsecond(us: int) -> None:
    assert codec.micros(codec.from_micros(us)) == us
    assert codec.hour_of(us) <= us < codec.hour_of(us) + codec.HOUR_US
    assert codec.from_micros_or_none(codec.micros_or_none(None)) is None
