"""Read two public price files as rates per leaf: genai-prices (with history) and LiteLLM's map.

Rule 1: pure; decoded JSON comes in, exact `Decimal` rates in USD per million (calls: per thousand) go out.
Rule 2: a price key that no leaf expresses is returned by name, never dropped.
Rule 3: genai-prices' match trees serve to prove aliases while building; nothing matches by likeness later.
Source: spec "prices", §1.2, 1.3 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from costplus.core.usage import ancestors

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
MILLION, THOUSAND = 1_000_000, 1_000

Raw = Mapping[str, Any]


GENAI_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "cache_audio_read_mtok": "cached_input_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "cache_image_read_mtok": "cached_input_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
    "output_reasoning_mtok": "reasoning",
    "web_searches_kcount": "web_search",
}
LITELLM_KEYS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "cache_read_input_audio_token_cost": "cached_input_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_image_token": "output_image",
    "cache_read_input_image_token_cost": "cached_input_image",
    "input_cost_per_video_token": "input_video",
    "output_cost_per_reasoning_token": "reasoning",
}
LITELLM_TIER = re.compile(r"(?P<key>.+)_above_(?P<thousands>\d+)k_tokens")
LITELLM_PRICED_BY = re.compile(r"_cost|_multiplier|provider_specific_entry|pricing")
LITELLM_PROVIDERS = {
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

Rates = dict[tuple[str, int | None], Decimal]  # (leaf, above how many prompt tokens) → USD per million.


def exact(value: Decimal | str) -> Decimal:
    """Return the figure that was meant: of over 12 digits, 9 are kept where they say the same to 1e-9."""
    raw = Decimal(value).normalize()
    if len(raw.as_tuple().digits) <= 12 or not raw:
        return raw
    repaired = Decimal(f"{raw:.8e}").normalize()
    return repaired if abs(repaired - raw) < abs(raw) * Decimal("1e-9") else raw


def genai_rates(prices: Raw) -> tuple[Rates, set[str]]:
    """Return the rates of one price and the keys that no leaf expresses."""
    rates: Rates = {}
    unmapped: set[str] = set()
    for key, value in prices.items():
        leaf = GENAI_KEYS.get(key)
        if leaf is None:
            unmapped.add(key)
        elif isinstance(value, dict):
            rates[leaf, None] = exact(value["base"])
            for tier in value["tiers"]:
                rates[leaf, int(tier["start"])] = exact(tier["price"])
        else:
            rates[leaf, None] = exact(value)
    return rates, unmapped


def genai_timeline(prices: Any, *, taken_on: date) -> list[tuple[datetime, Rates, set[str]]]:
    """Return (valid from, rates, unmapped keys) in time order.

    Windows of the day belong to the newest price in force; each leaf takes its dearest window, so that a
    sale is never below cost whatever the hour.
    """
    if isinstance(prices, dict):
        return [(ALWAYS, *genai_rates(prices))]
    timeline: list[tuple[datetime, Rates, set[str]]] = []
    windows: list[tuple[Rates, set[str]]] = []
    for item in prices:
        constraint = item.get("constraint") or {}
        if "start_time" in constraint:
            windows.append(genai_rates(item["prices"]))
            continue
        since = constraint.get("start_date")
        start = ALWAYS if since is None else datetime.fromisoformat(since).replace(tzinfo=UTC)
        timeline.append((start, *genai_rates(item["prices"])))
    starts = [start for start, _, _ in timeline]
    assert starts[0] == ALWAYS and starts == sorted(set(starts)), starts
    if windows:
        _, rates, unmapped = next(entry for entry in reversed(timeline) if entry[0].date() <= taken_on)
        for window, window_unmapped in windows:
            unmapped |= window_unmapped | {"time_windows"}
            for key, amount in window.items():
                rates[key] = max(amount, rates.get(key, amount))
    return timeline


def variant_names(model: Raw) -> set[str]:
    """Name the price variants (batch, priority, …), which no component expresses."""
    conditions = [variant["when"] for variant in model.get("price_variants") or [] if variant["prices"]]
    return {f"price_variants:{key}={value}" for condition in conditions for key, value in condition.items()}


def matches(tree: Raw, name: str) -> bool:
    ((how, what),) = tree.items()
    if how in ("or", "and"):
        parts = (matches(part, name) for part in what)
        return any(parts) if how == "or" else all(parts)
    if how == "regex":
        return re.search(what, name) is not None
    wanted = what.lower()
    if how == "equals":
        return bool(name == wanted)
    if how == "starts_with":
        return name.startswith(wanted)
    if how == "ends_with":
        return name.endswith(wanted)
    assert how == "contains", how
    return wanted in name


def equal_names(tree: Raw) -> Iterable[str]:
    """Yield the names that the tree matches as a whole, on their own."""
    ((how, what),) = tree.items()
    if how == "equals":
        yield what.lower()
    elif how == "or":
        for part in what:
            yield from equal_names(part)


def first_match(models: list[Raw], name: str) -> str | None:
    return next((model["id"] for model in models if matches(model["match"], name.lower())), None)


def litellm_by_provider(raw: Raw) -> dict[str, dict[str, Raw]]:
    """Return LiteLLM's entries by our provider ids, under the provider's own model names."""
    found: dict[str, dict[str, Raw]] = {}
    for key, entry in raw.items():
        theirs = entry.get("litellm_provider")
        ours = LITELLM_PROVIDERS.get(theirs)
        if ours is None:
            continue
        name = key.removeprefix(f"{theirs}/")
        if ours == "bedrock" and "/" in name:  # Commitments and regions of LiteLLM's own spelling.
            continue
        found.setdefault(ours, {}).setdefault(name, entry)
    return found


def litellm_rates(entry: Raw) -> tuple[Rates, set[str]]:
    """Return the rates of one entry in USD per million, and its price keys that no leaf expresses."""
    rates: Rates = {}
    unmapped: set[str] = set()
    for key, value in entry.items():
        tier = LITELLM_TIER.fullmatch(key)
        leaf = LITELLM_KEYS.get(tier["key"] if tier else key)
        if leaf is not None and isinstance(value, Decimal):
            rates[leaf, int(tier["thousands"]) * THOUSAND if tier else None] = exact(value * MILLION)
        elif LITELLM_PRICED_BY.search(key):
            unmapped.add(key)
    if entry.get("mode") == "embedding":
        rates.pop(("output", None), None)
    return rates, unmapped


def effective(rates: Rates, leaf: str, over: int | None) -> Decimal | None:
    """Return what a leaf costs in the tier `over`, from the leaf itself or the nearest ancestor."""
    for name in ancestors(leaf):
        tiers = [tier for owner, tier in rates if owner == name and (tier or 0) <= (over or 0)]
        if tiers:
            return rates[name, max(tiers, key=lambda tier: tier or 0)]
    return None
