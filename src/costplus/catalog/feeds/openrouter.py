"""OpenRouter's model list: prices as strings in USD per token, with overrides by prompt size and hour.

Rule 1: an override's conditions hold together; a prompt size is strict; hours are UTC, half-open and may run
past midnight. Of the overrides that hold, the last counts, key by key. One with an unknown test is left.
Rule 2: a discount is what is paid less, so the figures here are what is paid.
Rule 3: a negative figure says that the price depends on where the router sends the call: there is none.
Source: spec "prices", §1.5 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from costplus.catalog.condition import EVERY_DAY, Condition, among, window
from costplus.catalog.feeds.stated import Draft, Keys, Raw, StatedPrice, component_order, exact, unit_of
from costplus.catalog.price import Component

KEYS: Mapping[str, str] = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cached_input",
    "input_cache_write": "cache_write_5m",
    "input_cache_write_1h": "cache_write_1h",
    "internal_reasoning": "reasoning",
    "audio": "input_audio",
    "audio_output": "output_audio",
    "input_audio_cache": "cached_input_audio",
    "image_token": "input_image",
    "image_output": "output_image",
    "image": "image_input",
    "request": "request",
    "web_search": "web_search",
}
_TESTS = frozenset({"min_prompt_tokens", "utc_start", "utc_end", "utc_days"})
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def feed(models: Iterable[Raw], *, keys: Keys) -> Iterator[StatedPrice]:
    """Yield the price of every model that has one of its own."""
    for position, model in enumerate(models):
        if not is_dynamic(model["pricing"]):
            yield model_price(model, keys=keys, pointer=f"/data/{position}")


def is_dynamic(pricing: Raw) -> bool:
    """Whether the price is known only after the call, from what the answer says that it cost."""
    return any(Decimal(pricing[key]) < 0 for key in KEYS if key in pricing)


def model_price(model: Raw, *, keys: Keys, pointer: str = "") -> StatedPrice:
    """Return the price that one model states."""
    draft = Draft(keys)
    pricing = model["pricing"]
    paid = 1 - Decimal(pricing.get("discount") or 0)
    assert 0 < paid <= 1, paid
    figures = {key: value for key, value in pricing.items() if key not in ("discount", "overrides")}
    draft.components += _figures(figures, (), 0, paid, draft)
    overrides = pricing.get("overrides") or []
    for rank, override in zip(_ranks(overrides), overrides, strict=True):
        when = _conditions(override, draft)
        if when:
            told = {key: value for key, value in override.items() if key not in _TESTS}
            draft.components += _figures(told, when, rank, paid, draft)
    return StatedPrice(
        provider="openrouter",
        model=model["id"],
        components=component_order(draft.components),
        unmapped=tuple(sorted(draft.unmapped)),
        pointer=pointer,
    )


def _figures(
    figures: Raw, when: tuple[Condition, ...], rank: int, paid: Decimal, draft: Draft
) -> Iterator[Component]:
    for key, value in figures.items():
        meter = KEYS.get(key)
        if meter is None:
            draft.miss(f"pricing.{key}")
            continue
        draft.know(f"pricing.{key}")
        per = unit_of(meter)
        yield Component(meter, exact(exact(value) * per * paid), per, when, rank)


def _ranks(overrides: list[Raw]) -> list[int]:
    """Return the overrides' ranks: none where they are sizes in ascending order, which need no rank."""
    sizes = [int(override.get("min_prompt_tokens", 0)) for override in overrides]
    plain = all(_TESTS & set(override) == {"min_prompt_tokens"} for override in overrides)
    in_order = plain and sizes == sorted(set(sizes))
    return [0] * len(overrides) if in_order else list(range(1, len(overrides) + 1))


def _conditions(override: Raw, draft: Draft) -> tuple[Condition, ...]:
    """Return what must hold for an override; nothing, and that is named, where it cannot be told."""
    strange = sorted(set(override) - _TESTS - set(KEYS))
    if strange or ("utc_start" in override) != ("utc_end" in override):
        draft.miss(f"overrides.{'&'.join(strange) or 'utc'}")
        return ()
    when = list[Condition]()
    if "min_prompt_tokens" in override:
        when.append(Condition("prompt_tokens", "gt", int(override["min_prompt_tokens"])))
    if "utc_start" in override or override.get("utc_days"):
        start, end = _minute(override.get("utc_start", 0)), _minute(override.get("utc_end", 0))
        days = "".join(str(day) for day in sorted({_day(day) for day in override.get("utc_days") or ()}))
        when.append(among("request_time", [window(days or EVERY_DAY, start=start, end=end)]))
    if when:
        draft.know("overrides")
    else:
        draft.miss("overrides.unconditional")
    return tuple(when)


def _minute(text: object) -> int:
    """Return the minute of the day of a time written HHMM or HH:MM, as text or as a number."""
    digits = str(text).replace(":", "").zfill(4)
    assert len(digits) == 4 and digits.isdigit(), text
    hour, minute = int(digits[:2]), int(digits[2:])
    assert (hour < 24 and minute < 60) or digits == "2400", text
    return hour * 60 + minute


def _day(day: object) -> int:
    """Return an ISO weekday of a name or of a number that counts from Sunday as 0 or 7."""
    if isinstance(day, str) and not day.isdigit():
        return _DAYS.index(day[:3].lower()) + 1
    number = int(str(day))
    assert 0 <= number <= 7, day
    return number or 7
