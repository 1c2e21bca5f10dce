"""Vercel AI Gateway's model list: prices as strings in USD per token, with tiers by prompt size.

Rule 1: a tier holds from `min` tokens of the prompt on, below `max`; the whole request is at its price.
Rule 2: tiers that do not follow on each other are not understood, and the plain figure stays.
Source: spec "prices", §1.5 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from costplus.catalog.condition import Condition
from costplus.catalog.feeds.stated import MILLION, Draft, Keys, Raw, StatedPrice, component_order, exact
from costplus.catalog.price import Component

KEYS: Mapping[str, str] = {
    "input": "input",
    "output": "output",
    "input_cache_read": "cached_input",
    "input_cache_write": "cache_write_5m",
    "audio_input_token_cost": "input_audio",
    "audio_output_token_cost": "output_audio",
}
_TIERS = "_tiers"
_VARIES = "varies_by_provider"


def feed(models: Iterable[Raw], *, keys: Keys) -> Iterator[StatedPrice]:
    """Yield the price of every model that has one of its own."""
    for position, model in enumerate(models):
        if not is_dynamic(model["pricing"]):
            yield model_price(model, keys=keys, pointer=f"/data/{position}")


def is_dynamic(pricing: Raw) -> bool:
    """Whether the price depends on where the gateway sends the call."""
    return pricing.get(_VARIES) is True


def model_price(model: Raw, *, keys: Keys, pointer: str = "") -> StatedPrice:
    """Return the price that one model states."""
    draft = Draft(keys)
    pricing = model["pricing"]
    tiered = {key.removesuffix(_TIERS) for key, value in pricing.items() if key.endswith(_TIERS) and value}
    for key, value in pricing.items():
        if key == _VARIES or (key.endswith(_TIERS) and not value):
            continue
        meter = KEYS.get(key.removesuffix(_TIERS))
        if meter is None:
            draft.miss(f"pricing.{key}")
        elif key.endswith(_TIERS):
            _tiers(key, meter, value, draft)
        else:
            draft.know(f"pricing.{key}")
            if key not in tiered or not _follow(pricing[f"{key}{_TIERS}"]):
                draft.components.append(_component(meter, value, ()))
    return StatedPrice(
        provider="vercel",
        model=model["id"],
        components=component_order(draft.components),
        unmapped=tuple(sorted(draft.unmapped)),
        pointer=pointer,
    )


def _tiers(key: str, meter: str, tiers: list[Raw], draft: Draft) -> None:
    if not _follow(tiers):
        draft.miss(f"pricing.{key}")
        return
    draft.know(f"pricing.{key}")
    for tier in tiers:
        first = int(tier.get("min") or 0)
        when = (Condition("prompt_tokens", "gt", first - 1),) if first else ()
        draft.components.append(_component(meter, tier["cost"], when))


def _follow(tiers: list[Raw]) -> bool:
    """Whether tiers begin at nothing, each where the one before ends, and the last is open."""
    bounds = [(int(tier.get("min") or 0), tier.get("max")) for tier in tiers]
    starts = [first for first, _ in bounds]
    ends = [None if last is None else int(last) for _, last in bounds]
    return starts[0] == 0 and [*starts[1:], None] == ends and starts == sorted(set(starts))


def _component(meter: str, value: Decimal | str, when: tuple[Condition, ...]) -> Component:
    return Component(meter, exact(exact(value) * MILLION), MILLION, when)
