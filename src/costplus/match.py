"""`costplus match`: which price a model's name leads to, and what a usage block would be charged.

Rule 1: it only reads; without a database it answers by the packaged prices, at cost.
Rule 2: a provider's own block is read by the very reader of its wire that the gateway uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from costplus.billing.clock import customer_of
from costplus.billing.offer import account_currency, card_offered
from costplus.billing.store import Tx
from costplus.bootstrap import real_now
from costplus.catalog.context import ORDINARY, RequestContext
from costplus.catalog.load import catalogue_of
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.config import Settings
from costplus.core.errors import InvalidRequest
from costplus.core.money import decimal_text
from costplus.core.usage import LEAVES, Usage, usage_of
from costplus.database import DatabaseMissing, open_existing
from costplus.gateway.served import served_as
from costplus.gateway.wire import READERS, Reading
from costplus.gateway.wire.request import WireRequest
from costplus.rating.charge import explain
from costplus.rating.match import Asked, PriceMatch, match
from costplus.rating.pricing import Pricing
from costplus.rating.sheet import UnitRate
from costplus.web.params import day_or_instant

_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_WRAPPERS = ("usage", "usageMetadata", "meta")  # Where wires keep their block; it may come without.
_UNASKED = WireRequest(model="", stream=False, max_tokens=None, choices_max=1, fields={})


class UsageUnreadable(InvalidRequest):
    """The usage block is not what the wire sends, or not token types with whole numbers."""

    code = "usage_unreadable"
    remedy = 'Give a provider\'s answer or usage block with --wire, or {"input": 1000, "output": 20} without.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The command's options as they were written; empty where they were left out."""

    model: str
    provider: str = ""
    at: str = ""
    usage: bytes = b""
    wire: str = ""
    card: str = ""
    customer: str = ""


async def run(settings: Settings, wanted: Wanted) -> tuple[PriceMatch, str]:
    """Return the match and its currency. Raises `BillingError` for what cannot be asked."""
    at = day_or_instant(wanted.at, param="--at") if wanted.at else real_now()
    usage, context = _used(wanted) if wanted.usage else (None, ORDINARY)
    asked = Asked(model=wanted.model, provider=wanted.provider, at=at, usage=usage, context=context)

    def look(tx: Tx) -> tuple[PriceMatch, str]:
        if wanted.customer:
            customer_of(tx, wanted.customer)
        card = card_offered(tx, customer=wanted.customer, card=wanted.card, at=at)
        return match(Pricing(catalogue_of(tx)), asked, card=card), account_currency(tx)

    try:
        store = await open_existing(settings)
    except DatabaseMissing:
        if wanted.card or wanted.customer:
            raise
        return match(Pricing(bundled_catalogue()), asked), "usd"
    try:
        return await store.read(look)
    finally:
        await store.close()


def _used(wanted: Wanted) -> tuple[Usage, RequestContext]:
    """Return the usage that the block tells, and how it was served."""
    if not wanted.wire:
        return _normalised(wanted.usage), ORDINARY
    if wanted.wire not in READERS:
        raise UsageUnreadable(f"There is no wire '{wanted.wire}': {', '.join(READERS)}.", param="--wire")
    for reading in _readings(wanted.usage, wire=wanted.wire):
        if reading.usage is not None:
            return reading.usage, served_as(_UNASKED, reading, asked=ORDINARY)
    raise UsageUnreadable(f"Nothing of it is a usage block of {wanted.wire}.", param="--usage")


def _readings(body: bytes, *, wire: str) -> Iterator[Reading]:
    """Read the block as a stream, as a whole answer, and as the part of an answer that counts."""
    readers = READERS[wire]
    if body.lstrip().startswith((b"data:", b"event:")):
        yield _read(body, readers.stream())
        return
    yield _read(body, readers.json())
    for wrapper in _WRAPPERS:
        yield _read(b'{"' + wrapper.encode() + b'":' + body + b"}", readers.json())


def _read(body: bytes, reader: Any) -> Reading:
    reader.feed(body)
    reader.flush()
    reading: Reading = reader.finish()
    return reading


def _normalised(body: bytes) -> Usage:
    try:
        quantities = msgspec.json.decode(body, type=dict[str, int])
    except msgspec.DecodeError as error:
        raise UsageUnreadable(f"It does not count token types: {error}.", param="--usage") from error
    strange = [leaf for leaf in quantities if leaf not in LEAVES]
    if strange or any(quantity < 0 for quantity in quantities.values()):
        what = f"'{strange[0]}' is no token type" if strange else "A count is negative"
        raise UsageUnreadable(f"{what}.", param="--usage")
    return usage_of(quantities)


def report_text(found: PriceMatch, currency: str) -> str:
    """Return the match in lines for people."""
    lines = []
    if found.priced:
        price, name = found.priced.sheet.price, found.priced.name
        lines.append(f"{found.asked.model} → {name.provider}/{name.model}")
        lines += [f"  {step}: {sentence}" for step, sentence in found.steps]
        until = f" until {price.valid_to:%Y-%m-%d %H:%M}" if price.valid_to else ""
        lines.append(f"price {price.id}, in force from {price.valid_from:%Y-%m-%d %H:%M} UTC{until}")
        lines.append(f"source: {price.source or 'unknown'}" + (", an override" if price.is_override else ""))
        lines.append(f"rate card version: {found.card.id or 'none (at cost)'}")
        lines.append(f"conditions that hold: {', '.join(found.conditions) or 'none'}")
        lines += [_rate_text(rate, currency) for rate in found.rates]
    if found.charge:
        derivation = explain(found.charge)
        lines += [f"  {step.working} = {step.price}" for step in derivation.steps]
        lines.append(f"costs {derivation.cost}, sells for {derivation.price} {currency.upper()}")
        lines += [f"without a price: {leaf}" for leaf in derivation.unpriced]
    if found.reason:
        lines.append(f"{found.reason.sentence} [{found.reason.code}]")
        lines += [f"  {candidate}" for candidate in found.candidates]
    return "\n".join(lines)


def _rate_text(rate: UnitRate, currency: str) -> str:
    kind, percent = rate.adjustment.kind, rate.adjustment.percent
    how = "a fixed price" if kind == "fixed" else f"{kind} {percent}%"
    unit = currency.upper()
    as_leaf = f", priced as {rate.priced_as}" if rate.priced_as != rate.leaf else ""
    return (
        f"  {rate.leaf}: {decimal_text(rate.unit_cost * 10**6)} → {decimal_text(rate.unit_price * 10**6)} "
        f"{unit} per million ({how}{as_leaf})"
    )
