"""Items as a card version keeps them, and what more units are charged."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from costplus.core.errors import InvalidRequest
from costplus.rating.item import CardItem, InvalidItem, ItemTier
from costplus.rating.item_charge import Metered, PricedItem, corrected, merged, rate_item
from costplus.rating.price_model import InvalidPriceModel

TIERS = (ItemTier(up_to=10, unit_amount=Decimal("10")), ItemTier(up_to=None, unit_amount=Decimal("5")))


def item(**fields: Any) -> CardItem:
    given = {"event_name": "calls", "display_name": "Calls", "kind": "per_unit", **fields}
    return CardItem(**given)


KEPT = [
    item(unit_amount=Decimal("0.000000000123"), unit_cost=Decimal("0.1"), maximum_amount=Decimal("5")),
    item(kind="package", package_size=100, package_amount=Decimal("2.50"), included_units=7),
    item(kind="volume", tiers=TIERS, divide_by=Decimal("60"), rounding="ceil"),
]


@pytest.mark.parametrize("kept", KEPT)
def test_an_item_comes_back_from_storage_as_it_was(kept: CardItem) -> None:
    kept.check()
    back = msgspec.json.decode(msgspec.json.encode(kept), type=CardItem)
    assert back == kept
    assert back.model == kept.model


REFUSED: list[tuple[dict[str, Any], type[InvalidRequest]]] = [
    ({"unit_amount": Decimal("-1")}, InvalidItem),
    ({"unit_cost": Decimal("-1")}, InvalidItem),
    ({"unit_amount": Decimal("1000000001")}, InvalidItem),
    ({"included_units": -1}, InvalidItem),
    ({"minimum_amount": Decimal("1e-10")}, InvalidItem),
    ({"multiply_by": Decimal("1.5")}, InvalidItem),
    ({"multiply_by": Decimal("0")}, InvalidPriceModel),
    ({"kind": "graduated"}, InvalidPriceModel),
    ({"kind": "volume", "tiers": TIERS[:1]}, InvalidPriceModel),
    ({"kind": "volume", "tiers": (ItemTier(up_to=None, flat_amount=Decimal("1e-13")),)}, InvalidItem),
    ({"minimum_amount": Decimal(2), "maximum_amount": Decimal(1)}, InvalidPriceModel),
]


@pytest.mark.parametrize(("fields", "error"), REFUSED)
def test_an_item_that_cannot_price_every_quantity_is_refused(
    fields: dict[str, Any], error: type[InvalidRequest]
) -> None:
    with pytest.raises(error):
        item(**fields).check()


def test_a_charge_depends_on_what_was_counted_and_charged_before() -> None:
    sold = PricedItem("rcv_1", item(unit_amount=Decimal("0.5"), maximum_amount=Decimal(2)))
    charge = rate_item(sold, before=Metered(2, 10**9), metered=5)
    assert charge.price_nano == 10**9
    assert [(line.rate.leaf, line.quantity) for line in charge.lines] == [
        ("unit", 5),
        ("maximum", -1_500_000_000),
    ]
    assert rate_item(sold, before=Metered(7, 2 * 10**9), metered=1).price_nano == 0
    assert rate_item(sold, before=Metered(), metered=0).lines == ()


def test_the_same_slice_has_the_same_rate_wherever_it_is_charged() -> None:
    sold = PricedItem("rcv_1", item(unit_amount=Decimal("0.5")))
    first, second = (rate_item(sold, before=Metered(n), metered=1).lines[0].rate for n in (0, 7))
    other = rate_item(PricedItem("rcv_2", sold.item), before=Metered(), metered=1).lines[0].rate
    assert first == second
    assert first.id != other.id
    assert (first.provider, first.model, first.conditions) == ("meter", "calls", "each unit")


def test_a_correction_leaves_nothing_to_correct() -> None:
    sold = PricedItem("rcv_1", item(kind="volume", tiers=TIERS, maximum_amount=Decimal(80)))
    counted, lines = Metered(), []
    for units in (9, 1, 1):
        charge = rate_item(sold, before=counted, metered=units)
        counted = Metered(counted.units + units, counted.price_nano + charge.price_nano)
        lines += charge.lines
    assert counted == Metered(11, 80 * 10**9)
    made = corrected(merged(lines), counted, sold=[sold], last=sold)
    assert made is not None
    assert made.price_nano == (55 - 80) * 10**9
    settled = Metered(11, counted.price_nano + made.price_nano)
    assert corrected(merged([*lines, *made.lines]), settled, sold=[sold], last=sold) is None
