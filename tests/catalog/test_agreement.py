"""What sources say about one model: parts, votes, independence, whole views that are not believed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.agreement import (
    components_of,
    confirmed_price,
    disagreements,
    same_price,
    spoken,
    stand_in,
    standing,
    trust_for,
    voters,
)
from costplus.catalog.condition import among, when_of
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.guard import Rejection, is_stale, rejection, retirements
from costplus.catalog.price import Component, Multiplier
from costplus.catalog.statement import ModelKey, SourceName, SourceView, Statement

AT = datetime(2026, 11, 24, tzinfo=UTC)
KEY = ("openai", "gpt")


def stated(amounts: Mapping[str, str], *, multipliers: tuple[Multiplier, ...] = ()) -> StatedPrice:
    """Return a price of `leaf` or `leaf @ conditions` → USD per million."""
    parts = (name.partition(" @ ") for name in amounts)
    components = tuple(
        Component(leaf, Decimal(amount), 1_000_000, when_of(when))
        for (leaf, _, when), amount in zip(parts, amounts.values(), strict=True)
    )
    return StatedPrice(provider="p", model="m", components=components, multipliers=multipliers)


def view(source: str, amounts: Mapping[str, str], *, key: ModelKey = KEY, as_of: datetime = AT) -> SourceView:
    statements = {key: Statement(current=stated(amounts))}
    return SourceView(source=SourceName(source), revision="1", as_of=as_of, statements=statements)


def mtok(amount: str) -> Fraction:
    return Fraction(amount) / 1_000_000


def test_parts_are_exact_unit_costs_by_leaf_and_condition_and_factors() -> None:
    price = stated(
        {"input": "0.15", "input @ processing=batch": "0.075"},
        multipliers=(Multiplier(Decimal("1.1"), (among("region", ["us"]),)),),
    )
    assert components_of(price) == {
        ("input", ""): mtok("0.15"),
        ("input", "processing=batch"): mtok("0.075"),
        ("tokens", "×region=us"): Fraction(11, 10),
    }


@pytest.mark.parametrize("text", ["prompt_tokens>199999", "prompt_tokens>200000", "prompt_tokens>=200000"])
def test_one_token_does_not_make_another_tier(text: str) -> None:
    assert ("input", "prompt_tokens>200000") in components_of(stated({f"input @ {text}": "2"}))


def test_a_tier_of_another_size_is_another_part() -> None:
    sizes = ["prompt_tokens>200001", "prompt_tokens>128000", "prompt_tokens<=200000"]
    assert len(components_of(stated({f"input @ {text}": "2" for text in sizes}))) == 3


EQUAL = [
    ("1", "1", True),
    ("1", "1.001", True),
    ("1", "1.0011", False),
    ("4", "4.00001", True),
    ("0", "0", True),
]


@pytest.mark.parametrize(("one", "other", "is_same"), EQUAL)
def test_a_tenth_of_a_percent_is_the_same_price(one: str, other: str, is_same: bool) -> None:
    assert same_price(mtok(one), mtok(other)) is is_same
    assert same_price(mtok(other), mtok(one)) is is_same


def test_a_zero_beside_a_price_says_nothing_and_a_zero_alone_does() -> None:
    assert spoken(stated({"input": "1", "cached_input": "0"})) == {("input", ""): mtok("1")}
    assert spoken(stated({"input": "0", "output": "0"})) == {("input", ""): 0, ("output", ""): 0}


def test_what_is_not_stated_costs_what_its_ancestor_does() -> None:
    listed = stated({"input": "1", "input @ prompt_tokens>199999": "2", "page": "3"}).components
    assert stand_in(listed, ("cached_input", "")) == mtok("1")
    assert stand_in(listed, ("cached_input", "prompt_tokens>200000")) == mtok("2")
    assert stand_in(listed, ("page", "processing=batch")) == mtok("3")
    assert stand_in(listed, ("web_search", "")) is None
    assert stand_in(listed, ("tokens", "×region=us")) == 1


VOTES = [
    ("1", {"a": "1", "b": "1"}, "confirmed"),
    ("1", {"a": "1", "b": "1", "c": "2"}, "confirmed"),
    ("1", {"a": "1", "b": "1.0005"}, "confirmed"),
    ("1", {"a": "1"}, "single"),
    ("1", {"a": "1", "b": "2"}, "disputed"),
    ("1", {"a": "1", "b": "2", "c": "2"}, "disputed"),
    ("1", {"a": "1", "b": "1", "c": "2", "d": "2"}, "disputed"),
    ("1", {"a": "1", "b": "2", "c": "3"}, "disputed"),
    ("1", {"a": "2"}, "disputed"),
    ("1", {}, "disputed"),
]


@pytest.mark.parametrize(("new", "votes", "how"), VOTES)
def test_how_a_new_price_stands(new: str, votes: dict[str, str], how: str) -> None:
    costs = {source: mtok(cost) for source, cost in votes.items()}
    assert standing(("input", ""), old=None, new=mtok(new), votes=costs).standing == how


REMOVALS = [
    (["a"], [], "single"),
    (["a", "b"], [], "confirmed"),
    (["a", "b"], ["c"], "confirmed"),
    (["a"], ["b"], "disputed"),
    (["a", "b"], ["c", "d"], "disputed"),
    ([], ["a"], "disputed"),
]


@pytest.mark.parametrize(("removed_by", "staying", "how"), REMOVALS)
def test_how_a_removal_stands(removed_by: list[str], staying: list[str], how: str) -> None:
    votes = {source: mtok("1") for source in staying}
    move = standing(("input", ""), old=mtok("1"), new=None, votes=votes, removed_by=removed_by)
    assert move.standing == how


INDEPENDENT = [
    (KEY, ["litellm", "genai-prices", "models.dev"], ["genai-prices", "litellm", "models.dev"]),
    (KEY, ["bundled", "litellm"], ["litellm"]),
    (KEY, ["bundled"], ["bundled"]),
    (KEY, ["tokencost", "litellm"], ["litellm"]),
    (KEY, ["pi-ai", "models.dev", "vendor"], ["models.dev", "vendor"]),
    (("openrouter", "x"), ["genai-prices", "models.dev", "openrouter"], ["openrouter"]),
    (("openrouter", "x"), ["genai-prices", "models.dev", "litellm"], ["genai-prices", "litellm"]),
    (("huggingface_together", "x"), ["genai-prices", "models.dev"], ["genai-prices"]),
    (("vercel", "x"), ["genai-prices", "vercel"], ["vercel", "genai-prices"]),
]


@pytest.mark.parametrize(("key", "sources", "speaking"), INDEPENDENT)
def test_copies_of_one_list_have_one_vote(key: ModelKey, sources: list[str], speaking: list[str]) -> None:
    views = [view(source, {"input": "1"}, key=key) for source in sources]
    assert [known.source for known in voters(key, views)] == speaking
    assert [known.source for known in voters(key, reversed(views))] == speaking


def test_of_several_copies_the_newest_speaks() -> None:
    key = ("openrouter", "x")
    old = view("genai-prices", {"input": "1"}, key=key, as_of=AT - timedelta(days=1))
    new = view("models.dev", {"input": "2"}, key=key)
    assert voters(key, [old, new]) == (new,)
    assert voters(("openrouter", "y"), [old, new]) == ()


def test_trust_begins_with_the_vendors_own_list_and_may_be_given() -> None:
    assert trust_for("openrouter")[:2] == ("openrouter", "genai-prices")
    assert trust_for("openai") == ("genai-prices", "litellm", "models.dev", "bundled")
    views = [view(source, {"input": "1"}) for source in ("genai-prices", "litellm")]
    assert voters(KEY, views, [SourceName("litellm")])[0].source == "litellm"


def test_a_report_lists_what_sources_differ_on() -> None:
    views = [
        view("genai-prices", {"input": "1", "output": "2", "cached_input": "0.1"}),
        view("litellm", {"input": "1", "output": "3", "output @ processing=batch": "1"}),
        view("models.dev", {"input": "1.0001", "output": "3"}),
    ]
    (found,) = disagreements(KEY, views)
    assert found.part == ("output", "")
    assert found.confirmed == mtok("3")
    assert found.votes == {"genai-prices": mtok("2"), "litellm": mtok("3"), "models.dev": mtok("3")}


costs = st.sampled_from(["1", "1.0005", "2", "3"]).map(mtok)


@given(st.dictionaries(st.sampled_from("abcdef"), costs, max_size=6))
def test_the_order_of_votes_does_not_decide(votes: dict[str, Fraction]) -> None:
    turned = dict(reversed(votes.items()))
    assert same_price(confirmed_price(votes), confirmed_price(turned))
    for new in votes.values():
        one = standing(("input", ""), old=None, new=new, votes=votes)
        assert one == standing(("input", ""), old=None, new=new, votes=turned)


def listing(count: int, *, price: str = "1", changed: int = 0) -> SourceView:
    """Return a view of `count` models, the first `changed` of which cost twice as much."""
    base, double = Statement(current=stated({"input": price})), Statement(current=stated({"input": "2"}))
    statements = {("p", f"m{n}"): double if n < changed else base for n in range(count)}
    return SourceView(source=SourceName("a"), revision="1", as_of=AT, statements=statements)


WHOLE: list[tuple[SourceView, SourceView | None, Rejection | None]] = [
    (listing(0), None, "empty_snapshot"),
    (listing(0), listing(100), "empty_snapshot"),
    (listing(1), None, None),
    (listing(80), listing(100), None),
    (listing(79), listing(100), "models_missing"),
    (listing(100, changed=10), listing(100), None),
    (listing(100, changed=11), listing(100), "mass_change"),
    (listing(50, changed=6), listing(50), "mass_change"),
    (listing(49, changed=49), listing(49), None),
    (listing(200, price="1.0005"), listing(200), None),
]


@pytest.mark.parametrize(("now", "before", "why"), WHOLE)
def test_when_a_whole_view_is_not_believed(
    now: SourceView, before: SourceView | None, why: Rejection | None
) -> None:
    assert rejection(now, before, ()) == why


def test_only_tracked_models_count_as_changed() -> None:
    now, before = listing(200, changed=20), listing(200)
    first = [("p", f"m{n}") for n in range(100)]
    assert rejection(now, before, first) == "mass_change"
    assert rejection(now, before, ()) is None


def test_a_source_is_stale_after_30_days() -> None:
    known = view("a", {"input": "1"}, as_of=AT)
    assert not is_stale(known, AT + timedelta(days=30))
    assert is_stale(known, AT + timedelta(days=30, seconds=1))
    assert is_stale(known, AT + timedelta(days=2), days=1)


def test_a_models_end_is_marked() -> None:
    price, other = stated({"input": "1"}), ("openai", "other")
    past = Statement(current=price, deprecated_at=AT, redirect_to="gpt-2")
    views = [
        SourceView(source=SourceName("b"), revision="2", as_of=AT, statements={KEY: past}),
        SourceView(source=SourceName("a"), revision="2", as_of=AT, statements={}),
    ]
    before = {SourceName("a"): view("a", {"input": "1"})}
    found = retirements(KEY, views=views, previous=before, at=AT)
    assert [(one.kind, one.source) for one in found] == [
        ("gone", "a"),
        ("deprecated", "b"),
        ("redirected", "b"),
    ]
    assert found[2].redirect_to == "gpt-2"
    early = retirements(KEY, views=views, previous={}, at=AT - timedelta(seconds=1))
    assert [(one.kind, one.at) for one in early] == [("ending", AT), ("redirected", None)]
    assert retirements(other, views=views, previous=before, at=AT) == ()
