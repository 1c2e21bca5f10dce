"""The build script's reading of the public files: exact figures, proved aliases, nothing dropped."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from build_price_snapshot import genai_model, outvoted_names, stated_by_litellm
from price_feeds import first_match, is_price_neutral, rates_of
from price_merge import supplemented

from costplus.catalog.condition import when_of, when_text
from costplus.catalog.feeds.stated import StatedPrice, exact
from costplus.catalog.price import Component
from costplus.catalog.snapshot import ModelEntry
from costplus.catalog.views.belief import without_zeros

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
    entry = {"litellm_provider": "x", "input_cost_per_token": Decimal(repr(float(amount) / 1e6))}
    assert [c.amount for c in stated_by_litellm("m", entry).components] == [amount]


def test_an_embeddings_output_is_left_out() -> None:
    zero = {"litellm_provider": "x", "mode": "embedding", "output_cost_per_token": Decimal(0)}
    assert stated_by_litellm("m", zero).components == ()


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
    ({"audio_hours": "3"}, ("audio_second",)),
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


def litellm(**changes: Any) -> StatedPrice:
    base = {"input_cost_per_token": Decimal("1e-6"), "output_cost_per_token": Decimal("2e-6")}
    return stated_by_litellm("m", {"litellm_provider": "x", "mode": "chat", **base, **changes})


NEUTRAL = [
    ({}, None, True),
    ({"output_cost_per_token": Decimal("3e-6")}, None, False),
    ({"cache_read_input_token_cost": Decimal("1e-7")}, None, True),
    ({"input_cost_per_audio_token": Decimal("4e-6")}, None, False),
    ({"input_cost_per_token_above_200k_tokens": Decimal("2e-6")}, None, False),
    ({"input_cost_per_token_above_200k_tokens": Decimal("2e-6")}, Decimal(200_000), True),
    ({"input_cost_per_token_priority": Decimal("9e-6")}, None, True),  # Compared by list price.
]


@pytest.mark.parametrize(("change", "accepted", "neutral"), NEUTRAL)
def test_an_alias_must_cost_what_the_model_costs_and_never_more(
    change: dict[str, Decimal], accepted: Decimal | None, neutral: bool
) -> None:
    alias, model = (rates_of(litellm(**changes).components) for changes in (change, {}))
    assert is_price_neutral(alias, model, accepted=accepted) is neutral


SUPPLEMENTS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"input_cost_per_token_priority": Decimal("9e-6")}, [("input", "service_tier=priority")]),
    ({"cache_read_input_token_cost": Decimal("1e-7")}, [("cached_input", "")]),
    ({"input_cost_per_token": Decimal("3e-6"), "input_cost_per_token_flex": Decimal("1e-6")}, []),
    ({"input_cost_per_token_batches": Decimal("1e-6")}, []),  # The first has a batch price of its own.
    ({"output_cost_per_image": Decimal("1e-2")}, []),
    ({"cache_creation_input_token_cost": Decimal(0)}, []),
    ({"output_cost_per_reasoning_token": Decimal("2e-6")}, []),  # What output costs anyway, tiers included.
    ({"output_cost_per_reasoning_token": Decimal("4e-6")}, [("reasoning", "")]),
]


@pytest.mark.parametrize(("change", "added"), SUPPLEMENTS)
def test_the_second_source_adds_only_what_the_first_does_not_say_at_the_same_list_price(
    change: dict[str, Any], added: list[tuple[str, str]]
) -> None:
    first = litellm(input_cost_per_token_batches=Decimal("5e-7"))
    joined = supplemented(first, litellm(**change))
    said = [(c.leaf, when_text(c.when)) for c in joined.components if c not in first.components]
    assert said == added
    assert set(first.components) <= set(joined.components)


def test_a_multiplier_is_not_added_to_prices_under_the_same_condition() -> None:
    fast = litellm(provider_specific_entry={"us": Decimal("1.1"), "priority": Decimal(2), "fast": Decimal(2)})
    own = litellm()
    assert [when_text(m.when) for m in supplemented(own, fast).multipliers] == ["region=us", "speed=fast"]
    faster = Component("input", Decimal(2), 10**6, when_of("speed=fast"))
    own = replace(own, components=(*own.components, faster))
    assert [when_text(m.when) for m in supplemented(own, fast).multipliers] == ["region=us"]


WEEKDAYS = {"hours_utc": "10:00-00:00", "weekdays": [Decimal(1)]}


@pytest.mark.parametrize(("off_peak", "weekly"), [("1e-6", True), ("5e-7", False)])
def test_hours_with_weekdays_replace_hours_alone_where_both_name_the_same_prices(
    off_peak: str, weekly: bool
) -> None:
    window = {"start_time": "00:00:00+00:00", "end_time": "10:00:00+00:00"}
    prices = [
        {"prices": {"input_mtok": "1", "output_mtok": "2"}},
        {"constraint": window, "prices": {"input_mtok": "2"}},
    ]
    peak = {"input_cost_per_token": Decimal(off_peak), "windows": [WEEKDAYS]}
    theirs = litellm(input_cost_per_token=Decimal("2e-6"), off_peak_pricing=peak)
    entry = genai_model("x", {"id": "m", "prices": prices}, theirs=theirs)
    assert isinstance(entry, ModelEntry)
    timed = [when for _, _, _, when in entry.versions[-1].components if isinstance(when, str)]
    assert timed == ["request_time=1 10:00-00:00" if weekly else "request_time=1234567 10:00-00:00"]


def test_the_only_sources_zero_is_named_and_never_a_price() -> None:
    kept = without_zeros(litellm(cache_read_input_token_cost=Decimal(0)))
    assert [c.leaf for c in kept.components] == ["input", "output"]
    assert kept.unmapped == ("zero:cached_input",)


def test_two_sources_outvote_a_moving_name_and_no_other() -> None:
    models = [{"id": "m-1", "match": {"starts_with": "m"}, "prices": {"input_mtok": "2", "output_mtok": "6"}}]
    said = {"litellm_provider": "x", "input_cost_per_token": Decimal("1e-6")}
    said["output_cost_per_token"] = Decimal("2e-6")
    vote = {"cost": {"input": Decimal(1), "output": Decimal(2)}}
    other = {"cost": {"input": Decimal(1), "output": Decimal(3)}}
    names = {"m-latest": said, "m-fixed": said, "m-old-latest": said}
    votes = {"m-latest": vote, "m-fixed": vote, "m-old-latest": other}
    assert outvoted_names(models, names, votes) == {"m-latest"}
