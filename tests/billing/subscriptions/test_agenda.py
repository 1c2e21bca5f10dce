"""Who is due is known without looking at everybody, and no draft is ever overlooked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.agenda import DueInvoice, due_customers, due_invoices, fill_agenda
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.issue import finalize
from costplus.billing.subscription import Subscription

Life = Any  # The life of conftest.
Make = SimpleNamespace


def due(life: Life, at: Any, **fields: Any) -> list[str]:
    return list(life.shop.write(lambda tx: due_customers(tx, at=at, **fields)))


def test_a_customer_is_due_when_its_period_ends_and_when_its_draft_is_to_be_final(make: Make) -> None:
    life = make.life(grace_s=3600)
    life.start(life.plan())
    end = make.day(1, 2)
    assert (due(life, end - make.tick), due(life, end)) == ([], ["cus_1"])
    life.to(end)
    assert (due(life, end), due(life, make.day(1, 2, hour=1))) == ([], ["cus_1"])
    life.to(make.day(1, 2, hour=1))
    assert due(life, make.day(28, 2)) == []


@pytest.mark.parametrize("deed", ["trial", "ahead", "cancel", "resume"])
def test_everything_that_happens_by_itself_is_on_the_agenda(life: Life, make: Make, deed: str) -> None:
    at = make.day(11)
    if deed == "trial":
        life.start(life.plan(), trial_end=make.day(14))  # It is told three days before.
    elif deed == "ahead":
        life.start(life.plan(), starts=at)
    elif deed == "cancel":
        life.cancel_later(life.start(life.plan()).id, cancel_at=at)
    else:
        life.pause(life.start(life.plan()).id, resumes_at=at)
        life.to(make.day(2))
    assert (due(life, at - make.tick), due(life, at)) == ([], ["cus_1"])


def test_a_draft_older_than_a_hundred_invoices_is_still_finalised(make: Make) -> None:
    life = make.life(grace_s=3600)
    life.start(life.plan())
    life.to(make.day(1, 2))
    (old,) = (i for i in life.shop.invoices() if i.status == "draft")

    def bury(tx: Any) -> None:
        for number in range(150):
            tx.save(replace(old, id=f"in_{number}", status="paid", finalizes_at=None))

    life.shop.write(bury)
    life.to(make.day(1, 2, hour=1))
    assert life.shop.write(lambda tx: tx.find(Invoice, old.id)).status == "open"


def test_a_draft_that_somebody_finalised_is_passed_over(make: Make) -> None:
    life = make.life(grace_s=3600)
    life.start(life.plan())
    life.to(make.day(1, 2))
    (draft,) = (i for i in life.shop.invoices() if i.status == "draft")
    life.shop.change(finalize, draft)
    life.to(make.day(1, 2, hour=1))
    assert life.shop.write(lambda tx: due_invoices(tx, "cus_1")) == []
    assert life.shop.write(lambda tx: tx.find(Invoice, draft.id)).status == "open"


def test_grants_of_frozen_customers_do_not_hide_those_of_real_ones(life: Life, make: Make) -> None:
    life.start(life.plan(0))
    life.shop.clock()
    frozen = Customer(id="cus_frozen", created=make.day(1), test_clock="clock_1")
    life.shop.write(lambda tx: tx.save(frozen))
    for _ in range(9):
        life.shop.give(1, customer="cus_frozen", expires_at=make.day(3))
    life.shop.give(1, expires_at=make.day(4))
    assert due(life, make.day(5), limit=2) == ["cus_1"]


def test_no_more_than_asked_for_are_returned_the_earliest_first(life: Life, make: Make) -> None:
    def enter(tx: Any) -> None:
        for number, day in ((2, 9), (3, 7), (4, 8)):
            tx.save(Customer(id=f"cus_{number}", created=make.day(1)))
            tx.set_due(f"cus_{number}", make.day(day))

    life.shop.write(enter)
    assert due(life, make.day(20), limit=2) == ["cus_3", "cus_4"]


def test_a_database_without_an_agenda_is_entered_once(life: Life, make: Make) -> None:
    life.start(life.plan())

    def forget(tx: Any) -> None:
        tx.set_due("cus_1", None)
        for mark in due_invoices(tx, "cus_1"):
            tx.remove(DueInvoice, mark.id)

    life.shop.write(forget)
    assert due(life, make.day(1, 3)) == []
    assert life.shop.write(lambda tx: fill_agenda(tx, at=make.day(1, 3))) == 1
    assert life.shop.write(lambda tx: fill_agenda(tx, at=make.day(1, 3))) == 0
    assert due(life, make.day(1, 3)) == ["cus_1"]


def test_a_subscription_kept_by_an_older_program_goes_on(life: Life, make: Make) -> None:
    life.start(life.plan(3100))
    made = life.shop.subscription()
    old = Subscription(
        id="sub_old",
        created=made.created,
        customer="cus_1",
        plan=made.plan,
        rate_card_version=made.rate_card_version,
        anchor=made.anchor,
        finalized_until=made.finalized_until,
    )
    life.cancel(made.id)
    life.shop.write(lambda tx: tx.save(old))
    life.to(make.day(11))
    life.change(old.id, life.plan(6200))
    assert life.amounts() == [-2100, 4200]
