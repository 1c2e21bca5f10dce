"""What the three public lists state, under the catalogue's names, and how far that is what we bill."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.condition import when_text
from costplus.catalog.feeds.document import SourceRejected, decoded
from costplus.catalog.price import ALWAYS, Component
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.catalog.statement import ModelKey, SourceView
from costplus.catalog.views import genai_prices, litellm, models_dev

pytestmark = pytest.mark.slow

AS_OF = datetime(2026, 11, 10, 23, 59, tzinfo=UTC)
GENAI = "genai-prices-0.2.3-2026-11-10.data.json"
LITELLM = "litellm-1.109.1-2026-11-12.model_prices.json"
MODELS_DEV = "modelsdev-2026-09-30.api.json"
READERS = {"genai": genai_prices, "litellm": litellm, "modelsdev": models_dev}

# Served and priced as another model since the vendor said so; no source of that day knew.
REDIRECTED = {
    ("xai", "grok-3"),
    ("xai", "grok-4-0709"),
    ("xai", "grok-4-1-fast-non-reasoning"),
    ("xai", "grok-4-1-fast-reasoning"),
    ("xai", "grok-4-fast-non-reasoning"),
    ("xai", "grok-4-fast-reasoning"),
    ("xai", "grok-code-fast-1"),
}
# The catalogue has the hours of the week, which genai-prices can write only as hours of the day.
BY_THE_WEEK = {
    ("deepseek", "deepseek-flash"),
    ("deepseek", "deepseek-v4-flash"),
    ("deepseek", "deepseek-v4-pro"),
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return bundled_catalogue()


def view_of(name: str, shared_data: Path, catalogue: Catalogue, *, as_of: datetime = AS_OF) -> SourceView:
    reader = READERS[name.split("-")[0]]
    raw = decoded((shared_data / "price_snapshots" / name).read_bytes(), source=reader.SOURCE)
    return reader.view(raw, catalogue=catalogue, revision=f"file:{name}", as_of=as_of)


def costs(components: Iterable[Component]) -> dict[tuple[str, str], Fraction]:
    return {(c.leaf, when_text(c.when)): c.unit_cost for c in components}


def unlike(view: SourceView, catalogue: Catalogue, counts: Counter[str]) -> set[ModelKey]:
    """Return the models of the catalogue for which the source states a part that we do not bill as stated."""
    found = set()
    for key, statement in view.statements.items():
        if catalogue.versions(*key):
            ours = costs(catalogue.price_at(*key, at=view.as_of)[0].components)
            theirs = costs(statement.current.components)
            same = sum(ours.get(part) == cost for part, cost in theirs.items())
            counts.update(models=1, parts=len(theirs), equal=same)
            if same < len(theirs):
                found.add(key)
    return found


def test_all_that_genai_prices_states_of_our_models_is_what_we_bill(
    shared_data: Path, catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    view, counts = view_of(GENAI, shared_data, catalogue), Counter[str]()
    found = unlike(view, catalogue, counts)
    with capsys.disabled():
        listed = ", ".join(f"{provider}/{model}" for provider, model in sorted(found))
        sys.stdout.write(
            f"\ngenai-prices: {len(view.statements):,} statements; of {counts['models']:,} models of ours "
            f"{counts['equal']:,} of {counts['parts']:,} parts are equal; exceptions: {listed}\n"
        )
    assert found == REDIRECTED | BY_THE_WEEK
    assert counts["models"] > 2_200
    assert set(view.left_out) == {"audio_unpriced", "fine_tune", "no_price"}
    assert not view.unmapped


def test_the_models_that_only_litellm_prices_cost_what_it_states(
    shared_data: Path, catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    view, counts = view_of(LITELLM, shared_data, catalogue), Counter[str]()
    found = unlike(view, catalogue, counts)
    theirs = {
        (price.provider, price.model)
        for price in catalogue.models(at=AS_OF)
        if price.source.startswith("lite")
    }
    with capsys.disabled():
        sys.stdout.write(
            f"\nlitellm: {len(view.statements):,} statements; of {counts['models']:,} models of ours "
            f"{counts['equal']:,} of {counts['parts']:,} parts are equal; {len(theirs)} models are its own\n"
        )
    assert theirs <= set(view.statements)
    assert not theirs & found
    assert counts["equal"] * 10 > counts["parts"] * 9


def test_every_model_of_ours_is_stated_by_the_source_its_price_is_of(
    shared_data: Path, catalogue: Catalogue
) -> None:
    stated = {name: set(view_of(name, shared_data, catalogue).statements) for name in (GENAI, LITELLM)}
    for price in catalogue.models(at=AS_OF):
        name = GENAI if price.source.startswith("genai") else LITELLM
        assert (price.provider, price.model) in stated[name]


def test_models_dev_agrees_with_most_of_our_list_prices(shared_data: Path, catalogue: Catalogue) -> None:
    view, counts = view_of(MODELS_DEV, shared_data, catalogue), Counter[str]()
    unlike(view, catalogue, counts)
    assert counts["models"] > 850
    assert counts["equal"] * 5 > counts["parts"] * 4
    picture = view.statements["google", "gemini-2.5-flash-image"].current
    assert {component.leaf for component in picture.components} == {"input", "cached_input"}
    assert "output:of_media" in picture.unmapped
    assert view.left_out["provider:azure-cognitive-services"] > 50


def test_an_announced_price_is_scheduled_until_its_day(shared_data: Path, catalogue: Catalogue) -> None:
    key = ("google", "gemini-4-argon")
    before = view_of(GENAI, shared_data, catalogue).statements[key]
    [later] = before.scheduled
    assert later.valid_from == datetime(2026, 12, 1, tzinfo=UTC)
    inputs = [costs(price.components)["input", ""] * 10**6 for price in (before.current, later)]
    assert inputs == [2, 4]
    after = view_of(GENAI, shared_data, catalogue, as_of=later.valid_from).statements[key]
    assert (after.current, after.scheduled) == (later, ())


def test_what_goes_out_of_service_is_said(shared_data: Path, catalogue: Catalogue) -> None:
    views = [view_of(name, shared_data, catalogue) for name in (GENAI, LITELLM, MODELS_DEV)]
    retired = [Counter(s.deprecated_at for s in view.statements.values()) for view in views]
    assert set(retired[0]) == set(retired[2]) == {None, ALWAYS}
    assert retired[1][datetime(2026, 9, 30, tzinfo=UTC)] > 0


def test_the_frozen_edition_of_genai_prices_is_refused(shared_data: Path, catalogue: Catalogue) -> None:
    with pytest.raises(SourceRejected, match="no longer kept") as refused:
        view_of("genai-prices-frozen-v1.data.json", shared_data, catalogue)
    assert refused.value.reason == "schema_frozen"


OTHERS = [
    "genai-prices-0.1.9-2026-09-25.data.json",
    "genai-prices-git-2026-08-21.v2.data.json",
    "litellm-1.103.2-2026-10-01.model_prices.json",
    "modelsdev-2026-07-02.api.json",
]


@pytest.mark.parametrize("name", OTHERS)
def test_older_editions_are_read_without_a_broken_entry(
    shared_data: Path, catalogue: Catalogue, name: str
) -> None:
    view = view_of(name, shared_data, catalogue, as_of=datetime(2026, 10, 1, tzinfo=UTC))
    assert "broken" not in view.left_out
    assert len(view.statements) > 700
