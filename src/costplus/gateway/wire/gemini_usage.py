"""Google's `usageMetadata` as disjoint leaves, and the searches a grounded answer is billed for.

Rule 1: the prompt count holds the cached tokens and every modality; the cache's modalities lie inside both.
Rule 2: thoughts and tool-use prompts come on top; thoughts are inside the candidates where only that adds
up to the total.
Rule 3: documents are text, and so is what no modality explains.
Rule 4: from Gemini 3 on every different search query has a fee, before that the grounded answer has one;
empty queries have none. Reading given pages is no search.
Source: Google's field definitions and price list; gateway rules 1, 6 and 7, threads 15, 17 and 36.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.counts import MALFORMED, UNREADABLE, block_in, detail_in, total_in
from costplus.gateway.wire.leaves import input_leaves, output_leaves
from costplus.gateway.wire.openai_usage import TOTAL_MISMATCH, UNATTRIBUTED

UNMETERED_MAPS = "unmetered_maps_grounding"
UNMETERED_RETRIEVAL = "unmetered_retrieval_grounding"

_MEDIA = {"AUDIO": "audio", "IMAGE": "image", "VIDEO": "video"}
_PROMPT_DETAILS = ("promptTokensDetails", "promptTokenDetails")  # Embeddings spell it the second way.
_GENERATION = re.compile(r"(?:.*/)?gemini-(\d+)")
_PER_QUERY_FROM = 3

Block = Mapping[str, Any]


def gemini_usage(
    block: Block, *, has_output: bool = True, calls: Mapping[str, int] | None = None
) -> Usage | None:
    """Return the leaves of `block`, None where its totals are absent or unreadable."""
    faults: list[str] = []
    prompt_media, prompt_sum = _modalities(block, _PROMPT_DETAILS, faults)
    made_media, made_sum = _modalities(block, ("candidatesTokensDetails",), faults)
    tool_media, tool_sum = _modalities(block, ("toolUsePromptTokensDetails",), faults)
    cached_media, cached_sum = _modalities(block, ("cacheTokensDetails",), faults)
    prompt = _total(block, "promptTokenCount", prompt_sum)
    candidates = _total(block, "candidatesTokenCount", made_sum)
    tools = _total(block, "toolUsePromptTokenCount", tool_sum)
    thoughts = _total(block, "thoughtsTokenCount", None)
    total = total_in(block, "totalTokenCount")
    if UNREADABLE in (prompt, candidates, tools, thoughts, total):
        return None
    if prompt is candidates is tools is thoughts is total is None:
        return None
    prompt, candidates, tools, thoughts = prompt or 0, candidates or 0, tools or 0, thoughts or 0
    rest = 0 if total is None else total - prompt - candidates - tools - thoughts
    if rest < 0 and -rest == thoughts <= candidates:
        candidates -= thoughts
    elif rest < 0:
        faults.append(TOTAL_MISMATCH)
    elif rest > 0:
        faults.append(UNATTRIBUTED)
        candidates, prompt = (candidates + rest, prompt) if has_output else (candidates, prompt + rest)
    leaves = input_leaves(
        prompt,
        cached=detail_in(block, "cachedContentTokenCount", faults) or cached_sum or 0,
        media=prompt_media,
        cached_media=cached_media,
        faults=faults,
    )
    _add_tool_prompts(leaves, tools, tool_media, faults)
    leaves |= output_leaves(
        candidates + thoughts,
        reasoning=thoughts,
        media=made_media,
        faults=faults,
    )
    return usage_of({**leaves, **(calls or {})}, flags=dict.fromkeys(faults))


def _total(block: Block, key: str, details_sum: int | None) -> int | None:
    """Return the count at `key`, what its details add up to where only they are given."""
    stated = total_in(block, key)
    return details_sum if stated is None else stated


def _modalities(block: Block, keys: Iterable[str], faults: list[str]) -> tuple[dict[str, int], int | None]:
    """Return the media tokens by kind, and the sum over all modalities (None: no details)."""
    details = next((block[key] for key in keys if block.get(key) is not None), None)
    if details is None:
        return {}, None
    media: dict[str, int] = {}
    summed = 0
    for detail in details if isinstance(details, list) else [None]:
        if not isinstance(detail, dict):
            faults.append(MALFORMED)
            continue
        count = detail_in(detail, "tokenCount", faults)
        summed += count
        kind = _MEDIA.get(str(detail.get("modality")).upper())
        if kind is not None:
            media[kind] = media.get(kind, 0) + count
    return media, summed


def _add_tool_prompts(
    leaves: dict[str, int], total: int, media: Mapping[str, int], faults: list[str]
) -> None:
    """Add what tools brought into the prompt; it is new input, never cached."""
    if sum(media.values()) > total:
        faults.append("tool_use_details_exceed_total")
        media = {}
    for kind, count in media.items():
        leaves[f"input_{kind}"] = leaves.get(f"input_{kind}", 0) + count
    leaves["input"] += total - sum(media.values())


class Grounding:
    """Collects what the candidates' grounding metadata show of calls with a fee."""

    __slots__ = ("_queries", "faults")

    def __init__(self) -> None:
        self._queries: set[str] = set()
        self.faults: list[str] = []

    def see(self, candidate: Mapping[str, Any]) -> None:
        """Take over one candidate's metadata; a stream may send them more than once."""
        metadata = block_in(candidate, "groundingMetadata")
        if not metadata:
            return
        queries = metadata.get("webSearchQueries")
        self._queries.update(q.strip() for q in queries or () if isinstance(q, str) and q.strip())
        if metadata.get("retrievalQueries"):
            self._flag(UNMETERED_RETRIEVAL)
        chunks = metadata.get("groundingChunks")
        if any(isinstance(chunk, dict) and "maps" in chunk for chunk in chunks or ()):
            self._flag(UNMETERED_MAPS)

    def searches(self, model: str | None) -> int:
        """Return how many searches are billed for an answer of `model`."""
        generation = _GENERATION.match(model or "")
        is_per_answer = generation is not None and int(generation[1]) < _PER_QUERY_FROM
        return min(1, len(self._queries)) if is_per_answer else len(self._queries)

    def _flag(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)
