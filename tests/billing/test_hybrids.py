"""Any mixture of fee, included credit, included tokens, usage and commitment bills exactly its sum.

Rule 1: the expected figures are those of a simple model of whole numbers, written anew here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costplus.billing.allowance import Allowance, CreditTerms, MinimumSpend, Rollover
from costplus.core.period import monthly_period
from costplus.storage.memory import MemoryStore
from costplus.storage.postgres import PostgresStore
from costplus.storage.sqlite import SqliteStore

CENT = 10_000_000
PERIODS = 3


@dataclass(frozen=True)
class Mixture:
    """A plan; amounts in cents, tokens by the unit, each at `nano`."""

    fee: int
    credit: int
    credit_cap: int
    tokens: int
    tokens_cap: int
    rolls: int
    minimum: int
    nano: int
    uses: tuple[tuple[int, ...], ...]


mixtures = st.builds(
    Mixture,
    fee=st.integers(0, 9),
    credit=st.integers(0, 12),
    credit_cap=st.integers(0, 12),
    tokens=st.integers(0, 6 * CENT),
    tokens_cap=st.integers(0, 6 * CENT),
    rolls=st.integers(0, 2),
    minimum=st.integers(0, 15),
    nano=st.integers(1, 3),
    uses=st.tuples(*(st.lists(st.integers(0, 8 * CENT), max_size=3).map(tuple) for _ in range(PERIODS))),
)


@dataclass
class Pool:
    """Units of one period: how many are left, and until which period they may be used."""

    left: int
    until: int


@dataclass
class Model:
    """What the mixture comes to, in whole numbers."""

    mixture: Mixture
    tokens: list[Pool] = field(default_factory=list)
    credit: list[Pool] = field(default_factory=list)
    carried: int = 0

    def period(self, number: int) -> int:
        """Return what the period's invoice asks for, in cents."""
        mix = self.mixture
        self.tokens = _next(self.tokens, mix.tokens, mix.tokens_cap, mix.rolls, number)
        self.credit = _next(self.credit, mix.credit * CENT, mix.credit_cap * CENT, mix.rolls, number)
        usage = owed = 0
        for used in mix.uses[number]:
            price = mix.nano * (used - _take(self.tokens, used))
            usage += price
            owed += price - _take(self.credit, price)
        lacking = max(mix.minimum * CENT - usage, 0)
        due = owed + lacking + self.carried
        has_lines = lacking > 0 or any(mix.uses[number])
        asked = due // CENT if has_lines else 0
        self.carried = due - asked * CENT
        return asked + mix.fee


def _next(pools: list[Pool], units: int, cap: int, rolls: int, number: int) -> list[Pool]:
    """Return a new period's pools: of the one before up to the cap, of earlier ones what may be used."""
    kept = [
        Pool(min(pool.left, cap) if pool.until == number - 1 + rolls else pool.left, pool.until)
        for pool in pools
        if pool.until >= number
    ]
    return [*kept, Pool(units, number + rolls)]


def _take(pools: list[Pool], wanted: int) -> int:
    taken = 0
    for pool in pools:
        part = min(pool.left, wanted - taken)
        pool.left -= part
        taken += part
    return taken


def plan_of(mix: Mixture) -> dict[str, Any]:
    """Return the set-up of the mixture."""
    rollover = Rollover(periods=mix.rolls, most=mix.tokens_cap)
    return {
        "fee_minor": mix.fee,
        "credit_minor": mix.credit,
        "credit_terms": CreditTerms(rollover=Rollover(periods=mix.rolls, most=mix.credit_cap)),
        "allowances": (Allowance(id="t", units=mix.tokens, rollover=rollover),) if mix.tokens else (),
        "minimum": MinimumSpend(amount_minor=mix.minimum) if mix.minimum else None,
    }


def check(build: SimpleNamespace, mix: Mixture, store: Any) -> None:
    shop = build.shop(store=store, **plan_of(mix))
    shop.customer()
    sheet = build.sheet(usd_per_million=str(build.decimal(mix.nano) / 1000))
    model = Model(mix)
    for number in range(PERIODS):
        for used in mix.uses[number]:
            shop.use(used, rates=sheet)
        shop.close(monthly_period(build.at, number).end + build.hour)
        asked = model.period(number)
        invoice = shop.invoices()[-1]
        assert invoice.total_minor == asked
        assert shop.balance().carried_nano == model.carried
        assert shop.wrongs() == []
    assert shop.balance().owed_nano == {}


@given(mixtures)
@settings(deadline=None)
def test_a_mixture_bills_its_sum_in_memory(build: SimpleNamespace, mix: Mixture) -> None:
    check(build, mix, MemoryStore())


class Blocking:
    """A database whose verbs are over when they return."""

    def __init__(self, opening: Coroutine[Any, Any, Any]) -> None:
        self._runner = asyncio.Runner()
        self._store = self._runner.run(opening)

    async def write(self, verb: Callable[..., Any]) -> Any:
        return self._runner.run(self._store.write(verb))

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._runner.close()


@contextmanager
def sqlite() -> Iterator[Blocking]:
    with (
        TemporaryDirectory() as folder,
        closing(Blocking(SqliteStore.open(Path(folder) / "costplus.db"))) as store,
    ):
        yield store


@pytest.mark.slow
@given(mixtures)
@settings(deadline=None, max_examples=25)
def test_a_mixture_bills_its_sum_on_sqlite(build: SimpleNamespace, mix: Mixture) -> None:
    with sqlite() as store:
        check(build, mix, store)


EXAMPLE = Mixture(
    fee=5,
    credit=4,
    credit_cap=2,
    tokens=3 * CENT,
    tokens_cap=CENT,
    rolls=1,
    minimum=9,
    nano=2,
    uses=((CENT, CENT + 1), (6 * CENT,), (9 * CENT, 7)),
)


def test_one_mixture_bills_its_sum_on_sqlite(build: SimpleNamespace) -> None:
    with sqlite() as store:
        check(build, EXAMPLE, store)


def test_one_mixture_bills_its_sum_on_postgres(build: SimpleNamespace, postgres_server: Any) -> None:
    async def opened() -> PostgresStore:
        return await PostgresStore.open(await postgres_server.make_database(), writers=1, readers=1)

    with closing(Blocking(opened())) as store:
        check(build, EXAMPLE, store)
