"""Usage as a chat completions block: totals, and what of them was cached, thought or heard.

Source: OpenAI's API reference; `cache_write_tokens` as OpenRouter has it.
"""

from __future__ import annotations

from typing import Any

from costplus.core.usage import Usage


def usage_block(usage: Usage) -> dict[str, Any]:
    """Return the `usage` object."""
    prompt, completion = usage.input_tokens, usage.output_tokens
    leaves = usage.quantities
    inputs = {
        "cached_tokens": _sum(leaves, "cached_"),
        "cache_write_tokens": _sum(leaves, "cache_write_"),
        "audio_tokens": leaves.get("input_audio", 0) + leaves.get("cached_input_audio", 0),
    }
    outputs = {
        "reasoning_tokens": leaves.get("reasoning", 0),
        "audio_tokens": leaves.get("output_audio", 0),
    }
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": outputs,
    }


def _sum(leaves: Any, start: str) -> int:
    return sum(quantity for leaf, quantity in leaves.items() if leaf.startswith(start))
