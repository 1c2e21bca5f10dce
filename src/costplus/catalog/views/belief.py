"""Which of the figures that a source states can be a price at all.

Rule 1: zero means unknown as often as free, so it is a price only where the offer is declared free.
Rule 2: what is left away is named (`zero:input`), so that nothing disappears in silence.
Rule 3: an audio model that is priced for text only is not priced: its audio would be sold far below cost.
Source: spec "prices", §1.4, 1.5 and 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from decimal import Decimal

from costplus.catalog.feeds.stated import MILLION, StatedPrice
from costplus.catalog.price import Component

FREE = (Component("input", Decimal(0), MILLION), Component("output", Decimal(0), MILLION))


def is_sellable(components: Iterable[Component]) -> bool:
    """Whether tokens cost something here: nothing or zero for both directions means unknown, not free."""
    return any(c.leaf in ("input", "output") and c.amount and not c.when for c in components)


def is_free_offer(provider: str, model: str) -> bool:
    """Whether the provider's own name for the offer says that it is free."""
    return provider == "openrouter" and model.endswith(":free")


def is_fine_tune(model: str) -> bool:
    """Whether the id stands for fine-tunes of a base model, whose own names nobody can list."""
    return model.startswith("ft:") or model.endswith("-")


def lacks_audio_price(model: str, components: Iterable[Component]) -> bool:
    """Whether an audio model is priced for text only: its audio tokens would be sold far below cost."""
    return "audio" in model.lower() and not any("audio" in component.leaf for component in components)


def without_zeros(stated: StatedPrice) -> StatedPrice:
    """Return a price without its zeros, which mean unknown as often as free; they are named instead."""
    zeros = {f"zero:{component.leaf}" for component in stated.components if not component.amount}
    return replace(
        stated,
        components=tuple(component for component in stated.components if component.amount),
        unmapped=tuple(sorted({*stated.unmapped, *zeros})),
    )


def without_leaf(stated: StatedPrice, leaf: str, *, why: str = "") -> StatedPrice:
    """Return a price that says nothing about one leaf; `why` is named where the leaf had a figure."""
    kept = tuple(component for component in stated.components if component.leaf != leaf)
    if len(kept) == len(stated.components):
        return stated
    named = {why} if why else set[str]()
    return replace(stated, components=kept, unmapped=tuple(sorted({*stated.unmapped, *named})))


def without_media_output(stated: StatedPrice, media: Collection[str]) -> StatedPrice:
    """Return a price without an `output` that may be what pictures, speech or film cost instead of text."""
    priced = {component.leaf for component in stated.components}
    if "image" in media or any(f"output_{kind}" not in priced for kind in {"audio", "video"} & set(media)):
        return without_leaf(stated, "output", why="output:of_media")
    return stated


def believed(provider: str, stated: StatedPrice, *, left_out: Counter[str]) -> StatedPrice | None:
    """Return what can be believed of a price, None (and the reason counted) where that is nothing."""
    if is_free_offer(provider, stated.model) and not any(c.amount for c in stated.components):
        return replace(stated, components=FREE)
    if any(component.amount < 0 for component in stated.components):
        left_out["negative"] += 1
        return None
    kept = without_zeros(stated)
    if not kept.components:
        left_out["no_price"] += 1
        return None
    if lacks_audio_price(stated.model, kept.components):
        left_out["audio_unpriced"] += 1
        return None
    return kept
