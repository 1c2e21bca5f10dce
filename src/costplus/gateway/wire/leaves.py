"""Totals that include their details, taken apart into disjoint leaves.

Rule 1: the leaves add up to the total; what no detail explains is the base leaf.
Rule 2: a detail above its total makes the block impossible: flagged, and the whole total is the base leaf.
Rule 3: media that only fit where the cache is counted too are left out, flagged: nothing is billed twice.
"""

from __future__ import annotations

from collections.abc import Mapping

MEDIA = ("audio", "image", "video")


def input_leaves(
    total: int,
    *,
    cached: int,
    written: int = 0,
    media: Mapping[str, int],
    cached_media: Mapping[str, int],
    faults: list[str],
) -> dict[str, int]:
    """Return the leaves of an input total; `media` are counted in it, `cached_media` in both."""
    if not media and not cached_media and cached + written <= total:  # What most blocks are.
        return {"input": total - cached - written, "cached_input": cached, "cache_write_5m": written}
    named = {"cached": cached, "cache_write": written, **media}
    exceeding = [f"{name}_exceeds_input" for name, count in named.items() if count > total]
    if not exceeding and cached + written > total:
        exceeding = ["cached_exceeds_input"]
    if exceeding:
        faults.extend(exceeding)
        return {"input": total}
    if not any(media.values()) and not any(cached_media.values()):
        return {"input": total - cached - written, "cached_input": cached, "cache_write_5m": written}
    in_cache = sum(cached_media.values())
    if in_cache > cached or any(count > media.get(kind, 0) for kind, count in cached_media.items()):
        faults.append("cached_modality_exceeds_total")
        cached_media, in_cache = {}, 0
    leaves = {"cached_input": cached - in_cache, "cache_write_5m": written}
    for kind, count in media.items():
        leaves[f"cached_input_{kind}"] = cached_media.get(kind, 0)
        leaves[f"input_{kind}"] = count - cached_media.get(kind, 0)
    rest = total - sum(leaves.values())
    if rest < 0:  # Cached media counted in both, with no split to tell them apart.
        faults.append("modality_overlaps_cache")
        return {"input": total - cached - written, "cached_input": cached, "cache_write_5m": written}
    return {**leaves, "input": rest}


def output_leaves(
    total: int, *, reasoning: int, media: Mapping[str, int], faults: list[str]
) -> dict[str, int]:
    """Return the leaves of an output total that holds its reasoning and its media."""
    if not media and reasoning <= total:
        return {"output": total - reasoning, "reasoning": reasoning}
    named = {"reasoning": reasoning, **media}
    exceeding = [f"{name}_exceeds_output" for name, count in named.items() if count > total]
    explained = sum(named.values())
    if not exceeding and explained > total:
        exceeding = ["details_exceed_output"]
    if exceeding:
        faults.extend(exceeding)
        return {"output": total}
    leaves = {f"output_{kind}": count for kind, count in media.items()}
    return {"output": total - explained, "reasoning": reasoning, **leaves}
