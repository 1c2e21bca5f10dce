"""The price book in lines for people: dollars per million tokens, instants in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from costplus.billing.price_gather import SourceReport
from costplus.billing.price_report import Freshness, KnownVersion, ModelPrices, SourceReading
from costplus.billing.price_sync import SyncReport
from costplus.catalog.book import PriceChange, RecordedMove
from costplus.catalog.change import REASON_TEXT
from costplus.catalog.condition import when_text
from costplus.catalog.price import ALWAYS, Component
from costplus.core.money import decimal_text, parse_exact
from costplus.core.usage import LEAVES
from costplus.prices import History, Judged, Synced
from costplus.rating.comparison import percent_text

MILLION = 1_000_000


def instant(at: datetime | None) -> str:
    """Return an instant, with its time only where it is not midnight."""
    if at is None:
        return "open"
    if at == ALWAYS:
        return "always"
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == at.second == 0 else f"{at:%Y-%m-%d %H:%M}"


def amount(unit: str | None, *, leaf: str, when: str = "") -> str:
    """Return what a part costs: of tokens per million, else per unit; a multiplier's factor."""
    if unit is None:
        return "nothing stated"
    if when.startswith("×"):
        return f"×{unit}"
    if leaf in LEAVES and LEAVES[leaf].unit == "token":
        return decimal_text(parse_exact(unit) * MILLION)
    return f"{unit} each"


def move_text(move: RecordedMove) -> str:
    """Return one part's move with its percentage: `input: 0.15 → 0.2 (+33.33 %)`."""
    old, new = (None if text is None else parse_exact(text) for text in (move.old, move.new))
    text = f"{_part(move.leaf, move.when)}: {amount(move.old, leaf=move.leaf, when=move.when)}"
    text += f" → {amount(move.new, leaf=move.leaf, when=move.when)}"
    if old and new is not None:
        percent = percent_text((new / old - 1) * 100) or "0"
        text += f" ({'' if percent.startswith('-') else '+'}{percent} %)"
    return text


def _part(leaf: str, when: str) -> str:
    return f"{leaf} [{when}]" if when else leaf


def change_line(judged: Judged) -> str:
    """Return a change in one line: what it is and what moves."""
    change = judged.change
    moved = "; ".join(move_text(move) for move in judged.moves) or "nothing moves"
    return f"{change.status:<10} {change.id}  {change.provider}/{change.model}  {change.kind}  {moved}"


def change_text(judged: Judged) -> str:
    """Return a change with who says so and why it waits."""
    change = judged.change
    large = ", large" if change.large else ""
    lines = [f"{change.provider}/{change.model}  {change.kind}, {change.status}{large}  {change.id}"]
    for move in judged.moves:
        lines.append(f"  {move_text(move)}")
        lines += [f"    {line}" for line in _said(move, change.sources)]
    lines += [f"  {reason}: {REASON_TEXT[reason]}" for reason in change.reasons]
    lines += [f"  not understood: {key}" for key in change.unmapped]
    lines.append(f"  {_dates(change)}")
    return "\n".join(lines)


def _said(move: RecordedMove, revisions: Mapping[str, str]) -> Iterable[str]:
    for source, unit in move.votes.items():
        told = amount(unit, leaf=move.leaf, when=move.when)
        yield f"{source} says {told} ({revisions.get(source) or 'an earlier revision'})"
    for source in move.removed_by:
        yield f"{source} no longer states it ({revisions.get(source) or 'an earlier revision'})"


def _dates(change: PriceChange) -> str:
    parts = [f"found {instant(change.created)}"]
    if change.precision != "detected":
        parts.append(f"counts from {instant(change.effective_at)}")
    if change.ends_at is not None:
        parts.append(f"ends {instant(change.ends_at)}")
    if change.due_at is not None:
        parts.append(f"due {instant(change.due_at)}")
    if change.announced_by:
        parts.append(f"announced by {change.announced_by}")
    if change.decided_at is not None:
        parts.append(f"decided {instant(change.decided_at)} by {change.decided_by}")
    if change.note:
        parts.append(f"note: {change.note}")
    return ", ".join(parts)


def diff_text(changes: Iterable[Judged]) -> str:
    """Return the open changes."""
    return "\n\n".join(map(change_text, changes)) or "No price change is open."


def source_line(source: SourceReport) -> str:
    """Return what became of one source."""
    known = f"{source.revision}, {source.models} models" if source.revision else "nothing accepted yet"
    return f"{source.source:<14} {source.outcome:<12} {source.why or known}"


def sync_lines(synced: Synced) -> Iterable[str]:
    """Yield a line per source that answered and per change, and a sum."""
    report: SyncReport = synced.report
    yield from (source_line(source) for source in report.sources if source.outcome in ("new", "unchanged"))
    yield from (change_line(judged) for judged in synced.changes)
    statuses = sorted({change.status for change in report.changes})
    counts = [f"{report.count(status)} {status}" for status in statuses]
    counts += [f"{report.withdrawn} withdrawn"] if report.withdrawn else []
    yield ", ".join(counts) or "No price changed."
    yield age_text(synced.freshness)


def age_text(freshness: Freshness) -> str:
    """Return how old the prices in use are."""
    heard = [
        f"{source.name} {instant(source.accepted_at)}" for source in freshness.sources if source.accepted_at
    ]
    base = f"snapshot of {freshness.taken_on}, {freshness.snapshot_age_days} days old"
    return f"Prices in use: {base}; heard since: {', '.join(heard) or 'nothing'}."


def show_text(found: ModelPrices) -> str:
    """Return a model's price in force, what may become of it, and how old all that is."""
    lines = [f"{found.name} at {instant(found.at)} UTC, USD per million tokens"]
    if found.current is None:
        lines.append("  no price is in force")
    else:
        lines += [f"  {line}" for line in _components(found.current.price.components)]
        lines += [
            f"  ×{decimal_text(m.factor)} on {m.applies_to} [{when_text(m.when)}]"
            for m in found.current.price.multipliers
        ]
        lines += [f"  not understood: {key}" for key in found.current.price.unmapped]
        lines.append(version_line(found.current))
    if found.mark is not None:
        lines += _mark(found)
    lines += [f"name: {alias.name}" for alias in found.aliases]
    for entry in found.announced:
        lines.append(f"announced in the snapshot for {instant(entry.valid_from)}; not applied")
    lines += [change_line(Judged(change, change.moves)) for change in found.open_changes]
    return "\n".join([*lines, age_text(found.freshness)])


def _components(components: Iterable[Component]) -> Iterable[str]:
    for component in components:
        unit = decimal_text(component.unit_cost)
        yield f"{_part(component.leaf, when_text(component.when))}: {amount(unit, leaf=component.leaf)}"


def _mark(found: ModelPrices) -> Iterable[str]:
    mark = found.mark
    assert mark is not None
    if mark.deprecated_at is not None:
        yield f"deprecated: {instant(mark.deprecated_at)}"
    if mark.gone_from:
        yield f"no longer listed by {', '.join(mark.gone_from)}"
    if mark.redirect_to:
        yield f"said to be served as {mark.redirect_to}"


def version_line(known: KnownVersion) -> str:
    """Return one version: when it counts, who says so, when it was learned."""
    price, recorded = known.price, known.recorded
    origin = recorded.origin if recorded else "bundled"
    learned = f", recorded {instant(price.recorded_at)}" if recorded else ""
    change = f", change {recorded.change}" if recorded and recorded.change else ""
    valid = f"{instant(price.valid_from)} to {instant(price.valid_to)}"
    return f"{price.id}  {valid}  {origin}: {price.source or 'unknown'}{learned}{change}"


def history_text(found: History) -> str:
    """Return a model's versions, each with its list prices, and everything that was decided."""
    lines = [f"{found.prices.name}: {len(found.prices.versions)} versions, newest first"]
    for known in found.prices.versions:
        lines.append(version_line(known))
        listed = [component for component in known.price.components if not component.when]
        lines.append(f"  {'; '.join(_components(listed))}")
    return "\n\n".join(["\n".join(lines), *map(change_text, found.changes)])


def sources_text(sources: Iterable[SourceReading]) -> str:
    """Return the price lists, each with its state."""
    lines = []
    for source in sources:
        state = source.state
        followed = "followed" if source.is_followed else "not followed"
        lines.append(f"{source.name:<14} {source.status:<12} {followed}  {source.url}")
        if state is not None:
            lines.append(
                f"  {state.revision or 'no revision'}, {state.model_count} models, "
                f"accepted {instant(state.accepted_at) if state.accepted_at else 'never'}, "
                f"asked {instant(state.checked_at) if state.checked_at else 'never'}"
            )
        if state is not None and state.error:
            lines.append(f"  {state.error}")
    return "\n".join(lines)
