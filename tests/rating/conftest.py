"""What the rating tests share: builders of prices, cards and sheets. A test names only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest

from costplus.catalog.condition import Condition
from costplus.catalog.price import Component, PriceVersion
from costplus.core.usage import Usage
from costplus.rating.charge import Charge, rate
from costplus.rating.rate_card import Adjustment, RateCardVersion, adjustment
from costplus.rating.sheet import RateSheet, compile_sheet

AT = datetime(2026, 1, 1, tzinfo=UTC)
MILLION = 1_000_000


def component(leaf: str, usd_per_million: str, *, above: int | None = None) -> Component:
    when = () if above is None else (Condition("prompt_tokens", "gt", above),)
    return Component(leaf, Decimal(usd_per_million), MILLION, when)


def price(*components: Component, **changes: object) -> PriceVersion:
    fields: dict[str, object] = {
        "id": "pv_1",
        "provider": "openai",
        "model": "large",
        "currency": "usd",
        "valid_from": AT,
        "valid_to": None,
        "components": components,
    }
    return PriceVersion(**{**fields, **changes})  # type: ignore[arg-type]  # The fields are those above.


def card(default: Adjustment | str = "0", **changes: object) -> RateCardVersion:
    kind = adjustment("markup", Decimal(default)) if isinstance(default, str) else default
    fields: dict[str, object] = {"id": "rcv_1", "created": AT, "rate_card": "rcd_1", "default": kind}
    return RateCardVersion(**{**fields, **changes})  # type: ignore[arg-type]  # The fields are those above.


def sheet(rates: Mapping[str, str], *, adjust: Adjustment | str = "0") -> RateSheet:
    """Return the sheet of USD-per-million rates under one adjustment."""
    return compile_sheet(price(*(component(leaf, usd) for leaf, usd in rates.items())), card(adjust))


def charge(quantities: Mapping[str, int], rates: Mapping[str, str], *, markup: str = "0") -> Charge:
    return rate(Usage(quantities), sheet(rates, adjust=markup))


def usd_nano(usd: str) -> int:
    """Return an amount of dollars in nanos; it must have no part of one."""
    nano = Fraction(usd) * 10**9
    assert nano.denominator == 1
    return int(nano)


BUILDERS = (component, price, card, sheet, charge, usd_nano)


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """Return the builders."""
    return SimpleNamespace(at=AT, **{builder.__name__: builder for builder in BUILDERS})
