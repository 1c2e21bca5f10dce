"""Bedrock's usage block as disjoint leaves.

Rule 1: exclusive: input, cache reads and cache writes stand beside each other; they add up to `totalTokens`.
Rule 2: reads and writes come under two spellings with the same count; one is taken, never both.
Rule 3: `cacheDetails` split the writes by lifetime; what they do not explain is a 5-minute write.
Rule 4: guardrail policies and server tools have fees that no leaf carries: flagged `unmetered_…`.
Source: AWS's field definitions; gateway rules 1 and 5, thread 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.counts import MALFORMED, UNREADABLE, block_in, detail_in, total_in
from costplus.gateway.wire.openai_usage import SERVER_TOOLS, TOTAL_MISMATCH, UNATTRIBUTED

UNMETERED_GUARDRAIL = "unmetered_guardrail"

_WRITE_LEAVES = {"5m": "cache_write_5m", "1h": "cache_write_1h"}
_HEADER = "x-amzn-bedrock-"

Block = Mapping[str, Any]


def converse_usage(block: Block) -> Usage | None:
    """Return the leaves of `block`, None where its totals are absent or unreadable."""
    faults: list[str] = []
    plain, output = _first(block, "inputTokens"), _first(block, "outputTokens")
    cached = _first(block, "cacheReadInputTokens")
    written = _first(block, "cacheWriteInputTokens")
    total = total_in(block, "totalTokens")
    if UNREADABLE in (plain, output, cached, written, total) or (plain is None and output is None):
        return None
    leaves = {"input": plain or 0, "cached_input": cached or 0, "output": output or 0}
    leaves |= _cache_writes(block.get("cacheDetails"), written or 0, faults)
    rest = 0 if total is None else total - sum(leaves.values())
    if rest < 0:
        faults.append(TOTAL_MISMATCH)
    elif rest > 0:
        faults.append(UNATTRIBUTED)
        leaves["output"] += rest
    if any(_is_count(count) for count in block_in(block, "serverToolUsage").values()):
        faults.append(SERVER_TOOLS)
    return usage_of(leaves, flags=dict.fromkeys(faults))


def _first(block: Block, key: str) -> int | None:
    """Return the count at `key` or at its other spelling (`…TokenCount`)."""
    stated = total_in(block, key)
    return total_in(block, key.removesuffix("s") + "Count") if stated is None else stated


def _cache_writes(details: Any, total: int, faults: list[str]) -> dict[str, int]:
    split = dict.fromkeys(_WRITE_LEAVES.values(), 0)
    for detail in details if isinstance(details, list) else ():
        leaf = _WRITE_LEAVES.get(str(detail.get("ttl"))) if isinstance(detail, dict) else None
        if leaf is None:
            faults.append(MALFORMED)
        else:
            split[leaf] += detail_in(detail, "inputTokens", faults)
    if sum(split.values()) > total:
        faults.append("cache_write_split_exceeds_total")
        split["cache_write_1h"] = 0
    return {**split, "cache_write_5m": total - split["cache_write_1h"]}


def guardrail_fault(trace: Block) -> list[str]:
    """Return the flag of guardrail policies that were applied for a fee; none were: an empty list."""
    pending: list[Any] = [block_in(trace, "guardrail")]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if key.endswith("Units") and not key.endswith("FreeUnits") and _is_count(value):
                    return [UNMETERED_GUARDRAIL]
                pending.append(value)
        elif isinstance(node, list):
            pending += node
    return []


def _is_count(value: object) -> bool:
    return type(value) is int and value > 0


def metrics_usage(block: Block) -> Usage | None:
    """Return the leaves of `amazon-bedrock-invocationMetrics`, which ends every invoked stream."""
    return converse_usage(
        {
            "inputTokens": block.get("inputTokenCount"),
            "outputTokens": block.get("outputTokenCount"),
            "cacheReadInputTokens": block.get("cacheReadInputTokenCount"),
            "cacheWriteInputTokens": block.get("cacheWriteInputTokenCount"),
        }
    )


def header_usage(headers: Mapping[str, str]) -> Usage | None:
    """Return the counts that an `invoke` answer has in its headers only (embeddings, foreign bodies).

    `headers` has lower-cased names.
    """

    def count(name: str) -> object:
        text = headers.get(f"{_HEADER}{name}-token-count")
        return int(text) if text is not None and text.isascii() and text.isdigit() else text

    return converse_usage(
        {
            "inputTokens": count("input"),
            "outputTokens": count("output"),
            "cacheReadInputTokens": count("cache-read-input"),
            "cacheWriteInputTokens": count("cache-write-input"),
        }
    )
