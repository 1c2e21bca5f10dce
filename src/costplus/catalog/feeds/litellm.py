"""LiteLLM's price map: flat keys by grammar, plus its nested prices, windows, multipliers and allowances.

Rule 1: the undated file is one price per entry; figures are USD per unit.
Rule 2: a range of prompt sizes is strict at its lower end and open at the last upper end.
Rule 3: hours are UTC; weekdays of another zone are moved to UTC where the zone's offset is fixed.
Rule 4: amounts in another unit of account (DBU) are named, never converted.
Source: spec "prices", §1.3 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from costplus.catalog.condition import DAY_MINUTES, Condition, among, window
from costplus.catalog.feeds.litellm_key import parse_key
from costplus.catalog.feeds.stated import (
    Draft,
    Keys,
    Raw,
    StatedPrice,
    component_order,
    exact,
    is_figure,
    unit_of,
)
from costplus.catalog.price import Allowance, Component, Multiplier

_PRICES = re.compile(r"_cost|cost_per|_multiplier|pricing|search_free|billing_unit|provider_specific_entry")
_UPLIFT = re.compile(r"regional_processing_uplift_multiplier_(?P<region>[a-z]+)")
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
_REGION = re.compile(r"[a-z]{2}")
_OFFSETS: Mapping[str, int] = {"UTC": 0, "Asia/Shanghai": 8 * 60}  # Minutes ahead, all year.
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SIZES = ("low", "medium", "high")


def feed(entries: Mapping[str, Raw], *, keys: Keys) -> Iterator[StatedPrice]:
    """Yield the price of every entry but the file's own specimen."""
    for name, entry in entries.items():
        if name != "sample_spec" and isinstance(entry, Mapping) and "litellm_provider" in entry:
            yield entry_price(name, entry, keys=keys)


def entry_price(name: str, entry: Raw, *, keys: Keys) -> StatedPrice:
    """Return the price that one entry states."""
    draft = Draft(keys)
    for key, value in entry.items():
        if _PRICES.search(key):
            _read(key, value, entry, draft)
    return StatedPrice(
        provider=entry["litellm_provider"],
        model=name,
        components=component_order(draft.components),
        multipliers=tuple(draft.multipliers),
        allowances=tuple(draft.allowances),
        unmapped=tuple(sorted(draft.unmapped)),
        pointer=f"/{name.replace('~', '~0').replace('/', '~1')}",
        evidence_url=str(entry.get("source", "")),
    )


def _read(key: str, value: Any, entry: Raw, draft: Draft) -> None:
    """Read one price key into the draft, or name it as not understood."""
    uplift = _UPLIFT.fullmatch(key)
    if key == "tiered_pricing":
        _ranges(value, entry, draft)
    elif key == "off_peak_pricing":
        _off_peak(value, entry, draft)
    elif key == "search_context_cost_per_query":
        draft.know(key)
        draft.components += _searches(value)
    elif key == "search_free_requests":
        draft.know(key)
        pool = str(value.get("shared_group", ""))
        draft.allowances.append(Allowance("web_search", int(value["count"]), value["period"], pool))
    elif key == "web_search_billing_unit":
        draft.know(key)  # By the query or by the answer: the readers count what their vendor bills.
    elif key == "regional_endpoint_uplift_multiplier":
        draft.know(key)
        draft.multipliers.append(Multiplier(exact(value), (among("endpoint_scope", ["regional"]),)))
    elif uplift:
        draft.know("regional_processing_uplift_multiplier")
        draft.multipliers.append(Multiplier(exact(value), (among("region", [uplift["region"]]),)))
    elif key == "provider_specific_entry":
        _specific(value, draft)
    else:
        draft.components += _figure(key, value, (), entry, draft)


def _figure(
    key: str, value: Any, when: tuple[Condition, ...], entry: Raw, draft: Draft
) -> Iterator[Component]:
    """Yield the component of a plain key with its figure."""
    is_price = isinstance(value, Decimal) and is_figure(value)
    known = parse_key(key, mode=entry.get("mode", "")) if is_price else None
    if known is None:
        draft.miss(key)
        return
    draft.know(key)
    per = max(known.per, unit_of(known.meter))
    yield Component(known.meter, exact(value * per / known.per), per, (*known.when, *when))


def _ranges(value: Any, entry: Raw, draft: Draft) -> None:
    """Read prices by ranges of the prompt's size."""
    for priced in value:
        bounds = priced.get("range")
        if bounds is None:  # Ranges of something else, such as how many results were asked for.
            draft.miss("tiered_pricing." + next((k for k in priced if k.endswith("_range")), "range"))
            continue
        low = int(bounds[0])
        when = (Condition("prompt_tokens", "gt", low),) if low else ()
        for key, figure in priced.items():
            if key != "range":
                draft.components += _figure(key, figure, when, entry, draft)


def _off_peak(value: Raw, entry: Raw, draft: Draft) -> None:
    """Read the cheaper hours of the week."""
    offset = _OFFSETS.get(value.get("weekday_timezone", "UTC"))
    if offset is None:
        draft.miss("off_peak_pricing.weekday_timezone")
        return
    texts = []
    for span in value.get("windows", [value]):  # Older entries have one window and name its hours themselves.
        hours = [span["hours_utc"]] if isinstance(span["hours_utc"], str) else span["hours_utc"]
        days = [_weekday(day) for day in span.get("weekdays", _DAYS)]
        texts += [text for each in hours for text in _weekly(each, days, offset)]
    when = (among("request_time", texts),)
    for key, figure in value.items():
        if key not in ("windows", "weekday_timezone", "hours_utc", "weekdays"):
            draft.components += _figure(key, figure, when, entry, draft)


def _weekday(day: Decimal | int | str) -> int:
    """Return an ISO weekday, which some entries write as a number and some as a word."""
    return _DAYS.index(day[:3].lower()) + 1 if isinstance(day, str) else int(day)


def _weekly(hours: str, days: list[int], offset: int) -> Iterator[str]:
    """Yield the UTC windows of hours that count on weekdays of a zone `offset` minutes ahead."""
    match = _HOURS.fullmatch(hours)
    assert match is not None, hours
    first, start_minute, last, end_minute = map(int, match.groups())
    start = first * 60 + start_minute
    end = (last * 60 + end_minute) or DAY_MINUTES
    midnight = DAY_MINUTES - offset if offset else DAY_MINUTES  # Of the zone, in UTC.
    for low, high, back in ((start, min(end, midnight), 0), (max(start, midnight), end, 1)):
        if low < high:
            yield window("".join(sorted(str((day - 1 - back) % 7 + 1) for day in days)), start=low, end=high)


def _searches(value: Raw) -> list[Component]:
    figures = {size: exact(value[f"search_context_size_{size}"] * 1000) for size in _SIZES}
    if len(set(figures.values())) == 1:
        return [Component("web_search", figures["low"], 1000)]
    return [
        Component("web_search", figure, 1000, (among("search_context_size", [size]),))
        for size, figure in figures.items()
    ]


def _specific(value: Raw, draft: Draft) -> None:
    """Read factors by region or speed; other entries of this key are not prices."""
    for word, factor in value.items():
        if not isinstance(factor, Decimal) or not (word == "fast" or _REGION.fullmatch(word)):
            draft.miss(f"provider_specific_entry.{word}")
            continue
        draft.know(f"provider_specific_entry.{word}")
        field = among("speed", [word]) if word == "fast" else among("region", [word])
        draft.multipliers.append(Multiplier(exact(factor), (field,)))
