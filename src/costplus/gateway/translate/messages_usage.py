"""What was used, as Anthropic counts it: exclusive counts beside each other.

Rule 1: every token leaf is in exactly one of the counts: input, read from the cache, written to it, output.
Rule 2: a cache of twelve hours, which Anthropic has not, counts as one of an hour: the longest that it names.
Rule 3: unknown usage is two zeros and no word of the cache. Clients demand the two numbers, and some refuse
an answer without; usage that is known always states the cache's counts, be they zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costplus.core.usage import INPUT_LEAVES, Usage

_CACHED = frozenset(leaf for leaf in INPUT_LEAVES if leaf.startswith("cached_"))
_WRITTEN_5M = frozenset({"cache_write_5m"})
_WRITTEN_1H = frozenset({"cache_write_1h", "cache_write_12h"})
_PLAIN = INPUT_LEAVES - _CACHED - _WRITTEN_5M - _WRITTEN_1H

UNKNOWN: Mapping[str, Any] = {"input_tokens": 0, "output_tokens": 0}


def usage_block(usage: Usage | None) -> Mapping[str, Any]:
    """Return the `usage` of an answer; None: it is not known."""
    if usage is None:
        return UNKNOWN

    def summed(leaves: frozenset[str]) -> int:
        return sum(quantity for leaf, quantity in usage.quantities.items() if leaf in leaves)

    five_minutes, one_hour = summed(_WRITTEN_5M), summed(_WRITTEN_1H)
    block: dict[str, Any] = {
        "input_tokens": summed(_PLAIN),
        "cache_creation_input_tokens": five_minutes + one_hour,
        "cache_read_input_tokens": summed(_CACHED),
        "cache_creation": {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": one_hour},
        "output_tokens": usage.output_tokens,
    }
    if reasoning := usage.quantities.get("reasoning", 0):
        block["output_tokens_details"] = {"thinking_tokens": reasoning}
    if searches := usage.quantities.get("web_search", 0):
        block["server_tool_use"] = {"web_search_requests": searches}
    return block
