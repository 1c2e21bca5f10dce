"""A seller's own holds: reserved before a call, captured or released after it, or swept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.reservation import CaptureDiffers, HoldEnded, NoSuchHold, Reservation
from costplus.billing.reserve import Ask, Capture, capture, grow, release, reserve, size
from costplus.billing.shadow import Switch
from costplus.billing.sweep import release_lost_leases
from costplus.catalog.sources.bundled import bundled_catalogue
from costplus.core.period import monthly_period
from costplus.core.usage import Usage
from costplus.ledger.hold import Hold, InsufficientCredit
from costplus.ledger.reserve import place_hold
from costplus.rating.pricing import Pricing

Shop = Any  # The shop of conftest.
MODEL = "openai/gpt-4o-mini"
LIFE = timedelta(minutes=15)


@pytest.fixture(scope="session")
def pricing() -> Pricing:
    return Pricing(bundled_catalogue())


class Desk:
    """Places and ends the holds of one customer."""

    def __init__(self, shop: Shop, pricing: Pricing) -> None:
        self.shop, self.pricing = shop, pricing

    def write(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return self.shop.write(lambda tx: verb(tx, *arguments, at=self.shop.at, **named))

    @property
    def customer(self) -> Customer:
        found: Customer = self.shop.write(lambda tx: tx.find(Customer, "cus_1"))
        return found

    def hold(self, nano: int | None = None, **ask: Any) -> Reservation:
        asked = Ask(amount_nano=nano, expires_in=LIFE, **ask)
        made: Reservation = self.write(reserve, self.pricing, self.customer, asked)
        return made

    def take(self, id: str, nano: int = 0, **taken: Any) -> Reservation:
        found = Capture(amount_nano=nano, **taken)
        known: Reservation = self.write(capture, self.pricing, self.customer, id, found)
        return known

    def state(self, id: str) -> Hold:
        found: Hold = self.shop.write(lambda tx: tx.hold("cus_1", id))
        return found

    def limit(self, minor: int | None, on_zero: str = "overage") -> None:
        record = replace(self.customer, overage_limit_minor=minor, on_zero_credit=on_zero)
        self.shop.write(lambda tx: tx.save(record))


@pytest.fixture
def desk(shop: Shop, pricing: Pricing) -> Desk:
    made = Desk(shop, pricing)
    made.limit(None, "block")
    return made


def test_an_amount_is_held_and_what_was_used_is_charged(
    shop: Shop, desk: Desk, build: SimpleNamespace
) -> None:
    shop.give(10 * build.cent)
    made = desk.hold(4 * build.cent)
    assert shop.balance().held_nano == 4 * build.cent
    desk.take(made.id, 3 * build.cent)
    assert (shop.balance().held_nano, shop.credit()) == (0, 7 * build.cent)
    assert (desk.state(made.id).state, desk.state(made.id).captured_nano) == ("captured", 3 * build.cent)
    shop.close(monthly_period(build.at, 0).end + build.hour)
    (line,) = shop.invoices()[-1].lines
    assert (line.description, line.quantity, line.amount_minor) == ("hold/unnamed · amount", 1, 3)
    assert shop.wrongs() == []


def test_a_capture_beyond_its_hold_is_owed(shop: Shop, desk: Desk) -> None:
    shop.give(100)
    made = desk.hold(60)
    desk.take(made.id, 150)
    assert (shop.credit(), shop.owed(), shop.balance().held_nano) == (0, [50], 0)


def test_the_same_capture_again_changes_nothing_and_another_is_refused(shop: Shop, desk: Desk) -> None:
    shop.give(100)
    made = desk.hold(60)
    first = desk.take(made.id, 50)
    assert desk.take(made.id, 50) == first
    with pytest.raises(CaptureDiffers):
        desk.take(made.id, 51)
    with pytest.raises(HoldEnded):
        desk.take(made.id, 1, identifier="more")
    assert shop.credit() == 50


def test_many_calls_share_a_hold(shop: Shop, desk: Desk) -> None:
    shop.give(100)
    made = desk.hold(60)
    for number in range(3):
        desk.take(made.id, 10, identifier=f"call-{number}", final=False)
    assert (shop.credit(), shop.balance().held_nano) == (70, 30)
    desk.write(grow, desk.customer, made.id, amount_nano=40)
    with pytest.raises(InsufficientCredit):
        desk.write(grow, desk.customer, made.id, amount_nano=1)
    desk.take(made.id, 5, identifier="last")
    assert (shop.credit(), shop.balance().held_nano) == (65, 0)


def test_a_released_hold_costs_nothing_and_can_be_released_again(shop: Shop, desk: Desk) -> None:
    shop.give(100)
    made = desk.hold(60)
    for _ in range(2):
        desk.write(release, made.id)
    assert (shop.credit(), shop.balance().held_nano) == (100, 0)
    with pytest.raises(HoldEnded):
        desk.take(made.id, 1)
    with pytest.raises(NoSuchHold):
        desk.write(release, "hold_x")


def test_a_hold_that_nobody_ends_is_charged_as_estimated(
    shop: Shop, desk: Desk, build: SimpleNamespace
) -> None:
    shop.give(100)
    made = desk.hold(60)
    desk.take(made.id, 15, identifier="part", final=False)
    shop.close(build.at + LIFE)
    assert (shop.credit(), shop.balance().held_nano) == (40, 0)
    assert desk.state(made.id).state == "expired"
    known = shop.write(lambda tx: tx.find(Reservation, made.id))
    event = shop.write(lambda tx: tx.charge_of("cus_1", known.swept)).event
    assert (event.source, set(event.usage.flags)) == ("sweep", {"estimated", "swept"})
    assert shop.announced("token_billing.hold") == ["token_billing.hold.expired"]
    assert shop.close(build.at + LIFE) == 0


def test_a_hold_can_be_placed_so_that_it_is_given_back(
    shop: Shop, desk: Desk, build: SimpleNamespace
) -> None:
    shop.give(100)
    desk.hold(60, on_expiry="release")
    shop.close(build.at + LIFE)
    assert (shop.credit(), shop.balance().held_nano) == (100, 0)
    assert shop.announced("token_billing.hold") == ["token_billing.hold.expired"]


@pytest.mark.parametrize(("used", "credit"), [(20, 80), (95, 5), (0, 100)])
def test_a_capture_after_expiry_takes_the_estimates_place(
    shop: Shop, desk: Desk, build: SimpleNamespace, used: int, credit: int
) -> None:
    shop.give(100)
    made = desk.hold(60)
    shop.close(build.at + LIFE)
    assert shop.credit() == 40
    for _ in range(2):
        desk.take(made.id, used)
    assert (shop.credit(), shop.account_nano("book/revenue")) == (credit, used)
    assert shop.wrongs() == []


def test_after_the_invoice_over_an_estimate_it_comes_back_as_credit(
    shop: Shop, desk: Desk, build: SimpleNamespace
) -> None:
    made = desk_with_overage(desk).hold(6 * build.cent)
    shop.close(monthly_period(build.at, 0).end + build.hour)
    assert shop.invoices()[-1].total_minor == 6
    desk.take(made.id, 2 * build.cent)
    assert shop.credit() == 4 * build.cent
    assert shop.wrongs() == []


def desk_with_overage(desk: Desk) -> Desk:
    desk.limit(None)
    return desk


def test_a_quote_shows_its_working_and_its_output_is_capped_by_the_model(shop: Shop, desk: Desk) -> None:
    ask = Ask(model=MODEL, input_tokens=1000, output_tokens_max=10**7, expires_in=LIFE)
    sized = desk.write(size, desk.pricing, desk.customer, ask)
    tokens = sized.quote.tokens
    assert (tokens.input_tokens, tokens.output_tokens_from) == (1000, "model_maximum")
    assert tokens.output_tokens == tokens.output_tokens_max == 16384
    assert [(step.leaf, step.quantity) for step in sized.quote.steps] == [("input", 1000), ("output", 16384)]
    ask = replace(ask, input_tokens=None, body_bytes=10, output_tokens_max=None)
    tokens = desk.write(size, desk.pricing, desk.customer, ask).quote.tokens
    assert (tokens.input_tokens, tokens.output_tokens, tokens.output_tokens_from) == (4, 4096, "default")


def test_a_models_hold_is_captured_by_tokens_at_the_price_it_was_placed_at(
    shop: Shop, desk: Desk, build: SimpleNamespace
) -> None:
    shop.give(100 * build.cent)
    made = desk.hold(model=MODEL, input_tokens=1000, output_tokens_max=500)
    assert shop.balance().held_nano == made.amount_nano == made.quote.price_nano  # type: ignore[union-attr]  # It is for a model.
    desk.take(made.id, usage=Usage({"input": 1000, "output": 500}))
    assert shop.credit() == 100 * build.cent - made.amount_nano
    assert shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=1))[0].event.model == "gpt-4o-mini"


def test_a_models_hold_is_swept_to_its_input(shop: Shop, desk: Desk, build: SimpleNamespace) -> None:
    shop.give(100 * build.cent)
    made = desk.hold(model=MODEL, input_tokens=1000, output_tokens_max=500)
    shop.close(build.at + LIFE)
    (swept,) = shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=9))
    assert swept.charge.price_nano == made.estimate_nano < made.amount_nano
    assert (swept.event.usage.quantities, swept.charge.cost_nano) == (
        {"input": 1000},
        made.estimate_cost_nano,
    )


@pytest.mark.parametrize(("limit_minor", "admitted"), [(0, 3), (2, 5), (None, 9)])
def test_what_may_be_owed_beyond_credit_is_limited_exactly(
    shop: Shop, desk: Desk, build: SimpleNamespace, limit_minor: int | None, admitted: int
) -> None:
    desk.limit(limit_minor)
    shop.give(3 * build.cent)
    count = 0
    for _ in range(9):
        try:
            made = desk.hold(build.cent)
        except InsufficientCredit:
            continue
        desk.take(made.id, build.cent)
        count += 1
    assert count == admitted


def test_a_hold_for_usage_that_is_only_tracked_needs_no_credit_and_takes_none(
    desk: Desk, build: SimpleNamespace
) -> None:
    with pytest.raises(InsufficientCredit):
        desk.hold(build.cent)
    tracked = replace(desk.customer, shadow=(Switch(build.at, True),))
    desk.shop.write(lambda tx: tx.save(tracked))
    made = desk.hold(build.cent)
    desk.take(made.id, build.cent)
    desk.take(made.id, build.cent)
    balance = desk.shop.balance()
    assert (balance.held_nano, balance.owed_total_nano, desk.shop.credit()) == (0, 0, 0)


def test_a_lease_of_a_process_long_gone_is_given_back_and_announced(
    shop: Shop, build: SimpleNamespace
) -> None:
    shop.give(100)
    hold = Hold(
        id="hold_l",  # type: ignore[arg-type]  # Ids by any name.
        customer="cus_1",  # type: ignore[arg-type]  # As above.
        kind="lease",
        owner="gw_gone",
        amount_nano=70,
        placed_at=build.at,
        expires_at=build.at + build.day,
    )
    shop.write(partial(place_hold, hold=hold, at=build.at))
    assert shop.write(partial(release_lost_leases, at=build.at + build.day - build.tick)) == 0
    assert shop.write(partial(release_lost_leases, at=build.at + build.day)) == 1
    assert (shop.balance().held_nano, shop.credit()) == (0, 100)
    assert shop.announced("token_billing.hold") == ["token_billing.hold.expired"]
