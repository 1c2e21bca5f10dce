"""OpenAI's usage block and its many relatives, as disjoint leaves.

Rule 1: inclusive: the input total holds cached, written, audio, image and video tokens; the output total
holds reasoning, audio, image, video and (rejected) prediction tokens. The rest is the base leaf.
Rule 2: reasoning on top of the output total is recognised by arithmetic: input + output + reasoning = total.
Rule 3: a detail above its total is flagged and the whole total goes to the base leaf.
Rule 4: tokens that only `total_tokens` knows (hidden thinking) go to the base output leaf, flagged.
Source: the providers' field definitions; gateway rule 1; recorded bodies of Groq, Mistral, DeepSeek, xAI,
OpenRouter, Together, Google, Z.ai, Cerebras, Crusoe, Snowflake, Azure and Bedrock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.counts import (
    MALFORMED,
    UNREADABLE,
    block_in,
    decode_or_none,
    detail_in,
    total_in,
)
from costplus.gateway.wire.leaves import MEDIA, input_leaves, output_leaves

UNATTRIBUTED = "unattributed_tokens"  # `total_tokens` counts more than input and output together.
TOTAL_MISMATCH = "total_mismatch"  # `total_tokens` counts less.
SERVER_TOOLS = "unmetered_server_tools"  # Fees that only the provider's own `cost` shows.
SOURCES = "num_sources_used"  # xAI's live search is paid by the source.

_BLOCK = msgspec.json.Decoder(dict[str, Any])

Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Names:
    """How one endpoint spells its totals and their details."""

    input: str
    output: str
    input_details: str
    output_details: str


_MEDIA_KEYS = tuple((kind, f"{kind}_tokens") for kind in MEDIA)

CHAT = Names("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details")
RESPONSES = Names("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")


def usage_from_raw(
    raw: bytes, names: Names, *, has_output: bool = True, calls: Mapping[str, int] | None = None
) -> tuple[Usage | None, str | None]:
    """Return the usage of a raw block and the service tier it may name.

    `calls` are per-call fees that the endpoint reports outside of its usage block.
    """
    block = decode_or_none(_BLOCK, raw) if raw else None
    if block is None:
        return None, None
    tier = block.get("service_tier")
    usage = inclusive_usage(block, names, has_output=has_output, calls=calls or {})
    return usage, tier if isinstance(tier, str) else None


def inclusive_usage(
    block: Block, names: Names, *, has_output: bool, calls: Mapping[str, int]
) -> Usage | None:
    """Return the leaves of `block`, None where its totals are absent or unreadable."""
    faults: list[str] = []
    names = _spelling(block, names)
    input_total, output_total = _input_total(block, names), total_in(block, names.output)
    if UNREADABLE in (input_total, output_total):
        return None
    all_total = _stated_total(block, faults)
    if input_total is None and output_total is None and all_total is None and SOURCES not in block:
        return None
    if input_total is None:  # Voyage states the total only.
        input_total = max(0, (all_total or 0) - (output_total or 0))
    details = block_in(block, names.output_details)
    reasoning = detail_in(details, "reasoning_tokens", faults)
    rest = 0 if all_total is None else all_total - input_total - (output_total or 0)
    if rest < 0:
        faults.append(TOTAL_MISMATCH)
    elif rest > 0 and not has_output:
        input_total += rest
        faults.append(UNATTRIBUTED)
    elif rest > 0:
        # Reasoning on top of the output (xAI) fills the gap exactly; a gap that nothing explains is
        # thinking that the provider does not itemise (Google's OpenAI-shaped endpoint).
        if rest != reasoning and output_total is not None:
            faults.append(UNATTRIBUTED)
        output_total = (output_total or 0) + rest
    quantities = _input_leaves(block, block_in(block, names.input_details), input_total, faults)
    quantities |= output_leaves(
        output_total or 0,
        reasoning=reasoning,
        media=_media(details, faults),
        faults=faults,
    )
    quantities["web_search"] = calls.get("web_search", 0) or _searches(block, faults)
    quantities["web_search_source"] = detail_in(block, SOURCES, faults)
    return usage_of(quantities, flags=dict.fromkeys(faults))


def _spelling(block: Block, names: Names) -> Names:
    """Return the other endpoint's names where the block is spelled that way."""
    if names.input in block or names.output in block:
        return names
    other = RESPONSES if names is CHAT else CHAT
    return other if other.input in block or other.output in block else names


def _input_total(block: Block, names: Names) -> int | None:
    stated = total_in(block, names.input)
    if stated is not None:
        return stated
    hit = total_in(block, "prompt_cache_hit_tokens")
    miss = total_in(block, "prompt_cache_miss_tokens")
    if hit is None or miss is None:
        return None
    return UNREADABLE if UNREADABLE in (hit, miss) else hit + miss


def _stated_total(block: Block, faults: list[str]) -> int | None:
    """Return `total_tokens`; an unreadable one is a fault, since nothing is billed by it alone."""
    total = total_in(block, "total_tokens")
    if total == UNREADABLE:
        faults.append(MALFORMED)
        return None
    return total


def _cached(block: Block, details: Block, faults: list[str]) -> int:
    """Return the cached tokens, once, however many fields repeat them."""
    if details.get("cached_tokens") is not None:
        return detail_in(details, "cached_tokens", faults)
    for key in ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens"):
        if block.get(key) is not None:  # DeepSeek, Mistral, Together.
            return detail_in(block, key, faults)
    return 0


def _input_leaves(block: Block, details: Block, total: int, faults: list[str]) -> dict[str, int]:
    cached = _cached(block, details, faults)
    written = detail_in(details, "cache_write_tokens", faults)
    split = block_in(details, "cached_tokens_details")
    return input_leaves(
        total,
        cached=cached,
        written=written,
        media=_media(details, faults),
        cached_media=_media(split, faults) if split else {},
        faults=faults,
    )


def _media(details: Block, faults: list[str]) -> dict[str, int]:
    """Return the tokens of each medium that has any."""
    counts = ((kind, detail_in(details, key, faults)) for kind, key in _MEDIA_KEYS)
    return {kind: count for kind, count in counts if count}


def _searches(block: Block, faults: list[str]) -> int:
    """Return OpenRouter's searches; other server tools have a fee that no leaf can carry."""
    if "server_tool_use" not in block and "server_tool_use_details" not in block:
        return 0
    tools = block_in(block, "server_tool_use_details") or block_in(block, "server_tool_use")
    searches = detail_in(tools, "web_search_requests", faults)
    if detail_in(tools, "tool_calls_executed", faults) > searches:
        faults.append(SERVER_TOOLS)
    return searches
