"""What waits for the seller: held price changes, usage without a price, price lists, margins.

Rule 1: every list is cut, and so is what is searched for it: the page costs the same at any age.
Rule 2: each says what to do about it, as a command to copy; the page itself decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from costplus.billing.margin_alarm import MarginAlarm
from costplus.billing.price_report import Freshness, SourceReading, moves_of
from costplus.billing.store import Tx
from costplus.billing.unpriced import UnpricedModel
from costplus.catalog.book import PriceChange, RecordedMove
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.change import REASON_TEXT
from costplus.catalog.reconcile import FEED_CURRENCY
from costplus.core.money import parse_exact
from costplus.rating.rate_card import RateCard
from costplus.web.figures import leaf_name, percent, unit_amount
from costplus.web.pages import commands

CHANGES_MAX = 2000  # The latest price changes that are looked through: one day's lists may bring hundreds.
SEARCHED_MAX = 500  # The same of models without a price and of alarms.
SHOWN_MAX = 5
MOVES_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """A price change that waits for a decision: what moves, why it waits, and what approves it."""

    id: str
    model: str
    created: datetime
    moves: tuple[str, ...]
    moves_left_out: int
    reasons: tuple[str, ...]
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """A model that a rate card sells for too little; `target` is empty where that is below its cost."""

    card_title: str
    model: str
    created: datetime
    margin: str
    target: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """All that needs a decision: how many there are, and the first of them."""

    held_count: int
    changes_searched: int | None  # None where all were.
    held: Sequence[HeldRow]
    unpriced_count: int  # Events that wait, of all models.
    unpriced_models: int
    unpriced: Sequence[UnpricedModel]
    unpriced_command: str
    sources: Sequence[SourceReading]
    alarms_count: int
    alarms: Sequence[AlarmRow]

    @property
    def is_any(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.held_count or self.unpriced_models or self.sources or self.alarms_count)


def decisions_of(
    tx: Tx, catalogue: Catalogue, freshness: Freshness, *, base_url: str, at: datetime
) -> Decisions:
    """Gather what needs a decision at `at`, the newest of each first; of usage, what most waits of."""
    changes = tx.page(PriceChange, limit=CHANGES_MAX)
    held = [change for change in changes if change.status == "held"]
    waiting = [model for model in tx.page(UnpricedModel, limit=SEARCHED_MAX) if model.waiting]
    waiting.sort(key=lambda model: -model.waiting)
    alarms = [alarm for alarm in tx.page(MarginAlarm, limit=SEARCHED_MAX) if alarm.recovered_at is None]
    return Decisions(
        held_count=len(held),
        changes_searched=CHANGES_MAX if len(changes) == CHANGES_MAX else None,
        held=[_held_row(catalogue, change, at=at) for change in held[:SHOWN_MAX]],
        unpriced_count=sum(model.waiting for model in waiting),
        unpriced_models=len(waiting),
        unpriced=waiting[:SHOWN_MAX],
        unpriced_command=commands.own_price(waiting[0].id) if waiting else "",
        sources=[s for s in freshness.sources if s.is_followed and s.status in ("stale", "rejected")],
        alarms_count=len(alarms),
        alarms=[_alarm_row(tx, alarm, base_url=base_url) for alarm in alarms[:SHOWN_MAX]],
    )


def _held_row(catalogue: Catalogue, change: PriceChange, *, at: datetime) -> HeldRow:
    price = catalogue.current(change.provider, change.model, at=at)
    old_currency = price.currency if price else FEED_CURRENCY
    new_currency = FEED_CURRENCY if "currency_changed" in change.reasons else old_currency
    moves = moves_of(catalogue, change, at=at)
    list_first = sorted(moves, key=lambda move: bool(move.when))
    return HeldRow(
        id=change.id,
        model=change.parent,
        created=change.created,
        moves=tuple(islice(_move_texts(list_first, old_currency, new_currency), MOVES_MAX)),
        moves_left_out=max(len(moves) - MOVES_MAX, 0),
        reasons=tuple(REASON_TEXT.get(reason, reason) for reason in change.reasons),
        command=commands.approve_price(change.id),
    )


def _move_texts(moves: Sequence[RecordedMove], old_currency: str, new_currency: str) -> Iterator[str]:
    """Yield what each part costs and would cost: `input: $0.15 / 1M tokens → $0.20 / 1M tokens`."""
    for move in moves:
        part = f"{leaf_name(move.leaf)} [{move.when}]" if move.when else leaf_name(move.leaf)
        yield f"{part}: {_cost(move, move.old, old_currency)} → {_cost(move, move.new, new_currency)}"


def _cost(move: RecordedMove, unit: str | None, currency: str) -> str:
    if unit is None:
        return "nothing stated"
    return f"×{unit}" if move.when.startswith("×") else unit_amount(unit, move.leaf, currency)


def _alarm_row(tx: Tx, alarm: MarginAlarm, *, base_url: str) -> AlarmRow:
    card = tx.find(RateCard, alarm.rate_card)
    return AlarmRow(
        card_title=(card.display_name if card else "") or alarm.rate_card,
        model=f"{alarm.provider}/{alarm.model}",
        created=alarm.created,
        margin=_percent(alarm.margin_percent),
        target="" if alarm.shortfall == "negative" else _percent(alarm.target_percent),
        command=commands.adopt_prices(base_url, alarm.rate_card),
    )


def _percent(exact: str | None) -> str:
    """Write a percentage that is kept as exact text, a dash where there is none."""
    if exact is None:
        return "–"
    value = parse_exact(exact)
    return percent(value.numerator, value.denominator * 100)
