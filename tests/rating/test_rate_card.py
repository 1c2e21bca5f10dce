"""Markup is a share of the cost, margin a share of the price; the most specific one applies."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.rating.rate_card import InvalidMarkup, ModelNotOnCard, adjustment

percents = st.integers(0, 99_999_999).map(lambda n: Decimal(n).scaleb(-6))  # 0 … 99.999999 %


def test_thirty_percent_markup_is_three_thirteenths_of_the_price() -> None:
    markup = adjustment("markup", Decimal("30"))
    assert markup.factor == Fraction(13, 10)
    assert markup.margin_percent == Fraction(300, 13)
    assert f"{float(markup.margin_percent):.2f}" == "23.08"


def test_thirty_percent_margin_divides_by_exactly_seven_tenths() -> None:
    margin = adjustment("margin", Decimal("30"))
    assert margin.factor == Fraction(10, 7)
    assert margin.markup_percent == Fraction(300, 7)


def test_zero_percent_of_either_kind_sells_at_cost() -> None:
    assert adjustment("markup", Decimal(0)).factor == adjustment("margin", Decimal(0)).factor == 1


@given(st.sampled_from(["markup", "margin"]), percents)
def test_read_as_the_other_kind_an_adjustment_keeps_its_factor(kind: str, percent: Decimal) -> None:
    made = adjustment(kind, percent)
    assert 1 + made.markup_percent / 100 == made.factor == 1 / (1 - made.margin_percent / 100)
    assert (made.markup_percent if kind == "markup" else made.margin_percent) == Fraction(percent)


@pytest.mark.parametrize(
    ("kind", "percent"),
    [("markup", "0"), ("markup", "10000"), ("margin", "99.999999"), ("markup", "0.000001")],
)
def test_the_last_percentage_that_can_be_charged_is_accepted(kind: str, percent: str) -> None:
    assert adjustment(kind, Decimal(percent)).percent == Decimal(percent)


@pytest.mark.parametrize(
    ("kind", "percent"),
    [
        ("markup", "-0.000001"),
        ("markup", "10000.000001"),
        ("margin", "100"),
        ("margin", "-1"),
        ("markup", "0.0000001"),
    ],
)
def test_the_first_percentage_that_cannot_be_charged_is_refused_by_name(kind: str, percent: str) -> None:
    with pytest.raises(InvalidMarkup) as caught:
        adjustment(kind, Decimal(percent))
    assert caught.value.param == f"{kind}_percent"


def test_model_goes_before_provider_and_provider_before_default(build: SimpleNamespace) -> None:
    by_model, by_provider = adjustment("markup", Decimal(5)), adjustment("margin", Decimal(10))
    card = build.card("20", providers={"openai": by_provider}, model_overrides={"openai/small": by_model})
    assert card.adjustment_for(provider="openai", model="small") is by_model
    assert card.adjustment_for(provider="openai", model="large") is by_provider
    assert card.adjustment_for(provider="azure", model="small") is card.default


def test_an_override_of_zero_percent_is_an_override_and_not_an_absent_one(build: SimpleNamespace) -> None:
    free = adjustment("markup", Decimal(0))
    card = build.card("20", model_overrides={"openai/large": free})
    assert card.adjustment_for(provider="openai", model="large").factor == 1


def test_a_card_without_a_list_sells_every_model(build: SimpleNamespace) -> None:
    build.card().check_sells(provider="any", model="thing")


def test_a_card_with_a_list_refuses_other_models_and_the_same_name_elsewhere(build: SimpleNamespace) -> None:
    card = build.card(models=("openai/large",))
    card.check_sells(provider="openai", model="large")
    for provider, model in (("openai", "small"), ("azure", "large")):
        with pytest.raises(ModelNotOnCard):
            card.check_sells(provider=provider, model=model)
