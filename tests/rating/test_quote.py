"""A quote assumes at most what the model and the caller allow, and never nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.usage import Usage
from costplus.rating.charge import rate
from costplus.rating.quote import OUTPUT_TOKENS_DEFAULT, quote
from costplus.rating.sheet import RateSheet, compile_sheet


@pytest.fixture(scope="module")
def capped(build: SimpleNamespace) -> RateSheet:
    """Return a sheet of a model that reads 1,000 tokens and writes 100."""
    price = build.price(
        build.component("input", "3"),
        build.component("output", "15"),
        context_tokens_max=1_000,
        output_tokens_max=100,
    )
    return compile_sheet(price, build.card("30"))


INPUTS = [(0, 1), (1, 1), (3, 1), (4, 2), (2_997, 999), (3_000, 1_000), (3_001, 1_000), (10**9, 1_000)]


@pytest.mark.parametrize(("body_bytes", "tokens"), INPUTS)
def test_input_is_a_token_for_three_bytes_at_least_one_and_at_most_the_context(
    capped: RateSheet, body_bytes: int, tokens: int
) -> None:
    usage = quote(capped, body_bytes=body_bytes, output_tokens_max=1).usage
    assert usage.quantities["input"] == tokens


OUTPUTS = [(1, 1), (99, 99), (100, 100), (101, 100), (None, 100)]


@pytest.mark.parametrize(("allowed", "tokens"), OUTPUTS)
def test_output_is_what_the_caller_allows_capped_by_the_model(
    capped: RateSheet, allowed: int | None, tokens: int
) -> None:
    assert quote(capped, body_bytes=3, output_tokens_max=allowed).usage.quantities["output"] == tokens


def test_no_output_is_quoted_for_a_caller_who_allows_none_or_for_embeddings(capped: RateSheet) -> None:
    assert quote(capped, body_bytes=3, output_tokens_max=0).usage == Usage({"input": 1})
    assert quote(capped, body_bytes=3, output_tokens_max=9, has_output=False).usage == Usage({"input": 1})


def test_without_any_limit_the_stated_default_is_assumed(build: SimpleNamespace) -> None:
    sheet = build.sheet({"input": "3", "output": "15"})
    assert quote(sheet, body_bytes=3, output_tokens_max=None).usage.quantities["output"] == (
        OUTPUT_TOKENS_DEFAULT
    )
    own = quote(sheet, body_bytes=3, output_tokens_max=None, output_tokens_default=7)
    assert own.usage.quantities["output"] == 7


def test_without_a_known_context_the_bodys_size_is_the_only_limit(build: SimpleNamespace) -> None:
    sheet = build.sheet({"input": "3", "output": "15"})
    assert quote(sheet, body_bytes=3 * 10**6, output_tokens_max=1).usage.quantities["input"] == 10**6


def test_a_long_prompt_is_quoted_in_its_own_band(build: SimpleNamespace) -> None:
    price = build.price(build.component("input", "1"), build.component("input", "2", above=10))
    sheet = compile_sheet(price, build.card())
    costs = [quote(sheet, body_bytes=3 * n, output_tokens_max=0).charge.cost_nano for n in (10, 11)]
    assert costs == [10_000, 22_000]


@given(st.integers(0, 10_000), st.integers(0, 200), st.integers(0, 10_000), st.integers(0, 200))
def test_a_call_within_its_quote_is_never_charged_more(
    capped: RateSheet, body_bytes: int, allowed: int, used_in: int, used_out: int
) -> None:
    quoted = quote(capped, body_bytes=body_bytes, output_tokens_max=allowed)
    most = quoted.usage.quantities
    used = {"input": min(used_in, most["input"]), "output": min(used_out, most.get("output", 0))}
    assert rate(Usage(used), capped).price_nano <= quoted.charge.price_nano
