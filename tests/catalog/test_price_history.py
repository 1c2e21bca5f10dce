"""Every recorded price change, error and cut of the past, one by one, through the pure engine."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from costplus.catalog.change import ProposedChange
from costplus.catalog.feeds import genai_prices
from costplus.catalog.feeds.stated import Keys, StatedPrice
from costplus.catalog.guard import rejection
from costplus.catalog.price import ALWAYS, PriceVersion
from costplus.catalog.reconcile import reconcile
from costplus.catalog.statement import ModelKey, SourceName, SourceView, Statement

pytestmark = pytest.mark.slow

AT = datetime(2026, 11, 24, tzinfo=UTC)
BEFORE = datetime(2024, 1, 1, tzinfo=UTC)
KEY = ("vendor", "model")
FIELDS = {"input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cached_input"}
STANDINGS = {  # Who states the new price, who the old one.
    "single": (["a"], []),
    "confirmed": (["a", "b"], []),
    "two against one": (["a", "b"], ["c"]),
    "disputed": (["a"], ["b"]),
}


@pytest.fixture(scope="module")
def history(shared_data: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((shared_data / "price_changes.json").read_text("utf-8"))
    return found


def stated(prices: Mapping[str, Any], *, since: datetime = ALWAYS) -> StatedPrice:
    """Return prices in the spelling of the history as a source states them."""
    known = {
        ("cache_read_mtok" if k == "inputCached" else k): figures(v)
        for k, v in prices.items()
        if v is not None
    }
    read = genai_prices.model_prices(KEY[0], {"id": KEY[1], "prices": known}, taken_on=AT.date(), keys=Keys())
    price = next(iter(read))
    return StatedPrice(provider=KEY[0], model=KEY[1], components=price.components, valid_from=since)


def figures(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: figures(item) for key, item in value.items()}
    return [figures(item) for item in value] if isinstance(value, list) else Decimal(value)


def view(source: str, price: StatedPrice, *, revision: str, at: datetime = AT) -> SourceView:
    return SourceView(
        source=SourceName(source),
        revision=revision,
        as_of=at,
        statements={KEY: Statement(current=price)},
    )


def changes(
    old: StatedPrice, new: StatedPrice, *, movers: Sequence[str], stayers: Sequence[str] = ()
) -> tuple[ProposedChange, ...]:
    """Return what follows where some sources move from the active price to a new one, and others stay."""
    active = PriceVersion("pv_1", *KEY, "USD", BEFORE, None, old.components)
    previous = [view(source, old, revision="1", at=BEFORE) for source in (*movers, *stayers)]
    current = [view(source, new, revision="2") for source in movers]
    current += [view(source, old, revision="1", at=BEFORE) for source in stayers]
    return reconcile(
        active=active, views=current, previous={known.source: known for known in previous}, key=KEY, at=AT
    )


def jump(row: Mapping[str, Any], how: str) -> list[ProposedChange]:
    """Return what follows from one figure of a price that jumps while the rest of it fits."""
    movers, stayers = STANDINGS[how]
    beside = {"input_mtok": row["old"]} if row["field"] == "cache_read_mtok" else {}
    old, new = stated({**beside, row["field"]: row["old"]}), stated({**beside, row["field"]: row["new"]})
    found = changes(old, new, movers=movers, stayers=stayers)
    assert found, (row, how)
    return list(found)


@pytest.mark.parametrize("how", STANDINGS)
def test_every_unit_error_is_held_whoever_states_it(history: Mapping[str, Any], how: str) -> None:
    rows = [row for row in history["large_jumps_ge20x"] if row["class"] == "unit_error"]
    assert len(rows) == 68
    for row in rows:
        for change in jump(row, how):
            assert change.decision.verdict == "hold", (row, change)
            assert "ratio_10x" in change.decision.reasons


@pytest.mark.parametrize("how", STANDINGS)
def test_a_real_cut_of_a_cache_price_is_released_by_a_second_source(
    history: Mapping[str, Any], how: str
) -> None:
    rows = [row for row in history["large_jumps_ge20x"] if row["class"] == "real_cache_cut"]
    assert len(rows) == 16
    for row in rows:
        (change,) = jump(row, how)
        decision = change.decision
        if how in ("confirmed", "two against one"):
            assert (decision.verdict, decision.large) == ("apply", True)
        else:
            assert decision.verdict == "hold" and "cache_cut_10x" in decision.reasons


@pytest.mark.parametrize("how", STANDINGS)
def test_every_other_jump_of_20_times_is_held_but_for_confirmed_cache_cuts(
    history: Mapping[str, Any], how: str
) -> None:
    classes = ("unit_error", "real_cache_cut")
    rows = [row for row in history["large_jumps_ge20x"] if row["class"] not in classes]
    assert len(rows) == 22
    for row in rows:
        is_cut = row["field"] == "cache_read_mtok" and Decimal(row["new"]) < Decimal(row["old"])
        expected = "apply" if is_cut and how in ("confirmed", "two against one") else "hold"
        assert {change.decision.verdict for change in jump(row, how)} == {expected}, row


@pytest.mark.parametrize("how", STANDINGS)
def test_every_flip_to_or_from_zero_is_held(history: Mapping[str, Any], how: str) -> None:
    rows = history["zero_flips"]
    assert len(rows) == 335
    for row in rows:
        word = "was_zero" if Fraction(row["old"]) == 0 else "became_zero"
        for change in jump(row, how):
            assert change.decision.verdict == "hold" and word in change.decision.reasons, row


def independent(row: Mapping[str, Any]) -> list[str]:
    """Return the independent lists that saw a change; a copy of LiteLLM's list is LiteLLM."""
    seen = row.get("seen_in") or [{"source": row["source"]}]
    names = {one["source"].replace("==", " ").replace("@", " ").split()[0] for one in seen}
    return sorted({"litellm" if name == "tokencost" else name for name in names})


def cell(moves: Sequence[tuple[str, Fraction, Fraction]], *, sources: int, is_dated: bool) -> str:
    """Return the matrix's answer for (leaf, before, after), read off the table of the specification."""
    if any(not old or not new for _, old, new in moves):
        return "hold"
    ratios = [(leaf, max(old / new, new / old), new > old) for leaf, old, new in moves]
    for leaf, ratio, is_up in ratios:
        if ratio >= 10 and (is_up or not leaf.startswith("cache") or sources < 2):
            return "hold"
    largest = max((ratio for _, ratio, _ in ratios), default=Fraction(1))
    if sources >= 2:
        return "apply large" if largest > 2 else "apply"
    is_late_rise = is_dated and (not moves or any(is_up for _, _, is_up in ratios))
    return "hold" if largest > 2 or is_late_rise else "soak"


def test_every_documented_or_twice_seen_change_gets_its_cell_of_the_matrix(
    history: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in history["changes"] if row["class"] in "AB"]
    assert len(rows) == 69
    totals = Counter[str]()
    for row in rows:
        sources = independent(row)
        is_dated = row["date_kind"] == "effective"
        since = datetime.fromisoformat(row["date"]).replace(tzinfo=UTC) if is_dated else ALWAYS
        found = changes(stated(row["old"]), stated(row["new"], since=since), movers=sources)
        assert found, row
        for change in found:
            moves = [
                (move.leaf, move.before, move.after)
                for move in change.moves
                if move.before is not None and move.after is not None
            ]
            decision = change.decision
            verdict = (
                f"{decision.verdict} large"
                if (decision.verdict, decision.large) == ("apply", True)
                else decision.verdict
            )
            expected = cell(moves, sources=len(sources), is_dated=is_dated)
            if any(move.new is None for move in change.moves) and len(sources) < 2:
                expected = "hold"
            assert verdict == expected, (row, change)
            assert change.effective_at == (since if is_dated else AT)
            totals[f"{row['class']} {'confirmed' if len(sources) > 1 else 'single'}: {verdict}"] += 1
    with capsys.disabled():
        sys.stdout.write(f"\n{dict(sorted(totals.items()))}\n")


def read(path: Path) -> Iterator[tuple[ModelKey, Statement]]:
    """Yield what a file of genai-prices says now, each model once."""
    raw = json.loads(path.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    known: dict[ModelKey, list[StatedPrice]] = {}
    for price in genai_prices.feed(raw, taken_on=AT.date(), keys=Keys()):
        known.setdefault((price.provider, price.model), []).append(price)
    for key, prices in known.items():
        begun = [price for price in prices if price.valid_from <= AT]
        yield key, Statement(current=begun[-1], scheduled=tuple(prices[len(begun) :]))


def genai_view(path: Path, *, revision: str) -> SourceView:
    return SourceView(
        source=SourceName("genai-prices"), revision=revision, as_of=AT, statements=dict(read(path))
    )


@pytest.mark.slow
def test_the_frozen_list_with_the_cancelled_rise_is_rejected_and_would_change_no_price(
    shared_data: Path,
) -> None:
    snapshots = shared_data / "price_snapshots"
    live = genai_view(snapshots / "genai-prices-0.2.3-2026-11-10.data.json", revision="0.2.3")
    frozen = genai_view(snapshots / "genai-prices-frozen-v1.data.json", revision="v1")
    assert rejection(frozen, live, live.statements.keys()) == "models_missing"
    key = ("anthropic", "claude-sonnet-5")
    assert {c.amount for c in frozen.statements[key].current.components if c.leaf == "input"} == {Decimal(3)}
    for model, said in live.statements.items():
        active = PriceVersion("pv_1", *model, "USD", BEFORE, None, said.current.components)
        found = reconcile(active=active, views=[frozen], previous={live.source: live}, key=model, at=AT)
        for change in found:
            assert change.decision.verdict in ("hold", "soak"), change
            if model == key:
                assert change.decision.verdict == "hold"
                assert "scheduled_unconfirmed" in change.decision.reasons


@pytest.mark.slow
def test_successive_real_files_of_one_source_are_accepted(shared_data: Path) -> None:
    snapshots = shared_data / "price_snapshots"
    one = genai_view(snapshots / "genai-prices-0.1.9-2026-09-25.data.json", revision="0.1.9")
    two = genai_view(snapshots / "genai-prices-0.2.3-2026-11-10.data.json", revision="0.2.3")
    assert rejection(two, one, one.statements.keys()) is None
    assert rejection(one, None, ()) is None
