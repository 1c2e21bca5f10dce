"""Anthropic messages: exclusive counts, cumulative in a stream, per iteration where there are several.

Rule 1: exclusive: input, cache reads and cache writes stand beside each other and are never subtracted.
Rule 2: cache writes split by lifetime; what the split does not explain is a 5-minute write.
Rule 3: thinking is inside the output total; where the provider counts it, it is the reasoning leaf.
Rule 4: iterations are summed per leaf, since the top level may omit some (compaction, advisor).
Rule 5: `message_delta` repeats the counts of `message_start` cumulatively; the later value of a field wins.
Without one, the output count is a placeholder and the usage is flagged `output_incomplete`.
Source: Anthropic's field definitions; gateway rules 3 and 5, threads 22 to 25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from costplus.core.usage import OTHER_MODEL, Usage, usage_of
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, SseReader
from costplus.gateway.wire.counts import (
    MALFORMED,
    NULL,
    UNREADABLE,
    block_in,
    compact,
    decode_or_none,
    detail_in,
    is_null,
    text_or_none,
    total_in,
)
from costplus.gateway.wire.sse import event_data
from costplus.gateway.wire.text import body_chars, text_chars

ITERATIONS = "iterations"  # The usage is a sum over several model runs; see `iteration_usages`.
OUTPUT_INCOMPLETE = "output_incomplete"  # The stream broke off before it counted its output.
ITERATIONS_BELOW_TOTAL = "iterations_below_total"  # They explain less than the top level bills.

Block = Mapping[str, Any]


class _Message(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    type: Any = None
    error: Any = None
    content: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL


class _Delta(msgspec.Struct, gc=False):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    error: Any = None
    delta: _Delta | None = None
    message: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL


_MESSAGE = msgspec.json.Decoder(_Message)
_EVENT = msgspec.json.Decoder(_Event)
_BLOCK = msgspec.json.Decoder(dict[str, Any])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class AnthropicMessagesJson(JsonReader):
    """Reads a `message` object."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        message = decode_or_none(_MESSAGE, body)
        if message is None:
            return EMPTY_READING
        raw_usage = b"" if is_null(message.usage) else compact(message.usage)
        usage, tier = usage_from_raw(raw_usage)
        return Reading(
            usage=usage,
            model=text_or_none(message.model),
            service_tier=tier,
            raw_usage=raw_usage,
            response_id=text_or_none(message.id),
            output_chars=body_chars(decode_or_none(_ANY, message.content)),
            complete=True,
            error=message.type == "error" or bool(message.error),
        )


class AnthropicMessagesSse(SseReader):
    """Reads a stream of message events."""

    __slots__ = ("_chars", "_counted", "_error", "_id", "_model", "_usage")

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._usage: dict[str, msgspec.Raw] = {}
        self._counted = False  # Whether a `message_delta` has counted the output.
        self._model: str | None = None
        self._id: str | None = None
        self._chars = 0
        self._error = False

    def _see(self, raw: bytes) -> bool:
        event = decode_or_none(_EVENT, event_data(raw))
        if event is None:
            return False
        if event.type == "content_block_delta":
            delta = event.delta
            if delta is not None:
                self._chars += text_chars(delta.text or delta.thinking or delta.partial_json)
        else:
            self._see_decoded(event)
        return False

    def _see_decoded(self, event: _Event) -> None:
        if event.type == "message_start":
            message = decode_or_none(_MESSAGE, event.message)
            if message is not None:
                self._model = text_or_none(message.model)
                self._id = text_or_none(message.id)
                self._merge(message.usage)
        elif event.type == "message_delta":
            self._merge(event.usage)
            self._counted = self._counted or not is_null(event.usage)
        elif event.type == "message_stop":
            self._complete = True
        elif event.type == "error" or event.error:
            self._error = True

    def _merge(self, raw_usage: msgspec.Raw) -> None:
        fields = decode_or_none(_FIELDS, raw_usage) or {}
        self._usage |= {name: value for name, value in fields.items() if not is_null(value)}

    def _reading(self) -> Reading:
        raw_usage = compact(msgspec.json.encode(self._usage)) if self._usage else b""
        usage, tier = usage_from_raw(raw_usage)
        if usage is not None and not self._counted:
            usage = Usage(usage.quantities, (*usage.flags, OUTPUT_INCOMPLETE))
        return Reading(
            usage=usage,
            model=self._model,
            service_tier=tier,
            raw_usage=raw_usage,
            response_id=self._id,
            output_chars=self._chars,
            complete=self._complete,
            error=self._error,
        )


def usage_from_raw(raw: bytes) -> tuple[Usage | None, str | None]:
    """Return the usage of a raw block and the service tier it names."""
    block = decode_or_none(_BLOCK, raw) if raw else None
    if block is None:
        return None, None
    return exclusive_usage(block), text_or_none(block.get("service_tier"))


def exclusive_usage(block: Block) -> Usage | None:
    """Return the leaves of `block`, None where its totals are absent or unreadable."""
    faults: list[str] = []
    leaves = _token_leaves(block, faults)
    if leaves is None:
        return None
    runs = block.get("iterations")
    if isinstance(runs, list) and runs:
        leaves = _summed(leaves, runs, faults)
    leaves["web_search"] = detail_in(block_in(block, "server_tool_use"), "web_search_requests", faults)
    return usage_of(leaves, flags=dict.fromkeys(faults))


def iteration_usages(raw_usage: bytes) -> tuple[tuple[str | None, Usage], ...]:
    """Return each iteration's model (None: the message's own) and usage, in order.

    Empty where the block names no iterations or one of them cannot be read. For pricing each run by
    its own model and context tier; per-call fees are at the top level only.
    """
    block = decode_or_none(_BLOCK, raw_usage) if raw_usage else None
    runs = block.get("iterations") if block else None
    usages: list[tuple[str | None, Usage]] = []
    for run in runs if isinstance(runs, list) else []:
        faults: list[str] = []
        leaves = _token_leaves(run, faults) if isinstance(run, dict) else None
        if leaves is None:
            return ()
        usages.append((text_or_none(run.get("model")), usage_of(leaves, flags=dict.fromkeys(faults))))
    return tuple(usages)


def _token_leaves(block: Block, faults: list[str]) -> dict[str, int] | None:
    """Return the token leaves of a usage block or of one iteration."""
    plain, output = total_in(block, "input_tokens"), total_in(block, "output_tokens")
    cached = total_in(block, "cache_read_input_tokens")
    written = total_in(block, "cache_creation_input_tokens")
    if UNREADABLE in (plain, output, cached, written) or (plain is None and output is None):
        return None
    output = output or 0
    thinking = detail_in(block_in(block, "output_tokens_details"), "thinking_tokens", faults)
    if thinking > output:
        faults.append("reasoning_exceeds_output")
        thinking = 0
    leaves = {"input": plain or 0, "cached_input": cached or 0}
    leaves |= _cache_writes(block_in(block, "cache_creation"), written, faults)
    leaves |= {"output": output - thinking, "reasoning": thinking}
    return leaves


def _cache_writes(split: Block, total: int | None, faults: list[str]) -> dict[str, int]:
    five_minutes = detail_in(split, "ephemeral_5m_input_tokens", faults)
    one_hour = detail_in(split, "ephemeral_1h_input_tokens", faults)
    if total is None:
        total = five_minutes + one_hour
    if five_minutes + one_hour > total:
        faults.append("cache_write_split_exceeds_total")
        one_hour = 0
    return {"cache_write_5m": total - one_hour, "cache_write_1h": one_hour}


def _summed(top: dict[str, int], runs: list[Any], faults: list[str]) -> dict[str, int]:
    """Return the leaves summed over `runs`, never less than the top level bills."""
    summed = dict.fromkeys(top, 0)
    for run in runs:
        leaves = _token_leaves(run, faults) if isinstance(run, dict) else None
        if leaves is None:
            faults.append(MALFORMED)
            return top
        for leaf, count in leaves.items():
            summed[leaf] += count
    if len(runs) > 1:
        faults.append(ITERATIONS)
    if any(run.get("model") for run in runs):
        faults.append(OTHER_MODEL)
    # Thinking is often counted at the top level only.
    if not summed["reasoning"] and top["reasoning"] <= summed["output"]:
        summed["reasoning"] = top["reasoning"]
        summed["output"] -= top["reasoning"]
    for base, leaves_of in _DIRECTIONS.items():
        missing = sum(top[leaf] for leaf in leaves_of) - sum(summed[leaf] for leaf in leaves_of)
        if missing > 0:
            faults.append(ITERATIONS_BELOW_TOTAL)
            summed[base] += missing
    return summed


_DIRECTIONS = {
    "input": ("input", "cached_input", "cache_write_5m", "cache_write_1h"),
    "output": ("output", "reasoning"),
}
