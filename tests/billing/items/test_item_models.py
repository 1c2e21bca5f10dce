"""Each price of an item, from meter events to the invoice: one event or many, it comes to the same."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

GRADUATED = [(100, "1"), (None, "0.5")]
VOLUME = [(10, "10"), (None, "5")]

FIGURES: list[tuple[str, dict[str, Any], int, str]] = [
    ("per_unit", {"unit_amount": "0.02"}, 150, "3"),
    ("per_unit", {"unit_amount": "0"}, 150, "0"),
    ("per_unit", {"unit_amount": "2", "included_units": 100}, 99, "0"),
    ("per_unit", {"unit_amount": "2", "included_units": 100}, 100, "0"),
    ("per_unit", {"unit_amount": "2", "included_units": 100}, 101, "2"),
    ("package", {"package_size": 100, "package_amount": "5"}, 1, "5"),
    ("package", {"package_size": 100, "package_amount": "5"}, 100, "5"),
    ("package", {"package_size": 100, "package_amount": "5"}, 101, "10"),
    ("package", {"package_size": 100, "package_amount": "5", "included_units": 50}, 150, "5"),
    ("graduated", {"tiers": GRADUATED}, 100, "100"),
    ("graduated", {"tiers": GRADUATED}, 101, "100.5"),
    ("graduated", {"tiers": GRADUATED}, 150, "125"),
    ("graduated", {"tiers": [(10, "0", "7"), (None, "1", "3")]}, 11, "11"),
    ("volume", {"tiers": VOLUME}, 10, "100"),
    ("volume", {"tiers": VOLUME}, 11, "55"),
    ("volume", {"tiers": [(10, "10", "1"), (None, "5", "2")]}, 11, "57"),
    ("volume", {"tiers": VOLUME, "included_units": 5}, 15, "100"),
    ("per_unit", {"unit_amount": "0.1", "divide_by": "60", "rounding": "ceil"}, 61, "0.2"),
    ("per_unit", {"unit_amount": "0.1", "divide_by": "60", "rounding": "floor"}, 119, "0.1"),
    ("per_unit", {"unit_amount": "0.1", "divide_by": "60", "rounding": "half_up"}, 90, "0.2"),
    ("per_unit", {"unit_amount": "1", "minimum_amount": "50"}, 30, "50"),
    ("per_unit", {"unit_amount": "1", "minimum_amount": "50"}, 50, "50"),
    ("per_unit", {"unit_amount": "1", "minimum_amount": "50"}, 51, "51"),
    ("per_unit", {"unit_amount": "1", "maximum_amount": "50"}, 50, "50"),
    ("per_unit", {"unit_amount": "1", "maximum_amount": "50"}, 51, "50"),
    ("volume", {"tiers": VOLUME, "maximum_amount": "80"}, 11, "55"),
    ("volume", {"tiers": VOLUME, "maximum_amount": "80", "minimum_amount": "60"}, 11, "60"),
    ("volume", {"tiers": VOLUME, "maximum_amount": "80"}, 17, "80"),
]


def made(items: SimpleNamespace, kind: str, fields: dict[str, Any]) -> Any:
    given_tiers = {"tiers": items.tiers(*fields["tiers"])} if "tiers" in fields else {}
    return items.item(kind, **{**fields, **given_tiers})


@pytest.mark.parametrize(("kind", "fields", "units", "amount"), FIGURES)
@pytest.mark.parametrize("events", [1, 3])
def test_a_period_is_billed_what_its_units_are_worth(
    items: SimpleNamespace, kind: str, fields: dict[str, Any], units: int, amount: str, events: int
) -> None:
    shop = items.shop(made(items, kind, fields))
    shop.use(*(units // events + (n < units % events) for n in range(events)))
    foreseen = shop.preview()
    invoice = shop.close()
    assert shop.charged() == Decimal(amount)
    assert Decimal(invoice.total_minor) / 100 == Decimal(amount)
    assert sum(line.amount_minor for line in invoice.lines) == invoice.total_minor
    shown = [[(line.description, line.amount_nano) for line in of.lines] for of in (foreseen, invoice)]
    assert shown[0] == shown[1]


amounts = st.integers(0, 10**7).map(lambda n: str(Decimal(n).scaleb(-5)))
steps = st.builds(
    lambda ends, prices: [(end, *price) for end, price in zip([*sorted(ends), None], prices, strict=False)],
    st.sets(st.integers(1, 60), max_size=3),
    st.lists(st.tuples(amounts, amounts), min_size=4, max_size=4),
)
limits = st.fixed_dictionaries({}, optional={"included_units": st.integers(0, 40), "maximum_amount": amounts})
prices = st.one_of(
    st.tuples(st.just("per_unit"), st.fixed_dictionaries({"unit_amount": amounts})),
    st.tuples(
        st.just("package"),
        st.fixed_dictionaries({"package_size": st.integers(1, 20), "package_amount": amounts}),
    ),
    st.tuples(st.sampled_from(["graduated", "volume"]), st.fixed_dictionaries({"tiers": steps})),
)


@given(prices, limits, st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=3), min_size=1, max_size=4))
def test_many_events_and_batches_come_to_the_same_as_one(
    items: SimpleNamespace, price: tuple[str, Any], limits: dict[str, Any], batches: list[list[int]]
) -> None:
    sold = made(items, price[0], price[1] | limits)
    many, one = items.shop(sold), items.shop(sold)
    for batch in batches:
        before = many.charged()
        many.report(*(many.event(units) for units in batch))
        assert many.charged() >= before
        assert sold.maximum_amount is None or many.charged() <= sold.maximum_amount
    one.use(sum(map(sum, batches)))
    invoices = [many.close(), one.close()]
    assert many.charged() == one.charged()
    assert invoices[0].total_minor == invoices[1].total_minor
    assert many.shop.balance().carried_nano == one.shop.balance().carried_nano
