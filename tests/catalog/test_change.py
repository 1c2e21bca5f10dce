"""The decision matrix, cell by cell and at its edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.change import REASONS, Decision, Move, Standing, decide, in_order
from costplus.catalog.condition import when_of
from costplus.catalog.price import Component

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
STANDINGS: tuple[Standing, ...] = ("confirmed", "single", "disputed")


def mtok(amount: str | None) -> Fraction | None:
    return None if amount is None else Fraction(amount) / 1_000_000


def component(leaf: str, amount: str, when: str = "") -> Component:
    return Component(leaf, Decimal(amount), 1_000_000, when_of(when))


def move(old: str | None, new: str | None, how: Standing, *, leaf: str = "input", **other: Any) -> Move:
    return Move(**{"leaf": leaf, "when": "", "old": mtok(old), "new": mtok(new), "standing": how, **other})


def decided(*moves: Move, before: tuple[Component, ...] = (), **other: Any) -> Decision:
    """Return the decision on moves whose relations to other parts are not in question."""
    return decide(moves, **{"at": AT, "before": before, "after": before, **other})


# Old, new, and the verdict when confirmed, when a single source says so; disputed is always held.
INPUT = [
    ("1", "1.5", "apply", "soak"),
    ("1.5", "1", "apply", "soak"),
    ("1", "2", "apply", "soak"),
    ("2", "1", "apply", "soak"),
    ("1", "2.0000001", "apply large", "hold"),
    ("2.0000001", "1", "apply large", "hold"),
    ("1", "9.9999", "apply large", "hold"),
    ("9.9999", "1", "apply large", "hold"),
    ("1", "10", "hold", "hold"),
    ("10", "1", "hold", "hold"),
    ("1", "100", "hold", "hold"),
    ("1", "0", "hold", "hold"),
    ("0", "1", "hold", "hold"),
    ("1", "-1", "hold", "hold"),
    ("0.0015", "0.001", "apply", "soak"),
    ("0.0015", "0.00099999", "hold", "hold"),
    ("900", "1000", "apply", "soak"),
    ("900", "1000.0001", "hold", "hold"),
]
CACHE = [
    ("1", "0.5", "apply", "soak"),
    ("1", "0.10001", "apply large", "hold"),
    ("1", "0.1", "apply large", "hold"),
    ("1", "0.02", "apply large", "hold"),
    ("0.1", "1", "hold", "hold"),
    ("0.1", "0.99", "apply large", "hold"),
    ("1", "0", "hold", "hold"),
    ("0", "1", "hold", "hold"),
]
CELLS = [("input", *row) for row in INPUT] + [("output", *row) for row in INPUT]
CELLS += [(leaf, *row) for leaf in ("cached_input", "cache_write_5m") for row in CACHE]


@pytest.mark.parametrize(("leaf", "old", "new", "confirmed", "single"), CELLS)
def test_every_cell_of_the_matrix(leaf: str, old: str, new: str, confirmed: str, single: str) -> None:
    for how, expected in (("confirmed", confirmed), ("single", single), ("disputed", "hold")):
        decision = decided(move(old, new, how, leaf=leaf))
        assert decision.verdict == expected.removesuffix(" large")
        if expected.startswith("apply"):
            assert decision.large == expected.endswith("large")


WORDS = [
    ([move("1", "10", "confirmed")], ("ratio_10x",)),
    ([move("1", "100", "single")], ("ratio_10x", "waits_for_second_source")),
    ([move("1", "0.1", "single", leaf="cached_input")], ("cache_cut_10x", "waits_for_second_source")),
    ([move("1", "0", "confirmed")], ("became_zero",)),
    ([move("0", "1", "confirmed")], ("was_zero",)),
    ([move("1", "-1", "confirmed")], ("negative",)),
    ([move("1", "3", "single")], ("waits_for_second_source",)),
    ([move("1", "1.1", "disputed")], ("sources_disagree",)),
    ([move("1", "1.1", "single"), move("1", "1.1", "disputed", leaf="output")], ("sources_disagree",)),
    ([move("1", None, "single", leaf="reasoning", stands_in=mtok("1"))], ("component_removed",)),
    ([move("900", "1100", "confirmed")], ("out_of_band",)),
]


@pytest.mark.parametrize(("moves", "reasons"), WORDS)
def test_a_hold_says_why(moves: list[Move], reasons: tuple[str, ...]) -> None:
    decision = decided(*moves)
    assert (decision.verdict, decision.reasons) == ("hold", reasons)
    assert set(reasons) <= set(REASONS)


def test_a_soak_lasts_24_hours() -> None:
    decision = decided(move("1", "1.1", "single"))
    assert decision == Decision(verdict="soak", reasons=("single_source",), due_at=AT + timedelta(hours=24))


def test_one_single_part_makes_the_whole_change_soak() -> None:
    assert decided(move("1", "1.1", "confirmed"), move("1", "1.2", "single", leaf="output")).verdict == "soak"


def test_what_is_removed_by_two_sources_goes() -> None:
    decision = decided(move("2", None, "confirmed", leaf="reasoning", stands_in=mtok("1")))
    assert (decision.verdict, decision.large) == ("apply", False)


def test_a_part_that_comes_is_measured_against_what_applied_in_its_place() -> None:
    half = move(None, "0.5", "single", leaf="cached_input", stands_in=mtok("1"))
    tenth = move(None, "0.1", "single", leaf="cached_input", stands_in=mtok("1"))
    fee = move(None, "10000", "single", leaf="web_search")
    assert [decided(one).verdict for one in (half, tenth, fee)] == ["soak", "hold", "soak"]


def test_a_past_dated_rise_of_one_source_waits_and_a_fall_does_not() -> None:
    rise, fall = move("1", "1.5", "single"), move("1.5", "1", "single")
    assert decided(rise, dated=True).reasons == ("scheduled_unconfirmed",)
    assert decided(fall, dated=True).verdict == "soak"
    assert decided(move("1", "1.5", "confirmed"), dated=True).verdict == "apply"


def test_an_unmapped_key_or_another_currency_holds_what_is_confirmed() -> None:
    assert decided(move("1", "1.1", "confirmed"), unmapped=["x_cost"]).reasons == ("unmapped_key",)
    assert decided(move("1", "1.1", "confirmed"), currency_changed=True).reasons == ("currency_changed",)


def test_another_unit_for_the_list_price_is_held() -> None:
    gone = move("1", None, "confirmed")
    come = move(None, "1", "confirmed", leaf="character_input")
    assert "unit_changed" in decided(gone, come).reasons
    assert "unit_changed" not in decided(gone, move(None, "1", "confirmed", leaf="output")).reasons


def test_a_cache_price_above_the_input_price_is_held_where_a_change_makes_it_so() -> None:
    before = (component("input", "1"), component("cached_input", "0.5"))
    after = (component("input", "0.4"), component("cached_input", "0.5"))
    change = move("1", "0.4", "confirmed")
    assert decide([change], at=AT, before=before, after=after).reasons == ("cache_above_input",)
    equal = (component("input", "0.5"), component("cached_input", "0.5"))
    assert decide([move("1", "0.5", "confirmed")], at=AT, before=before, after=equal).verdict == "apply"


def test_a_cache_price_that_was_above_the_input_price_holds_no_other_change() -> None:
    odd = (component("input", "1"), component("cached_input", "2"))
    before, after = (*odd, component("web_search", "10")), (*odd, component("web_search", "12"))
    fee = move("10", "12", "confirmed", leaf="web_search")
    assert decide([fee], at=AT, before=before, after=after).verdict == "apply"
    worse = (component("input", "1"), component("cached_input", "2.5"), component("web_search", "10"))
    dearer = move("2", "2.5", "confirmed", leaf="cached_input")
    assert decide([dearer], at=AT, before=before, after=worse).reasons == ("cache_above_input",)


RATIOS = [("20", "20", "apply"), ("20", "20.0001", "hold"), ("30", "30", "apply"), ("30", "31", "hold")]


@pytest.mark.parametrize(("before", "after", "verdict"), RATIOS)
def test_output_may_cost_20_times_input_and_more_only_where_it_did(
    before: str, after: str, verdict: str
) -> None:
    one = component("input", "1")
    decision = decide(
        [move("1.2", "1", "confirmed", leaf="web_search")],
        at=AT,
        before=(one, component("output", before)),
        after=(one, component("output", after)),
    )
    assert decision.verdict == verdict
    assert verdict == "apply" or decision.reasons == ("output_over_20x_input",)


def test_a_model_of_media_has_no_usual_ratio() -> None:
    listed = (component("input", "1"), component("output", "30"), component("output_image", "60"))
    decision = decide([move("25", "30", "confirmed", leaf="output")], at=AT, before=listed[:1], after=listed)
    assert decision.verdict == "apply"


def test_a_price_out_of_band_holds_nothing_that_brings_it_nearer() -> None:
    assert decided(move("3200", "3000", "confirmed")).verdict == "apply"
    assert decided(move("3000", "3200", "confirmed")).reasons == ("out_of_band",)


def test_a_fee_or_a_multiplier_has_no_band() -> None:
    assert decided(move("10000", "14000", "confirmed", leaf="web_search")).verdict == "apply"
    region = move(None, "1100000", "confirmed", when="×region=us", stands_in=Fraction(1))
    assert decided(region).verdict == "apply"


FIRST = [
    ("confirmed", "confirmed", "apply", ("first_price", "two_sources_agree")),
    ("single", "single", "pending", ("first_price", "waits_for_second_source")),
    ("confirmed", "single", "pending", ("first_price", "waits_for_second_source")),
    ("disputed", "confirmed", "pending", ("first_price", "sources_disagree")),
]


@pytest.mark.parametrize(("input_is", "output_is", "verdict", "reasons"), FIRST)
def test_a_first_price_needs_two_sources_for_input_and_output(
    input_is: Standing, output_is: Standing, verdict: str, reasons: tuple[str, ...]
) -> None:
    moves = [move(None, "1", input_is), move(None, "5", output_is, leaf="output")]
    moves.append(move(None, "10000", "single", leaf="web_search"))
    decision = decided(*moves, before=None, after=(component("input", "1"), component("output", "5")))
    assert (decision.verdict, decision.reasons) == (verdict, reasons)


def test_a_first_price_of_nothing_is_held_and_an_embedding_has_no_output_price() -> None:
    free = decided(move(None, "0", "confirmed"), before=None, after=())
    assert (free.verdict, free.reasons) == ("hold", ("first_price", "became_zero"))
    embedding = [move(None, "0.1", "confirmed"), move(None, "0", "confirmed", leaf="output")]
    assert decided(*embedding, before=None, after=()).verdict == "apply"


def test_an_implausible_first_price_is_held_though_confirmed() -> None:
    after = (component("input", "0.25"), component("output", "60"))
    moves = [move(None, "0.25", "confirmed"), move(None, "60", "confirmed", leaf="output")]
    assert decided(*moves, before=None, after=after).reasons == ("first_price", "output_over_20x_input")


prices = st.integers(min_value=-10, max_value=10_000_000).map(lambda n: Fraction(n, 10_000) / 1_000_000)
moves_of_any_kind = st.lists(
    st.builds(
        Move,
        leaf=st.sampled_from(["input", "output", "cached_input", "web_search"]),
        when=st.sampled_from(["", "processing=batch"]),
        old=st.none() | prices,
        new=st.none() | prices,
        standing=st.sampled_from(STANDINGS),
        stands_in=st.none() | prices,
    ),
    min_size=1,
    max_size=6,
)


@given(moves_of_any_kind, st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_moves_and_deciding_twice_change_nothing(
    moves: list[Move], random: Any, dated: bool
) -> None:
    first = decided(*moves, dated=dated)
    assert decided(*moves, dated=dated) == first
    random.shuffle(moves)
    assert decided(*moves, dated=dated) == first
    assert first.reasons == in_order(first.reasons) != ()


@given(moves_of_any_kind)
def test_nothing_disputed_negative_or_tenfold_is_ever_applied(moves: list[Move]) -> None:
    decision = decided(*moves)
    if decision.verdict in ("apply", "soak"):
        for one in moves:
            assert one.standing != "disputed"
            assert one.after is None or one.after >= 0
            assert one.ratio is None or one.ratio < 10 or (one.is_cache and not one.is_increase)
