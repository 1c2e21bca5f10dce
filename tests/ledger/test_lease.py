"""A lease parcels out what the ledger reserved for it, and never more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.ledger.lease import Lease

AMOUNTS = st.integers(0, 50)
ACTIONS = st.one_of(
    st.tuples(st.just("take"), AMOUNTS),
    st.tuples(st.just("close"), st.integers(0, 120)),
    st.tuples(st.just("grown"), AMOUNTS),
    st.tuples(st.just("surplus"), AMOUNTS),
)


@pytest.fixture
def lease(build: SimpleNamespace) -> Lease:
    return Lease(customer="cus_1", hold_id="hold_1", free_nano=100, used_at=build.at, renewed_at=build.at)


def test_a_lease_gives_all_it_has_and_not_one_nano_more(lease: Lease, build: SimpleNamespace) -> None:
    assert not lease.take(101, at=build.at)
    assert (lease.free_nano, lease.in_flight) == (100, 0)
    assert lease.take(100, at=build.at)
    assert (lease.free_nano, lease.in_flight) == (0, 1)


def test_only_a_call_that_was_given_something_counts_as_use(lease: Lease, build: SimpleNamespace) -> None:
    later = build.at + build.day
    assert not lease.take(101, at=later)
    assert lease.used_at == build.at
    assert lease.take(0, at=later)
    assert lease.used_at == later


CLOSES = [
    (60, 0, 0, 100),  # Held 60 of 100, charged nothing: all free again.
    (60, 25, 25, 75),
    (60, 60, 60, 40),
    (60, 61, 61, 39),  # The rest comes out of the free part.
    (60, 100, 100, 0),
    (60, 101, 100, 0),  # Beyond that it is owed: nothing more can be freed.
    (0, 5, 5, 95),
]


@pytest.mark.parametrize(("held", "charged", "covered", "free"), CLOSES)
def test_a_charge_frees_what_it_took_of_the_reservation(
    lease: Lease, build: SimpleNamespace, held: int, charged: int, covered: int, free: int
) -> None:
    assert lease.take(held, at=build.at)
    assert lease.close(held_nano=held, charged_nano=charged) == covered
    assert (lease.free_nano, lease.in_flight) == (free, 0)


def test_a_call_cannot_end_twice(lease: Lease) -> None:
    with pytest.raises(AssertionError):
        lease.close(held_nano=0, charged_nano=0)


@pytest.mark.parametrize(("keep", "back", "left"), [(0, 100, 0), (99, 1, 99), (100, 0, 100), (101, 0, 100)])
def test_what_is_given_back_is_what_exceeds_the_part_to_keep(
    lease: Lease, keep: int, back: int, left: int
) -> None:
    assert lease.surplus(keep) == back
    assert lease.free_nano == left


@given(st.lists(ACTIONS, max_size=40))
def test_free_and_in_flight_and_covered_are_always_what_the_ledger_reserved(
    build: SimpleNamespace, actions: list[tuple[str, int]]
) -> None:
    lease = Lease(customer="cus_1", hold_id="hold_1", used_at=build.at, renewed_at=build.at)
    calls: list[int] = []
    grown = covered = given_back = 0
    for action, amount in actions:
        if action == "take":
            if lease.take(amount, at=build.at):
                calls.append(amount)
        elif action == "close" and calls:
            covered += lease.close(held_nano=calls.pop(0), charged_nano=amount)
        elif action == "grown":
            lease.grown(amount)
            grown += amount
        elif action == "surplus":
            given_back += lease.surplus(amount)
        assert lease.free_nano >= 0
        assert lease.in_flight == len(calls)
        assert lease.free_nano + sum(calls) + covered + given_back == grown


@given(actions=st.lists(ACTIONS))
def test_what_is_left_is_all_there_was_less_what_is_charged_and_held(
    build: SimpleNamespace, actions: list[tuple[str, int]]
) -> None:
    lease = Lease(customer="cus_1", hold_id="hold_1", beside_nano=1000, used_at=build.at, renewed_at=build.at)
    charged, held = 0, []
    for action, nano in actions:
        if action == "take" and lease.take(nano, at=build.at):
            held.append(nano)
        elif action == "close" and held:
            lease.close(held_nano=held.pop(), charged_nano=nano)
            charged += nano
        elif action == "grown":
            lease.grown(nano)
        elif action == "surplus":
            lease.surplus(nano)
        assert lease.left_nano == max(1000 - charged - sum(held), 0)
