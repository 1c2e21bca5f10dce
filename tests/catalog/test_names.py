"""Names resolve exactly or by declaration, never by likeness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.names import PROVIDER_ALIASES, ProviderNames, provider_names, resolve, split_provider

ANTHROPIC = provider_names(
    "anthropic",
    {
        "claude-3-5-sonnet": (),
        "claude-sonnet-4-5": ("claude-sonnet-4-5-20250929",),
        "claude-sonnet-4-0": ("claude-sonnet-4",),
        "claude-sonnet-5": (),
    },
)
OPENAI = provider_names(
    "openai",
    {
        "gpt-4o": ("gpt-4o-2024-11-20",),
        "gpt-4o-mini": (),
        "gpt-4.1": (),
        "GPT-Mixed": (),
    },
    unpriced=["gpt-4.1-2025-04-14"],
)
GOOGLE = provider_names("google", {"gemini-2.5-pro": ()})
BEDROCK = provider_names("bedrock", {"anthropic.claude-x-v1:0": ()})

SPLITS = [
    ("openai/gpt-5", ("openai", "gpt-5")),
    ("gemini/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
    ("x-ai/grok-4", ("xai", "grok-4")),
    ("aws/amazon.nova-pro-v1:0", ("bedrock", "amazon.nova-pro-v1:0")),
    ("openrouter/openai/gpt-5", ("openrouter", "openai/gpt-5")),
    ("meta-llama/llama-3", (None, "meta-llama/llama-3")),
    ("gpt-5", (None, "gpt-5")),
    ("openai/", (None, "openai/")),
    ("", (None, "")),
]

RESOLUTIONS = [
    (ANTHROPIC, "claude-sonnet-4-5", "claude-sonnet-4-5", ()),
    (ANTHROPIC, "claude-sonnet-4-5-20250929", "claude-sonnet-4-5", ("alias",)),
    (ANTHROPIC, "claude-sonnet-4.5", "claude-sonnet-4-5", ("separators",)),
    (ANTHROPIC, "claude-sonnet-4-5@20250929", "claude-sonnet-4-5", ("undated",)),
    (ANTHROPIC, "claude-3.5-sonnet-20241022", "claude-3-5-sonnet", ("undated", "separators")),
    (ANTHROPIC, "claude-sonnet-4-20250514", "claude-sonnet-4-0", ("undated", "alias")),
    (ANTHROPIC, "anthropic/claude-sonnet-5", "claude-sonnet-5", ("provider_prefix",)),
    (OPENAI, " GPT-4o ", "gpt-4o", ("trim", "lower_case")),
    (OPENAI, "gpt-4o-2024-08-06", "gpt-4o", ("undated",)),
    (OPENAI, "GPT-Mixed", "GPT-Mixed", ()),
    (OPENAI, "gpt-mixed", "GPT-Mixed", ()),
    (GOOGLE, "models/gemini-2.5-pro", "gemini-2.5-pro", ("resource_path",)),
    (GOOGLE, "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro", ("resource_path",)),
    (
        GOOGLE,
        "projects/p/locations/l/publishers/google/models/gemini-2.5-pro",
        "gemini-2.5-pro",
        ("resource_path",),
    ),
    (GOOGLE, "gemini/gemini-2.5-pro", "gemini-2.5-pro", ("provider_prefix",)),
    (
        BEDROCK,
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0",
        "anthropic.claude-x-v1:0",
        ("resource_path",),
    ),
]

UNRESOLVED = [
    (OPENAI, ""),
    (OPENAI, "my-prod-deployment"),
    (OPENAI, "gpt-4o-mini-foo"),
    (OPENAI, "gpt-4"),
    (OPENAI, "gpt-4-1"),  # Separators are equal for anthropic only.
    (OPENAI, "ft:gpt-4o:acme::abc"),  # The base has a price and its fine-tunes have none.
    (OPENAI, "ft:gpt-4o-2024-08-06"),
    (OPENAI, ":batch"),
    (OPENAI, "gpt-4o:free"),
    (OPENAI, "gpt-4o-2024-05-13"),  # A date with a price of its own, which this catalogue lacks.
    (OPENAI, "gpt-4.1-2025-04-14"),  # Known to have no price.
    (OPENAI, "gpt-4o-2024-13-01"),
    (OPENAI, "anthropic/gpt-4o"),
    (ANTHROPIC, "claude-sonnet"),
    (ANTHROPIC, "claude-sonnet-5-latest"),
    (ANTHROPIC, "claude-sonnet-5-20260199"),
    (BEDROCK, "us.anthropic.claude-x-v1:0"),
    (BEDROCK, "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.claude-x-v1:0"),
    (BEDROCK, "arn:aws:bedrock:us-east-1:1:custom-model/anthropic.claude-x-v1:0"),
]


@pytest.mark.parametrize(("name", "parts"), SPLITS)
def test_only_a_known_provider_is_split_off_a_name(name: str, parts: tuple[str | None, str]) -> None:
    assert split_provider(name) == parts


@pytest.mark.parametrize(("names", "requested", "model", "steps"), RESOLUTIONS)
def test_a_name_resolves_by_named_steps(
    names: ProviderNames, requested: str, model: str, steps: tuple[str, ...]
) -> None:
    resolved = resolve(requested, names=names)
    assert resolved is not None
    assert (resolved.provider, resolved.model, resolved.requested) == (names.provider, model, requested)
    assert resolved.steps == steps


TUNED = provider_names("openai", {"ft:gpt-4.1": (), "gpt-4.1": (), "gpt-fast": ()})
MODIFIED = [
    ("gpt-4.1:batch", "gpt-4.1", ("modifier",), (("processing", "batch"),)),
    ("GPT-4.1-fast", "gpt-4.1", ("modifier",), (("speed", "fast"),)),
    ("gpt-fast", "gpt-fast", (), ()),  # Listed: part of the name.
    ("ft:gpt-4.1:acme::x1", "ft:gpt-4.1", ("fine_tune",), ()),
    ("ft:gpt-4.1:acme:name:x1", "ft:gpt-4.1", ("fine_tune",), ()),
    ("models/ft:gpt-4.1:acme::x1", "ft:gpt-4.1", ("resource_path", "fine_tune"), ()),
]


@pytest.mark.parametrize(("requested", "model", "steps", "modifiers"), MODIFIED)
def test_a_modifier_becomes_a_condition_and_a_fine_tune_its_own_price(
    requested: str, model: str, steps: tuple[str, ...], modifiers: tuple[tuple[str, str], ...]
) -> None:
    resolved = resolve(requested, names=TUNED)
    assert resolved is not None
    assert (resolved.model, resolved.steps, resolved.modifiers) == (model, steps, modifiers)


@pytest.mark.parametrize(("names", "requested"), UNRESOLVED)
def test_a_name_that_is_neither_exact_nor_declared_stays_unresolved(
    names: ProviderNames, requested: str
) -> None:
    assert resolve(requested, names=names) is None


def test_a_name_that_two_models_could_mean_is_refused() -> None:
    names = provider_names("anthropic", {"claude-4-5": ("old",), "claude-4.5": ("old",)})
    assert resolve("old", names=names) is None
    assert resolve("CLAUDE-4-5", names=names) is not None  # Each id still names itself.
    assert names.separated.get("claude-4-5") is None


def test_an_id_beats_an_alias_of_the_same_text() -> None:
    names = provider_names("openai", {"a": ("b",), "b": ()})
    resolved = resolve("b", names=names)
    assert resolved is not None
    assert resolved.model == "b"


@pytest.mark.parametrize(("called", "ours"), [("azure_ai", "azure"), ("bedrock_converse", "bedrock")])
def test_a_provider_called_by_how_it_is_reached_is_the_provider(called: str, ours: str) -> None:
    assert split_provider(f"{called}/some-model") == (ours, "some-model")


def test_no_provider_alias_leads_to_another_alias() -> None:
    assert not set(PROVIDER_ALIASES.values()) & set(PROVIDER_ALIASES)


@given(st.sampled_from(RESOLUTIONS))
def test_resolving_a_resolved_name_changes_nothing(
    case: tuple[ProviderNames, str, str, tuple[str, ...]],
) -> None:
    names, requested, _, _ = case
    first = resolve(requested, names=names)
    assert first is not None
    again = resolve(first.model, names=names)
    assert again is not None
    assert (again.model, again.steps) == (first.model, ())


@given(st.text(max_size=40), st.sampled_from(sorted(OPENAI.ids)))
def test_text_appended_to_a_name_never_reaches_its_price(suffix: str, model: str) -> None:
    resolved = resolve(f"{model}{suffix}", names=OPENAI)
    assert resolved is None or resolved.steps or not suffix or resolved.model == f"{model}{suffix}"
