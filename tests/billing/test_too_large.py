"""Sums that an int64 of nanos does not hold: the step is refused with an error of ours, and whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.errors import BillingError
from costplus.core.money import NANO_MAX
from costplus.storage.memory import MemoryStore

Shop = Any  # The shop of conftest.


@pytest.fixture(params=["memory", "sqlite"])
def big(request: pytest.FixtureRequest, build: SimpleNamespace, tmp_path: Path) -> Iterator[Shop]:
    store = MemoryStore() if request.param == "memory" else build.sqlite_at_once(tmp_path / "books.db")
    shop = build.shop(store=store)
    shop.customer()
    yield shop


def whole(shop: Shop) -> list[str]:
    return list(shop.audited())


@pytest.mark.parametrize(
    "step",
    [
        lambda shop: shop.give(NANO_MAX - 5),
        lambda shop: shop.use(NANO_MAX - 5),
    ],
    ids=["a sum of credit", "a sum of usage"],
)
def test_what_makes_a_sum_too_large_is_refused_whole(big: Shop, step: Callable[[Shop], object]) -> None:
    step(big)
    kept = big.balance(), big.credit()
    with pytest.raises(BillingError) as refused:
        step(big)
    assert refused.value.code == "amount_invalid"
    assert (big.balance(), big.credit()) == kept
    assert whole(big) == []
    big.use(5)
    assert whole(big) == []
