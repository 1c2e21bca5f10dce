"""Whatever happens to prices and cards: what a past instant sells at stays, and undoing restores."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from costplus.billing.adopt import adjust, adopt, undo
from costplus.billing.card_change import CardChange, CardChangedSince, NothingToAdopt, NothingToUndo
from costplus.billing.customer import Customer
from costplus.billing.terms import terms_of
from costplus.catalog.price import ModelUnpriced
from costplus.rating.rate_card import ModelNotOnCard, adjustment

pytestmark = pytest.mark.slow

Market = Any  # The market of conftest.
Quoted = dict[tuple[str, str, datetime], Fraction | None]

MODELS = ("large", "small", "tiny", "mini")
RULES = ("disabled", "new_customers_only", "migrate_all")
STEPS = 40


def quoted(market: Market, at: datetime, customers: list[str]) -> Quoted:
    """Return what one input token of each model sells for at an instant, None where it is not sold."""
    pricing = market.pricing
    found: Quoted = {}
    for customer in customers:
        card = market.write(lambda tx, name=customer: terms_of(tx, name)).card_at(at)
        for model in MODELS:
            try:
                sheet = pricing.sold("openai", model, card=card, at=at).sheet
                found[customer, model, at] = sheet.rates_for(prompt_tokens=1).by_leaf["input"][2].unit_price
            except (ModelUnpriced, ModelNotOnCard):
                found[customer, model, at] = None
    return found


class Turmoil:
    """Random actions of providers, the seller and its customers."""

    def __init__(self, market: Market, seed: int) -> None:
        self.market, self.dice = market, random.Random(seed)
        self.customers = ["cus_1"]

    def step(self) -> None:
        actions = (
            self.price,
            self.price,
            self.price,
            self.rule,
            self.come,
            self.adopt,
            self.undo,
            self.adjust,
        )
        self.market.later(hours=self.dice.randint(1, 200))
        self.dice.choice(actions)()

    def price(self) -> None:
        model, amount = self.dice.choice(MODELS), str(self.dice.randint(1, 9))
        since = self.market.at + timedelta(days=self.dice.choice((0, 0, 0, 5)))
        self.market.move(model, input=amount, output="8", since=since)

    def rule(self) -> None:
        self.market.rule(
            self.dice.choice(RULES),
            new_models=self.dice.choice(RULES),
            apply_increases=self.dice.random() < 0.8,
            max_increase_percent=self.dice.choice((None, Decimal(100))),
            notice_days=self.dice.choice((0, 0, 3, 10)),
            moves=self.dice.choice(("immediately", "next_period")),
        )

    def come(self) -> None:
        if len(self.customers) < 4:
            self.customers.append(f"cus_{len(self.customers) + 1}")
            self.market.shop.customer(self.customers[-1])

    def adopt(self) -> None:
        card, pricing, mode = self.market.card, self.market.pricing, self.dice.choice(RULES[1:])
        try:
            self.market.write(lambda tx: adopt(tx, pricing, card, "all", mode=mode, at=self.market.at))
        except NothingToAdopt:
            return

    def undo(self) -> None:
        card = self.market.card
        try:
            self.market.write(lambda tx: undo(tx, card, at=self.market.at))
        except (NothingToUndo, CardChangedSince):
            return

    def adjust(self) -> None:
        customer = Customer(id=self.dice.choice(self.customers), created=self.market.at)
        own = self.dice.choice((None, adjustment("markup", Decimal(self.dice.randint(0, 99)))))
        self.market.write(lambda tx: adjust(tx, customer, own, at=self.market.at))


@pytest.mark.parametrize("seed", range(12))
def test_the_past_keeps_its_prices_and_versions_never_change(market: Market, seed: int) -> None:
    turmoil, past, versions = Turmoil(market, seed), {}, {}
    for _ in range(STEPS):
        turmoil.step()
        before = market.at - timedelta(microseconds=1)
        past |= quoted(market, before, turmoil.customers)
        versions |= {version.id: version for version in market.versions() if version.id not in versions}
    assert len(versions) > 2
    assert {version.id: version for version in market.versions()} == versions
    instants = sorted({at for _, _, at in past})
    now: Quoted = {}
    for at in instants:
        now |= quoted(market, at, turmoil.customers)
    assert {key: now[key] for key in past} == past


@pytest.mark.parametrize("seed", range(12))
def test_undoing_at_once_restores_what_everybody_pays(market: Market, seed: int) -> None:
    turmoil, undone = Turmoil(market, seed), 0
    for _ in range(STEPS):
        turmoil.step()
        market.later(hours=1)
        ahead = market.at + timedelta(days=40)  # Whatever was announced has happened by then.
        before, live = quoted(market, ahead, turmoil.customers), market.live
        count = len(market.write(lambda tx: tx.page(CardChange, limit=1000)))
        turmoil.adopt()
        if len(market.write(lambda tx: tx.page(CardChange, limit=1000))) == count:
            continue
        market.later(minutes=1)
        turmoil.undo()
        market.later(minutes=1)
        assert market.live.same_terms(live)
        assert quoted(market, ahead, turmoil.customers) == before
        undone += 1
    assert undone


def test_what_is_planned_stays_planned_under_an_own_adjustment(market: Market) -> None:
    market.rule("migrate_all", notice_days=10)
    market.move(input="3", output="8")
    market.later(days=1)
    own = adjustment("markup", Decimal(100))
    market.write(lambda tx: adjust(tx, Customer(id="cus_1", created=market.at), own, at=market.at))
    assert market.worth()[1] == 4_000_000
    market.later(days=9)
    assert market.worth()[1] == 6_000_000
    market.write(lambda tx: adjust(tx, Customer(id="cus_1", created=market.at), None, at=market.at))
    assert market.worth()[1] == 3_900_000
