"""What a failed attempt cost is the seller's: no invoice of the customer's says anything of it."""

from __future__ import annotations

from types import SimpleNamespace

from costplus.billing.waived import waived_of
from costplus.core.money import NANO
from costplus.core.period import monthly_period
from costplus.core.usage import Usage
from costplus.rating.charge import rate
from costplus.rating.rate_card import adjustment
from costplus.rating.waive import unasked


def test_it_is_cost_and_stands_on_no_invoice(build: SimpleNamespace) -> None:
    shop = build.shop()
    shop.customer()
    sheet = build.sheet(usd_per_million="1", adjust=adjustment("markup", build.decimal("30")))
    shop.use(1_000_000, rates=sheet)
    failed = unasked(rate(Usage({"input": 500_000}), sheet))
    shop.use(500_000, rates=sheet, charge=failed)
    assert shop.account_nano("book/cost") == -NANO * 3 // 2
    totals = shop.write(lambda tx: tx.waived_totals(None, build.at, build.at + build.hour))
    assert waived_of(totals).included_list_nano == waived_of(totals).tracked_cost_nano == 0
    shop.close(monthly_period(build.at, 0).end + build.hour)
    (line,) = shop.invoices()[-1].lines
    assert (line.quantity, shop.invoices()[-1].total_minor) == (1_000_000, 130)
    assert shop.wrongs() == []
