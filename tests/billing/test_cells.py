"""Cells come back as they were written, and no spreadsheet runs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.cells import CellInvalid, nano_of, text_cell, text_of, time_cell, time_of, whole_of
from costplus.core.errors import BillingError
from costplus.core.money import nano_text


@given(st.text())
def test_a_text_comes_back_and_never_begins_like_a_formula(text: str) -> None:
    cell = text_cell(text)
    assert text_of(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(st.integers(-(10**18), 10**18))
def test_an_amount_comes_back_to_the_nano(nano: int) -> None:
    assert nano_of(nano_text(nano), column="amount") == nano


@given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - Bounds are naive here.
def test_an_instant_comes_back_to_the_microsecond(at: datetime) -> None:
    assert time_of(time_cell(at), column="at") == at


def test_instants_are_days_unix_seconds_or_rfc_3339() -> None:
    day = datetime(2026, 11, 23, tzinfo=UTC)
    assert time_of("2026-11-23", column="at") == day
    assert time_of(str(int(day.timestamp())), column="at") == day
    assert time_of("2026-11-23T02:00:00+02:00", column="at") == day
    assert time_of("", column="at") is None
    assert time_cell(None) == ""
    assert time_cell(day + timedelta(microseconds=1)) == "2026-11-23T00:00:00.000001Z"


@pytest.mark.parametrize("cell", ["soon", "2026-11-23T00:00:00", "2026-13-01", "9" * 18])
def test_what_is_no_instant_is_refused(cell: str) -> None:
    with pytest.raises(CellInvalid):
        time_of(cell, column="at")


@pytest.mark.parametrize("cell", ["-1", "1.5", "1e3", "١", "9" * 19])
def test_what_is_no_count_is_refused(cell: str) -> None:
    with pytest.raises(BillingError):
        whole_of(cell, column="input")
