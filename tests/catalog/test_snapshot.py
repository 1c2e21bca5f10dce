"""The catalogue picks the version that applies at an instant, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.condition import Condition, when_of
from costplus.catalog.price import Component, ModelUnpriced
from costplus.catalog.snapshot import (
    SCHEMA,
    ComponentEntry,
    ModelEntry,
    ProviderEntry,
    ScheduledEntry,
    Snapshot,
    VersionEntry,
    component_entry,
    component_from_entry,
    price_version_id,
)

START = datetime(1970, 1, 1, tzinfo=UTC)
RISE = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2026, 12, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)

OLD = VersionEntry("pv_old", START, (("input", "2", 1_000_000, None),), RISE)
NEW = VersionEntry(
    "pv_new", RISE, (("input", "3", 1_000_000, None), ("input", "6", 1_000_000, 200_000)), None, ("batch",)
)
MODEL = ModelEntry(
    "list",
    (OLD, NEW),
    ("m-20260101",),
    1_000,
    100,
    (ScheduledEntry(LATER, (("input", "9", 1_000_000, None),)),),
)
CATALOGUE = Catalogue(
    Snapshot(
        SCHEMA,
        date(2026, 11, 10),
        "USD",
        {"list": "1.0"},
        {"openai": ProviderEntry({"m": MODEL}, {"speech": ("audio_hours",)})},
    )
)

EDGES = [
    (START, "pv_old"),
    (RISE - INSTANT, "pv_old"),
    (RISE, "pv_new"),
    (LATER + timedelta(days=999), "pv_new"),
]


@pytest.mark.parametrize(("at", "id"), EDGES)
def test_a_version_applies_from_its_first_instant_until_the_next(at: datetime, id: str) -> None:
    version, name = CATALOGUE.price_at("openai", "m", at=at)
    assert version.id == id
    assert (name.provider, name.model, name.steps) == ("openai", "m", ())


def test_an_instant_before_the_first_version_is_unpriced() -> None:
    with pytest.raises(ModelUnpriced, match=r"Model 'm' of provider 'openai' has no price at 1969"):
        CATALOGUE.price_at("openai", "m", at=START - INSTANT)


def test_a_version_carries_limits_source_tiers_and_what_is_unmapped() -> None:
    version, name = CATALOGUE.price_at("openai", "M-20260101", at=RISE)
    assert name.steps == ("lower_case", "alias")
    assert (version.context_tokens_max, version.output_tokens_max) == (1_000, 100)
    assert (version.source, version.currency, version.unmapped) == ("list 1.0", "USD", ("batch",))
    assert version.thresholds == (200_000,)


def test_a_scheduled_price_is_shown_and_never_applied() -> None:
    (scheduled,) = CATALOGUE.scheduled("openai", "m")
    version, _ = CATALOGUE.price_at("openai", "m", at=scheduled.valid_from)
    assert version.id == "pv_new"


UNPRICED = [
    ("openai", "n", "Model 'n' of provider 'openai' has no price."),
    ("nobody", "m", "Provider 'nobody' is unknown, so its model 'm' has no price."),
    ("openai", "speech", "It is sold by audio_hours"),
]


@pytest.mark.parametrize(("provider", "model", "message"), UNPRICED)
def test_an_unpriced_model_says_which_and_what_to_do(provider: str, model: str, message: str) -> None:
    with pytest.raises(ModelUnpriced) as refused:
        CATALOGUE.price_at(provider, model, at=RISE)
    assert message in refused.value.message
    assert "add a price" in refused.value.sentence


def test_a_version_is_found_by_its_id_and_an_unknown_id_is_none() -> None:
    version = CATALOGUE.price_version("pv_old")
    assert version is not None
    assert version.valid_to == RISE
    assert CATALOGUE.price_version("pv_unknown") is None


def test_models_lists_the_current_version_of_each_model_once() -> None:
    assert [version.id for version in CATALOGUE.models(at=LATER)] == ["pv_new"]


def test_versions_of_an_unknown_model_are_none() -> None:
    assert CATALOGUE.versions("openai", "n") == ()
    assert CATALOGUE.scheduled("nobody", "m") == ()


def catalogue_of(provider: str, models: dict[str, tuple[ComponentEntry, ...]]) -> Catalogue:
    """Return a catalogue of one provider's models, each with one version."""
    entries = {
        name: ModelEntry("list", (VersionEntry(f"pv_{name}", START, parts),))
        for name, parts in models.items()
    }
    listed = {provider: ProviderEntry(entries, {})}
    return Catalogue(Snapshot(SCHEMA, date(2026, 11, 10), "USD", {"list": "1"}, listed))


def regional(**usd: str) -> Catalogue:
    """Return a catalogue of Bedrock names (`__` for a dot) at their input prices."""
    models = {name.replace("__", "."): (("input", amount, 1_000_000, None),) for name, amount in usd.items()}
    return catalogue_of("bedrock", models)  # type: ignore[arg-type]  # None is one of the entry's forms.


def test_a_region_without_its_own_price_costs_what_the_dearest_known_region_does() -> None:
    prices = regional(a__m="1", us__a__m="1.1", eu__a__m="1.2", regional__a__n="3")
    version, name = prices.price_at("bedrock", "jp.a.m", at=RISE)
    assert (version.model, name.model, name.steps) == ("eu.a.m", "eu.a.m", ("dearest_region",))
    assert prices.price_at("aws", "us.a.m", at=RISE)[0].model == "us.a.m"
    assert prices.price_at("bedrock", "apac.a.n", at=RISE)[0].model == "regional.a.n"


@pytest.mark.parametrize("requested", ["jp.a.o", "us-gov.a.m", "global.a.m", "mars.a.m", "us.", "jp.A"])
def test_a_region_is_never_priced_as_the_name_without_one(requested: str) -> None:
    prices = regional(a__m="1", us__a__m="1.1", a__o="1")
    with pytest.raises(ModelUnpriced):
        prices.price_at("bedrock", requested, at=RISE)


def test_a_modifier_needs_a_price_of_its_own() -> None:
    base: ComponentEntry = ("input", "2", 1_000_000, None)
    batch: ComponentEntry = ("input", "1", 1_000_000, "processing=batch")
    prices = catalogue_of("openai", {"plain": (base,), "both": (base, batch)})
    _, name = prices.price_at("openai", "both:batch", at=RISE)
    assert name.modifiers == (("processing", "batch"),)
    for requested in ("plain:batch", "both-fast", "neither:batch"):
        with pytest.raises(ModelUnpriced):
            prices.price_at("openai", requested, at=RISE)


components = st.builds(
    Component,
    st.sampled_from(["input", "output", "cached_input"]),
    st.decimals(min_value=0, max_value=1000, places=6),
    st.just(1_000_000),
    st.one_of(
        st.just(()),
        st.integers(1, 10**6).map(lambda over: (Condition("prompt_tokens", "gt", over),)),
        st.sampled_from([when_of("service_tier=flex"), when_of("prompt_tokens>5&region=eu|us")]),
    ),
    st.integers(0, 2),
)


@given(components)
def test_a_component_survives_being_written_and_read(component: Component) -> None:
    assert component_from_entry(component_entry(component)) == component


@given(st.lists(components, max_size=4))
def test_a_version_id_ignores_order_and_trailing_zeros(listed: list[Component]) -> None:
    padded = [replace(c, amount=c.amount + Decimal("0E-12")) for c in reversed(listed)]
    first, second = (
        price_version_id(provider="p", model="m", currency="USD", valid_from=RISE, components=given)
        for given in (listed, padded)
    )
    assert first == second
    assert first.startswith("pv_") and len(first) == 27


PRICED = Component("input", Decimal(1), 1_000_000)
SAID: dict[str, Any] = {
    "provider": "p",
    "model": "m",
    "currency": "USD",
    "valid_from": RISE,
    "components": [PRICED],
}
CHANGES: list[dict[str, Any]] = [
    {"provider": "q"},
    {"model": "n"},
    {"currency": "EUR"},
    {"valid_from": START},
    {"components": []},
    {"components": [PRICED, PRICED]},
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_version_id_changes_with_anything_it_says(change: dict[str, Any]) -> None:
    assert price_version_id(**SAID) != price_version_id(**{**SAID, **change})
