"""Routes: who may serve a model name, and in which order one call asks them.

Rule 1: a lane is one key of one provider. The lowest priority goes first; among equals the weights decide.
Rule 2: calls that share a prompt's beginning ask the same lane first, so that its cache is worth something:
by rendezvous hashing, which moves few of them when a lane comes or goes.
Rule 3: a provider's own API is that provider's: only its keys share the calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec

from costplus.gateway.wire.counts import decode_or_none
from costplus.gateway.wire.request import WireRequest

_TURNS = ("messages", "input", "contents")  # Where the dialects keep what was said so far.
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
_LIST: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
_TURN: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_ONE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place that serves a route: a model of a provider."""

    provider: str
    model: str
    weight: int = 1
    priority: int = 0


Routes = Mapping[str, Sequence[Target]]  # By the model's name as callers write it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """What decides when a lane is asked."""

    lane: str
    weight: int = 1
    priority: int = 0


def affinity_of(request: WireRequest, *, customer: str) -> bytes:
    """Return what calls have in common that a provider may find in its cache; empty where nothing is known.

    It is what the caller names as such, or else the instructions and the first turn of the conversation.
    """
    fields = request.fields
    named = fields.get("prompt_cache_key")
    if named is not None:
        return customer.encode() + bytes(named)
    parts = [bytes(fields[name]) for name in _SYSTEM if name in fields]
    turns = next((fields[name] for name in _TURNS if name in fields), None)
    if turns is not None:
        said = decode_or_none(_LIST, turns)
        parts += [bytes(turns)] if said is None else [bytes(turn) for turn in said[: _opening(said)]]
    return b"\x00".join([customer.encode(), *parts]) if parts else b""


def _opening(turns: Sequence[msgspec.Raw]) -> int:
    """Return how many turns there are up to the first that is no instruction."""
    for number, turn in enumerate(turns):
        first = decode_or_none(_TURN, turn)
        if not isinstance(first, dict) or first.get("role") not in ("system", "developer"):
            return number + 1
    return len(turns)


def ordered(ranks: Sequence[Rank], *, affinity: bytes) -> list[int]:
    """Return the places of `ranks` in the order in which they are asked."""

    def key(place: int) -> tuple[int, float, int]:
        rank = ranks[place]
        digest = blake2b(rank.lane.encode(), key=blake2b(affinity, digest_size=32).digest(), digest_size=8)
        share = (int.from_bytes(digest.digest()) + 1) / (_ONE + 1)
        return rank.priority, -math.log(share) / rank.weight, place

    return sorted(range(len(ranks)), key=key)
