"""However usage was charged while its price was not known, in the end it is as if it always had been."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplus.metering.event import rerated, reversed_event
from costplus.rating.rate_card import FixedPrice

pytestmark = pytest.mark.slow

LEAVES = st.dictionaries(
    st.sampled_from(["input", "cached_input", "output"]), st.integers(1, 5000), min_size=1, max_size=3
)
USE = st.tuples(
    st.sampled_from(["call", "report"]),
    st.sampled_from(["foo", "bar", "known"]),
    st.sampled_from(["block", "hold", "fallback"]),
    LEAVES,
    st.booleans(),  # Whether a resolution of what is known by then comes after it.
)
FALLBACK = {leaf: FixedPrice(Decimal(usd), 10**9 + 7) for leaf, usd in (("input", 977), ("output", 3))}
FOO = {"foo": {"input": "1.37", "output": "8.003", "input>900": "2.9"}}
BOTH = {**FOO, "bar": {"input": "0.0007", "cached_input": "0.0003", "output": "11"}}


@settings(max_examples=60, deadline=None)
@given(
    uses=st.lists(USE, min_size=1, max_size=8),
    credit=st.sampled_from([0, 3_000, 1_000_000, 10**12]),
    closing=st.booleans(),
)
def test_charges_end_as_if_the_price_had_been_known(
    build: SimpleNamespace, queue: SimpleNamespace, uses: Any, credit: int, closing: bool
) -> None:
    kept = run(build, queue, uses, credit, closing, learned=None)
    known = run(build, queue, uses, credit, closing, learned=BOTH)
    assert kept.charges == known.charges
    assert kept.position == known.position
    if not closing:
        assert kept.credit == known.credit


def run(
    build: SimpleNamespace, queue: SimpleNamespace, uses: Any, credit: int, closing: bool, *, learned: Any
) -> SimpleNamespace:
    """Use models while only `learned` is known, then resolve; return the figures."""
    shop = queue.of(build.shop())
    shop.customer()
    if credit:
        shop.give(credit)
    events = []
    for way, model, policy, leaves, resolves in uses:
        shop.card(unpriced=policy, fallback=FALLBACK)
        if way == "call" and policy == "block" and model != "known":
            way = "report"  # Such a call is refused.
        events.append(getattr(shop, way)(queue.prices(learned), model, **leaves))
        shop.later(build.hour)
        if resolves:
            shop.resolve(queue.prices(FOO if learned is None else learned))
    if closing:
        shop.close(shop.at + 31 * build.day)
    shop.resolve(queue.prices(BOTH))
    assert shop.wrongs() == []
    assert shop.resolve(queue.prices(BOTH)).still_open == 0
    invoiced = shop.account_nano("cus_1/receivable")
    accrued = shop.account_nano("cus_1/accrued")
    return SimpleNamespace(
        charges=[charged_for(shop, event) for event in events],
        position=shop.credit() + accrued + invoiced,
        credit=shop.credit(),
    )


def charged_for(shop: Any, event: Any) -> int:
    """Return what an event is charged in the end: by itself, or by the event that charged it again."""
    again = shop.write(lambda tx: tx.charge_of("cus_1", rerated(event).id))
    back = shop.write(lambda tx: tx.charge_of("cus_1", reversed_event(event).id))
    first = shop.charge(event).price_nano
    if again is None:
        return int(first)
    returned = shop.entry(event).taken_back
    assert bool(returned) == (first > 0)
    assert back is None or back.charge.price_nano in (-first, 0)
    return int(again.charge.price_nano)
