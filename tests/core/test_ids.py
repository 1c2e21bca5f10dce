"""Ids sort by time; an event's id follows from what it is the id of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.ids import BUCKETS, bucket_of, event_id, from_milliseconds, milliseconds, new_id

AT = datetime(2026, 3, 14, 9, 26, 53, 589_793, tzinfo=UTC)
MS = timedelta(milliseconds=1)
instants = st.integers(0, 4_102_444_800_000).map(from_milliseconds)


def test_the_same_arguments_make_the_same_event_id_in_every_process() -> None:
    assert event_id(at=AT, customer="cus_1", key="k") == event_id(at=AT, customer="cus_1", key="k")
    pinned = UUID("019b76da-a800-8d98-bf71-4cb2dc265348").hex
    assert event_id(at=datetime(2026, 1, 1, tzinfo=UTC), customer="cus_1", key="k") == pinned


def test_an_event_id_does_not_depend_on_the_time_zone_in_which_its_instant_is_written() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert event_id(at=there, customer="c", key="k") == event_id(at=AT, customer="c", key="k")


@given(instants, st.text(max_size=8), st.text(max_size=8))
def test_an_event_id_is_a_version_8_uuid_that_carries_its_milliseconds(
    at: datetime, customer: str, key: str
) -> None:
    uuid = UUID(event_id(at=at, customer=customer, key=key))
    assert uuid.version == 8
    assert uuid.variant == "specified in RFC 4122"
    assert uuid.int >> 80 == milliseconds(at)


def test_customer_and_key_cannot_be_shifted_into_each_other() -> None:
    assert event_id(at=AT, customer="ab", key="c") != event_id(at=AT, customer="a", key="bc")


def test_another_customer_key_or_millisecond_makes_another_event() -> None:
    one = event_id(at=AT, customer="cus_1", key="k")
    others = {
        event_id(at=AT, customer="cus_2", key="k"),
        event_id(at=AT, customer="cus_1", key="l"),
        event_id(at=AT + MS, customer="cus_1", key="k"),
    }
    assert len(others | {one}) == 4


@given(instants, instants, st.text(max_size=4), st.text(max_size=4))
def test_event_ids_sort_by_time_whatever_the_key(one: datetime, two: datetime, k: str, j: str) -> None:
    first, second = event_id(at=one, customer="c", key=k), event_id(at=two, customer="c", key=j)
    if one != two:
        assert (first < second) == (one < two)


def test_new_ids_carry_their_prefix_never_repeat_and_sort_by_time() -> None:
    ids = [new_id("txn", at=AT + n * MS) for n in range(200)]
    assert ids == sorted(set(ids))
    assert all(id.startswith("txn_") and len(id) == 4 + 32 for id in ids)


def test_two_new_ids_of_one_instant_differ() -> None:
    assert new_id("in", at=AT) != new_id("in", at=AT)


@given(instants)
def test_whole_milliseconds_survive_the_round_trip(at: datetime) -> None:
    assert from_milliseconds(milliseconds(at)) == at


def test_parts_of_a_millisecond_are_cut_off() -> None:
    assert milliseconds(AT) == milliseconds(AT + timedelta(microseconds=200))


def test_a_naive_instant_is_a_broken_invariant() -> None:
    with pytest.raises(AssertionError):
        milliseconds(AT.replace(tzinfo=None))


def test_a_customers_bucket_never_changes() -> None:
    assert [bucket_of(id) for id in ("", "cus_1", "cus_2")] == [0, 390, 60]


@given(st.text())
def test_every_customer_has_a_bucket_within_range(customer: str) -> None:
    assert 0 <= bucket_of(customer) < BUCKETS
