"""Once a model has a price its usage is charged it, exactly once; what was charged meanwhile comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.close import close_account
from costplus.billing.customer import Customer
from costplus.billing.rerate import rate_again
from costplus.billing.resolve import Resolved, priceable
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.terms import terms_of
from costplus.billing.unpriced import UnpricedModel, UnpricedUsage, WaitingUsage
from costplus.metering.event import UsageEvent, rerated, reversed_event
from costplus.rating.charge import explain
from costplus.rating.rate_card import FixedPrice

pytestmark = pytest.mark.slow

Shop = Any  # The queue's shop of conftest.

DEAR = {"input": FixedPrice(Decimal(10), 1_000_000)}  # 10,000 nano a token; the real price is 2,600.
CHEAP = {"input": FixedPrice(Decimal(1), 1_000_000)}
LEARNED = {"foo": {"input": "2", "output": "8"}}
NOTHING = Resolved(count=0, price_nano=0, previous_nano=0, still_open=0)


def charged(shop: Shop) -> list[ChargedEvent]:
    return list(shop.write(lambda tx: tx.charged_page(customer="cus_1", limit=100)))


def sources(shop: Shop) -> list[str]:
    return sorted(entry.event.source for entry in charged(shop))


def grant_of(tx: Tx, *, id: str) -> Any:
    return tx.grant(id)


def total_nano(shop: Shop, event: UsageEvent) -> int:
    """Return what is charged for an event with its corrections."""
    family = {event.id, rerated(event).id, reversed_event(event).id}
    return sum(entry.charge.price_nano for entry in charged(shop) if entry.event.id in family)


@pytest.fixture
def late(build: SimpleNamespace) -> datetime:
    """Return an instant after the grace of the period in which the shop opens."""
    at: datetime = build.at + 30 * build.day + 2 * build.hour
    return at


@pytest.mark.parametrize("way", ["report", "call"])
def test_usage_is_charged_its_price_once_it_has_one(any_shop: Shop, queue: SimpleNamespace, way: str) -> None:
    any_shop.card(unpriced="hold")
    event = getattr(any_shop, way)(queue.prices(), "foo", input=10)
    assert any_shop.resolve(queue.prices()) == replace(NOTHING, still_open=1)
    any_shop.later(queue.day)
    assert any_shop.resolve(queue.prices(LEARNED)) == replace(NOTHING, count=1, price_nano=26_000)
    entry, real = any_shop.entry(event), any_shop.charge(rerated(event))
    assert (entry.resolved_at, entry.resolved_nano) == (any_shop.at, 26_000)
    assert (entry.adjustment, entry.taken_back) == (rerated(event).id, "")
    assert (real.price_nano, real.cost_nano, real.unpriced) == (26_000, 20_000, ())
    assert any_shop.charge(event).unpriced == ("model",)  # What was said stays said.
    assert any_shop.owed() == [26_000] and any_shop.wrongs() == []
    assert any_shop.write(lambda tx: tx.page(WaitingUsage)) == []


def test_resolving_again_changes_nothing(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    event = any_shop.call(queue.prices(), "foo", input=10)
    pricing = queue.prices(LEARNED)
    any_shop.resolve(pricing)
    before = any_shop.entry(event), any_shop.balance(), charged(any_shop)
    any_shop.later(queue.day)
    assert any_shop.resolve(pricing) == NOTHING
    assert (any_shop.entry(event), any_shop.balance(), charged(any_shop)) == before


def test_what_a_retry_would_settle_again_is_known_already(any_shop: Shop, queue: SimpleNamespace) -> None:
    """Were the entry opened again by a fault, the ids of its corrections would still be known."""
    any_shop.card(unpriced="fallback", fallback=DEAR)
    event = any_shop.call(queue.prices(), "foo", input=10)
    pricing = queue.prices(LEARNED)
    opened = any_shop.entry(event)
    waits = any_shop.write(lambda tx: tx.find(WaitingUsage, event.id))
    model = any_shop.write(lambda tx: tx.find(UnpricedModel, "openai/foo"))
    any_shop.resolve(pricing)
    any_shop.write(lambda tx: [tx.save(record) for record in (opened, waits, model)])
    assert any_shop.resolve(pricing).count == 1
    assert any_shop.owed() == [26_000] and any_shop.wrongs() == []
    assert len(charged(any_shop)) == 3


@pytest.mark.parametrize("fallback", [DEAR, CHEAP])
@pytest.mark.parametrize("credit", [0, 15_000, 1_000_000])
def test_the_open_period_owes_the_real_price_alone(
    any_shop: Shop, queue: SimpleNamespace, late: datetime, fallback: Any, credit: int
) -> None:
    any_shop.card(unpriced="fallback", fallback=fallback)
    if credit:
        any_shop.give(credit)
    event = any_shop.call(queue.prices(), "foo", input=10)
    any_shop.resolve(queue.prices(LEARNED))
    assert any_shop.entry(event).taken_back == reversed_event(event).id
    assert any_shop.credit() == max(credit - 26_000, 0)
    assert sum(any_shop.owed()) == max(26_000 - credit, 0)
    assert total_nano(any_shop, event) == 26_000
    assert (any_shop.account_nano("book/revenue"), any_shop.account_nano("book/cost")) == (26_000, -20_000)
    any_shop.close(late)
    (invoice,) = [found for found in any_shop.invoices() if found.lines]
    assert [(line.quantity, line.amount_nano) for line in invoice.lines] == [(10, 26_000)]
    assert any_shop.wrongs() == []


def test_credit_goes_back_to_the_grant_that_paid(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    first = any_shop.give(60_000, priority=1)
    second = any_shop.give(1_000_000, priority=2)
    any_shop.call(queue.prices(), "foo", input=10)
    any_shop.resolve(queue.prices(LEARNED))
    left = [any_shop.write(partial(grant_of, id=grant.id)).remaining_nano for grant in (first, second)]
    assert left == [34_000, 1_000_000]


def test_credit_of_a_grant_that_ended_becomes_a_new_grant(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    any_shop.give(100_000, expires_at=any_shop.at + queue.day)
    event = any_shop.call(queue.prices(), "foo", input=10)
    any_shop.close(any_shop.at + queue.day)
    any_shop.resolve(queue.prices(LEARNED))
    grant = any_shop.write(lambda tx: tx.grant(f"credgr_{reversed_event(event).id}"))
    assert (grant.amount_nano, grant.name) == (74_000, "Price correction: openai/foo")
    assert any_shop.credit() == 74_000 and any_shop.owed() == [] and any_shop.wrongs() == []
    assert "billing.credit_grant.created" in any_shop.announced("billing.credit_grant")


def test_returned_credit_pays_what_is_owed_elsewhere_first(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    any_shop.give(100_000)
    any_shop.call(queue.prices(), "foo", input=10)
    any_shop.use(40_000)
    any_shop.resolve(queue.prices(LEARNED))
    assert (any_shop.credit(), any_shop.owed()) == (34_000, [])


def test_within_the_grace_the_draft_still_takes_it(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    any_shop.call(queue.prices(), "foo", input=10)
    end = any_shop.subscription().period.end
    any_shop.close(end + 30 * queue.minute)
    (draft,) = [invoice for invoice in any_shop.invoices() if invoice.status == "draft"]
    any_shop.resolve(queue.prices(LEARNED))
    any_shop.close(end + 60 * queue.minute)
    final = any_shop.write(lambda tx: tx.find(type(draft), draft.id))
    assert (draft.usage_nano, final.usage_nano) == (100_000, 26_000)
    assert any_shop.wrongs() == []


@pytest.mark.parametrize("fallback", [DEAR, CHEAP])
def test_once_its_invoice_is_final_the_old_charge_comes_back_as_credit(
    any_shop: Shop, queue: SimpleNamespace, late: datetime, fallback: Any
) -> None:
    any_shop.card(unpriced="fallback", fallback=fallback)
    events = [any_shop.call(queue.prices(), "foo", input=1000) for _ in range(2)]
    any_shop.close(late)
    (final,) = [invoice for invoice in any_shop.invoices() if invoice.lines]
    any_shop.resolve(queue.prices(LEARNED))
    grant = any_shop.write(lambda tx: tx.grant(f"credgr_{min(event.id for event in events)}"))
    assert (grant.amount_nano, grant.category) == (final.usage_nano, "promotional")
    assert grant.name == "Price correction: openai/foo"
    assert {any_shop.entry(event).taken_back for event in events} == {grant.id}
    assert any_shop.credit() - sum(any_shop.owed()) == final.usage_nano - 5_200_000
    assert any_shop.announced("billing.credit_grant") == ["billing.credit_grant.created"]
    assert any_shop.write(lambda tx: tx.find(type(final), final.id)) == final
    assert any_shop.resolve(queue.prices(LEARNED)) == NOTHING
    any_shop.close(late + 31 * queue.day)
    assert any_shop.invoices()[-1].usage_nano == 5_200_000  # The real charge is the open period's.
    assert any_shop.wrongs() == []


def test_the_usage_of_a_deleted_customer_is_resolved_too(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    event = any_shop.call(queue.prices(), "foo", input=10)

    def delete(tx: Any) -> None:
        customer = tx.find(Customer, "cus_1")
        close_account(tx, customer, at=any_shop.at)
        tx.save(replace(customer, deleted=True))

    any_shop.write(delete)
    assert any_shop.resolve(queue.prices(LEARNED)).count == 1
    assert any_shop.entry(event).resolved_nano == 26_000
    assert any_shop.credit() - sum(any_shop.owed()) == 100_000 - 26_000
    assert any_shop.wrongs() == []


@pytest.mark.parametrize("is_final", [False, True])
def test_a_leaf_that_gets_its_price_is_charged_with_all_the_rest(
    any_shop: Shop, queue: SimpleNamespace, late: datetime, is_final: bool
) -> None:
    event = any_shop.call(queue.prices({"foo": {"input": "2"}}), "foo", input=10, web_search=1)
    assert any_shop.entry(event).leaves == ("web_search",)
    if is_final:
        any_shop.close(late)
    assert any_shop.resolve(queue.prices({"foo": {"input": "2"}})) == replace(NOTHING, still_open=1)
    any_shop.resolve(queue.prices({"foo": {"input": "2", "web_search": "3"}}))
    assert any_shop.charge(rerated(event)).price_nano == 29_900
    assert any_shop.account_nano("book/cost") == -23_000  # The old cost is not counted twice.
    assert any_shop.credit() - sum(any_shop.owed()) == -29_900 + (26_000 if is_final else 0)
    assert any_shop.wrongs() == []


def test_what_a_new_price_leaves_open_is_queued_again(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="hold")
    event = any_shop.call(queue.prices(), "foo", input=10, web_search=1)
    any_shop.resolve(queue.prices({"foo": {"input": "2"}}))
    again = rerated(event)
    assert any_shop.entry(event).adjustment == again.id
    assert (any_shop.entry(again).leaves, any_shop.entry(again).resolved_at) == (("web_search",), None)
    done = any_shop.resolve(queue.prices({"foo": {"input": "2", "web_search": "3"}}))
    assert (done.count, done.still_open) == (1, 0)
    assert any_shop.owed() == [29_900] and any_shop.wrongs() == []


def test_a_call_stays_one_request_and_a_reported_sum_does_not(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="hold")
    call = any_shop.call(queue.prices(), "foo", input=101)
    reported = any_shop.report(queue.prices(), "foo", input=101)
    pricing = queue.prices({"foo": {"input": "2", "input>100": "4"}})
    any_shop.resolve(pricing)
    assert any_shop.charge(rerated(call)).price_nano == 2 * any_shop.charge(rerated(reported)).price_nano
    assert sources(any_shop) == ["gateway", "meter_events_v1", "rerate", "rerate_reported"]
    card = any_shop.write(lambda tx: terms_of(tx, "cus_1")).cards[0][1]
    for entry in charged(any_shop):
        if entry.event.is_correction:  # Rated once more, it is worth the same.
            assert rate_again(entry, pricing=pricing, card=card) == entry.charge


def test_a_reversal_is_explained_and_never_rated_again(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    event = any_shop.call(queue.prices(), "foo", input=10)
    any_shop.resolve(queue.prices(LEARNED))
    (back,) = [entry for entry in charged(any_shop) if entry.event.source == "reversal"]
    assert back.event.usage.quantities == {} and back.event.corrects == event.id
    assert explain(back.charge).price == "-0.0001"
    card = any_shop.account.version
    assert rate_again(back, pricing=queue.prices(LEARNED), card=card) == back.charge


def test_a_reported_model_that_the_card_does_not_sell_stays_open(
    any_shop: Shop, queue: SimpleNamespace
) -> None:
    any_shop.card(models=("openai/other",))
    unknown = any_shop.report(queue.prices(), "foo", input=10)
    known = any_shop.report(queue.prices(), "known", input=10)
    assert any_shop.resolve(queue.prices(LEARNED)) == replace(NOTHING, still_open=2)
    any_shop.card(models=("openai/foo", "openai/known"))
    assert any_shop.resolve(queue.prices(LEARNED)).count == 2
    assert [any_shop.entry(event).resolved_nano for event in (unknown, known)] == [26_000, 13_000]


def test_usage_on_a_model_that_came_after_the_card_is_charged_all_the_same(
    any_shop: Shop, queue: SimpleNamespace
) -> None:
    any_shop.card(models_as_of=any_shop.at)
    before = any_shop.report(queue.prices(), "foo", input=10)
    after = any_shop.report(queue.prices(LEARNED), "foo", input=10)
    assert any_shop.entry(after).leaves == ("not_on_card",)
    assert any_shop.resolve(queue.prices(LEARNED)) == replace(
        NOTHING, count=1, price_nano=26_000, still_open=1
    )
    assert any_shop.entry(before).resolved_at is not None


def test_corrections_are_no_usage(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    any_shop.call(queue.prices(), "foo", input=10)
    any_shop.resolve(queue.prices(LEARNED))
    end = any_shop.at + queue.day
    (total,) = any_shop.write(lambda tx: tx.model_totals("cus_1", any_shop.at, end))
    assert (total.events, total.price_nano, total.cost_nano) == (1, 26_000, 20_000)
    (units,), usage_nano = any_shop.write(lambda tx: tx.usage_totals("cus_1", any_shop.at, end))
    assert (units.quantity, usage_nano) == (10, 26_000)


def test_filters_and_limits_leave_the_rest_open(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="hold")
    for model in ("foo", "foo", "bar"):
        any_shop.call(queue.prices(), model, input=10)
    pricing = queue.prices({**LEARNED, "bar": {"input": "1"}})
    assert any_shop.resolve(pricing, provider="anthropic") == NOTHING
    assert any_shop.resolve(pricing, model="bar") == replace(NOTHING, count=1, price_nano=13_000)
    assert any_shop.resolve(pricing, limit=1) == replace(NOTHING, count=1, price_nano=26_000, still_open=1)
    assert any_shop.resolve(pricing, provider="openai", model="foo").count == 1
    assert all(entry.resolved_at for entry in any_shop.write(lambda tx: tx.page(UnpricedUsage)))


def test_what_could_be_priced_is_told_without_changing_anything(
    any_shop: Shop, queue: SimpleNamespace
) -> None:
    any_shop.card(unpriced="fallback", fallback=DEAR)
    event = any_shop.call(queue.prices(), "foo", input=10)
    before = any_shop.balance(), charged(any_shop)
    (found,) = any_shop.write(lambda tx: priceable(tx, queue.prices(LEARNED)))
    assert (found.entry.id, found.charge.price_nano) == (event.id, 26_000)
    assert (any_shop.balance(), charged(any_shop)) == before


def test_a_price_that_begins_later_does_not_count(any_shop: Shop, queue: SimpleNamespace) -> None:
    any_shop.card(unpriced="hold")
    any_shop.card(unpriced="hold", fallback=DEAR)
    any_shop.shop.at -= 100 * queue.day  # The prices of these tests begin 99 days before the shop opens.
    any_shop.call(queue.prices(), "foo", input=10)
    assert any_shop.resolve(queue.prices(LEARNED)) == replace(NOTHING, still_open=1)
