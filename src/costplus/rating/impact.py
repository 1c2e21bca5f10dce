"""Impact: what the usage of the last days comes to by a price and by the one that would replace it.

Rule 1: both sides are rated by the engine that charges, so the figures are those that would be charged.
Rule 2: amounts are nanos, margins exact shares of the price in percent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction


def margin_percent(revenue: Fraction | int, cost: Fraction | int) -> Fraction | None:
    """Return the margin as a share of the price; None where nothing was asked for."""
    return (1 - Fraction(cost) / Fraction(revenue)) * 100 if revenue else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Sums over some usage: at the price of now, and by the new one with the card following or staying."""

    events: int = 0
    revenue_now_nano: int = 0
    revenue_followed_nano: int = 0
    cost_now_nano: int = 0
    cost_then_nano: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            events=self.events + other.events,
            revenue_now_nano=self.revenue_now_nano + other.revenue_now_nano,
            revenue_followed_nano=self.revenue_followed_nano + other.revenue_followed_nano,
            cost_now_nano=self.cost_now_nano + other.cost_now_nano,
            cost_then_nano=self.cost_then_nano + other.cost_then_nano,
        )

    @property
    def margin_now(self) -> Fraction | None:
        return margin_percent(self.revenue_now_nano, self.cost_now_nano)

    @property
    def margin_followed(self) -> Fraction | None:
        return margin_percent(self.revenue_followed_nano, self.cost_then_nano)

    @property
    def margin_unfollowed(self) -> Fraction | None:
        """The margin by the new cost where the card goes on selling as now."""
        return margin_percent(self.revenue_now_nano, self.cost_then_nano)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerImpact:
    """One customer's part, by the card version that prices it now."""

    customer: str
    rate_card_version: str
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class CardImpact:
    """One rate card's part; `customers` may be cut short, `customers_count` never is."""

    rate_card: str
    figures: Figures
    customers: tuple[CustomerImpact, ...]
    customers_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What a price change means for the usage of `[start, end)`; `unrated` events fit no price then."""

    change: str
    provider: str
    model: str
    start: datetime
    end: datetime
    cards: tuple[CardImpact, ...] = ()
    unrated: int = 0

    @property
    def total(self) -> Figures:
        return sum((card.figures for card in self.cards), Figures())

    @property
    def customers_count(self) -> int:
        return sum(card.customers_count for card in self.cards)

    def cut(self, customers_max: int) -> Impact:
        """Return the impact with at most so many customers listed per card, those with most revenue."""
        cards = []
        for card in self.cards:
            most = sorted(card.customers, key=lambda entry: -entry.figures.revenue_now_nano)
            cards.append(replace(card, customers=tuple(most[:customers_max])))
        return replace(self, cards=tuple(cards))
