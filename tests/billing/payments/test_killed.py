"""A process that dies between the provider's answer and our record: one charge, one grant, all the same."""

from __future__ import annotations

from typing import Any

import pytest

from costplus.billing.collector import Collector
from costplus.billing.payments.base import Outcome
from costplus.billing.refunding import begin_refund


class Killed(BaseException):
    """The process ends here."""


class Deadly:
    """A provider that takes the money; its caller does not live to hear of it."""

    def __init__(self, port: Any, *, heard: bool = True) -> None:
        self._port = port
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def start(self, order: Any) -> Outcome:
        if self._heard:
            await self._port.start(order)
        raise Killed

    async def refund(self, order: Any) -> Outcome:
        await self._port.refund(order)
        raise Killed


def dies(till: Any, *, heard: bool = True) -> None:
    """Collect what is due in a process that is killed when it has called the provider."""
    port = Deadly(till.fake, heard=heard)
    with pytest.raises(Killed):
        till.run(Collector(till.shop.store, {"fake": port}, now=lambda: till.shop.at).collect_due())


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("token", ["pm_fake_ok", "pm_fake_delay", "pm_fake_double"])
def test_the_next_process_asks_under_the_same_key(till: Any, token: str, heard: bool) -> None:
    till.method(token)
    top_up = till.order(1000)
    dies(till, heard=heard)
    assert till.granted() == 0
    till.wait(minutes=2)
    till.wait(minutes=2)
    assert (till.top_up(top_up.id).status, len(till.charges())) == ("succeeded", 1)
    assert (till.granted(), till.taken(), till.money()) == (1000, 1000, 1000)


def test_dying_again_and_again_changes_nothing(till: Any) -> None:
    till.method("pm_fake_ok")
    till.order(1000)
    for _ in range(5):
        dies(till)
        till.shop.at += till.fake.patience / 7
    till.wait(minutes=2)
    assert (len(till.charges()), till.granted(), till.money()) == (1, 1000, 1000)


def test_a_recharge_survives_too_and_charges_once(till: Any) -> None:
    till.method("pm_fake_ok")
    till.rule(amount_minor=2000)
    till.shop.use(1)
    dies(till)
    till.recharge()
    till.wait(minutes=2)
    assert (len(till.charges()), till.granted(), till.the_rule().payment) == (1, 2000, "")


def test_a_rule_disabled_after_the_kill_takes_what_was_charged_and_charges_no_more(till: Any) -> None:
    for heard, charges in ((True, 1), (False, 1)):
        till.method("pm_fake_ok")
        till.rule(amount_minor=2000, threshold_minor=10_000_000, is_enabled=True)
        till.shop.use(1)
        dies(till, heard=heard)
        till.rule(is_enabled=False)
        till.wait(minutes=2)
        assert len(till.charges()) == charges
        assert till.granted() == till.taken() == 2000
    assert till.payments()[-1].status == "canceled"


def test_an_answer_that_is_lost_on_the_way_is_asked_for_again(till: Any) -> None:
    till.buy(1000, token="pm_fake_lost_answer")
    assert (till.granted(), till.taken()) == (0, 1000)
    till.wait(minutes=2)
    assert (till.granted(), till.taken(), len(till.charges())) == (1000, 1000, 1)


def test_a_refund_whose_process_died_is_made_once(till: Any) -> None:
    till.buy(1000)
    payment = till.payment().id
    refund = till.shop.write(
        lambda tx: begin_refund(tx, payment_id=payment, amount_minor=300, id="re_1", at=till.shop.at)
    )
    port = Deadly(till.fake)
    dying = Collector(till.shop.store, {"fake": port}, now=lambda: till.shop.at)
    with pytest.raises(Killed):
        till.run(dying.refund(refund.id, customer="cus_1"))
    till.collect()
    till.collect()
    assert (till.taken(), till.money(), till.payment().refunded_minor) == (700, 700, 300)
