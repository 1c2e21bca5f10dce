"""Every public price list is read without a loss: figures, conditions, and the names of what is not known."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from costplus.catalog.condition import when_text
from costplus.catalog.context import RequestContext
from costplus.catalog.feeds import genai_prices, litellm, models_dev
from costplus.catalog.feeds.litellm_key import parse_key
from costplus.catalog.feeds.stated import METERS, Keys, StatedPrice, exact
from costplus.core.usage import LEAVES

pytestmark = pytest.mark.slow

TAKEN_ON = date(2026, 11, 10)
SNAPSHOTS = [
    ("genai-prices-0.2.3-2026-11-10.data.json", 2_700, 0),
    ("genai-prices-git-2026-08-21.v2.data.json", 1_000, 0),
    ("litellm-1.109.1-2026-11-12.model_prices.json", 4_500, 8),
    ("litellm-1.103.2-2026-10-01.model_prices.json", 4_000, 8),
    ("modelsdev-2026-09-30.api.json", 7_900, 0),
    ("modelsdev-2026-07-02.api.json", 4_800, 6),
]


def feed_of(name: str, raw: Any, keys: Keys) -> list[StatedPrice]:
    if name.startswith("genai"):
        return list(genai_prices.feed(raw, taken_on=TAKEN_ON, keys=keys))
    module = litellm if name.startswith("litellm") else models_dev
    return list(module.feed(raw, keys=keys))


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)


def figures_in(value: Any) -> Iterator[Decimal]:
    """Yield every price figure below a value: what is a bound or a count is left out by its key."""
    if isinstance(value, Decimal):
        yield value
    elif isinstance(value, str):
        try:
            yield Decimal(value)
        except ArithmeticError:
            return
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in ("range", "tier", "start", "windows", "weekday_timezone", "provider"):
                yield from figures_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from figures_in(item)


def unit_costs(price: StatedPrice) -> set[Fraction]:
    return {component.unit_cost for component in price.components}


@pytest.mark.parametrize(("name", "prices_min", "unmapped_max"), SNAPSHOTS)
def test_every_key_of_the_real_files_is_understood_or_named(
    shared_data: Path, capsys: pytest.CaptureFixture[str], name: str, prices_min: int, unmapped_max: int
) -> None:
    keys = Keys()
    stated = feed_of(name, read(shared_data / "price_snapshots" / name), keys)
    with capsys.disabled():
        uses = f"{keys.understood.total():,} uses understood, {keys.unmapped.total():,} unmapped"
        kinds = f"{len(keys.understood)} kinds of keys, {len(keys.unmapped)} unmapped"
        sys.stdout.write(f"\n{name}: {len(stated):,} prices, {kinds}, {uses}\n")
    assert len(stated) >= prices_min
    assert len(keys.unmapped) <= unmapped_max, keys.unmapped
    assert {meter for price in stated for meter in price.unrated} <= METERS
    assert {key for price in stated for key in price.unmapped} == set(keys.unmapped)
    for price in stated:
        said = [(c.leaf, when_text(c.when), c.unit_cost) for c in price.components]
        assert len(said) == len(set(said)), (price.provider, price.model)


def test_every_figure_of_genai_prices_is_in_the_canonical_form(shared_data: Path) -> None:
    raw = read(shared_data / "price_snapshots" / "genai-prices-0.2.3-2026-11-10.data.json")
    by_pointer: dict[str, set[Fraction]] = {}
    for price in genai_prices.feed(raw, taken_on=TAKEN_ON, keys=Keys()):
        by_pointer.setdefault(price.pointer, set()).update(unit_costs(price))
    checked = 0
    for number, provider in enumerate(raw):
        for position, model in enumerate(provider["models"]):
            listed = model["prices"] if isinstance(model["prices"], list) else [{"prices": model["prices"]}]
            for item in (*listed, *(model.get("price_variants") or [])):
                for key, value in item["prices"].items():
                    for figure in figures_in(value):
                        unit = Fraction(exact(figure)) / genai_prices.KEYS[key][1]
                        assert unit in by_pointer[f"/{number}/models/{position}"], (model["id"], key, figure)
                        checked += 1
    assert checked > 7_900


def test_every_figure_of_litellm_is_in_the_canonical_form_or_named(shared_data: Path) -> None:
    raw = read(shared_data / "price_snapshots" / "litellm-1.109.1-2026-11-12.model_prices.json")
    checked = 0
    for price in litellm.feed(raw, keys=Keys()):
        entry = raw[price.model]
        known = {exact(Decimal(str(c.amount)) / c.per) for c in price.components}
        known |= {exact(multiplier.factor) for multiplier in price.multipliers}
        for key, value in entry.items():
            is_price = "cost" in key or "pricing" in key or "multiplier" in key or key.endswith("_entry")
            if not is_price or any(name.split(".")[0] == key for name in price.unmapped):
                continue
            for figure in figures_in(value):
                assert exact(figure) in known or near(figure, known), (price.model, key, figure)
                checked += 1
    assert checked > 17_000


def near(figure: Decimal, known: Iterable[Decimal]) -> bool:
    """Whether the repaired form of a noisy figure is known."""
    return any(abs(figure - other) <= abs(figure) * Decimal("1e-9") for other in known)


def test_every_figure_of_models_dev_is_in_the_canonical_form(shared_data: Path) -> None:
    raw = read(shared_data / "price_snapshots" / "modelsdev-2026-09-30.api.json")
    checked = 0
    for price in models_dev.feed(raw, keys=Keys()):
        model = raw[price.provider]["models"][price.model]
        known = unit_costs(price)
        modes = (model.get("experimental") or {}).get("modes") or {}
        for cost in (model["cost"], *(mode.get("cost") or {} for mode in modes.values())):
            for figure in figures_in(cost):
                assert Fraction(exact(figure)) / 1_000_000 in known, (price.model, figure)
                checked += 1
    assert checked > 20_000


GRAMMAR = [
    ("input_cost_per_token", "", "input", ""),
    ("input_cost_per_token_above_272k_tokens", "", "input", "prompt_tokens>272000"),
    ("output_cost_per_token_priority", "", "output", "service_tier=priority"),
    ("output_cost_per_token_someday", "", "output", "service_tier=someday"),
    ("cache_creation_input_token_cost_above_1hr", "", "cache_write_1h", ""),
    (
        "cache_creation_input_token_cost_above_12hr_above_272k_tokens_batches",
        "",
        "cache_write_12h",
        "processing=batch&prompt_tokens>272000",
    ),
    ("cache_read_input_audio_token_cost_flex", "", "cached_input_audio", "service_tier=flex"),
    ("input_cost_per_token_cache_hit", "", "cached_input", ""),
    ("output_cost_per_reasoning_token", "", "reasoning", ""),
    ("output_cost_per_image_token", "", "output_image", ""),
    ("output_cost_per_image", "", "image_output", ""),
    ("output_cost_per_image_0.5K", "", "image_output", "resolution=0.5K"),
    ("output_cost_per_second_1080p", "", "second_output", "resolution=1080p"),
    ("input_cost_per_video_per_second_above_8s_interval", "", "video_second_input", "media_seconds>8"),
    ("input_cost_per_query", "rerank", "search_unit", ""),
    ("input_cost_per_query", "search", "query", ""),
    ("input_cost_per_second", "audio_transcription", "audio_second", ""),
    ("ocr_cost_per_page_batches", "", "page", "processing=batch"),
]


@pytest.mark.parametrize(("key", "mode", "meter", "when"), GRAMMAR)
def test_litellms_keys_are_read_by_their_grammar(key: str, mode: str, meter: str, when: str) -> None:
    known = parse_key(key, mode=mode)
    assert known is not None
    assert (known.meter, when_text(known.when)) == (meter, when)
    assert meter in LEAVES or meter in METERS


UNKNOWN = [
    "input_dbu_cost_per_token",
    "input_cost_per_token_flex_priority",
    "input_cost_per_token_above_1hr",
    "input_cost_per_gallon",
    "max_cost_per_thing",
    "output_cost_per_token_flex2x",
]


@pytest.mark.parametrize("key", UNKNOWN)
def test_what_the_grammar_does_not_know_is_not_guessed(key: str) -> None:
    assert parse_key(key) is None


def hourly(price: StatedPrice, at: datetime) -> Decimal:
    """Return the input price at an instant: that of a component whose condition holds, else the base."""
    context = RequestContext(at=at)
    inputs = [c for c in price.components if c.leaf == "input"]
    holding = [c for c in inputs if all(w.holds(prompt_tokens=1, context=context) for w in c.when)]
    return max(holding, key=lambda c: len(c.when)).amount


OFF_PEAK = {
    "litellm_provider": "x",
    "input_cost_per_token": Decimal("2e-6"),
    "off_peak_pricing": {
        "input_cost_per_token": Decimal("1e-6"),
        "windows": [
            {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [Decimal(d) for d in range(1, 6)]},
            {"hours_utc": "00:00-00:00", "weekdays": ["saturday", "sunday"]},
        ],
    },
}
HOURS = [
    (datetime(2026, 8, 17, 0, 59, tzinfo=UTC), 1, 1),
    (datetime(2026, 8, 17, 1, 0, tzinfo=UTC), 2, 2),
    (datetime(2026, 8, 17, 10, 0, tzinfo=UTC), 1, 1),
    (datetime(2026, 8, 22, 2, 0, tzinfo=UTC), 1, 1),  # Saturday in both zones.
    (datetime(2026, 8, 21, 17, 0, tzinfo=UTC), 1, 1),
    (datetime(2026, 8, 23, 17, 0, tzinfo=UTC), 1, 1),  # Monday in Shanghai, and after ten.
    (datetime(2026, 8, 22, 9, 0, tzinfo=UTC), 1, 1),
]


@pytest.mark.parametrize(("at", "utc", "shanghai"), HOURS)
def test_off_peak_hours_count_on_the_weekdays_of_their_zone(at: datetime, utc: int, shanghai: int) -> None:
    away = {**OFF_PEAK["off_peak_pricing"], "weekday_timezone": "Asia/Shanghai"}  # type: ignore[dict-item]  # It is a mapping.
    plain = litellm.entry_price("m", OFF_PEAK, keys=Keys())
    moved = litellm.entry_price("m", {**OFF_PEAK, "off_peak_pricing": away}, keys=Keys())
    assert [hourly(price, at) for price in (plain, moved)] == [utc, shanghai]


def test_weekdays_of_an_unknown_zone_are_named_and_never_cheaper() -> None:
    away = {**OFF_PEAK["off_peak_pricing"], "weekday_timezone": "Moon/Base"}  # type: ignore[dict-item]  # It is a mapping.
    price = litellm.entry_price("m", {**OFF_PEAK, "off_peak_pricing": away}, keys=Keys())
    assert price.unmapped == ("off_peak_pricing.weekday_timezone",)
    assert [c.amount for c in price.components] == [2]


def test_windows_of_the_day_make_the_dearest_the_price_of_an_unknown_hour() -> None:
    window = {"start_time": "01:00:00+00:00", "end_time": "04:00:00+00:00"}
    model = {
        "id": "m",
        "prices": [
            {"prices": {"input_mtok": "1"}},
            {"constraint": {"start_date": "2026-08-17"}, "prices": {"input_mtok": "2"}},
            {"constraint": {"start_date": "2027-01-01"}, "prices": {"input_mtok": "3"}},
            {"constraint": window, "prices": {"input_mtok": "4"}},
        ],
    }
    old, new, later = genai_prices.model_prices("x", model, taken_on=TAKEN_ON, keys=Keys())
    assert [hourly(price, datetime(2026, 9, 1, 2, tzinfo=UTC)) for price in (old, new, later)] == [1, 4, 3]
    assert [hourly(new, datetime(2026, 9, 1, hour, tzinfo=UTC)) for hour in (0, 1, 3, 4)] == [2, 4, 4, 2]
    assert [c.amount for c in new.components if not c.when] == [4]


def test_variants_begin_on_their_day_and_stack_with_tiers() -> None:
    model = {
        "id": "m",
        "prices": {"input_mtok": {"base": "2", "tiers": [{"start": 10, "price": "4"}]}},
        "price_variants": [
            {
                "when": {"processing": "batch"},
                "prices": {"input_mtok": {"base": "1", "tiers": [{"start": 10, "price": "2"}]}},
                "constraint": {"start_date": "2026-10-12"},
            },
            {"when": {"moon": "full"}, "prices": {"input_mtok": "9"}},
            {"when": {"service_tier": "default"}, "prices": {}},
        ],
    }
    before, after = genai_prices.model_prices("x", model, taken_on=TAKEN_ON, keys=Keys())
    assert [when_text(c.when) for c in before.components] == ["", "prompt_tokens>10"]
    assert [(when_text(c.when), int(c.amount)) for c in after.components] == [
        ("", 2),
        ("processing=batch", 1),
        ("prompt_tokens>10", 4),
        ("processing=batch&prompt_tokens>10", 2),
    ]
    assert before.unmapped == after.unmapped == ("price_variants:moon",)


def test_modes_of_models_dev_are_what_their_request_says() -> None:
    cost = {"input": Decimal(1), "output": Decimal(2), "surprise": Decimal(3)}
    modes = {
        "fast": {"cost": {"input": Decimal(5)}, "provider": {"body": {"service_tier": "priority"}}},
        "quick": {"cost": {"input": Decimal(6)}, "provider": {"body": {"speed": "fast"}}},
        "odd": {"cost": {"input": Decimal(7)}},
    }
    price = models_dev.model_price("p", "m", {"cost": cost, "experimental": {"modes": modes}}, keys=Keys())
    assert [when_text(c.when) for c in price.components if c.leaf == "input"] == [
        "",
        "service_tier=priority",
        "speed=fast",
    ]
    assert price.unmapped == ("cost.surprise", "experimental.modes.odd")


def test_allowances_multipliers_and_search_sizes_of_litellm_are_kept() -> None:
    entry = {
        "litellm_provider": "gemini",
        "mode": "chat",
        "search_context_cost_per_query": {
            f"search_context_size_{size}": Decimal(n) / 1000
            for n, size in enumerate(("low", "medium", "high"))
        },
        "search_free_requests": {"count": Decimal(1500), "period": "day", "shared_group": "pool"},
        "regional_processing_uplift_multiplier_eu": Decimal("1.1"),
        "provider_specific_entry": {"us": Decimal("1.1"), "fast": Decimal(2), "frames": Decimal(3)},
    }
    price = litellm.entry_price("m", entry, keys=Keys())
    assert [(c.leaf, int(c.amount), when_text(c.when)) for c in price.components] == [
        ("web_search", 2, "search_context_size=high"),
        ("web_search", 0, "search_context_size=low"),
        ("web_search", 1, "search_context_size=medium"),
    ]
    assert [(a.quantity, a.period, a.pool) for a in price.allowances] == [(1500, "day", "pool")]
    whens = [when_text(multiplier.when) for multiplier in price.multipliers]
    assert whens == ["region=eu", "region=us", "speed=fast"]
    assert price.unmapped == ("provider_specific_entry.frames",)
