"""Watch margins: announce every model that a rate card sells below its cost or below its own target."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction

from costplus.billing.margin_alarm import MarginAlarm, alarm_lookup
from costplus.billing.notify import announce
from costplus.billing.pinned import card_of
from costplus.billing.store import Tx
from costplus.billing.weigh import WINDOW_DAYS, users_of
from costplus.catalog.load import every
from costplus.core.ids import new_id
from costplus.core.money import decimal_text, for_ledger
from costplus.rating.margin import Margin, Mix, margin_of
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import RateCardVersion


@dataclass(frozen=True, slots=True)
class _Sold:
    """A model on a card version with what was used of it."""

    card: RateCardVersion
    provider: str
    model: str
    mix: Mix


def check_margins(tx: Tx, pricing: Pricing, *, at: datetime) -> list[MarginAlarm]:
    """Fire the alarms of the last days' usage at the prices of now; return those that fired."""
    fired, wrong = [], set()
    for sold in _sold_lately(tx, at=at):
        price = pricing.catalogue.current(sold.provider, sold.model, at=at)
        if price is None:
            continue
        margin = margin_of(pricing.sheet(price, sold.card, at=at), sold.mix)
        if margin.shortfall is None:
            continue
        lookup = alarm_lookup(margin.shortfall, sold.card.id, price.id)
        wrong.add(lookup)
        if tx.find_by_lookup(MarginAlarm, lookup) is None:
            alarm = _alarm(sold, margin, price_version=price.id, at=at)
            tx.save(alarm)
            announce(tx, f"margin.{alarm.shortfall}", alarm, at=at)
            fired.append(alarm)
    for alarm in list(every(tx, MarginAlarm)):
        if (alarm.lookup in wrong) is not (alarm.recovered_at is None):
            tx.save(replace(alarm, recovered_at=None if alarm.recovered_at else at))
    return fired


def _sold_lately(tx: Tx, *, at: datetime) -> list[_Sold]:
    window = timedelta(days=WINDOW_DAYS)
    cards: dict[str, RateCardVersion] = {}
    mixes: dict[tuple[str, str, str], dict[tuple[str, int], int]] = defaultdict(lambda: defaultdict(int))
    for customer, subscription, present in users_of(tx, at - window, at=at):
        card = card_of(tx, subscription, subscription.pin_at(present))
        cards[card.id] = card
        totals, _ = tx.usage_totals(customer.id, present - window, present)
        for total in totals:
            unit = total.rate
            mixes[card.id, unit.provider, unit.model][unit.leaf, unit.above_prompt_tokens] += total.quantity
    return [
        _Sold(cards[id], provider, model, mixes[id, provider, model]) for id, provider, model in sorted(mixes)
    ]


def _alarm(sold: _Sold, margin: Margin, *, price_version: str, at: datetime) -> MarginAlarm:
    assert margin.shortfall is not None
    return MarginAlarm(
        id=new_id("malm", at=at),
        created=at,
        shortfall=margin.shortfall,
        rate_card=sold.card.rate_card,
        rate_card_version=sold.card.id,
        provider=sold.provider,
        model=sold.model,
        price_version=price_version,
        margin_percent=_text(margin.percent),
        target_percent=_text(margin.target_percent),
        revenue_nano=for_ledger(margin.revenue),
        cost_nano=for_ledger(margin.cost),
    )


def _text(exact: Fraction | None) -> str | None:
    return None if exact is None else decimal_text(exact)
