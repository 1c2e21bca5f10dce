"""Which provider and model LiteLLM's keys mean, in the catalogue's words.

Rule 1: a provider that is not listed here has no name with us; nothing is guessed from a key's text.
Rule 2: LiteLLM's own spellings of regions, commitments and picture sizes are no model names of the provider.
Source: spec "prices", §1.3 and 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from costplus.catalog.feeds.stated import Raw

LITELLM_PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure",
    "baseten": "baseten",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "bigmodel": "zhipuai",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "groq": "groq",
    "meta": "meta",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity",
    "together_ai": "together",
    "typesafe": "typesafe",
    "voyage": "voyageai",
    "xai": "xai",
    "zai": "zai",
}
DATA_ZONE = re.compile(r"(?:us|eu|global)/[^/]+")  # Azure's regions, as LiteLLM writes them.
_NO_SLASHES = frozenset({"anthropic", "azure", "google", "openai"})  # Their models' names have none.


def own_name(key: str, entry: Raw) -> tuple[str, str] | None:
    """Return our provider and the provider's own name of the model, None where a key is neither's."""
    theirs = entry.get("litellm_provider")
    ours = LITELLM_PROVIDERS.get(theirs) if isinstance(theirs, str) else None
    name = key.removeprefix(f"{theirs}/")
    if ours is None or (ours == "bedrock" and "/" in name):
        return None
    return ours, name


def is_spelling(provider: str, name: str) -> bool:
    """Whether a name is LiteLLM's way to write a size or a region, which nobody calls the provider with."""
    return provider in _NO_SLASHES and "/" in name and not DATA_ZONE.fullmatch(name)


def litellm_by_provider(raw: Raw) -> dict[str, dict[str, Raw]]:
    """Return LiteLLM's entries by our provider ids, under the provider's own model names.

    Where two of its services sell a model, the one that is called like the provider counts.
    """
    found: dict[str, dict[str, Raw]] = {}
    for key, entry in raw.items():
        owner = own_name(key, entry)
        if owner is None:
            continue
        listed = found.setdefault(owner[0], {})
        if owner[1] not in listed or entry.get("litellm_provider") == owner[0]:
            listed[owner[1]] = entry
    return found
