"""How the name a caller sends becomes a (provider, model) of the catalogue.

Rule 1: exact or declared, never by likeness: no prefix, substring or nearest match.
Rule 2: every rewriting of the name is a named step of the result, so that a price can be explained.
Rule 3: the provider is given, never guessed from the model; the same model costs differently elsewhere.
Rule 4: a fine-tune is its own `ft:base`, never the base. A modifier (`:batch`, `-fast`) becomes a condition
that the price must cover: it is never dropped.
Source: spec "prices", §8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from costplus.catalog.condition import Field

PROVIDER_ALIASES: Mapping[str, str] = {
    "aws": "bedrock",
    "azure_ai": "azure",
    "bedrock_converse": "bedrock",
    "gemini": "google",
    "mistralai": "mistral",
    "x-ai": "xai",
}

# fmt: off
PROVIDERS = frozenset([
    "anthropic", "arcee", "avian", "azure", "baseten", "bedrock", "cerebras", "cloudflare", "cohere",
    "cursor", "databricks", "deepseek", "doubleword", "elevenlabs", "fireworks", "github-copilot", "google",
    "groq", "huggingface_cerebras", "huggingface_fireworks-ai", "huggingface_groq", "huggingface_hyperbolic",
    "huggingface_nebius", "huggingface_novita", "huggingface_nscale", "huggingface_ovhcloud",
    "huggingface_publicai", "huggingface_sambanova", "huggingface_together", "meta", "minimax", "mistral",
    "modal", "moonshotai", "novita", "openai", "openai-decisions", "openrouter", "ovhcloud", "perplexity",
    "quicksilverpro", "together", "typesafe", "voyageai", "xai", "zai", "zhipuai",
])
# fmt: on

# Vendors whose dated names cost what the undated name costs, with the form of their dates.
_DAY = r"(?:0[1-9]|1[0-2]){0}(?:0[1-9]|[12]\d|3[01])"
_DATED: Mapping[str, re.Pattern[str]] = {
    "anthropic": re.compile(r"(?P<undated>.+)[-@]20\d\d" + _DAY.format("")),
    "openai": re.compile(r"(?P<undated>.+)-20\d\d-" + _DAY.format("-")),
}
# Dated names with a price of their own: they count only where the catalogue lists them.
DATE_MATTERS = frozenset(
    {
        "gpt-4o-2024-05-13",
        "gpt-4o-audio-preview-2024-10-01",
        "gpt-4o-realtime-preview-2024-10-01",
    }
)
# `4.5` and `4-5` are the same version for these vendors.
_SEPARATORS_EQUAL = frozenset({"anthropic"})

# What Bedrock puts before a model's name for where it runs; `regional` stands for any single one.
REGIONS = ("apac", "au", "ca", "eu", "in", "jp", "regional", "us", "us-gov")

# Suffixes that are no part of a model's name: what they ask for. A name that is listed with one is exact.
_MODIFIERS: tuple[tuple[str, Field, str], ...] = (
    (":batch", "processing", "batch"),
    ("-fast", "speed", "fast"),
)
_FINE_TUNED = re.compile(r"(?P<base>ft:[^:]+):[^:]*:[^:]*(?::[^:]*)?")

_RESOURCE_PATHS = (
    ("models_path", re.compile(r"models/(?P<model>[^/]+)")),
    (
        "publisher_path",
        re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/(?P<model>[^/]+)"),
    ),
    ("account_path", re.compile(r"accounts/fireworks/models/(?P<model>[^/]+)")),
    ("arn", re.compile(r"arn:aws:bedrock:[^/]*:(?:foundation-model|inference-profile)/(?P<model>[^/]+)")),
)


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """The catalogue's model behind a requested name, and the steps that led there (none: it was exact)."""

    provider: str
    model: str
    requested: str
    steps: tuple[str, ...] = ()
    modifiers: tuple[tuple[Field, str], ...] = ()  # What the name asks for besides the model.


@dataclass(frozen=True, slots=True)
class ProviderNames:
    """Every name one provider's models may be called by, each with the model's id."""

    provider: str
    ids: frozenset[str]
    declared: Mapping[str, str]  # Lower-cased ids and aliases.
    separated: Mapping[str, str]  # The same with equal separators; ambiguous ones are left out.
    unpriced: frozenset[str] = frozenset()  # Known without a price: never another model's name.


def canonical_provider(name: str) -> str:
    """Return our id of a provider called by its own name or a declared alias."""
    lowered = name.strip().lower()
    return PROVIDER_ALIASES.get(lowered, lowered)


def split_provider(name: str) -> tuple[str | None, str]:
    """Split `provider/model` where its head is a known provider, else return (None, name)."""
    head, slash, model = name.partition("/")
    provider = canonical_provider(head)
    if slash and model and provider in PROVIDERS:
        return provider, model
    return None, name


def provider_names(
    provider: str, models: Mapping[str, Iterable[str]], *, unpriced: Iterable[str] = ()
) -> ProviderNames:
    """Index the names of a provider's models; `models` maps each id to its declared aliases.

    An id beats an alias of the same text. An alias that two models declare names neither.
    """
    declared = _unambiguous((alias.lower(), model) for model, aliases in models.items() for alias in aliases)
    declared |= _unambiguous((model.lower(), model) for model in models)
    separated: dict[str, str] = {}
    if provider in _SEPARATORS_EQUAL:
        separated = _unambiguous((_with_dashes(name), model) for name, model in declared.items())
    known = frozenset(name.lower() for name in unpriced)
    return ProviderNames(provider, frozenset(models), declared, separated, known)


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    named: dict[str, str] = {}
    refused: set[str] = set()
    for name, model in pairs:
        if named.setdefault(name, model) != model:
            refused.add(name)
    return {name: model for name, model in named.items() if name not in refused}


def resolve(requested: str, *, names: ProviderNames) -> ResolvedName | None:
    """Return the model that `requested` names at the provider, or None: exact or declared only."""
    found = _resolved(requested, requested, names)
    if found is not None:
        return found
    for suffix, field, word in _MODIFIERS:
        stem = requested.strip().lower().removesuffix(suffix)
        if stem and len(stem) < len(requested.strip()):
            found = _resolved(stem, requested, names)
            if found is not None:
                return replace(found, steps=("modifier", *found.steps), modifiers=((field, word),))
    return None


def _resolved(name: str, requested: str, names: ProviderNames) -> ResolvedName | None:
    if name in names.ids:
        return ResolvedName(names.provider, name, requested)
    steps = list[str]()
    for step, rewrite in _NORMALISERS:
        rewritten = rewrite(name, names.provider)
        if rewritten != name:
            name, steps = rewritten, [*steps, step]
        if name in names.unpriced:
            return None
        found = _declared(name, names)
        if found is not None:
            model, how = found
            return ResolvedName(names.provider, model, requested, (*steps, *how))
    return None


def _declared(name: str, names: ProviderNames) -> tuple[str, tuple[str, ...]] | None:
    """Find a normalised name as an id, an alias, or with the vendor's equal separators."""
    model = names.declared.get(name)
    if model is not None:
        return model, () if model.lower() == name else ("alias",)
    model = names.separated.get(_with_dashes(name))
    return None if model is None else (model, ("separators",))


def _trimmed(name: str, provider: str) -> str:
    return name.strip()


def _lower_cased(name: str, provider: str) -> str:
    return name.lower()


def _without_resource_path(name: str, provider: str) -> str:
    for _, pattern in _RESOURCE_PATHS:
        match = pattern.fullmatch(name)
        if match:
            return match["model"]
    return name


def _without_provider(name: str, provider: str) -> str:
    head, slash, model = name.partition("/")
    return model if slash and canonical_provider(head) == provider else name


def _without_job(name: str, provider: str) -> str:
    """Drop whose fine-tune it is: `ft:base:org:name:id` costs what the vendor asks for `ft:base`."""
    match = _FINE_TUNED.fullmatch(name)
    return match["base"] if match else name


def _undated(name: str, provider: str) -> str:
    """Drop the date of a vendor's dated name, unless that dated name has a price of its own."""
    pattern = _DATED.get(provider)
    match = pattern.fullmatch(name) if pattern and ":" not in name and name not in DATE_MATTERS else None
    return match["undated"] if match else name


def without_region(name: str) -> str | None:
    """Return a Bedrock name without its region prefix, None where it has none or one that nothing stands for.

    What the government's regions cost more is the vendor's own and known only where it is listed.
    """
    head, dot, base = name.strip().lower().partition(".")
    return base if dot and base and head in REGIONS and head != "us-gov" else None


def _with_dashes(name: str) -> str:
    return re.sub(r"(?<=\d)\.(?=\d)", "-", name)


_NORMALISERS: tuple[tuple[str, Callable[[str, str], str]], ...] = (
    ("trim", _trimmed),
    ("lower_case", _lower_cased),
    ("resource_path", _without_resource_path),
    ("provider_prefix", _without_provider),
    ("fine_tune", _without_job),
    ("undated", _undated),
)
