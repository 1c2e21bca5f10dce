"""Holds reserve credit before a call; what was served is booked, whatever became of its hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.ledger import account
from costplus.ledger.hold import InsufficientCredit
from costplus.ledger.reserve import grow_hold, release_hold

Book = Any  # The book of conftest.


@pytest.fixture
def rich(book: Book, build: SimpleNamespace) -> Book:
    """Return a book with a credit of 100."""
    book.give(build.grant(amount_nano=100))
    return book


def release(book: Book, amount_nano: int | None = None) -> int:
    return book.write(lambda tx: release_hold(tx, "cus_1", "hold_1", amount_nano=amount_nano))


def grow(book: Book, least: int, most: int) -> int:
    return book.write(
        lambda tx: grow_hold(tx, "cus_1", "hold_1", least_nano=least, most_nano=most, at=book.at)
    )


def test_a_hold_of_all_available_credit_is_placed_and_one_nano_more_is_refused(rich: Book) -> None:
    with pytest.raises(InsufficientCredit):
        rich.hold(amount_nano=101)
    rich.hold(amount_nano=100)
    assert (rich.held, rich.credit) == (100, 100)  # A hold moves no credit.


def test_a_refused_hold_changes_nothing(rich: Book) -> None:
    rich.hold("hold_1", 60)
    with pytest.raises(InsufficientCredit):
        rich.hold("hold_2", 41)
    assert rich.held == 60
    assert rich.write(lambda tx: tx.hold("cus_1", "hold_2")) is None


def test_no_credit_is_promised_twice(rich: Book) -> None:
    rich.hold("hold_1", 60)
    rich.hold("hold_2", 40)
    with pytest.raises(InsufficientCredit):
        rich.hold("hold_3", 1)


def test_releasing_a_hold_frees_it_once(rich: Book) -> None:
    rich.hold(amount_nano=60)
    assert [release(rich), release(rich)] == [60, 0]
    assert (rich.held, rich.found_hold().state) == (0, "released")


def test_a_part_can_be_released_and_never_more_than_is_held(rich: Book) -> None:
    rich.hold(amount_nano=60)
    assert [release(rich, 10), release(rich, 0), release(rich, 99)] == [10, 0, 50]
    assert rich.found_hold().state == "placed"  # A lease lives on at zero.


def test_releasing_an_unknown_hold_frees_nothing(rich: Book) -> None:
    assert release(rich) == 0


def test_capturing_less_than_the_hold_frees_the_rest(rich: Book) -> None:
    rich.hold(amount_nano=60)
    posted = rich.use(25, releases={"hold_1": 25}, closes=("hold_1",))
    assert (rich.held, rich.credit, posted.owed_nano) == (0, 75, 0)
    assert (rich.found_hold().state, rich.found_hold().captured_nano) == ("captured", 25)


def test_capturing_more_than_the_hold_takes_further_credit_and_owes_what_there_is_not(rich: Book) -> None:
    rich.hold(amount_nano=60)
    posted = rich.use(130, releases={"hold_1": 130}, closes=("hold_1",))
    assert (posted.owed_nano, rich.owed, rich.credit, rich.held) == (30, {0: 30}, 0, 0)
    assert rich.wrongs() == []


@pytest.mark.parametrize("ended", ["released", "captured"])
def test_a_late_capture_is_still_booked_and_frees_nothing_a_second_time(rich: Book, ended: str) -> None:
    rich.hold("hold_1", 60)
    if ended == "released":
        release(rich)
    else:
        rich.use(0, releases={"hold_1": 0}, closes=("hold_1",))
    rich.hold("hold_2", 100)
    rich.use(25, releases={"hold_1": 25}, closes=("hold_1",))
    assert (rich.credit, rich.held) == (75, 100)
    assert rich.found_hold().state == ended


def test_a_capture_of_a_hold_nobody_knows_is_booked(rich: Book) -> None:
    rich.use(25, releases={"hold_of_a_lost_process": 25})
    assert (rich.credit, rich.held) == (75, 0)


def test_a_lease_is_captured_in_parts_and_stays_placed(rich: Book) -> None:
    rich.hold(amount_nano=60, kind="lease")
    rich.use(20, releases={"hold_1": 20})
    rich.use(10, releases={"hold_1": 10})
    hold = rich.found_hold()
    assert (hold.state, hold.amount_nano, hold.captured_nano) == ("placed", 30, 30)
    assert (rich.held, rich.credit) == (30, 70)


GROWTHS = [
    (10, 1_000, 12),  # An eighth of 100, whole nanos.
    (12, 1_000, 12),
    (13, 1_000, 13),  # Above an eighth the exact need is taken.
    (100, 1_000, 100),
    (1, 5, 5),
    (0, 0, 0),
]


@pytest.mark.parametrize(("least", "most", "added"), GROWTHS)
def test_a_lease_grows_by_at_most_an_eighth_of_the_credit_but_never_below_the_need(
    rich: Book, least: int, most: int, added: int
) -> None:
    rich.hold(amount_nano=0, kind="lease")
    assert grow(rich, least, most) == added
    assert rich.held == rich.found_hold().amount_nano == added


def test_a_lease_cannot_grow_by_one_nano_more_than_is_available(rich: Book) -> None:
    rich.hold(amount_nano=40, kind="lease")
    with pytest.raises(InsufficientCredit):
        grow(rich, 61, 1_000)
    assert grow(rich, 60, 1_000) == 60


def test_a_hold_that_ended_cannot_grow(rich: Book) -> None:
    rich.hold(amount_nano=10)
    release(rich)
    with pytest.raises(AssertionError):
        grow(rich, 1, 1)


def test_holds_outlive_a_grant_that_expired_under_them(rich: Book, build: SimpleNamespace) -> None:
    rich.give(build.grant("short", 50, expires_at=build.at + build.day))
    rich.hold(amount_nano=150)
    rich.at = build.at + build.day
    with pytest.raises(InsufficientCredit, match="0 of available balance"):
        rich.hold("hold_2", 1)
    posted = rich.use(150, releases={"hold_1": 150}, closes=("hold_1",))
    assert posted.owed_nano == 50


def test_usage_burns_grants_in_order_and_books_cost_and_revenue(rich: Book, build: SimpleNamespace) -> None:
    rich.give(build.grant("first", 30, priority=0))
    posted = rich.use(150, cost_nano=90)
    assert posted.transaction is not None
    assert {p.account: p.amount_nano for p in posted.transaction.postings} == {
        account.credit("cus_1", "first"): -30,
        account.credit("cus_1", "credgr_1"): -100,
        account.accrued("cus_1"): -20,
        account.book("revenue"): 150,
        account.book("cost"): -90,
        account.book("provider_payable"): 90,
    }
    assert (posted.crossing.before_nano, posted.crossing.after_nano) == (130, 0)


def test_credit_pays_the_oldest_period_of_a_batch_first(rich: Book) -> None:
    rich.use({200: 80, 100: 60})
    assert rich.owed == {200: 40}


def test_usage_worth_nothing_moves_nothing_but_still_frees_its_hold(rich: Book) -> None:
    rich.hold(amount_nano=10)
    posted = rich.use(0, releases={"hold_1": 0}, closes=("hold_1",))
    assert posted.transaction is None
    assert (rich.held, rich.kinds()) == (0, ["grant"])


def test_usage_without_any_credit_is_owed_in_its_period(book: Book) -> None:
    posted = book.use({7: 3})
    assert (book.owed, posted.owed_nano) == ({7: 3}, 3)
    assert (posted.crossing.before_nano, posted.crossing.after_nano) == (0, 0)
    assert book.wrongs() == []


def test_a_hold_placed_twice_reserves_once(rich: Book) -> None:
    assert rich.hold(amount_nano=60) == rich.hold(amount_nano=60)
    assert rich.held == 60
