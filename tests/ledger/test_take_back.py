"""Usage that is taken back lessens what is owed, then returns to the grants that paid, then to a new one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.ledger import account
from costplus.ledger.grant import refill

Book = Any  # The book of conftest.


def test_the_period_itself_owes_less_first_then_the_oldest_other(book: Book, build: SimpleNamespace) -> None:
    book.use({0: 10, 1: 20, 2: 30})
    book.use({1: -25})
    assert book.owed == {0: 5, 2: 30}
    assert book.account(account.accrued("cus_1")) == -35
    assert book.account(account.book("revenue")) == 35
    assert book.wrongs() == []


# Owed by period, what period 0 gives back → owed after it, credit.
CASES = [
    ({0: 100}, 40, {0: 60}, 0),
    ({0: 100}, 100, {}, 0),
    ({0: 100}, 101, {}, 1),
    ({}, 50, {}, 50),
    ({0: 10, 1: 30}, 25, {1: 15}, 0),
    ({0: 10, 1: 30}, 50, {}, 10),
]


@pytest.mark.parametrize(("owed", "nano", "left", "credit_nano"), CASES)
def test_what_is_owed_lessens_first_and_the_rest_is_credit(
    book: Book,
    build: SimpleNamespace,
    owed: dict[int, int],
    nano: int,
    left: dict[int, int],
    credit_nano: int,
) -> None:
    book.use(owed)
    posted = book.use({0: -nano}, spare=build.grant("new", 0, category="promotional", effective_at=book.at))
    assert book.owed == left
    assert (posted.crossing.before_nano, posted.crossing.after_nano) == (0, credit_nano)
    assert (posted.spare.remaining_nano if posted.spare else 0) == book.credit == credit_nano
    assert book.account(account.book("revenue")) == sum(owed.values()) - nano
    assert book.account(account.book("promotions")) == 0
    assert book.account(account.accrued("cus_1")) == -sum(left.values())
    assert book.wrongs() == []


def test_the_rest_goes_back_to_the_grants_that_paid_the_last_first(
    book: Book, build: SimpleNamespace
) -> None:
    book.give(build.grant("a", 50, priority=1), build.grant("b", 50, priority=2), build.grant("c", 50))
    book.use(70)
    crossing = book.use({0: -40}, burned_nano={"a": 50, "b": 20}).crossing
    assert (book.grant("a").remaining_nano, book.grant("b").remaining_nano) == (20, 50)
    assert book.grant("c").remaining_nano == 50
    assert (crossing.before_nano, crossing.after_nano) == (80, 120)
    assert book.wrongs() == []


def test_what_no_grant_can_take_makes_a_new_one(book: Book, build: SimpleNamespace) -> None:
    book.give(build.grant("a", 60, expires_at=build.at + build.day))
    book.use(60)
    book.at = build.at + build.day  # It has ended: what it got back would be lost.
    book.use({0: -60}, burned_nano={"a": 60}, spare=build.grant("new", 0, effective_at=book.at))
    made = book.grant("new")
    assert (made.amount_nano, made.remaining_nano, made.minor_amount) == (60, 60, 0)
    assert book.grant("a").remaining_nano == 0
    assert book.account(account.credit("cus_1", "new")) == 60


def test_a_grant_never_holds_more_than_it_was_given(book: Book, build: SimpleNamespace) -> None:
    book.give(build.grant("a", 60))
    book.use(10)
    book.use({0: -30}, burned_nano={"a": 30}, spare=build.grant("new", 0))
    assert (book.grant("a").remaining_nano, book.grant("new").remaining_nano) == (60, 20)


def test_credit_that_came_back_pays_for_the_rest_of_the_batch(book: Book, build: SimpleNamespace) -> None:
    book.give(build.grant("a", 60))
    book.use(60)
    book.use({0: -60, 1: 45}, burned_nano={"a": 60})
    assert (book.credit, book.owed) == (15, {})
    assert book.wrongs() == []


def test_a_batch_that_moves_nothing_is_no_transaction(book: Book) -> None:
    assert book.use({0: 0}).transaction is None


def test_periods_that_cancel_out_are_still_booked(book: Book, build: SimpleNamespace) -> None:
    book.use({0: 30})
    book.use({0: -20, 1: 20})
    assert book.owed == {0: 10, 1: 20}
    assert book.wrongs() == []


def test_taking_back_without_a_place_for_it_is_a_broken_invariant(book: Book) -> None:
    with pytest.raises(AssertionError):
        book.use({0: -1})


@given(
    paid=st.lists(st.integers(0, 50), max_size=4), asked=st.integers(0, 200), ended=st.sets(st.integers(0, 3))
)
def test_a_refill_gives_all_of_it_and_no_grant_too_much(
    build: SimpleNamespace, paid: list[int], asked: int, ended: set[int]
) -> None:
    ends = dict.fromkeys(ended, build.at)
    burned = [
        (build.grant(f"g{i}", 50, remaining_nano=50 - nano, expired_at=ends.get(i)), nano)
        for i, nano in enumerate(paid)
    ]
    parts, rest = refill(burned, asked, at=build.at)
    room = sum(nano for i, nano in enumerate(paid) if i not in ended)
    assert rest == max(asked - room, 0)
    assert sum(part for _, part in parts) == asked - rest
    assert all(part <= 50 - grant.remaining_nano and grant.expired_at is None for grant, part in parts)
