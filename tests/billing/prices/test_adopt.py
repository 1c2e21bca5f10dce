"""What the seller does by hand: adopt what a card left, revise its terms, take the last action back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from costplus.billing.adopt import adopt, revise, undo
from costplus.billing.card_change import (
    CardChange,
    CardChangedSince,
    CardFollowed,
    ChangeNotApplied,
    NothingToAdopt,
    NothingToUndo,
)
from costplus.catalog.book import NoSuchChange
from costplus.rating.rate_card import RateCardVersion, adjustment

Market = Any  # The market of conftest.

OLD, NEW = 2_600_000, 3_900_000  # A thousand tokens at 2 and at 3 dollars per million, 30 % above.


def take(market: Market, changes: Any = "all", mode: Any = "migrate_all") -> CardFollowed:
    card, pricing = market.card, market.pricing
    done: CardFollowed = market.write(lambda tx: adopt(tx, pricing, card, changes, mode=mode, at=market.at))
    market.later(hours=1)
    return done


def take_back(market: Market) -> CardFollowed:
    card = market.card
    done: CardFollowed = market.write(lambda tx: undo(tx, card, at=market.at))
    market.later(hours=1)
    return done


def told(market: Market, model: str = "large", **prices: str) -> str:
    """Let a price move that the card does not follow; return the change's id."""
    (done,) = market.move(model, **prices)
    market.later(hours=1)
    assert not done.version
    return str(done.left[0].change)


def price(market: Market, customer: str = "cus_1", **fields: Any) -> int:
    return int(market.worth(customer, **fields)[1])


def test_a_change_that_was_only_told_is_adopted_later(market: Market) -> None:
    change = told(market, input="3", output="8")
    done = take(market, [change])
    assert (done.followed, done.subscriptions) == ((change,), 1)
    assert price(market) == NEW


def test_what_is_not_named_stays_apart_and_all_takes_it(market: Market) -> None:
    change = told(market, input="3", output="8")
    told(market, "small", input="5", output="4")
    take(market, [change])
    assert (price(market), price(market, model="small")) == (NEW, 1_300_000)
    take(market)
    assert (price(market), price(market, model="small")) == (NEW, 6_500_000)
    assert market.live.kept_as_of == {}


def test_the_earlier_of_two_changes_can_be_adopted_alone(market: Market) -> None:
    first = told(market, input="3", output="8")
    told(market, input="4", output="8")
    take(market, [first])
    assert market.worth() == (4_000_000, NEW)


def test_adopted_for_new_customers_old_ones_stay(market: Market) -> None:
    change = told(market, input="3", output="8")
    take(market, [change], "new_customers_only")
    market.shop.customer("cus_2")
    assert (price(market), price(market, "cus_2")) == (OLD, NEW)


def test_a_new_model_is_adopted_by_its_change_and_not_with_all(market: Market) -> None:
    change = told(market, "tiny", input="1", output="1")
    with pytest.raises(NothingToAdopt):
        take(market)
    take(market, [change])
    assert price(market, model="tiny") == 1_300_000


def test_what_cannot_be_adopted_is_refused_by_name(market: Market) -> None:
    pending = market.change(input="3", output="8")
    market.write(lambda tx: tx.save(pending))
    with pytest.raises(ChangeNotApplied):
        take(market, [pending.id])
    with pytest.raises(NoSuchChange):
        take(market, ["pc_none"])
    change = told(market, input="3", output="8")
    take(market, [change])
    with pytest.raises(NothingToAdopt):
        take(market, [change])


def test_undoing_restores_the_terms_before_for_whom_the_action_moved_and_nobody_else(market: Market) -> None:
    change = told(market, input="3", output="8")
    (first,) = market.versions()
    take(market, [change])
    during, at = market.use(), market.at
    market.shop.customer("cus_new")
    market.later(hours=1)
    done = take_back(market)
    assert market.live.same_terms(first) and market.live.id not in (first.id, done.followed)
    assert (done.subscriptions, len(market.versions())) == (1, 3)
    assert (price(market), price(market, "cus_new")) == (OLD, NEW)
    assert price(market, at=at) == NEW  # It arrives late, from when the action stood.
    assert market.write(lambda tx: tx.charge_of("cus_1", during.event.id)) == during


def test_actions_are_undone_one_after_the_other_and_then_there_is_none(market: Market) -> None:
    one, two = told(market, input="3", output="8"), told(market, "small", input="2", output="4")
    take(market, [one])
    take(market, [two])
    take_back(market)
    assert (price(market), price(market, model="small")) == (NEW, 1_300_000)
    take_back(market)
    assert (price(market), price(market, model="small")) == (OLD, 1_300_000)
    with pytest.raises(NothingToUndo):
        take_back(market)
    actions = [entry.action for entry in market.write(lambda tx: tx.page(CardChange))]
    assert actions == ["undo", "undo", "adopt", "adopt"]


def test_undoing_before_the_notice_has_passed_means_that_nobody_moves(market: Market) -> None:
    market.rule("migrate_all", notice_days=7)
    market.move(input="3", output="8")
    market.later(days=1)
    take_back(market)
    market.later(days=10)
    assert price(market) == OLD


def test_what_was_undone_can_be_adopted_again(market: Market) -> None:
    change = told(market, input="3", output="8")
    take(market, [change])
    take_back(market)
    take(market, [change])
    assert price(market) == NEW


def test_an_action_cannot_be_undone_where_the_card_was_set_up_anew_since(market: Market) -> None:
    change = told(market, input="3", output="8")
    take(market, [change])
    market.shop.set_up(default=adjustment("markup", Decimal(40)))
    with pytest.raises(CardChangedSince):
        take_back(market)


def test_another_set_up_reprices_a_card_only_where_it_has_other_terms(market: Market) -> None:
    market.rule("migrate_all")
    market.move(input="3", output="8")
    market.later(hours=1)
    floor = replace(market.live, id="rcv_floor", created=market.at, floor_margin_percent=Decimal(5))
    card = market.card
    market.write(lambda tx: revise(tx, card, floor, at=market.at))
    market.later(hours=1)
    assert market.shop.set_up(fee_minor=900).version == floor
    other = market.shop.set_up(default=adjustment("markup", Decimal(40))).version
    assert (other.floor_margin_percent, other.priced_as_of) == (Decimal(5), market.at)


def test_a_customers_own_markup_survives_what_moves_it_and_what_moves_it_back(market: Market) -> None:
    own = adjustment("markup", Decimal(100))
    kept = market.shop.subscription()
    kept = kept.turned(market.at, lambda pin: replace(pin, adjustment=own))
    market.write(lambda tx: tx.save(kept))
    market.later(hours=1)
    change = told(market, input="3", output="8")
    assert price(market) == 4_000_000
    take(market, [change])
    assert price(market) == 6_000_000
    take_back(market)
    assert price(market) == 4_000_000


@pytest.mark.parametrize(("rule", "expected"), [("disabled", 2_600_000), ("migrate_all", 2_800_000)])
def test_revised_terms_apply_to_all_where_the_card_migrates_and_are_undone(
    market: Market, rule: str, expected: int
) -> None:
    market.rule(rule)
    card, live = market.card, market.live
    other: RateCardVersion = replace(
        live, id="rcv_other", created=market.at, default=adjustment("markup", Decimal(40))
    )
    market.write(lambda tx: revise(tx, card, other, at=market.at))
    market.later(hours=1)
    market.shop.customer("cus_2")
    assert (price(market), price(market, "cus_2")) == (expected, 2_800_000)
    take_back(market)
    assert price(market) == OLD
