"""Whatever happens in whatever order, the book balances and no credit is spent twice; in every store.

The model is a few sums: what usage was worth, by model, and what was given.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costplus.ledger.grant import Grant
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.post import begin_grant, expire_grant, grant_credit, void_grant
from costplus.ledger.reserve import expire_hold, grow_hold, place_hold, release_hold
from costplus.ledger.scope import Scope, Subject
from costplus.storage.postgres import PostgresStore
from costplus.storage.sqlite import SqliteStore

pytestmark = pytest.mark.slow

MODELS = ("a", "b")
STEPS = (
    "grant",
    "scoped_grant",
    "later_grant",
    "begin",
    "hold",
    "lease",
    "grow",
    "release",
    "capture",
    "use",
    "use_model",
    "take_back",
    "end_hold",
    "hold_model",
    "void",
    "expire",
    "wait",
)
steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 1_000)), max_size=40)


class Machine:
    """Drives one book by (step, which, how much), and remembers what must have come of it."""

    def __init__(self, build: SimpleNamespace, book: Any = None) -> None:
        self.build = build
        self.book: Any = book or build.book()
        self.priced_nano = 0  # Everything that usage was ever worth,
        self.of_model: Counter[tuple[int, str]] = Counter()  # and of it, what some model's was.
        self.lost: dict[str, int] = {}  # What grants still held when they ended.
        self.refusals = 0
        self.made = 0

    def do(self, step: str, which: int, amount: int) -> None:
        try:
            getattr(self, step)(which, amount)
        except InsufficientCredit:
            self.refusals += 1

    def _id(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}_{self.made}"

    def grant(self, which: int, amount: int) -> None:
        expires = self.book.at + which * timedelta(hours=8) if which else None
        category = "paid" if which % 2 else "promotional"
        self.book.give(
            self.build.grant(
                self._id("credgr"), amount + 1, priority=which, category=category, expires_at=expires
            )
        )

    def later_grant(self, which: int, amount: int) -> None:
        at = self.book.at + which * timedelta(hours=8)
        self.book.give(self.build.grant(self._id("credgr"), amount + 1, effective_at=at))

    def scoped_grant(self, which: int, amount: int) -> None:
        scope = Scope(models=(MODELS[which % 2],))
        begins = self.book.at + (which // 5) * timedelta(hours=8)
        grant = self.build.grant(
            self._id("credgr"), amount + 1, priority=which, scope=scope, effective_at=begins
        )
        in_scope = self.in_scope
        self.book.write(lambda tx: grant_credit(tx, grant, at=self.book.at, in_scope=in_scope))

    def in_scope(self, period: int, scope: Scope) -> int:
        return sum(
            nano
            for (start, model), nano in self.of_model.items()
            if start == period and model in scope.models
        )

    def begin(self, which: int, _: int) -> None:
        if grant := self._live(which):
            self.book.write(lambda tx: begin_grant(tx, grant, at=self.book.at, in_scope=self.in_scope))

    def use_model(self, which: int, amount: int) -> None:
        model, period = MODELS[which % 2], which // 2
        self.book.use({period: amount}, subject=Subject(model=model))
        self.priced_nano += amount
        self.of_model[period, model] += amount

    def hold_model(self, which: int, amount: int) -> None:
        self.book.hold(self._id("hold"), amount, subject=f"openai/{MODELS[which % 2]}")

    def end_hold(self, which: int, _: int) -> None:
        if id := self._placed(which, "request"):
            self.book.write(lambda tx: expire_hold(tx, "cus_1", id, at=self.book.at))

    def hold(self, _: int, amount: int) -> None:
        self.book.hold(self._id("hold"), amount)

    def lease(self, _: int, amount: int) -> None:
        self.book.hold(self._id("hold"), amount, kind="lease")

    def _placed(self, which: int, kind: str) -> str | None:
        holds = self.book.write(lambda tx: tx.placed_holds(customer=self.build.customer))
        ids = [hold.id for hold in holds if hold.kind == kind]
        return ids[which % len(ids)] if ids else None

    def grow(self, which: int, amount: int) -> None:
        if id := self._placed(which, "lease"):
            self.book.write(
                lambda tx: grow_hold(
                    tx, "cus_1", id, least_nano=amount, most_nano=amount * 3, at=self.book.at
                )
            )

    def release(self, which: int, amount: int) -> None:
        if id := self._placed(which, "lease" if which % 2 else "request"):
            part = amount if which % 3 else None
            self.book.write(lambda tx: release_hold(tx, "cus_1", id, amount_nano=part))

    def capture(self, which: int, amount: int) -> None:
        id = f"hold_{which + 1}"  # Perhaps one that has ended, or never was.
        known = self.book.write(lambda tx: tx.hold("cus_1", id))
        closes = (id,) if known is not None and known.kind == "request" else ()
        self.book.use({which: amount}, cost_nano=amount // 2, releases={id: amount}, closes=closes)
        self.priced_nano += amount

    def use(self, which: int, amount: int) -> None:
        self.book.use({which: amount, which + 1: which}, cost_nano=which)
        self.priced_nano += amount + which

    def take_back(self, which: int, amount: int) -> None:
        live = [grant.id for grant in self.book.write(lambda tx: tx.grants_of("cus_1"))]
        burned = dict.fromkeys(live[which : which + 1], amount // 2)
        spare = self.build.grant(self._id("credgr"), 0, category="promotional", effective_at=self.book.at)
        self.book.use({which: -amount}, burned_nano=burned, spare=spare)
        self.priced_nano -= amount

    def _live(self, which: int) -> Grant | None:
        live = self.book.write(lambda tx: tx.live_grants("cus_1"))
        return live[which % len(live)] if live else None

    def void(self, which: int, _: int) -> None:
        grant = self._live(which)
        if grant is not None and grant.remaining_nano == grant.amount_nano:
            self.lost[grant.id] = grant.remaining_nano
            self.book.end(void_grant, grant.id)

    def expire(self, which: int, _: int) -> None:
        if grant := self._live(which):
            self.lost[grant.id] = grant.remaining_nano
            self.book.end(expire_grant, grant.id)

    def state(self) -> Any:
        return self.book.write(
            lambda tx: (tx.balance("cus_1"), tx.grants_of("cus_1"), tx.transactions_of("cus_1"))
        )

    def wait(self, which: int, _: int) -> None:
        self.book.at += which * timedelta(hours=4)


@pytest.fixture(scope="module")
def machine(build: SimpleNamespace) -> Any:
    return lambda: Machine(build)


@given(steps)
def test_the_book_balances_after_every_step(machine: Any, todo: list[tuple[str, int, int]]) -> None:
    run = machine()
    for step in todo:
        run.do(*step)
        assert run.book.wrongs() == [], step


@given(steps)
def test_all_usage_is_revenue_paid_by_credit_or_owed(machine: Any, todo: list[tuple[str, int, int]]) -> None:
    run = machine()
    for step in todo:
        run.do(*step)
    assert run.book.account("book/revenue") == run.priced_nano
    given_nano = -run.book.account("book/payments") - run.book.account("book/promotions")
    remaining = sum(g.remaining_nano for g in run.book.write(lambda tx: tx.grants_of("cus_1")))
    burnt = given_nano - remaining - run.book.account("book/breakage")
    assert burnt + sum(run.book.owed.values()) == run.priced_nano


@given(steps)
def test_a_placed_hold_never_exceeded_the_credit_when_it_was_placed(
    machine: Any, todo: list[tuple[str, int, int]]
) -> None:
    run = machine()
    for step in todo:
        held = run.book.held
        run.do(*step)
        if run.book.held > held:
            assert run.book.held <= run.book.credit, step


@given(steps)
def test_credit_with_a_scope_pays_no_more_than_its_models_usage(
    machine: Any, todo: list[tuple[str, int, int]]
) -> None:
    run = machine()
    for step in todo:
        if step[0] != "take_back":  # What is taken back here is of no model.
            run.do(*step)
    grants = run.book.write(lambda tx: tx.grants_of("cus_1"))
    for model in MODELS:
        paid = sum(
            grant.amount_nano - (grant.remaining_nano or run.lost.get(grant.id, 0))
            for grant in grants
            if grant.scope.models == (model,)
        )
        used = sum(nano for (_, named), nano in run.of_model.items() if named == model)
        assert paid <= used, (model, todo)


@given(steps)
def test_the_same_call_again_changes_nothing(machine: Any, todo: list[tuple[str, int, int]]) -> None:
    run = machine()
    for step in todo:
        run.do(*step)
    before = run.state()
    for grant in run.book.write(lambda tx: tx.grants_of("cus_1")):
        run.book.give(grant)
    for hold in run.book.write(lambda tx: tx.placed_holds(customer="cus_1")):
        run.book.write(lambda tx, hold=hold: place_hold(tx, hold, at=run.book.at))
    assert run.state() == before


@pytest.fixture(params=["sqlite", "postgres"])
def on_database(request: pytest.FixtureRequest, build: SimpleNamespace, tmp_path: Path) -> Iterator[Any]:
    """Return what makes a machine on a new database."""

    async def new_store(number: int) -> Any:
        if request.param == "sqlite":
            return await SqliteStore.open(tmp_path / f"{number}.db")
        url = await request.getfixturevalue("postgres_server").make_database()
        return await PostgresStore.open(url, writers=1, readers=1)

    with asyncio.Runner() as runner:
        opened: list[Any] = []

        def make() -> Machine:
            opened.append(runner.run(new_store(len(opened))))
            return Machine(build, build.book(opened[-1], lambda work: runner.run(_wait(work))))

        yield make
        for store in opened:
            runner.run(store.close())


async def _wait(work: Any) -> Any:
    return await work


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_in_a_database_the_book_balances_as_well(on_database: Any, todo: list[tuple[str, int, int]]) -> None:
    run = on_database()
    for step in todo:
        run.do(*step)
    assert run.book.wrongs() == []
    assert run.book.account("book/revenue") == run.priced_nano
