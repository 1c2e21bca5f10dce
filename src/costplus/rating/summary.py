"""A price change in a few plain sentences, ready for an e-mail."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from costplus.catalog.book import PriceChange, RecordedMove
from costplus.core.money import decimal_text, nano_text, parse_exact
from costplus.core.usage import LEAVES
from costplus.rating.impact import Impact

_MILLION = 1_000_000
_STATUS = {
    "applied": "It is in force in the price book.",
    "held": "It is held: approve or reject it.",
    "pending": "It waits for a second source.",
    "soaking": "It waits in case another source contradicts it.",
    "scheduled": "It is announced for later.",
    "rejected": "It was rejected: the old price stays.",
    "withdrawn": "Its source took it back: the old price stays.",
    "cancelled": "It was cancelled: the old price stays.",
    "superseded": "A later change took its place.",
}


def summary_of(change: PriceChange, impact: Impact | None) -> str:
    """Return what changes, who says so, what is decided and what it means for the usage of late."""
    return " ".join(_sentences(change, impact))


def _sentences(change: PriceChange, impact: Impact | None) -> Iterator[str]:
    name = f"{change.provider}/{change.model}"
    parts = [_part(move) for move in change.moves] or [
        f"{leaf} {_when(str(when or ''))}costs {amount} per {per:,}"
        for leaf, amount, per, when in change.components
    ]
    yield f"{name}: {'; '.join(parts)}."
    sources = ", ".join(f"{source} ({revision})" for source, revision in sorted(change.sources.items()))
    said = f", according to {sources}" if sources else ""
    yield f"The price counts from {change.effective_at:%Y-%m-%d %H:%M} UTC{said}."
    why = f" ({', '.join(change.reasons)})" if change.reasons else ""
    yield _STATUS[change.status].removesuffix(".") + f"{why}."
    if impact is not None:
        yield from _meaning(impact)


def _part(move: RecordedMove) -> str:
    """Return one part's move: `input rises from 2 to 3 per million (+50 %)`."""
    old, new = (None if text is None else parse_exact(text) for text in (move.old, move.new))
    name = f"{move.leaf} {_when(move.when)}"
    is_token = move.leaf not in LEAVES or LEAVES[move.leaf].unit == "token"
    many, per = (_MILLION, " per million") if is_token else (1, "")
    if move.when.startswith("×"):
        return f"{name}is multiplied by {_plain(new)} instead of {_plain(old)}"
    if new is None:
        return f"{name}has no price of its own any more"
    if old is None:
        return f"{name}costs {_plain(new * many)}{per}, a price of its own"
    share = f" ({_signed((new / old - 1) * 100)} %)" if old else ""
    verb = "rises" if new > old else "falls"
    return f"{name}{verb} from {_plain(old * many)} to {_plain(new * many)}{per}{share}"


def _meaning(impact: Impact) -> Iterator[str]:
    total, days = impact.total, (impact.end - impact.start).days
    if not total.events:
        yield f"Nobody used the model in the last {days} days."
        return
    yield (
        f"In the last {days} days {_count(impact.customers_count, 'customer')} used it in "
        f"{_count(total.events, 'event')}, which by the price of now sell for "
        f"{nano_text(total.revenue_now_nano)} and cost {nano_text(total.cost_now_nano)} "
        f"(margin {_percent(total.margin_now)})."
    )
    yield (
        f"By the new price the same usage costs {nano_text(total.cost_then_nano)}: a margin of "
        f"{_percent(total.margin_unfollowed)} if prices stay as they are, of "
        f"{_percent(total.margin_followed)} and a revenue of {nano_text(total.revenue_followed_nano)} "
        "if they follow."
    )


def _when(text: str) -> str:
    return f"({text.removeprefix('×')}) " if text else ""


def _plain(exact: Fraction | None) -> str:
    return "1" if exact is None else decimal_text(exact)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _percent(exact: Fraction | None) -> str:
    return "unknown" if exact is None else f"{_hundredths(exact)} %"


def _signed(exact: Fraction) -> str:
    return ("+" if exact > 0 else "") + _hundredths(exact)


def _hundredths(exact: Fraction) -> str:
    """Return the number to two decimals, for reading only."""
    return decimal_text(Fraction(round(exact * 100), 100))
