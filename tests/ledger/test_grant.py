"""Grants burn in one stated order, and only while they may."""

from __future__ import annotations

import itertools
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.ledger.grant import Grant, burn, burn_key, burnable

TICK = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def in_order(build: SimpleNamespace) -> list[Grant]:
    """Return grants of which each burns before the next, by a later key of the order every time.

    All keys after the one in question are set against it, so that only that one can decide.
    """
    at, day, grant = build.at, build.day, build.grant
    late = {"effective_at": at - day, "created": at - day}
    early = {"effective_at": at - 2 * day, "created": at - 2 * day}
    return [
        grant("credgr_9", priority=0, category="paid", **late),
        grant("credgr_8", priority=1, expires_at=at + day, category="paid", **late),
        grant("credgr_7", priority=1, expires_at=at + 2 * day, category="promotional", **late),
        grant("credgr_6", priority=1, expires_at=at + 2 * day, category="paid", **early),
        grant("credgr_5", priority=1, category="promotional", **late),
        grant("credgr_4", priority=1, effective_at=at - 3 * day, created=at - day),
        grant("credgr_3", priority=1, effective_at=at - 2 * day, created=at - 3 * day),
        grant("credgr_1", priority=1, effective_at=at - 2 * day, created=at - 2 * day),
        grant("credgr_2", priority=1, effective_at=at - 2 * day, created=at - 2 * day),
        grant("credgr_0", priority=2, expires_at=at + TICK, category="promotional", **early),
    ]


def test_priority_expiry_promotion_effect_creation_and_id_decide_in_this_order(
    build: SimpleNamespace, in_order: list[Grant]
) -> None:
    assert burnable(list(reversed(in_order)), at=build.at) == in_order


def test_every_pair_is_ordered_as_the_whole(in_order: list[Grant]) -> None:
    assert all(burn_key(a) < burn_key(b) for a, b in itertools.combinations(in_order, 2))


def test_the_order_in_which_grants_are_stored_does_not_matter(
    build: SimpleNamespace, in_order: list[Grant]
) -> None:
    for turn in range(len(in_order)):
        assert burnable([*in_order[turn:], *in_order[:turn]], at=build.at) == in_order


def test_a_grant_burns_from_its_effect_to_just_before_its_expiry(build: SimpleNamespace) -> None:
    made = build.grant(effective_at=build.at, expires_at=build.at + build.day)
    instants = [build.at - TICK, build.at, build.at + build.day - TICK, build.at + build.day]
    assert [made.is_burnable(at) for at in instants] == [False, True, True, False]


@pytest.mark.parametrize("field", ["voided_at", "expired_at"])
def test_an_ended_grant_never_burns(build: SimpleNamespace, field: str) -> None:
    assert not build.grant(**{field: build.at}).is_burnable(build.at)


def test_a_grant_burns_down_to_its_last_nano_and_not_beyond(build: SimpleNamespace) -> None:
    assert build.grant(remaining_nano=1).is_burnable(build.at)
    assert not build.grant(remaining_nano=0).is_burnable(build.at)


BURNS = [
    (0, [], 0),
    (1, [1], 0),
    (5, [5], 0),
    (6, [5, 1], 0),
    (15, [5, 10], 0),
    (16, [5, 10], 1),
]


@pytest.mark.parametrize(("amount", "parts", "rest"), BURNS)
def test_a_burn_takes_all_of_one_grant_before_the_next_and_says_what_is_uncovered(
    build: SimpleNamespace, amount: int, parts: list[int], rest: int
) -> None:
    grants = [build.grant("a", 5), build.grant("b", 10)]
    paid, left = burn(grants, amount)
    assert [part for _, part in paid] == parts
    assert left == rest


def test_without_grants_everything_is_uncovered() -> None:
    assert burn([], 7) == ([], 7)


def test_a_negative_burn_is_a_broken_invariant(build: SimpleNamespace) -> None:
    with pytest.raises(AssertionError):
        burn([build.grant()], -1)


@given(st.lists(st.integers(1, 10**12), max_size=8), st.integers(0, 10**13))
def test_burning_creates_and_loses_nothing(build: SimpleNamespace, amounts: list[int], asked: int) -> None:
    parts, rest = burn([build.grant(f"g{n}", a) for n, a in enumerate(amounts)], asked)
    assert sum(part for _, part in parts) + rest == asked
    assert all(0 < part <= grant.remaining_nano for grant, part in parts)
    assert rest == max(asked - sum(amounts), 0)
    assert all(part == grant.remaining_nano for grant, part in parts[:-1])  # Only the last one is partial.
