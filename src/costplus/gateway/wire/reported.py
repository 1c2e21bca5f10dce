"""What a provider says a call cost, as exact text in USD.

Rule 1: digits pass as they were sent; no number goes through a binary fraction.
Rule 2: it stands beside our own cost and never replaces it: a zero may mean that another account paid.
Source: OpenRouter's `cost`, xAI's `cost_in_usd_ticks`, Perplexity's `cost.total_cost`; gateway rule 10.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from costplus.core.money import decimal_text
from costplus.gateway.wire.counts import NULL, decode_or_none, is_null

TICKS_PER_USD = 10**10

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


class _Costs(msgspec.Struct, gc=False):
    cost: msgspec.Raw = NULL
    cost_in_usd_ticks: msgspec.Raw = NULL


class _Total(msgspec.Struct, gc=False):
    total_cost: msgspec.Raw = NULL


_COSTS = msgspec.json.Decoder(_Costs)
_TOTAL = msgspec.json.Decoder(_Total)


def reported_cost(raw_usage: bytes) -> str:
    """Return the cost that a usage block states, "" where it states none that is a number."""
    costs = decode_or_none(_COSTS, raw_usage) if b'"cost' in raw_usage else None
    if costs is None:
        return ""
    ticks = _number(costs.cost_in_usd_ticks)
    if ticks.isdigit() and len(ticks) <= 20:
        return decimal_text(Decimal(ticks) / TICKS_PER_USD)
    stated = _number(costs.cost)
    if stated or is_null(costs.cost):
        return stated
    total = decode_or_none(_TOTAL, costs.cost)
    return _number(total.total_cost) if total else ""


def _number(raw: msgspec.Raw) -> str:
    text = bytes(raw)
    return text.decode() if _NUMBER.fullmatch(text) else ""
