"""What a request was besides its tokens: the circumstances that choose among a model's prices.

Rule 1: a word of a provider means what the provider serves by default unless it is declared otherwise here.
Rule 2: an unknown circumstance holds no condition, so the price without that condition applies.
Source: gateway rule 2 (price what was served), spec "prices", §5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

STANDARD = "standard"

# Every provider has its own words for "nothing special".
_PLAIN = frozenset({"", "auto", "default", "on_demand", "standard", "standard_only"})
_TIERS: Mapping[str, str] = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
_EVERYWHERE = frozenset({"", "global", "not_available"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """One request's circumstances; the defaults are those of an ordinary call at an unknown time."""

    service_tier: str = STANDARD
    processing: str = "sync"  # `batch` where the provider answers later for less.
    region: str = ""  # The provider's word for where it ran; empty where it may run anywhere.
    endpoint_scope: str = ""
    route: str = ""
    speed: str = STANDARD
    search_context_size: str = "medium"
    search_type: str = ""
    reasoning_mode: str = ""
    resolution: str = ""  # Of images and video, in the provider's word.
    media_seconds: int = 0
    at: datetime | None = None  # When the request began; None holds no window of the week.


ORDINARY = RequestContext()
_WORDS = tuple(f.name for f in fields(RequestContext) if f.name not in ("at", "media_seconds"))


def circumstances(context: RequestContext) -> str:
    """Return what is not ordinary about a request, without its time: `region=us&service_tier=flex`."""
    said = [(name, getattr(context, name)) for name in _WORDS]
    told = [f"{name}={word}" for name, word in said if word != getattr(ORDINARY, name)]
    if context.media_seconds:
        told.append(f"media_seconds={context.media_seconds}")
    return "&".join(sorted(told))


def context_of(text: str, *, at: datetime | None) -> RequestContext:
    """Read back what `circumstances` wrote."""
    said = dict(part.split("=", 1) for part in text.split("&")) if text else {}
    seconds = int(said.pop("media_seconds", "0"))
    return RequestContext(**said, media_seconds=seconds, at=at)


def asking(context: RequestContext, modifiers: Iterable[tuple[str, str]]) -> RequestContext:
    """Return the context with what a model's name asked for besides the model."""
    words = dict(modifiers)
    assert words.keys() <= {"processing", "speed"}, words
    return replace(
        context,
        processing=words.get("processing", context.processing),
        speed=words.get("speed", context.speed),
    )


def is_plain(word: str) -> bool:
    """Return whether a provider's word for a tier or a speed means the ordinary one."""
    return word.strip().lower() in _PLAIN


def served(
    *, service_tier: str = "", speed: str = "", region: str = "", at: datetime | None = None
) -> RequestContext:
    """Return the context of a call from the provider's own words about it."""
    tier, speed, region = service_tier.strip().lower(), speed.strip().lower(), region.strip().lower()
    is_batch = tier in ("batch", "batches")
    return RequestContext(
        service_tier=STANDARD if tier in _PLAIN or is_batch else _TIERS.get(tier, tier),
        processing="batch" if is_batch else "sync",
        speed=STANDARD if speed in _PLAIN else speed,
        region="" if region in _EVERYWHERE else region,
        at=at,
    )
