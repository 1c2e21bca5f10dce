"""genai-prices (v2): dated prices, tiers by prompt size, variants by tier and batch, windows of the day.

Rule 1: a tier is strict: the whole request at the tier's price above `start` tokens of input.
Rule 2: the last dated price that has begun counts; of the variants of one condition, likewise.
Rule 3: windows of the day belong to the newest price in force. Where no time is known the dearest applies:
the price without a condition is the maximum, and the cheaper hours are conditions.
Source: spec "prices", §1.2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from costplus.catalog.condition import DAY_MINUTES, EVERY_DAY, WORDED, Condition, among, window
from costplus.catalog.context import STANDARD
from costplus.catalog.feeds.stated import (
    MILLION,
    THOUSAND,
    Draft,
    Keys,
    Raw,
    StatedPrice,
    component_order,
    exact,
)
from costplus.catalog.price import ALWAYS, Component

# The source's price key → our meter, and per how many of its units the figure is.
KEYS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input", MILLION),
    "output_mtok": ("output", MILLION),
    "cache_read_mtok": ("cached_input", MILLION),
    "cache_write_mtok": ("cache_write_5m", MILLION),
    "cache_write_1h_mtok": ("cache_write_1h", MILLION),
    "input_audio_mtok": ("input_audio", MILLION),
    "output_audio_mtok": ("output_audio", MILLION),
    "cache_audio_read_mtok": ("cached_input_audio", MILLION),
    "input_image_mtok": ("input_image", MILLION),
    "output_image_mtok": ("output_image", MILLION),
    "cache_image_read_mtok": ("cached_input_image", MILLION),
    "input_video_mtok": ("input_video", MILLION),
    "output_video_mtok": ("output_video", MILLION),
    "output_reasoning_mtok": ("reasoning", MILLION),
    "output_citation_mtok": ("citation_token", MILLION),
    "input_mchars": ("character_input", MILLION),
    "web_searches_kcount": ("web_search", THOUSAND),
    "storage_searches_kcount": ("file_search", THOUSAND),
    "requests_kcount": ("request", THOUSAND),
    "input_text_messages_kcount": ("text_message", THOUSAND),
    "input_document_kpages": ("page", THOUSAND),
    "input_annotated_document_kpages": ("annotated_page", THOUSAND),
    "audio_hours": ("audio_second", 3600),
    "input_audio_hours": ("audio_second", 3600),
}


def feed(providers: Sequence[Raw], *, taken_on: date, keys: Keys) -> Iterator[StatedPrice]:
    """Yield every price of every model, each model's in time order."""
    for number, provider in enumerate(providers):
        for position, model in enumerate(provider["models"]):
            pointer = f"/{number}/models/{position}"
            yield from model_prices(provider["id"], model, taken_on=taken_on, keys=keys, pointer=pointer)


def model_prices(
    provider: str, model: Raw, *, taken_on: date, keys: Keys, pointer: str = ""
) -> Iterator[StatedPrice]:
    """Yield the model's prices in time order."""
    dated, windows = _split(model["prices"])
    variants = [
        (_start(variant), variant) for variant in model.get("price_variants") or [] if variant["prices"]
    ]
    starts = sorted({start for start, _ in dated} | {start for start, _ in variants})
    in_force = max(start for start in starts if start.date() <= taken_on)
    for start in starts:
        draft = Draft(keys)
        base = [item for since, item in dated if since <= start][-1]
        if windows and start == in_force:
            draft.components += _by_the_hour(base, windows, draft)
        else:
            draft.components += _components(base, (), draft)
        for when, prices in _variants_at(variants, start, draft):
            draft.components += _components(prices, when, draft)
        yield StatedPrice(
            provider=provider,
            model=model["id"],
            components=component_order(draft.components),
            valid_from=start,
            unmapped=tuple(sorted(draft.unmapped)),
            pointer=pointer,
        )


def _start(item: Raw) -> datetime:
    since = (item.get("constraint") or {}).get("start_date")
    return ALWAYS if since is None else datetime.fromisoformat(since).replace(tzinfo=UTC)


def _split(prices: Any) -> tuple[list[tuple[datetime, Raw]], list[tuple[int, int, Raw]]]:
    """Return the dated prices in time order, and the windows of the day as (start, end, prices)."""
    items = [{"prices": prices}] if isinstance(prices, dict) else prices
    dated: list[tuple[datetime, Raw]] = []
    windows: list[tuple[int, int, Raw]] = []
    for item in items:
        constraint = item.get("constraint") or {}
        if "start_time" in constraint:
            start, end = _minute(constraint["start_time"]), _minute(constraint["end_time"])
            windows.append((start, end, item["prices"]))
        else:
            dated.append((_start(item), item["prices"]))
    starts = [start for start, _ in dated]
    assert starts[0] == ALWAYS and starts == sorted(set(starts)), starts
    return dated, windows


def _minute(text: str) -> int:
    at = time.fromisoformat(text)
    assert at.tzinfo is None or at.utcoffset() == ALWAYS.utcoffset(), text
    return at.hour * 60 + at.minute


def _components(prices: Raw, when: tuple[Condition, ...], draft: Draft) -> Iterator[Component]:
    """Yield one component per figure of a price."""
    for key, value in prices.items():
        known = KEYS.get(key)
        if known is None:
            draft.miss(key)
            continue
        draft.know(key)
        meter, per = known
        tiers = value if isinstance(value, dict) else {"base": value, "tiers": []}
        yield Component(meter, exact(tiers["base"]), per, when)
        for tier in tiers["tiers"]:
            over = Condition("prompt_tokens", "gt", int(tier["start"]))
            yield Component(meter, exact(tier["price"]), per, (*when, over))


def _variants_at(
    variants: Iterable[tuple[datetime, Raw]], start: datetime, draft: Draft
) -> Iterator[tuple[tuple[Condition, ...], Raw]]:
    """Yield the conditions and the prices of the variants that have begun, the newest of each condition."""
    newest: dict[tuple[Condition, ...], tuple[datetime, Raw]] = {}
    for since, variant in variants:
        if since > start:
            continue
        when = _conditions(variant["when"])
        if when is None:
            draft.miss(f"price_variants:{'&'.join(sorted(variant['when']))}")
        elif when not in newest or newest[when][0] < since:
            newest[when] = since, variant["prices"]
    for when, (_, prices) in newest.items():
        yield when, prices


def _conditions(when: Mapping[str, str]) -> tuple[Condition, ...] | None:
    """Return a variant's conditions, None where one of its fields is unknown."""
    found = []
    for name, word in when.items():
        field = next((worded for worded in WORDED if worded == name), None)
        if field is None:
            return None
        found.append(among(field, [STANDARD if word == "default" else word]))
    return tuple(found)


def _by_the_hour(base: Raw, windows: Sequence[tuple[int, int, Raw]], draft: Draft) -> Iterator[Component]:
    """Yield the dearest figure without a condition, and every cheaper one with its hours."""
    priced: dict[str, list[Component]] = {}
    for hours, prices in _hours(base, windows):
        for component in _components({**base, **prices}, (among("request_time", hours),), draft):
            assert len(component.when) == 1, component  # No source combines hours with prompt sizes.
            priced.setdefault(component.leaf, []).append(component)
    for components in priced.values():
        dearest = max(components, key=lambda component: component.unit_cost)
        yield Component(dearest.leaf, dearest.amount, dearest.per)
        yield from (c for c in components if c.unit_cost < dearest.unit_cost)


def _hours(base: Raw, windows: Sequence[tuple[int, int, Raw]]) -> list[tuple[list[str], Raw]]:
    """Return the hours of each different price: the last matching window counts, else the base."""
    edges = sorted({0} | {edge for start, end, _ in windows for edge in (start, end)})
    spans: list[tuple[list[str], Raw]] = []
    for start, end in zip(edges, [*edges[1:], DAY_MINUTES], strict=True):
        inside = [prices for first, last, prices in windows if _covers(first, last, start)]
        prices = inside[-1] if inside else base
        text = window(EVERY_DAY, start=start, end=end)
        known = next((hours for hours, other in spans if other == prices), None)
        if known is None:
            spans.append(([text], prices))
        else:
            known.append(text)
    return spans


def _covers(first: int, last: int, minute: int) -> bool:
    return first <= minute < last if first < last else minute >= first or minute < last
