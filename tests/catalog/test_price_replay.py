"""Real snapshots of three sources in time order: what the pure engine makes of every real price change.

What should come of a change is worked out from the recorded figures alone (`Told`), not by the engine.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from costplus.catalog.agreement import Parts, components_of, same_price, spoken
from costplus.catalog.change import Move, PartKey
from costplus.catalog.feeds.genai_prices import model_prices
from costplus.catalog.feeds.litellm import entry_price
from costplus.catalog.feeds.models_dev import model_price
from costplus.catalog.feeds.stated import Keys
from costplus.catalog.statement import ModelKey, SourceName, SourceView, Statement

pytestmark = pytest.mark.slow

END = datetime(2026, 11, 24, tzinfo=UTC)
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE]-?\d+)?")
SPELLINGS = {
    "above": "start",
    "cacheRead": "cache_read",
    "cacheWrite": "cache_write",
    "inputCached": "cache_read",
}


def decimals(raw: Any) -> Any:
    """Return recorded prices with figures as decimals, in the spelling that the feeds read."""
    if isinstance(raw, Mapping) and "inputTokensAbove" in raw:
        rest = {k: v for k, v in raw.items() if k != "inputTokensAbove"}
        return {"tier": {"size": Decimal(raw["inputTokensAbove"])}, **decimals(rest)}
    if isinstance(raw, Mapping):
        return {SPELLINGS.get(k, k): decimals(v) for k, v in raw.items() if k != "outputCached"}
    if isinstance(raw, list):
        return [decimals(item) for item in raw]
    return Decimal(raw) if isinstance(raw, str) and NUMBER.fullmatch(raw) else raw


def model_key(name: str) -> ModelKey:
    provider, _, model = name.partition("/")
    return provider, model


def genai_statement(key: ModelKey, prices: Any, *, at: datetime) -> Statement:
    """Return the price in force at `at` and the later ones."""
    stated = list(model_prices(key[0], {"id": key[1], "prices": prices}, taken_on=at.date(), keys=Keys()))
    begun = [price for price in stated if price.valid_from <= at]
    return Statement(current=begun[-1], scheduled=tuple(stated[len(begun) :]))


def statement(source: str, key: ModelKey, raw: Any, *, at: datetime) -> Statement:
    """Return what a recorded snapshot says of one model, read by the source's own feed."""
    prices = decimals(raw)
    if source == "genai-prices":
        return genai_statement(key, prices, at=at)
    if source == "litellm":
        return Statement(current=entry_price(key[1], {"litellm_provider": key[0], **prices}, keys=Keys()))
    return Statement(current=model_price(key[0], key[1], {"cost": prices}, keys=Keys()))


def recorded_views(snapshots: list[dict[str, Any]]) -> Iterator[SourceView]:
    for snapshot in snapshots:
        source, at = snapshot["source"], datetime.fromisoformat(snapshot["as_of"])
        yield SourceView(
            source=SourceName(source),
            revision=snapshot["revision"],
            as_of=at,
            statements={
                model_key(name): statement(source, model_key(name), raw, at=at)
                for name, raw in snapshot["prices"].items()
                if raw is not None
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How the sources told one part of a real change, from the recorded figures alone."""

    part: PartKey
    new: Fraction | None
    first_at: datetime  # When the first source moved to the new price.
    said: Mapping[str, datetime]  # When each source first stated it, from then on.
    agreed_at: datetime | None  # When two stated it, and more than stated anything else.


def replayed(price_engine: Any, recorded: Mapping[str, Any]) -> Any:
    """Return the engine's memory after all snapshots."""
    replay = price_engine()
    for view in recorded_views(recorded["snapshots"]):
        replay.accept(view)
    replay.pass_time(END)
    return replay


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Mapping[str, Any]:
    found = json.loads((shared_data / "price_replay_snapshots.json").read_text("utf-8"))
    assert isinstance(found, Mapping) and len(found["snapshots"]) == 141
    return found


@pytest.fixture(scope="module")
def replay(price_engine: Any, recorded: Mapping[str, Any]) -> Any:
    return replayed(price_engine, recorded)


@pytest.fixture(scope="module")
def changes(shared_data: Path, recorded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the documented (A) and twice-seen (B) changes of the replayed models."""
    found = json.loads((shared_data / "price_changes.json").read_text("utf-8"))["changes"]
    names = set(recorded["models"])
    return [row for row in found if row["class"] in "AB" and "/".join(key_of(row)) in names]


def key_of(row: Mapping[str, Any]) -> ModelKey:
    """Return a change's model as the replay names it."""
    provider = {"x-ai": "xai"}.get(row["provider"], row["provider"])
    return provider, row["model"].removeprefix(f"{row['provider']}/").lower()


def parts_of(key: ModelKey, prices: Mapping[str, Any]) -> Parts:
    """Return one side of a documented change; what is null there was not stated."""
    stated = {("cache_read_mtok" if k == "inputCached" else k): v for k, v in prices.items() if v is not None}
    return components_of(genai_statement(key, decimals(stated), at=END).current)


def tellings(row: Mapping[str, Any], views: list[SourceView]) -> list[Told]:
    """Return how the snapshots tell each part of a change; none where no source is seen to move."""
    key = key_of(row)
    old, new = parts_of(key, row["old"]), parts_of(key, row["new"])
    moved = [part for part in sorted(old.keys() | new.keys()) if not same_price(old.get(part), new.get(part))]
    known: dict[str, Statement] = {}
    for view in views:
        now, before = view.statements.get(key), known.get(view.source)
        if now is None:
            continue
        known[view.source] = now
        if before is not None and _is_told(row, before, now, old=old, new=new, moved=moved):
            parts = spoken(now.current)
            return [_told(part, parts.get(part), view.as_of, key, views) for part in moved]
    return []


def _is_told(
    row: Mapping[str, Any], before: Statement, now: Statement, *, old: Parts, new: Parts, moved: list[PartKey]
) -> bool:
    """Return whether a source moves from the old to the new list price, or dates a price on that day."""
    was, said = spoken(before.current), spoken(now.current)
    day = now.current.valid_from
    if day != before.current.valid_from and f"{day:%Y-%m-%d}" == row["date"]:
        return True
    telling = [part for part in moved if part in old and part in was]
    return bool(telling) and all(
        same_price(was.get(part), old[part]) and same_price(said.get(part), new.get(part)) for part in telling
    )


def _told(
    part: PartKey, new: Fraction | None, first_at: datetime, key: ModelKey, views: list[SourceView]
) -> Told:
    says: dict[str, Fraction | None] = {}  # None: it stated the part once.
    said: dict[str, datetime] = {}
    agreed_at = None
    for view in views:
        if key not in view.statements:
            says.pop(view.source, None)
            continue
        parts = spoken(view.statements[key].current)
        if part in parts or view.source in says:
            says[view.source] = parts.get(part)
        if view.as_of < first_at:
            continue
        agreeing = [source for source, cost in says.items() if same_price(cost, new)]
        others = [cost for cost in says.values() if cost is not None and not same_price(cost, new)]
        rival = max((sum(same_price(cost, other) for other in others) for cost in others), default=0)
        for source in agreeing:
            said.setdefault(source, view.as_of)
        if agreed_at is None and len(agreeing) >= 2 and len(agreeing) > rival:
            agreed_at = view.as_of
    return Told(part=part, new=new, first_at=first_at, said=said, agreed_at=agreed_at)


def outcome(replay: Any, key: ModelKey, told: Told) -> str:
    """Return what became of a part, after asserting that it is what the recorded figures ask for."""
    before = replay.price(key, told.part, before=told.first_at)
    applied_at = replay.applied(key, told.part, told.new, since=told.first_at)
    proposed = replay.last_decision(key, told.part, told.new)
    if same_price(before, told.new):
        return "in force before"
    assert proposed is not None, "a real change was skipped"
    decision = proposed.decision
    move = next(move for move in proposed.moves if move.part == told.part)
    if told.agreed_at is not None and is_confirmable(move):
        assert applied_at == told.agreed_at, (key, told, decision)
        return f"applied {applied_at:%Y-%m-%d}" + (" large" if decision.large else "")
    if applied_at is None:
        assert decision.verdict in ("hold", "pending"), (key, told, decision)
        return f"{decision.verdict}: {', '.join(decision.reasons)}"
    assert len(told.said) == 1 and move.standing == "single", (key, told, decision)
    return f"soaked {applied_at:%Y-%m-%d}"


def is_confirmable(move: Move) -> bool:
    """Return whether two sources are enough: less than tenfold, or a cut of a cache price."""
    if move.before is None or move.after is None:
        return True
    assert move.before > 0 and move.after > 0
    ratio = max(move.before / move.after, move.after / move.before)
    return ratio < 10 or (move.leaf.startswith("cache") and move.after < move.before)


def per_million(cost: Fraction | None) -> str:
    return "–" if cost is None else f"{float(cost * 1_000_000):g}"


def test_every_real_change_that_a_snapshot_shows_is_found_and_decided_rightly(
    replay: Any,
    recorded: Mapping[str, Any],
    changes: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    views = list(recorded_views(recorded["snapshots"]))
    lines, totals = [], Counter[str]()
    for row in changes:
        key = key_of(row)
        told = tellings(row, views)
        lines.append(f"{row['class']} {row['date']} {'/'.join(key)}")
        if not told:
            totals["not shown"] += 1
            lines.append("      no snapshot shows it happen")
        for one in told:
            became = outcome(replay, key, one)
            totals[became.partition(" ")[0].rstrip(":")] += 1
            said = ", ".join(f"{source} {at:%m-%d}" for source, at in one.said.items())
            lines.append(f"      {' '.join(one.part):<42} → {per_million(one.new):<7} {became}  [{said}]")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, str(dict(totals)), ""]))
    assert len(changes) == 33
    assert totals == {"applied": 78, "hold": 9, "in": 9, "not shown": 6}


def test_the_cancelled_rise_of_claude_sonnet_5_is_never_active(replay: Any) -> None:
    key = ("anthropic", "claude-sonnet-5")
    assert replay.history[key]
    for _, version in replay.history[key]:
        prices = components_of(version)
        assert (prices["input", ""], prices["output", ""]) == (mtok("2"), mtok("10"))
    states = [state for _, known, state in replay.schedule if known == key]
    assert set(states[:-1]) == {"due"} and states[-1] == "cancelled"


def test_an_announced_price_of_next_year_waits(replay: Any) -> None:
    assert [key for key, _ in replay.announced] == [("google", "gemini-3.6-flash")]


def test_no_wrong_unit_ever_becomes_a_price(replay: Any) -> None:
    for key, known in replay.history.items():
        for _, version in known:
            for (leaf, when), cost in components_of(version).items():
                if leaf in ("input", "output", "cached_input") and not when.startswith("×"):
                    assert mtok("0.001") <= cost <= mtok("540"), (key, leaf, when)


FINAL = {
    "openai/gpt-5.6-luna": ("0.2", "1.2"),
    "openai/gpt-5.6-terra": ("2", "12"),
    "openai/gpt-5.6-sol": ("4", "20"),
    "openai/gpt-5.5-pro": ("30", "180"),
    "openai/o3": ("2", "8"),
    "openai/gpt-4o": ("2.5", "10"),
    "anthropic/claude-sonnet-5": ("2", "10"),
    "anthropic/claude-haiku-4-5": ("1", "5"),
    "anthropic/claude-opus-4-6": ("5", "25"),
    "google/gemini-3.6-flash": ("0.75", "3.75"),
    "google/gemini-2.5-flash": ("0.3", "2.5"),
    "google/gemini-3.1-flash-image-preview": ("0.5", "60"),  # 3 is held: twenty times less.
    "deepseek/deepseek-v4-pro": ("1.32", "3.96"),
    "deepseek/deepseek-v4-flash": ("0.3", "1.2"),
    "deepseek/deepseek-chat": ("0.28", "0.42"),
    "mistral/mistral-large-4": ("0.68", "2.09"),  # 0.7 is held: the sources still differ.
    "mistral/mistral-large-latest": ("0.5", "1.5"),
    "mistral/mistral-medium-latest": ("1.5", "7.5"),
    "mistral/mistral-small-latest": ("0.15", "0.6"),
    "xai/grok-3": ("3", "15"),  # Redirected: only one source ever said so.
    "xai/grok-4-fast-reasoning": ("0.2", "0.5"),
    "xai/grok-4.20": ("1.25", "2.5"),
    "zai/glm-5.3-flash": ("0.15", "0.5"),
    "wandb/openai/gpt-oss-120b": ("0.03", "0.17"),
    "ovhcloud/gpt-oss-120b": ("0.09", "0.47"),
    "openrouter/openai/gpt-5.4-mini": ("0.75", "4.5"),
}
UNPRICED = {  # No two sources ever agreed on a first price.
    "together/qwen3-235b-a22b-instruct-2507-tput",
    "helicone/mistral-small",
    "cloudflare-ai-gateway/workers-ai/llama-2-7b-chat-fp16",
}


def test_the_final_prices_are_sane(
    replay: Any, recorded: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found, lines = {}, []
    for name in recorded["models"]:
        version = replay.active.get(model_key(name))
        if version is None:
            lines.append(f"{name:<54} unpriced")
            continue
        prices = {leaf: cost for (leaf, when), cost in components_of(version).items() if not when}
        found[name] = prices["input"], prices["output"]
        shown = "  ".join(f"{leaf} {per_million(cost)}" for leaf, cost in sorted(prices.items()))
        lines.append(f"{name:<54} {shown}  ({len(replay.open.get(model_key(name), ()))} held)")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))
    assert found == {name: (mtok(i), mtok(o)) for name, (i, o) in FINAL.items()}
    assert set(recorded["models"]) - found.keys() == UNPRICED


def test_the_replay_is_the_same_every_time(
    price_engine: Any, replay: Any, recorded: Mapping[str, Any]
) -> None:
    again = replayed(price_engine, recorded)
    assert again.active == replay.active
    assert again.entries == replay.entries


def mtok(amount: str) -> Fraction:
    return Fraction(amount) / 1_000_000
