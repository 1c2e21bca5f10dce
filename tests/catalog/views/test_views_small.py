"""Whose model a source means, which of its figures count, and what is refused: on small documents."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.condition import when_text
from costplus.catalog.feeds.document import SourceRejected, decoded
from costplus.catalog.price import ALWAYS
from costplus.catalog.snapshot import SCHEMA, ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.catalog.statement import SourceView
from costplus.catalog.views import genai_prices, litellm, models_dev, routers

AS_OF = datetime(2026, 11, 10, 12, tzinfo=UTC)
VIEWS = {
    "genai-prices": genai_prices.view,
    "litellm": litellm.view,
    "models.dev": models_dev.view,
    "openrouter": routers.openrouter_view,
    "vercel": routers.vercel_view,
}


def catalogue_of(**models: dict[str, tuple[str, ...]]) -> Catalogue:
    """Return a catalogue of the models of each provider, with their aliases."""
    version = VersionEntry("pv_x", ALWAYS, (("input", "1", 1_000_000, None),))
    providers = {
        provider: ProviderEntry({n: ModelEntry("s", (version,), names) for n, names in listed.items()}, {})
        for provider, listed in models.items()
    }
    return Catalogue(Snapshot(SCHEMA, date(2026, 11, 10), "USD", {"s": "1"}, providers))


CATALOGUE = catalogue_of(
    openai={"gpt-x": ("gpt-x-latest", "gpt-x-chat")},
    anthropic={"claude-4-5": ()},
    azure={"gpt-x": ()},
)


def view(source: str, raw: Any, *, catalogue: Catalogue = CATALOGUE) -> SourceView:
    body = json.dumps(raw).encode()
    return VIEWS[source](decoded(body, source=source), catalogue=catalogue, revision="etag:1", as_of=AS_OF)


def genai(*models: dict[str, Any], provider: str = "openai") -> SourceView:
    return view("genai-prices", [{"id": provider, "models": list(models)}])


def entry(cost: str, provider: str = "openai", **more: Any) -> dict[str, Any]:
    return {"litellm_provider": provider, "mode": "chat", "input_cost_per_token": float(cost), **more}


def parts(found: SourceView, provider: str, model: str) -> dict[str, str]:
    """Return the amounts that a view states for a model, by leaf and condition."""
    components = found.statements[provider, model].current.components
    return {" ".join(filter(None, (c.leaf, when_text(c.when)))): f"{c.amount:f}" for c in components}


def test_a_model_is_known_by_its_id_its_alias_or_its_dated_name_and_else_keeps_its_own() -> None:
    found = view(
        "litellm",
        {
            "gpt-x-latest": entry("1e-6"),
            "claude-4.5-20251001": entry("2e-6", "anthropic"),
            "gpt-y": entry("3e-6"),
            "xai/grok-z": entry("4e-6", "xai"),
        },
    )
    assert set(found.statements) == {
        ("openai", "gpt-x"),
        ("anthropic", "claude-4-5"),
        ("openai", "gpt-y"),
        ("xai", "grok-z"),
    }
    assert found.statements["openai", "gpt-x"].names == ("gpt-x-latest",)
    assert found.statements["openai", "gpt-y"].names == ()
    assert (found.source, found.revision, found.as_of) == ("litellm", "etag:1", AS_OF)


def test_the_exact_id_wins_and_another_name_with_another_price_is_counted() -> None:
    found = view("litellm", {"gpt-x-latest": entry("9e-6"), "gpt-x": entry("1e-6")})
    assert parts(found, "openai", "gpt-x") == {"input": "1"}
    assert found.left_out == {"name_differs": 1}
    assert found.statements["openai", "gpt-x"].names == ()


def test_names_that_say_the_same_are_one_statement() -> None:
    found = view("litellm", {"gpt-x-latest": entry("1e-6"), "gpt-x-chat": entry("1.0005e-6")})
    assert found.statements["openai", "gpt-x"].names == ("gpt-x-chat", "gpt-x-latest")
    assert not found.left_out


def test_equally_good_names_that_disagree_state_nothing() -> None:
    found = view(
        "litellm", {"gpt-x-latest": entry("1e-6"), "gpt-x-chat": entry("2e-6"), "gpt-y": entry("1e-6")}
    )
    assert set(found.statements) == {("openai", "gpt-y")}
    assert found.left_out == {"names_disagree": 2}


def test_a_name_that_asks_for_more_than_the_model_is_an_offer_of_its_own() -> None:
    found = view("litellm", {"gpt-x": entry("1e-6"), "gpt-x-fast": entry("6e-6")})
    assert set(found.statements) == {("openai", "gpt-x"), ("openai", "gpt-x-fast")}


def test_the_service_of_the_providers_own_name_counts_for_more() -> None:
    entries = {"azure_ai/gpt-x": entry("9e-6", "azure_ai"), "azure/gpt-x": entry("1e-6", "azure")}
    assert parts(view("litellm", entries), "azure", "gpt-x") == {"input": "1"}


def test_litellms_spellings_of_sizes_and_unknown_providers_are_left_out_and_counted() -> None:
    entries = {
        "gpt-x": entry("1e-6"),
        "1024-x-1024/hd/picture": entry("1e-6"),
        "azure/eu/gpt-x": entry("1e-6", "azure"),
        "gpt-x-": entry("1e-6"),
        "moon/m": entry("1e-6", "moon"),
        "bedrock/eu-west-1/m": entry("1e-6", "bedrock"),
    }
    found = view("litellm", entries)
    assert set(found.statements) == {("openai", "gpt-x"), ("azure", "eu/gpt-x")}
    assert found.left_out == {"not_a_name": 2, "provider:bedrock": 1, "provider:moon": 1}


def test_an_embeddings_output_and_zeros_are_no_prices() -> None:
    embedding = entry("1e-6", mode="embedding", output_cost_per_token=2e-6)
    zeros = entry("1e-6", output_cost_per_token=0.0)
    found = view("litellm", {"e": embedding, "z": zeros, "unknown": entry("0")})
    assert parts(found, "openai", "e") == parts(found, "openai", "z") == {"input": "1"}
    assert found.statements["openai", "z"].current.unmapped == ("zero:output",)
    assert found.left_out == {"no_price": 1}


def test_a_day_of_retirement_is_an_instant() -> None:
    found = view("litellm", {"gpt-x": entry("1e-6", deprecation_date="2027-01-31")})
    assert found.statements["openai", "gpt-x"].deprecated_at == datetime(2027, 1, 31, tzinfo=UTC)


def test_dated_prices_are_in_force_from_their_day_and_else_scheduled() -> None:
    prices = [
        {"prices": {"input_mtok": "1"}},
        {"constraint": {"start_date": "2026-11-10"}, "prices": {"input_mtok": "2", "output_mtok": "0"}},
        {"constraint": {"start_date": "2026-11-11"}, "prices": {"input_mtok": "3"}},
        {"constraint": {"start_date": "2026-12-01"}, "prices": {"input_mtok": "0"}},
    ]
    found = genai({"id": "gpt-x", "prices": prices, "deprecated": True})
    statement = found.statements["openai", "gpt-x"]
    assert parts(found, "openai", "gpt-x") == {"input": "2"}
    assert statement.current.valid_from == datetime(2026, 11, 10, tzinfo=UTC)
    assert [price.valid_from.day for price in statement.scheduled] == [11]
    assert statement.deprecated_at == ALWAYS


def test_audio_priced_as_text_fine_tunes_and_negative_figures_are_not_stated() -> None:
    found = genai(
        {"id": "gpt-x", "prices": {"input_mtok": "1"}},
        {"id": "gpt-audio", "prices": {"input_mtok": "1"}},
        {"id": "ft:gpt-x", "prices": {"input_mtok": "1"}},
        {"id": "gpt-z", "prices": {"input_mtok": "-1"}},
    )
    assert set(found.statements) == {("openai", "gpt-x")}
    assert found.left_out == {"audio_unpriced": 1, "fine_tune": 1, "negative": 1}


def test_an_offer_that_is_declared_free_costs_nothing() -> None:
    zero = {"input_mtok": "0", "output_mtok": "0"}
    found = genai({"id": "m:free", "prices": zero}, {"id": "m", "prices": zero}, provider="openrouter")
    assert parts(found, "openrouter", "m:free") == {"input": "0", "output": "0"}
    assert found.left_out == {"no_price": 1}


def test_what_is_not_understood_is_counted() -> None:
    found = genai({"id": "gpt-x", "prices": {"input_mtok": "1", "moons": "2"}})
    assert found.unmapped == {"moons": 1}
    assert found.statements["openai", "gpt-x"].current.unmapped == ("moons",)


MEDIA = [
    (["text"], {}, ["input", "output"]),
    (["text", "image"], {}, ["input"]),
    (["audio"], {}, ["input"]),
    (["text", "audio"], {"output_audio": 9}, ["input", "output", "output_audio"]),
]


@pytest.mark.parametrize(("media", "more", "leaves"), MEDIA)
def test_what_pictures_cost_is_never_the_price_of_text(
    media: list[str], more: dict[str, int], leaves: list[str]
) -> None:
    model = {
        "cost": {"input": 1, "output": 30, **more},
        "modalities": {"output": media},
        "status": "deprecated",
    }
    found = view(
        "models.dev", {"togetherai": {"models": {"m": model, "n": {}}}, "moon": {"models": {"m": {}}}}
    )
    assert sorted(parts(found, "together", "m")) == leaves
    assert found.statements["together", "m"].deprecated_at == ALWAYS
    assert found.left_out == {"no_price": 1, "provider:moon": 1}


REFUSED: list[tuple[str, Any, str]] = [
    ("genai-prices", {"version": 3, "providers": []}, "schema_unknown"),
    ("genai-prices", ["openai"], "schema_unknown"),
    ("genai-prices", [{"id": "openai", "prices": {}}], "schema_unknown"),
    ("genai-prices", [], "empty"),
    ("genai-prices", [{"id": "openai", "models": [{"id": "m", "prices": {}}]}], "empty"),
    ("genai-prices", [{"id": "openai", "models": [{"name": "m"}]}], "schema_unknown"),
    ("litellm", [], "schema_unknown"),
    ("litellm", {}, "schema_unknown"),
    ("litellm", {"models": {"gpt-x": entry("1e-6")}}, "schema_unknown"),
    ("models.dev", {"openai": {"gpt-x": {}}}, "schema_unknown"),
    ("models.dev", {"currency": "EUR", "openai": {"models": {}}}, "currency_unknown"),
    ("openrouter", {"data": {}}, "schema_unknown"),
    ("openrouter", {"data": [{"id": "a/m"}]}, "schema_unknown"),
    ("vercel", {"models": []}, "schema_unknown"),
]


@pytest.mark.parametrize(("source", "raw", "reason"), REFUSED)
def test_a_document_of_another_form_is_refused_as_a_whole(source: str, raw: Any, reason: str) -> None:
    with pytest.raises(SourceRejected) as refused:
        view(source, raw)
    assert (refused.value.source, refused.value.reason) == (source, reason)
    assert refused.value.code == "source_rejected"


def test_one_broken_entry_costs_itself_and_many_the_document() -> None:
    good = [{"id": f"m-{n}", "prices": {"input_mtok": "1"}} for n in range(20)]
    found = genai({"id": "bad", "prices": {"input_mtok": "much"}}, *good)
    assert (found.left_out, len(found.statements)) == ({"broken": 1}, 20)
    with pytest.raises(SourceRejected, match="2 of 22 entries"):
        genai({"id": "bad", "prices": {"input_mtok": "NaN"}}, {"id": "bad"}, *good)


@pytest.mark.parametrize("figure", ["1e30", "1e-30", "0." + "1" * 40, "Infinity", "-0.1", "zero"])
def test_a_figure_that_no_price_can_be_costs_its_entry(figure: str) -> None:
    good = [{"id": f"m-{n}", "prices": {"input_mtok": "1"}} for n in range(20)]
    found = genai({"id": "bad", "prices": {"input_mtok": figure}}, *good)
    assert (sum(found.left_out.values()), len(found.statements)) == (1, 20)


def test_a_long_list_without_the_newer_words_is_the_frozen_edition() -> None:
    models = [{"id": f"m-{n}", "prices": {"input_mtok": 1}} for n in range(500)]
    assert len(genai(*models[1:]).statements) == 499
    with pytest.raises(SourceRejected) as refused:
        genai(*models)
    assert refused.value.reason == "schema_frozen"
    assert (
        len(genai({"id": "n", "prices": {"input_mtok": 1, "cache_write_1h_mtok": 2}}, *models).statements)
        == 501
    )


UNREADABLE = [
    b"",
    b"<!doctype html><title>404</title>",
    b'{"a": 1',
    b"\xff\xfe\x00",
    b"[NaN]",
    b"[1e999999999]",
    b"[1e-999999999]",
    b"[0." + b"1" * 400 + b"]",
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_is_not_json_or_has_no_real_numbers_is_refused(body: bytes) -> None:
    with pytest.raises(SourceRejected) as refused:
        decoded(body, source="litellm")
    assert refused.value.reason == "not_parseable"
