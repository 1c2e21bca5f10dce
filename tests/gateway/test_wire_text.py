"""How long a text counts where an estimate is made of it."""

from __future__ import annotations

import gzip
import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure_estimates import ratios

from costplus.gateway.wire.text import length_of, text_chars


@given(st.text(), st.integers(0, 40))
def test_a_text_is_as_long_as_its_parts_however_it_is_cut(text: str, at: int) -> None:
    assert length_of(text) == length_of(text[:at]) + length_of(text[at:]) >= len(text)


@pytest.mark.parametrize(
    ("text", "length"),
    [("plain", 5), ("größer", 6), ("привет", 6), ("你好", 6), ("한글a", 7), ("🙂", 1), ("", 0)],
)
def test_dense_scripts_count_for_more(text: str, length: int) -> None:
    assert length_of(text) == text_chars(text) == length


def test_an_estimate_of_plain_text_is_about_right_in_the_middle(shared_data: Path) -> None:
    with gzip.open(shared_data / "captures.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = ratios(map(json.loads, lines))
    values = [value for of_one in found.values() for value in of_one]
    assert len(values) > 100
    assert 0.9 < statistics.median(values) < 1.1
