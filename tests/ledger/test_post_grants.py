"""Granting, voiding and expiring credit: what is booked, what is owed first, and what was crossed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.money import NANO_MAX, InvalidAmount
from costplus.ledger import account
from costplus.ledger.grant import GRANTS_MAX, GrantUsed, TooManyGrants
from costplus.ledger.post import expire_grant, grant_credit, void_grant

Book = Any  # The book of conftest.


@pytest.mark.parametrize(("category", "source"), [("paid", "payments"), ("promotional", "promotions")])
def test_a_grants_value_comes_from_payments_or_from_promotions(
    book: Book, build: SimpleNamespace, category: str, source: str
) -> None:
    book.give(build.grant(amount_nano=100, category=category))
    assert book.account(account.credit("cus_1", "credgr_1")) == 100
    assert book.account(account.book(source)) == -100
    assert book.credit == 100


def test_a_grant_crosses_from_the_credit_before_to_the_credit_after(
    book: Book, build: SimpleNamespace
) -> None:
    book.give(build.grant("a", 30))
    crossing = book.write(lambda tx: grant_credit(tx, build.grant("b", 70), at=build.at))
    assert (crossing.before_nano, crossing.after_nano) == (30, 100)


def test_a_grant_that_is_not_effective_yet_is_booked_but_is_no_credit(
    book: Book, build: SimpleNamespace
) -> None:
    book.use(5)
    later = build.grant(effective_at=build.at + build.day)
    crossing = book.write(lambda tx: grant_credit(tx, later, at=build.at))
    assert (crossing.before_nano, crossing.after_nano) == (0, 0)
    assert book.owed == {0: 5}  # It pays no debt either.
    assert book.account(account.credit("cus_1", "credgr_1")) == 100


def test_the_hundredth_unused_grant_is_accepted_and_the_next_refused(
    book: Book, build: SimpleNamespace
) -> None:
    book.give(*(build.grant(f"g{n}", 1) for n in range(GRANTS_MAX)))
    with pytest.raises(TooManyGrants):
        book.give(build.grant("one_more", 1))
    assert book.credit == GRANTS_MAX
    assert book.wrongs() == []


def test_a_used_up_voided_or_expired_grant_makes_room_for_another(book: Book, build: SimpleNamespace) -> None:
    book.give(*(build.grant(f"g{n:03}", 1) for n in range(GRANTS_MAX)))
    book.use(1)
    book.give(build.grant("h1", 1))
    book.end(void_grant, "g050", at=build.at)
    book.give(build.grant("h2", 1))
    book.end(expire_grant, "g051", at=build.at)
    book.give(build.grant("h3", 1))
    assert book.credit == GRANTS_MAX


def test_a_plans_own_credit_is_granted_even_at_the_limit(book: Book, build: SimpleNamespace) -> None:
    book.give(*(build.grant(f"g{n}", 1) for n in range(GRANTS_MAX)))
    book.give(build.grant("plan", 5, source="plan"))
    assert book.credit == GRANTS_MAX + 5


def test_a_new_grant_pays_the_oldest_periods_debt_first(book: Book, build: SimpleNamespace) -> None:
    book.use({300: 30, 100: 10, 200: 20})
    book.give(build.grant(amount_nano=25))
    assert book.owed == {200: 5, 300: 30}
    assert book.grant().remaining_nano == 0
    assert book.account(account.accrued("cus_1")) == -35
    assert book.kinds() == ["usage", "grant", "debt_payment", "debt_payment"]  # One a period.


def test_what_a_debt_leaves_of_a_grant_is_credit(book: Book, build: SimpleNamespace) -> None:
    book.use(40)
    crossing = book.write(lambda tx: grant_credit(tx, build.grant(amount_nano=100), at=build.at))
    assert (crossing.before_nano, crossing.after_nano) == (0, 60)
    assert book.owed == {}
    assert book.credit == 60


def test_a_debt_as_large_as_the_grant_takes_all_of_it_and_no_more(book: Book, build: SimpleNamespace) -> None:
    book.use(100)
    book.give(build.grant(amount_nano=100))
    assert (book.credit, book.owed) == (0, {})
    assert book.wrongs() == []


def test_only_a_grant_that_paid_nothing_can_be_voided(book: Book, build: SimpleNamespace) -> None:
    book.give(build.grant("a", 10), build.grant("b", 10))
    book.use(1)
    with pytest.raises(GrantUsed):
        book.end(void_grant, "a", at=build.at)
    crossing = book.end(void_grant, "b", at=build.at)
    assert (crossing.before_nano, crossing.after_nano) == (19, 9)
    assert book.grant("b").voided_at == build.at
    assert book.wrongs() == []


def test_a_grant_that_paid_an_old_debt_counts_as_used(book: Book, build: SimpleNamespace) -> None:
    book.use(1)
    book.give(build.grant(amount_nano=10))
    with pytest.raises(GrantUsed):
        book.end(void_grant, at=build.at)


@pytest.mark.parametrize(("category", "source"), [("paid", "payments"), ("promotional", "promotions")])
def test_voiding_gives_the_value_back_to_where_it_came_from(
    book: Book, build: SimpleNamespace, category: str, source: str
) -> None:
    book.give(build.grant(category=category))
    book.end(void_grant, at=build.at)
    assert book.account(account.book(source)) == 0
    assert book.account(account.book("breakage")) == 0


def test_what_remains_at_expiry_is_breakage_and_what_burnt_is_not(book: Book, build: SimpleNamespace) -> None:
    book.give(build.grant(amount_nano=100, expires_at=build.at + build.day))
    book.use(30)
    at = build.at + build.day
    crossing = book.end(expire_grant, at=at)
    assert book.account(account.book("breakage")) == 70
    assert (crossing.before_nano, crossing.after_nano) == (70, 0)
    assert book.grant().expired_at == at


def test_expiring_early_moves_the_expiry_forward_and_late_closing_does_not_move_it_back(
    book: Book, build: SimpleNamespace
) -> None:
    end = build.at + build.day
    book.give(build.grant("early", expires_at=end), build.grant("late", expires_at=end), build.grant("never"))
    book.end(expire_grant, "early", at=build.at)
    book.end(expire_grant, "late", at=end + build.day)
    book.end(expire_grant, "never", at=build.at)
    ends = [book.grant(id).expires_at for id in ("early", "late", "never")]
    assert ends == [build.at, end, build.at]


@pytest.mark.parametrize("end", [void_grant, expire_grant])
def test_ending_a_grant_that_was_never_effective_crosses_nothing(
    book: Book, build: SimpleNamespace, end: Any
) -> None:
    book.give(build.grant("now", 7), build.grant("later", 50, effective_at=build.at + build.day))
    crossing = book.end(end, "later", at=build.at)
    assert (crossing.before_nano, crossing.after_nano) == (7, 7)
    assert book.wrongs() == []


def test_usage_after_the_expiry_is_owed_even_where_the_expiry_is_not_booked_yet(
    book: Book, build: SimpleNamespace
) -> None:
    book.give(build.grant(amount_nano=100, expires_at=build.at + build.day))
    book.at = build.at + build.day - timedelta(microseconds=1)
    book.use(10)
    book.at = build.at + build.day
    book.use(10)
    assert (book.grant().remaining_nano, book.owed) == (90, {0: 10})


def test_a_grant_too_large_for_the_ledger_is_refused_whole(book: Book, build: SimpleNamespace) -> None:
    with pytest.raises(InvalidAmount):
        book.give(build.grant(amount_nano=NANO_MAX + 1))
    assert book.kinds() == []


def test_a_refused_grant_leaves_nothing_behind(book: Book, build: SimpleNamespace) -> None:
    book.give(build.grant("a", NANO_MAX))
    with pytest.raises(InvalidAmount):
        book.give(build.grant("b", 1))  # Payments would overflow.
    assert book.write(lambda tx: tx.grant("b")) is None
    assert book.wrongs() == []


def test_metadata_of_a_grant_is_kept_through_its_life(book: Book, build: SimpleNamespace) -> None:
    book.give(replace(build.grant(), metadata={"order": "7"}))
    book.use(1)
    assert book.grant().metadata == {"order": "7"}


def test_a_grant_booked_twice_is_booked_once_even_when_it_was_used_meanwhile(
    book: Book, build: SimpleNamespace
) -> None:
    book.give(build.grant(amount_nano=100))
    book.use(30)
    crossing = book.write(lambda tx: grant_credit(tx, build.grant(amount_nano=100), at=build.at))
    assert (crossing.before_nano, crossing.after_nano, book.credit) == (70, 70, 70)
    assert book.wrongs() == []


@pytest.mark.parametrize("first", [void_grant, expire_grant])
def test_expiring_a_grant_that_ended_changes_nothing(book: Book, build: SimpleNamespace, first: Any) -> None:
    book.give(build.grant())
    book.end(first)
    ended, kinds = book.grant(), book.kinds()
    crossing = book.end(expire_grant)
    assert crossing.before_nano == crossing.after_nano == 0
    assert (book.grant(), book.kinds()) == (ended, kinds)


def test_a_plans_credit_pays_no_debt_of_earlier_periods_and_books_no_empty_payment(
    book: Book, build: SimpleNamespace
) -> None:
    book.use({0: 40})
    book.give(build.grant(amount_nano=100, source="plan"))
    assert (book.credit, book.owed, book.kinds()) == (100, {0: 40}, ["usage", "grant"])
