"""The build script's reading of the public files: exact figures, proved aliases, nothing dropped."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from build_price_snapshot import genai_model, is_price_neutral
from price_feeds import exact, first_match, genai_rates, genai_timeline, litellm_rates

from costplus.catalog.snapshot import ModelEntry

TODAY = date(2026, 11, 10)

NOISE = [
    ("1.0399999999999998", "1.04"),
    ("0.13999999999999999", "0.14"),
    ("0.0416666666666667", "0.0416666667"),
    ("4.00001", "4.00001"),
    ("0.003625", "0.003625"),
    ("1.23456789012", "1.23456789012"),
    ("0", "0"),
    ("1E+2", "100"),
]


@pytest.mark.parametrize(("text", "meant"), NOISE)
def test_binary_noise_is_repaired_and_real_digits_are_kept(text: str, meant: str) -> None:
    assert exact(Decimal(text)) == Decimal(meant)


@given(st.decimals(min_value=0, max_value=10_000, places=6))
def test_a_price_of_few_digits_is_never_changed(amount: Decimal) -> None:
    assert exact(amount) == amount


@given(st.decimals(min_value="0.0001", max_value=1000, places=4))
def test_a_per_token_price_comes_back_as_the_price_per_million(amount: Decimal) -> None:
    rates, _ = litellm_rates({"input_cost_per_token": Decimal(repr(float(amount) / 1e6))})
    assert rates["input", None] == amount


def test_tiers_become_conditions_and_unknown_keys_are_named() -> None:
    tiered = {"base": "3", "tiers": [{"start": 200000, "price": "6"}]}
    rates, unmapped = genai_rates({"input_mtok": tiered, "web_searches_kcount": "10", "requests_kcount": "5"})
    assert rates == {
        ("input", None): Decimal(3),
        ("input", 200_000): Decimal(6),
        ("web_search", None): Decimal(10),
    }
    assert unmapped == {"requests_kcount"}


def test_litellm_tiers_and_service_suffixes_are_told_apart() -> None:
    rates, unmapped = litellm_rates(
        {
            "input_cost_per_token_above_272k_tokens": Decimal("1e-6"),
            "input_cost_per_token_batches": Decimal("1e-7"),
            "cache_creation_input_token_cost_above_1hr": Decimal("2e-6"),
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": Decimal("4e-6"),
            "max_tokens": Decimal(5),
        }
    )
    assert rates == {
        ("input", 272_000): Decimal(1),
        ("cache_write_1h", None): Decimal(2),
        ("cache_write_1h", 200_000): Decimal(4),
    }
    assert unmapped == {"input_cost_per_token_batches"}


def test_the_dearest_window_of_the_day_becomes_the_newest_price_in_force() -> None:
    prices = [
        {"prices": {"input_mtok": "1"}},
        {"constraint": {"start_date": "2026-08-17"}, "prices": {"input_mtok": "2"}},
        {"constraint": {"start_date": "2027-01-01"}, "prices": {"input_mtok": "3"}},
        {"constraint": {"start_time": "01:00", "end_time": "04:00"}, "prices": {"input_mtok": "4"}},
        {"constraint": {"start_time": "06:00", "end_time": "09:00"}, "prices": {"input_mtok": "1"}},
    ]
    timeline = genai_timeline(prices, taken_on=TODAY)
    assert [rates["input", None] for _, rates, _ in timeline] == [1, 4, 3]
    assert [unmapped for _, _, unmapped in timeline] == [set(), {"time_windows"}, set()]


def test_a_price_of_tomorrow_is_scheduled_and_one_of_today_is_in_force() -> None:
    prices = [
        {"prices": {"input_mtok": "1"}},
        {"constraint": {"start_date": "2026-11-10"}, "prices": {"input_mtok": "2"}},
        {"constraint": {"start_date": "2026-11-11"}, "prices": {"input_mtok": "3"}},
    ]
    entry = genai_model("openai", {"id": "m", "prices": prices})
    assert isinstance(entry, ModelEntry)
    assert [version.components[0][1] for version in entry.versions] == ["1", "2"]
    assert entry.versions[-1].valid_to is None
    assert [scheduled.valid_from for scheduled in entry.scheduled] == [datetime(2026, 11, 11, tzinfo=UTC)]


ABSENT = [
    ({}, ("unknown",)),
    ({"input_mtok": "0", "output_mtok": "0"}, ("input", "output")),
    ({"audio_hours": "3"}, ("audio_hours",)),
]


@pytest.mark.parametrize(("prices", "keys"), ABSENT)
def test_zero_for_both_directions_is_absent_not_free(prices: dict[str, str], keys: tuple[str, ...]) -> None:
    assert genai_model("openai", {"id": "m", "prices": prices}) == keys


def test_neighbouring_versions_that_say_the_same_are_one() -> None:
    prices = [
        {"prices": {"input_mtok": "1"}},
        {"constraint": {"start_date": "2026-01-01"}, "prices": {"input_mtok": "1.0"}},
    ]
    entry = genai_model("openai", {"id": "m", "prices": prices})
    assert isinstance(entry, ModelEntry)
    assert len(entry.versions) == 1


def test_a_match_tree_gives_its_first_model() -> None:
    models = [
        {"id": "a", "match": {"and": [{"starts_with": "x"}, {"ends_with": "y"}]}},
        {"id": "b", "match": {"or": [{"equals": "X1"}, {"regex": r"^x\d$"}, {"contains": "zz"}]}},
    ]
    named = [first_match(models, name) for name in ("xy", "x1", "X2", "azzb", "q")]
    assert named == ["a", "b", "b", "b", None]


BASE = {"input_cost_per_token": Decimal("1e-6"), "output_cost_per_token": Decimal("2e-6")}
MODEL = {("input", None): Decimal(1), ("output", None): Decimal(2)}
NEUTRAL = [
    ({}, True),
    ({"output_cost_per_token": Decimal("3e-6")}, False),
    ({"cache_read_input_token_cost": Decimal("1e-7")}, True),
    ({"input_cost_per_audio_token": Decimal("4e-6")}, False),
    ({"input_cost_per_token_above_200k_tokens": Decimal("2e-6")}, False),
    ({"input_cost_per_token_above_200k_tokens": Decimal("2e-6"), "max_input_tokens": Decimal(200_000)}, True),
]


@pytest.mark.parametrize(("change", "neutral"), NEUTRAL)
def test_an_alias_must_cost_what_the_model_costs_and_never_more(
    change: dict[str, Decimal], neutral: bool
) -> None:
    assert is_price_neutral({**BASE, **change}, MODEL) is neutral
