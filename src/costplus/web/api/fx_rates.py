"""`/v1/token_billing/fx_rates`: rates by which provider prices become the book's currency."""

from __future__ import annotations

import re
from datetime import date

from costplus.billing.store import Tx
from costplus.catalog.exchange import FxRate
from costplus.catalog.load import book_changed
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.ids import new_id
from costplus.core.money import decimal_text
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records

PATH = "/v1/token_billing/fx_rates"
DIGITS_MAX = 12
_CURRENCY = re.compile(r"[a-z]{3}")


class InvalidFxRate(InvalidRequest):
    """An exchange rate that cannot be."""

    code = "fx_rate_invalid"


class NoSuchFxRate(NotFound):
    """The exchange rate does not exist."""

    code = "resource_missing"


def currency_of(text: str, *, param: str) -> str:
    """Return a currency's code in small letters."""
    code = text.lower()
    if not _CURRENCY.fullmatch(code):
        raise InvalidFxRate(
            f"Invalid currency: '{text}'.", param=param, remedy="Give three letters (ISO 4217)."
        )
    return code


def _day(text: str | None, *, default: date) -> str:
    try:
        return (date.fromisoformat(text) if text else default).isoformat()
    except ValueError:
        raise InvalidFxRate(
            f"Invalid day: '{text}'.", param="stated_on", remedy="Give a day such as 2026-11-23."
        ) from None


def create(tx: Tx, call: Call) -> FxRate:
    """Store a rate, in force from its time on; what was charged before stays as it was."""
    params = call.params
    base = currency_of(params.required_text("base"), param="base")
    quote = currency_of(params.required_text("quote"), param="quote")
    rate = params.decimal("rate")
    if rate is None:
        raise params.missing("rate")
    text = decimal_text(rate)
    if rate <= 0 or len(text.replace(".", "").strip("0")) > DIGITS_MAX:
        raise InvalidFxRate(
            f"Invalid rate: {text}.",
            param="rate",
            remedy=f"Give a rate above 0 of up to {DIGITS_MAX} digits.",
        )
    if base == quote:
        raise InvalidFxRate(f"A rate from {base} to itself is 1.", param="quote", remedy="Name another one.")
    effective_at = params.time("effective_at") or call.at
    made = FxRate(
        id=new_id("fx", at=call.at),
        created=call.at,
        base=base,
        quote=quote,
        rate=text,
        effective_at=effective_at,
        source=params.required_text("source", longest=100),
        stated_on=_day(params.text("stated_on"), default=effective_at.date()),
    )
    tx.save(made)
    book_changed(tx, at=call.at)
    tx.touch("config")
    return made


def retrieve(tx: Tx, call: Call) -> FxRate:
    """Return an exchange rate."""
    found = tx.find(FxRate, call.path["id"])
    if found is None:
        raise NoSuchFxRate(f"No such exchange rate: '{call.path['id']}'", param="id")
    return found


def index(tx: Tx, call: Call) -> Listing:
    """List exchange rates, the last stored first."""
    base, quote = call.params.text("base"), call.params.text("quote")
    return records(
        tx, call, FxRate, keep=lambda rate: base in (None, rate.base) and quote in (None, rate.quote)
    )


ENDPOINTS = (
    post(PATH, create, reprices=True),
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
)
