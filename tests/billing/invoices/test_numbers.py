"""Numbers: without gaps, whatever is rolled back; by customer or year where the account wants it so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.issue import finalize, void

Desk = Any  # The desk of conftest.


def test_a_number_is_given_back_where_the_transaction_is_rolled_back(desk: Desk) -> None:
    first = desk.invoice(100)
    draft = desk.invoice(100, is_final=False)

    def broken(tx: Any) -> None:
        finalize(tx, draft, at=desk.shop.at)
        raise RuntimeError("the machine stops here")

    with pytest.raises(RuntimeError):
        desk.shop.write(broken)
    assert [first.number, desk.do(finalize, draft.id).number] == ["CP-000001", "CP-000002"]


def test_drafts_and_deleted_drafts_have_no_number_and_voided_invoices_keep_theirs(desk: Desk) -> None:
    desk.invoice(100, is_final=False)
    voided = desk.do(void, desk.invoice(100).id)
    assert (voided.number, desk.invoice(100).number) == ("CP-000001", "CP-000002")


def test_a_series_may_be_the_customers_own(desk: Desk) -> None:
    desk.policy(number_scope="customer")
    derived = desk.invoice(1).number
    desk.profile(invoice_prefix="ACME")
    assert [derived[-7:], desk.invoice(1).number] == ["-000001", "ACME-000002"]


def test_a_series_may_begin_anew_each_year(desk: Desk, build: SimpleNamespace) -> None:
    desk.policy(number_yearly=True, number_prefix="R")
    numbers = [desk.invoice(1).number, desk.invoice(1).number]
    desk.shop.at += 365 * build.day
    assert [*numbers, desk.invoice(1).number] == ["R-2026-000001", "R-2026-000002", "R-2027-000001"]
