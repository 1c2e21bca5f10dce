"""What stands in for the price of a model without one: by its card's rule, for usage and for holds."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.price import ModelUnpriced
from costplus.catalog.snapshot import SCHEMA, ModelEntry, ProviderEntry, Snapshot, VersionEntry
from costplus.core.usage import Usage
from costplus.rating.charge import explain, rate, reversal_of, unpriced_charge
from costplus.rating.fallback import fallback_sheet, stand_in
from costplus.rating.pricing import Pricing
from costplus.rating.quote import quote
from costplus.rating.rate_card import FixedPrice, ModelNotOnCard, RateCardVersion, adjustment

AT = datetime(2026, 11, 1, tzinfo=UTC)
MILLION = 1_000_000
FALLBACK = {"input": FixedPrice(Decimal(10), MILLION), "cached_input": FixedPrice(Decimal(1), MILLION)}


def card(**changes: Any) -> RateCardVersion:
    fields: dict[str, Any] = {"unpriced": "fallback", "fallback": FALLBACK, **changes}
    return RateCardVersion(
        id="rcv_1", created=AT, rate_card="rcd_1", default=adjustment("markup", Decimal(100)), **fields
    )


def pricing() -> Pricing:
    """Return two models of a provider: the one is dearer for input, the other for output."""
    listed = {
        "small": (("input", "1", MILLION, None), ("output", "9", MILLION, None)),
        "large": (
            ("input", "3", MILLION, None),
            ("output", "5", MILLION, None),
            ("input", "90", MILLION, 10),
        ),
    }
    models = {
        name: ModelEntry("list", (VersionEntry(f"pv_{name}", datetime(2026, 1, 1, tzinfo=UTC), parts),))
        for name, parts in listed.items()
    }
    providers = {"openai": ProviderEntry(models, {})}
    return Pricing(Catalogue(Snapshot(SCHEMA, date(2026, 1, 1), "usd", {"list": "1"}, providers)))


def test_a_fallback_price_is_its_leafs_own_or_that_of_its_nearest_ancestor() -> None:
    sheet = fallback_sheet(card(), provider="openai", model="new")
    assert sheet is not None
    charge = rate(Usage({"input": 1, "cached_input_audio": 1, "cache_write_1h": 1, "output": 1}), sheet)
    sold = {line.rate.leaf: (line.rate.unit_price * MILLION, line.rate.priced_as) for line in charge.lines}
    assert sold == {
        "input": (10, "input"),
        "cached_input_audio": (1, "cached_input"),
        "cache_write_1h": (10, "input"),
    }
    assert (charge.price_nano, charge.cost_nano, charge.unpriced) == (21_000, 0, ("output", "fallback"))
    assert explain(charge).exact_price == "0.000021"


def test_rates_of_two_models_at_the_same_fallback_price_are_two() -> None:
    ids = set()
    for model in ("a", "b"):
        sheet = fallback_sheet(card(), provider="openai", model=model)
        assert sheet is not None
        ids |= {line.rate.id for line in rate(Usage({"input": 1}), sheet).lines}
    assert len(ids) == 2


@pytest.mark.parametrize("changes", [{"unpriced": "block"}, {"unpriced": "hold"}, {"fallback": {}}])
def test_any_other_rule_charges_nothing_for_now(changes: dict[str, Any]) -> None:
    sheet = stand_in(card(**changes), provider="openai", model="new")
    assert rate(Usage({"input": 1, "web_search": 1}), sheet) == unpriced_charge()


def test_a_customers_own_adjustment_keeps_the_fallback_prices() -> None:
    own = card().for_customer("cus_1", adjustment("markup", Decimal(5)))
    assert stand_in(own, provider="openai", model="new").stands_in == "fallback"


def test_a_held_call_is_quoted_by_the_fallback_prices() -> None:
    priced = pricing().taken("openai", "new", card=card(unpriced="hold"), at=AT)
    quoted = quote(priced.quoted, body_bytes=3 * MILLION, output_tokens_max=0)
    assert quoted.charge.price_nano == 10 * 10**9
    assert rate(quoted.usage, priced.sheet) == unpriced_charge()


def test_without_them_it_is_quoted_by_the_dearest_list_price_of_each_leaf() -> None:
    priced = pricing().taken("openai", "new", card=card(unpriced="hold", fallback={}), at=AT)
    by_leaf = priced.quoted.bands[-1][1].by_leaf
    assert {leaf: by_leaf[leaf][2].unit_price for leaf in ("input", "output")} == {
        "input": Fraction(6, MILLION),
        "output": Fraction(18, MILLION),
    }


def test_a_model_with_a_price_is_taken_at_it() -> None:
    assert pricing().taken("openai", "small", card=card(), at=AT).sheet.stands_in == ""


@pytest.mark.parametrize(
    ("provider", "changes", "refusal"),
    [
        ("openai", {"unpriced": "block"}, ModelUnpriced),
        ("openai", {"fallback": {}}, ModelUnpriced),
        ("nobody", {"unpriced": "hold", "fallback": {}}, ModelUnpriced),
        ("openai", {"models": ("openai/small",)}, ModelNotOnCard),
        ("openai", {"models": ("openai/small",), "unpriced": "hold"}, ModelNotOnCard),
    ],
)
def test_a_call_is_refused_where_the_card_says_so_or_nothing_sizes_its_hold(
    provider: str, changes: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        pricing().taken(provider, "new", card=card(**changes), at=AT)


def test_a_reversal_is_explained_by_the_same_rates() -> None:
    third = {"input": FixedPrice(Decimal(1), 3 * 10**9)}
    sheet = fallback_sheet(card(fallback=third), provider="openai", model="new")
    assert sheet is not None
    charge = rate(Usage({"input": 1}), sheet)
    back = reversal_of(charge)
    assert (charge.price_nano, back.price_nano) == (1, -1)  # A third of a nano, rounded up, and taken back.
    assert explain(back).exact_price == "-1/3000000000"
