"""A grant pays for usage in its scope and currency, whatever else the customer uses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.credit import give
from costplus.billing.subjects import Subjects
from costplus.core.period import monthly_period
from costplus.core.usage import Usage
from costplus.ledger.scope import Scope, Subject, netted
from costplus.metering.event import TOKEN_METER
from costplus.rating.charge import rate

Shop = Any  # The shop of conftest.


def left(shop: Shop) -> list[int]:
    return [grant.remaining_nano for grant in shop.write(lambda tx: tx.grants_of("cus_1"))]


def use(shop: Shop, build: SimpleNamespace, tokens: int, *, model: str = "m", leaf: str = "input") -> Any:
    """Use input tokens of a model, each worth a nano."""
    rates = build.sheet(model=model)
    return shop.use(tokens, rates=rates)


@pytest.mark.parametrize(
    "scope",
    [
        Scope(models=("openai/a",)),
        Scope(models=("a",)),
        Scope(models=("a",), providers=("openai",)),
        Scope(token_types=("input",), models=("a",)),
        Scope(meters=(TOKEN_METER,), models=("a",)),
    ],
)
def test_usage_outside_of_a_scope_is_owed(shop: Shop, build: SimpleNamespace, scope: Scope) -> None:
    shop.give(100, scope=scope)
    use(shop, build, 30, model="b")
    assert (left(shop), shop.owed()) == ([100], [30])
    use(shop, build, 30, model="a")
    assert (left(shop), shop.owed()) == ([70], [30])
    assert shop.wrongs() == []


def test_a_token_types_credit_pays_that_part_of_a_call_only(shop: Shop, build: SimpleNamespace) -> None:
    rates = build.sheet(model="a")
    shop.give(100, scope=Scope(token_types=("output",)))
    shop.use(0, rates=rates, charge=rate(Usage({"input": 40, "output": 25}), rates))
    assert (left(shop), shop.owed()) == ([75], [40])


def test_grants_burn_in_their_order_each_within_its_scope(shop: Shop, build: SimpleNamespace) -> None:
    shop.give(50, priority=1, scope=Scope(models=("a",)))
    shop.give(50, priority=2)
    shop.give(50, priority=3, scope=Scope(models=("b",)))
    shop.settle(
        shop.settlement(60, rates=build.sheet(model="a")), shop.settlement(60, rates=build.sheet(model="b"))
    )
    assert (left(shop), shop.owed()) == ([0, 0, 30], [])


def test_credit_of_another_currency_pays_nothing(build: SimpleNamespace) -> None:
    shop = build.shop(currency="eur")
    shop.customer()
    shop.give(100, currency="usd")
    shop.give(100, currency="eur", priority=99)
    shop.use(80)
    assert left(shop) == [100, 20]


def test_a_grant_for_a_rate_card_pays_whatever_its_version(shop: Shop, build: SimpleNamespace) -> None:
    card, version = shop.account.card, shop.account.version
    shop.write(lambda tx: tx.save(replace(version, id="rcv_test", created=shop.at)))
    shop.give(100, scope=Scope(prices=(card.id,)))
    shop.give(100, scope=Scope(prices=("rcd_other",)))
    shop.use(30)
    assert left(shop) == [70, 100]


def test_a_scoped_grant_pays_what_is_owed_of_its_scope_and_no_more(
    shop: Shop, build: SimpleNamespace
) -> None:
    use(shop, build, 30, model="a")
    use(shop, build, 70, model="b")

    def add(id: str, nano: int) -> None:
        shape = shop.give(1, scope=Scope(models=("a",)), expires_at=shop.at + build.day)
        grant = replace(shape, id=id, amount_nano=nano, remaining_nano=nano)
        shop.write(lambda tx: give(tx, grant, at=shop.at))

    add("credgr_x", 20)
    assert shop.owed() == [80]
    add("credgr_y", 100)  # Ten of the model's thirty are left to pay; the rest is another model's.
    assert shop.owed() == [70]
    assert shop.write(lambda tx: tx.grant("credgr_y")).remaining_nano == 90
    assert shop.wrongs() == []


def test_usage_that_is_taken_back_nets_within_its_period() -> None:
    a, b = Subject(model="a"), Subject(model="b")
    assert netted({(1, a): 50, (1, b): -20, (2, a): 5}) == {(1, a): 30, (2, a): 5}
    assert netted({(1, a): 10, (1, b): 50, (1, Subject()): -55}) == {(1, a): 5}


@given(st.dictionaries(st.tuples(st.integers(1, 2), st.sampled_from("abc")), st.integers(-50, 50)))
def test_netting_keeps_each_periods_sum_or_nothing(parts: dict[tuple[int, str], int]) -> None:
    found = netted({(period, Subject(model=model)): nano for (period, model), nano in parts.items()})
    for period in (1, 2):
        before = sum(nano for (p, _), nano in parts.items() if p == period)
        assert sum(nano for (p, _), nano in found.items() if p == period) == max(before, 0)
    assert all(nano > 0 for nano in found.values())


@given(
    st.dictionaries(st.sampled_from(["input", "output", "cached_input"]), st.integers(0, 10**6), min_size=1)
)
def test_a_charges_parts_add_up_to_it(build: SimpleNamespace, quantities: dict[str, int]) -> None:
    charge = rate(Usage(quantities), build.sheet(usd_per_million="0.0033"))
    shop = build.shop_of()
    parts = shop.write(lambda tx: Subjects(tx).parts(charge))
    assert sum(nano for _, nano in parts) == charge.price_nano
    assert all(nano >= 0 for _, nano in parts)


def test_scopes_overlap_unless_some_kind_of_name_sets_them_apart() -> None:
    a = Scope(models=("openai/a",), token_types=("input",))
    assert (
        a.overlaps(Scope()) and a.overlaps(Scope(models=("a",))) and a.overlaps(Scope(providers=("openai",)))
    )
    assert not a.overlaps(Scope(token_types=("output",)))
    assert not a.overlaps(Scope(models=("openai/b", "c")))


def test_only_a_void_or_expiry_ends_what_a_scope_keeps_from_burning(
    shop: Shop, build: SimpleNamespace
) -> None:
    month = monthly_period(build.at, 0)
    shop.give(100, scope=Scope(models=("never",)), expires_at=month.end)
    shop.use(50)
    shop.close(month.end)
    assert (left(shop), shop.account_nano("book/breakage")) == ([0], 100)
