"""From what sources say to proposed changes: who proposes, what is agreed, what soaks, what is announced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.catalog.agreement import components_of
from costplus.catalog.change import ProposedChange
from costplus.catalog.condition import among, when_of
from costplus.catalog.feeds.stated import StatedPrice
from costplus.catalog.price import ALWAYS, Component, Minimum, Multiplier, PriceVersion
from costplus.catalog.reconcile import reconcile, settle_soak, with_moves
from costplus.catalog.schedule import Announcement, scheduled_due
from costplus.catalog.statement import SourceName, SourceView, Statement

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
DAY = datetime(2026, 11, 20, tzinfo=UTC)
KEY = ("openai", "gpt")
G, L, M = "genai-prices", "litellm", "models.dev"

Prices = Mapping[str, str]
OLD: Prices = {"input": "1", "output": "4"}
NEW: Prices = {"input": "1.5", "output": "4"}


def components(prices: Prices) -> tuple[Component, ...]:
    """Return components of `leaf` or `leaf @ conditions` → USD per million."""
    parts = [(*name.partition(" @ "), amount) for name, amount in prices.items()]
    return tuple(
        Component(leaf, Decimal(amount), 1_000_000, when_of(when)) for leaf, _, when, amount in parts
    )


def stated(prices: Prices, *, since: datetime = ALWAYS, unmapped: tuple[str, ...] = ()) -> StatedPrice:
    return StatedPrice(
        provider="p", model="m", components=components(prices), valid_from=since, unmapped=unmapped
    )


def view(source: str, said: Prices | StatedPrice | Statement, *, at: datetime = AT) -> SourceView:
    if not isinstance(said, Statement):
        said = Statement(current=said if isinstance(said, StatedPrice) else stated(said))
    return SourceView(source=SourceName(source), revision=f"{source} {at}", as_of=at, statements={KEY: said})


def active_price(prices: Prices = OLD, **other: Any) -> PriceVersion:
    return PriceVersion("pv_1", *KEY, "USD", SINCE, None, components(prices), **other)


def proposed(
    now: Mapping[str, Prices | StatedPrice],
    before: Mapping[str, Prices | StatedPrice],
    *,
    active: PriceVersion | None = None,
    at: datetime = AT,
    pending: Sequence[ProposedChange] = (),
    trust: Sequence[SourceName] | None = None,
) -> tuple[ProposedChange, ...]:
    """Return the changes that follow where sources said `before` and say `now`."""
    previous = {SourceName(source): view(source, said, at=SINCE) for source, said in before.items()}
    views = [view(source, said) for source, said in now.items()]
    active = active or active_price()
    return reconcile(
        active=active, views=views, previous=previous, key=KEY, at=at, pending=pending, trust=trust
    )


def prices_of(change: ProposedChange) -> dict[str, str]:
    """Return a change's new price in the words of these tests."""
    texts = {}
    for component in change.components:
        when = "&".join(condition.text for condition in component.when)
        texts[f"{component.leaf} @ {when}" if when else component.leaf] = str(component.amount)
    return texts


def test_a_second_source_confirms_at_once() -> None:
    (change,) = proposed({G: NEW, L: NEW, M: OLD}, {G: OLD, L: OLD, M: OLD})
    assert change.decision.verdict == "apply"
    assert prices_of(change) == NEW
    assert (change.effective_at, change.precision) == (AT, "detected")
    assert [(move.old, move.new) for move in change.moves] == [
        (Fraction(1, 1_000_000), Fraction(15, 10_000_000))
    ]


def test_a_confirmed_price_is_found_though_nobody_moved_today() -> None:
    (change,) = proposed({G: NEW, L: NEW}, {G: NEW, L: NEW})
    assert change.decision.verdict == "apply"


def test_a_standing_disagreement_in_which_nobody_moves_proposes_nothing() -> None:
    said = {G: OLD, L: NEW}
    assert proposed(said, said) == ()


def test_one_source_against_another_is_held_and_the_active_price_stays() -> None:
    (change,) = proposed({G: NEW, L: OLD}, {G: OLD, L: OLD})
    assert (change.decision.verdict, change.decision.reasons) == ("hold", ("sources_disagree",))


def test_a_source_alone_soaks() -> None:
    (change,) = proposed({G: NEW}, {G: OLD})
    assert change.decision.verdict == "soak"
    assert change.decision.due_at == AT + timedelta(hours=24)


def test_a_source_that_moves_to_the_active_price_proposes_nothing() -> None:
    assert proposed({G: OLD, L: NEW}, {G: NEW, L: NEW}, active=active_price(OLD)) == ()


def test_at_the_first_sync_only_the_most_trusted_source_proposes() -> None:
    (change,) = proposed({G: NEW, L: OLD}, {})
    assert change.decision.reasons == ("sources_disagree",)
    assert proposed({G: OLD, L: NEW}, {}) == ()
    assert proposed({G: OLD, L: NEW}, {}, trust=[SourceName(L), SourceName(G)])


def test_silence_is_no_removal_and_no_vote() -> None:
    batch = {**OLD, "input @ processing=batch": "0.5"}
    cheaper = {**OLD, "input @ processing=batch": "0.4"}
    (change,) = proposed({G: cheaper, M: OLD}, {G: batch, M: OLD}, active=active_price(batch))
    assert change.decision.verdict == "soak"
    assert proposed({M: OLD}, {M: OLD}, active=active_price(batch)) == ()


def test_what_its_source_no_longer_states_is_held_until_a_second_one_agrees() -> None:
    tiered = {**OLD, "input @ prompt_tokens>200000": "2"}
    active = active_price(tiered)
    (held,) = proposed({G: OLD, L: tiered, M: tiered}, {G: tiered, L: tiered, M: tiered}, active=active)
    assert held.decision.reasons == ("sources_disagree",)
    assert held.moves[0].removed_by == (G,)
    now: dict[str, Prices] = {G: OLD, L: OLD, M: tiered}
    (gone,) = proposed(now, {G: OLD, L: tiered, M: tiered}, active=active, pending=[held])
    assert gone.decision.verdict == "apply"
    assert prices_of(gone) == OLD
    (alone,) = proposed({G: OLD}, {G: tiered}, active=active)
    assert alone.decision.reasons == ("component_removed",)


def test_what_is_confirmed_does_not_wait_for_the_rest_nor_one_source_for_another() -> None:
    old = {**OLD, "reasoning": "4", "output @ processing=batch": "2"}
    genai = {**NEW, "reasoning": "5", "output @ processing=batch": "2"}
    litellm = {"input": "1.5", "output": "4", "output @ processing=batch": "9"}
    first = {"input": "1", "output": "4", "output @ processing=batch": "2"}
    found = proposed({G: genai, L: litellm}, {G: old, L: first}, active=active_price(old))
    verdicts = [([move.leaf for move in one.moves], one.decision.verdict) for one in found]
    assert verdicts == [(["input"], "apply"), (["reasoning"], "soak"), (["output"], "hold")]
    assert all(prices_of(one)["input"] == "1.5" for one in found)


def test_multipliers_are_compared_and_minimums_are_kept_out_of_it() -> None:
    region = (among("region", ["us"]),)
    old, new = Multiplier(Decimal("1.1"), region), Multiplier(Decimal("1.2"), region)
    before = replace(stated(OLD), multipliers=(old,))
    after = replace(stated(OLD), multipliers=(new,))
    active = active_price(multipliers=(old,), minimums=(Minimum("audio_second", 10),))
    (change,) = proposed({G: after, L: after}, {G: before, L: before}, active=active)
    assert (change.components, change.multipliers) == (active.components, (new,))
    assert change.decision.verdict == "apply"


def test_a_newly_named_past_day_is_when_the_price_counts() -> None:
    dated = stated(NEW, since=DAY)
    (change,) = proposed({G: dated, L: NEW}, {G: OLD, L: OLD})
    assert (change.effective_at, change.precision) == (DAY, "day")
    assert change.counts_from(AT + timedelta(days=1)) == DAY


@pytest.mark.parametrize(
    ("day", "before"),
    [(SINCE, ALWAYS), (AT + timedelta(days=1), ALWAYS), (DAY, DAY)],
    ids=["not after the active price", "not yet", "named before for another price"],
)
def test_other_days_are_not(day: datetime, before: datetime) -> None:
    now, was = stated(NEW, since=day), stated(OLD, since=before)
    (change,) = proposed({G: now, L: NEW}, {G: was, L: OLD})
    assert (change.effective_at, change.precision) == (AT, "detected")
    assert change.counts_from(AT + timedelta(days=1)) == AT + timedelta(days=1)


def test_a_dated_rise_of_one_source_waits_for_a_second_one_on_every_later_day() -> None:
    dated = stated(NEW, since=DAY)
    (held,) = proposed({G: dated}, {G: OLD})
    assert held.decision.reasons == ("scheduled_unconfirmed",)
    (still,) = proposed({G: dated}, {G: dated}, at=AT + timedelta(days=9), pending=[held])
    assert (still.decision, still.digest) == (held.decision, held.digest)
    (change,) = proposed({G: dated, L: NEW}, {G: dated, L: OLD}, pending=[still])
    assert (change.decision.verdict, change.effective_at) == ("apply", DAY)


def test_a_pending_change_that_nobody_states_any_more_is_not_proposed_again() -> None:
    (held,) = proposed({G: NEW, L: OLD}, {G: OLD, L: OLD})
    assert proposed({G: OLD, L: OLD}, {G: NEW, L: OLD}, pending=[held]) == ()


def test_a_soaking_change_keeps_its_day() -> None:
    (first,) = proposed({G: NEW}, {G: OLD})
    (again,) = proposed({G: NEW}, {G: NEW}, at=AT + timedelta(hours=6), pending=[first])
    assert (again.digest, again.decision) == (first.digest, first.decision)


def test_an_unmapped_key_that_appears_holds_the_change_until_it_goes() -> None:
    odd = stated(NEW, unmapped=("x_cost",))
    (held,) = proposed({G: odd, L: NEW}, {G: OLD, L: OLD})
    assert (held.decision.reasons, held.unmapped) == (("unmapped_key",), ("x_cost",))
    (still,) = proposed({G: odd, L: NEW}, {G: odd, L: NEW}, pending=[held])
    assert still.decision.reasons == ("unmapped_key",)
    (free,) = proposed({G: NEW, L: NEW}, {G: odd, L: NEW}, pending=[held])
    assert free.decision.verdict == "apply"
    known = stated(OLD, unmapped=("x_cost",))
    assert proposed({G: odd, L: NEW}, {G: known, L: OLD})[0].decision.verdict == "apply"


def test_a_price_in_another_currency_is_held() -> None:
    active = replace(active_price(), currency="CNY")
    (change,) = proposed({G: NEW, L: NEW}, {G: OLD, L: OLD}, active=active)
    assert change.decision.reasons == ("currency_changed",)


def test_the_cheaper_hours_of_an_outvoted_source_are_held_for_removal() -> None:
    hours = "input @ request_time=1234567 16:30-00:30"
    old = {**OLD, hours: "0.5"}
    now: dict[str, Prices] = {G: old, L: NEW, M: NEW}
    found = proposed(now, {G: old, L: OLD, M: NEW}, active=active_price(old))
    assert [one.decision.verdict for one in found] == ["apply", "hold"]
    assert [(move.leaf, move.new, move.standing) for move in found[1].moves] == [("input", None, "disputed")]


FIRST: list[tuple[dict[str, Prices], str, Prices]] = [
    ({G: OLD}, "pending", OLD),
    ({G: OLD, L: OLD}, "apply", OLD),
    ({G: OLD, L: {**OLD, "cached_input": "0.1"}}, "apply", {**OLD, "cached_input": "0.1"}),
    ({G: OLD, L: NEW}, "pending", NEW),
    ({G: OLD, L: NEW, M: OLD}, "apply", OLD),
    (
        {G: {**OLD, "cached_input": "0.1"}, L: {**OLD, "cached_input": "0.2"}},
        "apply",
        {**OLD, "cached_input": "0.2"},
    ),
]


@pytest.mark.parametrize(("said", "verdict", "prices"), FIRST)
def test_a_first_price(said: dict[str, Prices], verdict: str, prices: Prices) -> None:
    views = [view(source, one) for source, one in said.items()]
    (change,) = reconcile(active=None, views=views, previous={}, key=KEY, at=AT)
    assert (change.decision.verdict, change.decision.reasons[0]) == (verdict, "first_price")
    assert {name.partition(" ")[0]: amount for name, amount in prices_of(change).items()} == dict(prices)


def test_a_model_that_nobody_states_has_no_change() -> None:
    assert reconcile(active=active_price(), views=[], previous={}, key=KEY, at=AT) == ()


def test_an_older_change_is_applied_to_the_newer_price() -> None:
    (change,) = proposed({G: NEW}, {G: OLD})
    later = active_price({"input": "1", "output": "5", "web_search": "10"})
    merged, _ = with_moves(later, change)
    assert components_of(replace(later, components=merged)) == components_of(
        active_price({"input": "1.5", "output": "5", "web_search": "10"})
    )


SOAKED: list[tuple[dict[str, Prices], int, str, tuple[str, ...]]] = [
    ({G: NEW}, 23, "soak", ("single_source",)),
    ({G: NEW}, 24, "apply", ("single_source", "soak_passed")),
    ({G: NEW, L: NEW}, 1, "apply", ("two_sources_agree",)),
    ({G: NEW, L: {"output": "4"}}, 24, "apply", ("single_source", "soak_passed")),
    ({G: NEW, L: OLD}, 24, "hold", ("sources_disagree",)),
    ({G: NEW, L: {"input": "1.7"}}, 1, "hold", ("sources_disagree",)),
    ({G: OLD}, 24, "withdrawn", ("no_longer_stated",)),
    ({G: {"input": "1.7"}}, 24, "withdrawn", ("no_longer_stated",)),
    ({}, 24, "withdrawn", ("no_longer_stated",)),
]


@pytest.mark.parametrize(("said", "hours", "verdict", "reasons"), SOAKED)
def test_what_becomes_of_a_soak(
    said: dict[str, Prices], hours: int, verdict: str, reasons: tuple[str, ...]
) -> None:
    (change,) = proposed({G: NEW}, {G: OLD})
    views = [view(source, one) for source, one in said.items()]
    decision = settle_soak(change, views=views, at=AT + timedelta(hours=hours))
    assert (decision.verdict, decision.reasons) == (verdict, reasons)


sources = st.sampled_from([G, L, M, "openrouter", "vendor"])
amounts = st.sampled_from(["0", "0.5", "1", "1.0005", "1.5", "4", "40"])
names = ["input", "output", "cached_input", "input @ processing=batch", "web_search"]
said_by = st.dictionaries(sources, st.dictionaries(st.sampled_from(names), amounts, min_size=1), max_size=5)


@given(said_by, said_by, st.none() | st.just(OLD), st.randoms(use_true_random=False))
def test_the_order_of_sources_changes_nothing_and_twice_is_the_same(
    now: dict[str, Prices], before: dict[str, Prices], active: Prices | None, random: Any
) -> None:
    views = [view(source, said) for source, said in now.items()]
    previous = {SourceName(source): view(source, said, at=SINCE) for source, said in before.items()}
    price = active_price(active) if active else None
    first = reconcile(active=price, views=views, previous=previous, key=KEY, at=AT)
    random.shuffle(views)
    assert reconcile(active=price, views=views, previous=previous, key=KEY, at=AT) == first
    assert len({change.digest for change in first}) == len(first)


@given(said_by, said_by)
def test_what_was_applied_is_not_proposed_again_and_what_is_held_stays_the_same(
    now: dict[str, Prices], before: dict[str, Prices]
) -> None:
    active = active_price()
    found = proposed(now, before, active=active)
    for change in found:
        if change.decision.verdict == "apply":
            merged, multipliers = with_moves(active, change)
            active = replace(active, components=merged, multipliers=multipliers)
    held = [change for change in found if change.decision.verdict != "apply"]
    again = proposed(now, now, active=active, pending=held)
    assert {c.digest for c in held} <= {c.digest for c in again}
    assert all(change.decision.verdict != "apply" for change in again)


START = datetime(2026, 12, 1, tzinfo=UTC)
RISE, FALL = {"input": "2", "output": "8"}, {"input": "0.8", "output": "4"}


def announcement(prices: Prices) -> Announcement:
    return Announcement(
        provider=KEY[0],
        model=KEY[1],
        source=SourceName(G),
        revision=f"{G} {SINCE}",
        announced_at=SINCE,
        price=stated(prices, since=START),
    )


def announcing(prices: Prices, *, current: Prices = OLD) -> Statement:
    return Statement(current=stated(current), scheduled=(stated(prices, since=START),))


LIVE = START - timedelta(days=3)
DUE: list[tuple[Prices, list[SourceView], datetime, str]] = [
    (RISE, [view(G, announcing(RISE), at=LIVE)], START - timedelta(hours=48, seconds=1), "waits"),
    (RISE, [view(G, announcing(RISE), at=LIVE)], START - timedelta(hours=48), "due"),
    (RISE, [view(G, announcing(RISE), at=LIVE)], START, "due"),
    (RISE, [view(G, announcing(RISE), at=LIVE), view(L, announcing(RISE), at=LIVE)], START, "confirmed"),
    (RISE, [view(G, announcing(RISE), at=LIVE), view(L, RISE, at=START)], START, "confirmed"),
    (RISE, [view(G, announcing(RISE), at=LIVE), view(L, OLD, at=START)], START, "due"),
    (RISE, [view(G, announcing(RISE), at=SINCE)], START, "due"),
    (RISE, [view(G, OLD, at=LIVE)], START, "cancelled"),
    (RISE, [view(G, OLD, at=LIVE)], LIVE, "cancelled"),
    (RISE, [view(G, announcing(FALL), at=LIVE)], LIVE, "cancelled"),
    (FALL, [view(G, announcing(FALL), at=LIVE)], START, "confirmed"),
    (FALL, [view(G, announcing(FALL), at=SINCE)], START, "due"),
    (FALL, [view(G, announcing(FALL), at=START - timedelta(days=31))], START, "due"),
    (FALL, [view("bundled", announcing(FALL), at=LIVE)], START, "due"),
    (FALL, [], START, "due"),
    (OLD, [view(G, announcing(OLD), at=LIVE)], START, "in_force"),
    ({"input": "0.1", "output": "4"}, [view(G, announcing({"input": "0.1"}), at=LIVE)], START, "due"),
]


@pytest.mark.parametrize(("prices", "views", "at", "state"), DUE)
def test_an_announced_price_counts_only_while_live_sources_state_it(
    prices: Prices, views: list[SourceView], at: datetime, state: str
) -> None:
    announced = announcement(prices)
    due = scheduled_due(announced, active=active_price(), views=views, at=at)
    assert due.state == state
    assert due.applies(announced, at) == (state == "confirmed" and at >= START)


def test_the_same_frozen_revision_confirms_nothing_however_late_it_is_fetched() -> None:
    frozen = replace(view(G, announcing(FALL), at=LIVE), revision=f"{G} {SINCE}")
    assert scheduled_due(announcement(FALL), active=active_price(), views=[frozen], at=START).state == "due"
