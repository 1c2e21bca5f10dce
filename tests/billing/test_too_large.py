"""Sums that an int64 of nanos does not hold: the step is refused with an error of ours, and whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.errors import BillingError
from costplus.core.money import NANO_MAX
from costplus.storage.memory import MemoryStore
from costplus.storage.sqlite.connection import connect_writer
from costplus.storage.sqlite.transaction import SqliteTx

Shop = Any  # The shop of conftest.


class SqliteAtOnce:
    """A database file whose transactions run in the caller's thread."""

    def __init__(self, path: Path) -> None:
        self._tx = SqliteTx(connect_writer(path))

    async def write(self, verb: Callable[..., Any], *, customers: Collection[str] | None = None) -> Any:
        db = self._tx.connection
        db.execute("BEGIN IMMEDIATE")
        try:
            result = self._tx.run(verb, customers=customers)
        except BaseException:
            db.execute("ROLLBACK")
            self._tx.batch_lost()
            raise
        db.execute("COMMIT")
        self._tx.committed()
        return result


@pytest.fixture(params=["memory", "sqlite"])
def big(request: pytest.FixtureRequest, build: SimpleNamespace, tmp_path: Path) -> Iterator[Shop]:
    store = MemoryStore() if request.param == "memory" else SqliteAtOnce(tmp_path / "books.db")
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
