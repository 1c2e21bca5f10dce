"""The grammar of LiteLLM's price keys: what is counted, above which size or lifetime, in which service.

    {direction or cache operation}…{unit}[_above_{lifetime}][_above_{N}k_tokens][_{resolution}][_{service}]

Rule 1: parsed by grammar, never looked up: new thresholds, resolutions and services appear every month.
Rule 2: what does not parse as a whole is not understood.
Source: spec "prices", §1.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from costplus.catalog.condition import Condition, among

_CORE = re.compile(
    r"(?:(?P<direction>input|output)_cost_per_(?P<unit>(?:audio|video)_per_second|"
    r"(?:reasoning|audio|image|video)_token|text_message|token|character|image|pixel|second|query|request)"
    r"|(?P<cache>(?:explicit_)?cache_read|cache_creation)_input_(?:(?P<modality>audio|image|video)_)?token_cost"
    r"|(?P<fee>[a-z]+(?:_[a-z]+)*?)_cost_per_(?P<per>page|credit|session|query|token|1k_calls)"
    r"|(?P<plain>cost_per_second))"
)
_SUFFIX = re.compile(
    r"_above_(?P<hours>\d+)hr|_above_(?P<thousands>\d+)k_tokens|_above_(?P<seconds>\d+)s_interval"
    r"|_(?P<hit>cache_hit)|_(?P<resolution>\d+(?:\.\d+)?[pkK]?)|_(?P<service>[a-z]+)"
)
_TOKENS: Mapping[tuple[str, str], str] = {
    ("input", "token"): "input",
    ("output", "token"): "output",
    ("output", "reasoning_token"): "reasoning",
    ("input", "query"): "query",
    ("input", "request"): "request",
    ("input", "text_message"): "text_message",
    ("input", "audio_per_second"): "audio_second",
}
_FEES: Mapping[tuple[str, str], str] = {
    ("ocr", "page"): "page",
    ("annotation", "page"): "annotated_page",
    ("ocr", "credit"): "ocr_credit",
    ("code_interpreter", "session"): "code_interpreter_session",
    ("citation", "token"): "citation_token",
    ("google_maps_grounding", "query"): "maps_query",
    ("file_search", "1k_calls"): "file_search",
}
_SERVICES: Mapping[str, Condition] = {
    "batches": among("processing", ["batch"]),
    "batch": among("processing", ["batch"]),
}


@dataclass(frozen=True, slots=True)
class Key:
    """What a price key prices: a meter, the conditions, and per how many of the meter's units."""

    meter: str
    when: tuple[Condition, ...] = ()
    per: int = 1


def parse_key(text: str, *, mode: str = "") -> Key | None:
    """Return what a key means for an entry of that mode, None where the grammar does not know it."""
    core = _CORE.match(text)
    meter = _meter(core, mode) if core else None
    if core is None or meter is None:
        return None
    when: list[Condition] = []
    position = core.end()
    while position < len(text):
        suffix = _SUFFIX.match(text, position)
        if suffix is None:
            return None
        position = suffix.end()
        if suffix["hours"]:
            if meter != "cache_write_5m":
                return None
            meter = f"cache_write_{int(suffix['hours'])}h"
        elif suffix["hit"]:
            if meter != "input":
                return None
            meter = "cached_input"
        else:
            when.append(_condition(suffix))
    if len({condition.field for condition in when}) < len(when):
        return None
    return Key(meter, tuple(when), 1000 if core["per"] == "1k_calls" else 1)


def _condition(suffix: re.Match[str]) -> Condition:
    if suffix["thousands"]:
        return Condition("prompt_tokens", "gt", int(suffix["thousands"]) * 1000)
    if suffix["seconds"]:
        return Condition("media_seconds", "gt", int(suffix["seconds"]))
    if suffix["resolution"]:
        return among("resolution", [suffix["resolution"]])
    return _SERVICES.get(suffix["service"]) or among("service_tier", [suffix["service"]])


def _meter(core: re.Match[str], mode: str) -> str | None:
    if core["plain"]:
        return "second_output"
    if core["fee"]:
        return _FEES.get((core["fee"], core["per"]))
    if core["cache"]:
        return _cache_meter(core["cache"], core["modality"])
    direction, unit = core["direction"], core["unit"]
    if (direction, unit) == ("input", "query") and mode == "rerank":
        return "search_unit"
    if (direction, unit) == ("input", "second") and mode == "audio_transcription":
        return "audio_second"
    known = _TOKENS.get((direction, unit))
    if known or unit in ("query", "request", "text_message", "reasoning_token", "audio_per_second"):
        return known
    if unit.endswith("_token"):
        return f"{direction}_{unit.removesuffix('_token')}"
    return f"{unit.replace('_per_', '_')}_{direction}"


def _cache_meter(operation: str, modality: str | None) -> str | None:
    if operation == "cache_creation":
        return f"cache_write_{modality}" if modality else "cache_write_5m"
    if operation == "explicit_cache_read":
        return None if modality else "explicit_cached_input"
    return f"cached_input_{modality}" if modality else "cached_input"
