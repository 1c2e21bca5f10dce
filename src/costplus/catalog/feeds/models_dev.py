"""models.dev: one undated price per model in USD per million tokens, with tiers and experimental modes.

Rule 1: a tier of the context is strict and of the whole request. The older `context_over_200k` repeats the
first tier where tiers are listed; alone it begins at 200,000.
Rule 2: a mode is the condition that its request body names; a mode without one is not understood.
Rule 3: zero is kept as stated; whether it means free is for whoever uses the price.
Source: spec "prices", §1.4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from costplus.catalog.condition import Condition, among
from costplus.catalog.feeds.stated import (
    MILLION,
    Draft,
    Keys,
    Raw,
    StatedPrice,
    component_order,
    exact,
)
from costplus.catalog.price import Component

KEYS: Mapping[str, str] = {
    "input": "input",
    "output": "output",
    "cache_read": "cached_input",
    "cache_write": "cache_write_5m",
    "reasoning": "reasoning",
    "input_audio": "input_audio",
    "output_audio": "output_audio",
}
_LEGACY = "context_over_200k"


def feed(providers: Mapping[str, Raw], *, keys: Keys) -> Iterator[StatedPrice]:
    """Yield the price of every model that states one."""
    for provider, listed in providers.items():
        for name, model in listed["models"].items():
            if model.get("cost"):
                yield model_price(provider, name, model, keys=keys, doc=str(listed.get("doc", "")))


def model_price(provider: str, name: str, model: Raw, *, keys: Keys, doc: str = "") -> StatedPrice:
    """Return the price that one model states."""
    draft = Draft(keys)
    cost = model["cost"]
    _cost(cost, (), draft)
    tiers = cost.get("tiers") or []
    for tier in tiers:
        _tier(tier, draft)
    if _LEGACY in cost:
        draft.know(_LEGACY)
        repeated = any({k: v for k, v in tier.items() if k != "tier"} == cost[_LEGACY] for tier in tiers)
        if not tiers:
            _cost(cost[_LEGACY], (Condition("prompt_tokens", "gt", 200_000),), draft)
        elif not repeated:
            draft.miss(f"{_LEGACY}:unlike_tiers")
    experimental = model.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, Mapping) else None
    for mode, said in (modes or {}).items():
        _mode(mode, said, draft)
    return StatedPrice(
        provider=provider,
        model=name,
        components=component_order(draft.components),
        unmapped=tuple(sorted(draft.unmapped)),
        pointer=f"/{provider}/models/{name.replace('~', '~0').replace('/', '~1')}",
        evidence_url=doc,
    )


def _cost(cost: Raw, when: tuple[Condition, ...], draft: Draft) -> None:
    for key, value in cost.items():
        if key in ("tiers", "tier", _LEGACY):
            continue
        meter = KEYS.get(key)
        if meter is None:
            draft.miss(f"cost.{key}")
            continue
        draft.know(f"cost.{key}")
        draft.components.append(Component(meter, exact(value), MILLION, when))


def _tier(tier: Raw, draft: Draft) -> None:
    bound = tier["tier"]
    if bound.get("type", "context") != "context":
        draft.miss(f"cost.tiers.{bound['type']}")
        return
    draft.know("cost.tiers")
    _cost(tier, (Condition("prompt_tokens", "gt", int(bound["size"])),), draft)


def _mode(mode: str, said: Raw, draft: Draft) -> None:
    if not said.get("cost"):
        return
    body: Any = (said.get("provider") or {}).get("body") or {}
    if isinstance(body.get("service_tier"), str):
        when = among("service_tier", [body["service_tier"]])
    elif isinstance(body.get("speed"), str):
        when = among("speed", [body["speed"]])
    else:
        draft.miss(f"experimental.modes.{mode}")
        return
    draft.know(f"experimental.modes.{mode}")
    _cost(said["cost"], (when,), draft)
