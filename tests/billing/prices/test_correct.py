"""A price that was learned late is reported against what was booked; nothing is rated again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from costplus.billing.correct import correction_of, keep_correction
from costplus.billing.correction import PriceCorrection

Market = Any  # The market of conftest.

DAY = timedelta(days=1)


def report(market: Market, change: Any) -> PriceCorrection | None:
    pricing = market.pricing
    worked_out: PriceCorrection | None = market.write(
        lambda tx: correction_of(tx, pricing, change, at=market.at)
    )
    if worked_out is None:
        return None
    kept: PriceCorrection = market.write(lambda tx: keep_correction(tx, worked_out, at=market.at))
    return kept


def test_usage_between_effect_and_detection_is_reported_and_stays_as_it_was_charged(market: Market) -> None:
    market.shop.customer("cus_2")
    market.use("cus_1")  # Before it took effect.
    effective = market.at + DAY
    market.later(days=1)
    booked = [market.use("cus_1"), market.use("cus_2", input=2000), market.use("cus_1", model="small")]
    market.later(days=1)
    change = market.apply(market.change(input="3", output="8", since=effective))
    market.use("cus_1")  # At its detection: by the new price already.
    found = report(market, change)
    assert found is not None
    lines = {
        line.customer: (line.events, line.cost_booked_nano, line.cost_right_nano) for line in found.lines
    }
    assert lines == {"cus_1": (1, 2_000_000, 3_000_000), "cus_2": (1, 4_000_000, 6_000_000)}
    assert (found.cost_understated_nano, found.price_understated_nano) == (3_000_000, 3_900_000)
    assert (found.effective_at, found.detected_at) == (effective, market.at)
    kept = [market.write(lambda tx, e=e: tx.charge_of(e.event.customer, e.event.id)) for e in booked]
    assert kept == booked
    assert market.shop.announced("price.") == ["price.correction_reported"]


def test_an_overstatement_is_negative(market: Market) -> None:
    effective = market.at
    market.use()
    market.later(days=1)
    found = report(market, market.apply(market.change(input="1", output="8", since=effective)))
    assert found is not None and found.cost_understated_nano == -1_000_000


def test_usage_that_arrives_late_was_booked_rightly_and_adds_nothing(market: Market) -> None:
    effective = market.at
    market.use(key="early")
    market.later(days=1)
    change = market.apply(market.change(input="3", output="8", since=effective))
    late = market.use(at=effective + timedelta(hours=1))
    assert (late.charge.cost_nano, late.charge.price_nano) == (3_000_000, 2_600_000)
    found = report(market, change)
    assert found is not None and found.cost_understated_nano == 1_000_000


def test_a_change_has_one_report_and_one_learned_in_time_or_unused_has_none(market: Market) -> None:
    effective = market.at
    market.use()
    market.later(days=1)
    change = market.apply(market.change(input="3", output="8", since=effective))
    assert report(market, change) == report(market, change)
    assert market.shop.announced("price.") == ["price.correction_reported"]
    assert report(market, market.apply(market.change("small", input="3", output="8"))) is None
    unused = report(market, market.apply(market.change("small", input="5", since=effective)))
    assert unused is not None and not unused.lines
    assert market.shop.announced("price.") == ["price.correction_reported"]
