"""Items wait for an invoice and are asked for once; what is below zero waits on as surplus."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.edit_draft import (
    LineNotEditable,
    change_item,
    delete_draft,
    item_of_line,
    put_on,
    remove_item,
    take_off,
)
from costplus.billing.invoice import Invoice, InvoiceState
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.issue import void
from costplus.billing.preview import preview
from costplus.billing.surplus import adjust_surplus

Desk = Any  # The desk of conftest.


def waiting(desk: Desk) -> list[int]:
    items = desk.shop.write(lambda tx: tx.page(InvoiceItem, parent="cus_1"))
    return [item.amount_minor for item in reversed(items) if not item.invoice]


def surplus(desk: Desk) -> int:
    return int(desk.shop.account_nano("cus_1/surplus")) // 10_000_000


def test_an_item_is_on_the_next_invoice_and_on_no_other(desk: Desk, build: SimpleNamespace) -> None:
    desk.item(250)
    desk.shop.use(5 * build.cent)
    first, second = desk.month(), desk.month(1)
    assert [(line.kind, line.amount_minor) for line in first.lines] == [("usage", 5), ("item", 250)]
    assert (first.total_minor, second.total_minor, waiting(desk)) == (255, 0, [])
    assert desk.shop.wrongs() == []


def test_an_item_of_a_subscription_waits_for_its_invoice(desk: Desk) -> None:
    desk.item(250, subscription=desk.shop.subscription().id)
    assert desk.invoice(100).total_minor == 100
    assert waiting(desk) == [250]
    assert desk.month().total_minor == 250


def test_an_item_added_within_the_grace_waits_for_the_next_invoice(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.shop.close(desk.shop.subscription().period.end)
    desk.item(250)
    assert (desk.month().total_minor, desk.month(1).total_minor) == (0, 250)


def test_what_is_below_zero_never_makes_an_invoice_negative_and_waits_as_surplus(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.item(-300)
    desk.shop.use(100 * build.cent)
    first = desk.month()
    assert (first.subtotal_minor, first.surplus_minor, first.total_minor) == (-200, -200, 0)
    assert (first.status, surplus(desk)) == ("paid", 200)
    desk.shop.use(500 * build.cent)
    second = desk.month(1)
    assert (second.subtotal_minor, second.surplus_minor, second.total_minor) == (500, 200, 300)
    assert (second.surplus_before_minor, surplus(desk)) == (200, 0)
    assert desk.shop.wrongs() == []


def test_a_debt_by_hand_is_added_to_the_next_invoice(desk: Desk) -> None:
    desk.shop.write(lambda tx: adjust_surplus(tx, "cus_1", gained_minor=-70, currency="usd", at=desk.shop.at))
    invoice = desk.invoice(100)
    assert (invoice.surplus_minor, invoice.total_minor, surplus(desk)) == (-70, 170, 0)
    assert desk.shop.wrongs() == []


def test_a_preview_shows_what_the_next_invoice_will_ask_for_and_takes_nothing(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.tax("10")
    desk.policy(default_tax_rates=("txr_000001",))
    desk.item(250)
    desk.shop.write(lambda tx: adjust_surplus(tx, "cus_1", gained_minor=30, currency="usd", at=desk.shop.at))
    desk.shop.use(50 * build.cent)
    from_preview = desk.shop.write(lambda tx: preview(tx, tx.find(Customer, "cus_1"), at=desk.shop.at))
    assert (from_preview.subtotal_minor, from_preview.tax_minor, from_preview.total_minor) == (300, 30, 300)
    assert (waiting(desk), surplus(desk)) == ([250], 30)
    assert desk.month().total_minor == 300


def test_an_item_on_a_draft_can_be_changed_and_deleted(desk: Desk) -> None:
    draft = desk.invoice(100, 50, is_final=False)
    item = desk.shop.write(lambda tx: item_of_line(tx, draft, draft.lines[0].id))
    changed = desk.shop.write(lambda tx: change_item(tx, replace(item, amount_minor=170), at=desk.shop.at))
    assert (changed.amount_minor, desk.of(draft.id).total_minor) == (170, 220)
    assert [line.id for line in desk.of(draft.id).lines] == [line.id for line in draft.lines]
    desk.shop.write(lambda tx: remove_item(tx, changed, at=desk.shop.at))
    assert desk.of(draft.id).total_minor == 50
    assert desk.shop.announced("invoiceitem") == ["invoiceitem.created"] * 2 + ["invoiceitem.deleted"]


def test_an_item_on_a_final_invoice_stays_as_it_is(desk: Desk) -> None:
    invoice = desk.invoice(100)
    item = desk.shop.write(lambda tx: item_of_line(tx, invoice, invoice.lines[0].id))
    for verb in (change_item, remove_item):
        with pytest.raises(InvoiceState):
            desk.shop.write(lambda tx, verb=verb: verb(tx, item, at=desk.shop.at))


def test_lines_can_be_put_on_a_draft_and_taken_off_and_their_items_wait_again(desk: Desk) -> None:
    draft = desk.invoice(100, is_final=False)
    more = desk.item(30)
    desk.do(put_on, draft.id, items=[more])
    assert desk.of(draft.id).total_minor == 130
    desk.do(take_off, draft.id, lines=[(desk.of(draft.id).lines[0].id, False)])
    assert (desk.of(draft.id).total_minor, waiting(desk)) == (30, [100])


def test_usage_and_fees_cannot_be_edited(desk: Desk, build: SimpleNamespace) -> None:
    desk.shop.use(5 * build.cent)
    desk.shop.close(desk.shop.subscription().period.end)
    (draft,) = desk.shop.invoices()
    with pytest.raises(LineNotEditable):
        desk.do(take_off, draft.id, lines=[(draft.lines[0].id, True)])
    with pytest.raises(InvoiceState):
        desk.do(delete_draft, draft.id)


def test_a_deleted_drafts_items_wait_again(desk: Desk) -> None:
    draft = desk.invoice(100, is_final=False)
    assert waiting(desk) == []
    desk.do(delete_draft, draft.id)
    assert waiting(desk) == [100]
    assert desk.shop.write(lambda tx: tx.find(Invoice, draft.id)) is None
    assert desk.invoice().total_minor == 100


def test_a_voided_invoices_items_do_not_wait_again(desk: Desk) -> None:
    desk.do(void, desk.invoice(100).id)
    assert waiting(desk) == []
    assert desk.shop.wrongs() == []


def test_a_draft_by_hand_becomes_final_by_itself_only_where_it_advances(
    desk: Desk, build: SimpleNamespace
) -> None:
    stays = desk.invoice(100, is_final=False)
    advances = desk.invoice(100, is_final=False, auto_advance=True)
    desk.shop.close(desk.shop.at + build.hour)
    assert [desk.of(id).status for id in (stays.id, advances.id)] == ["draft", "open"]


def test_an_open_invoice_is_overdue_once_its_due_date_has_passed(desk: Desk, build: SimpleNamespace) -> None:
    invoice = desk.invoice(100, days_until_due=7)
    assert invoice.due_date == desk.shop.at + 7 * build.day
    desk.shop.close(invoice.due_date - build.tick)
    assert desk.of(invoice.id).overdue_at is None
    desk.shop.close(invoice.due_date + build.day)
    assert desk.of(invoice.id).overdue_at == invoice.due_date
    assert desk.shop.announced("invoice.overdue") == ["invoice.overdue"]


def test_a_coming_invoice_is_told_of_once_where_the_account_wants_it(
    desk: Desk, build: SimpleNamespace
) -> None:
    desk.policy(upcoming_days=7)
    desk.shop.use(5 * build.cent)
    end = desk.shop.subscription().period.end
    desk.shop.close(end - 7 * build.day - build.tick)
    assert desk.shop.announced("invoice.upcoming") == []
    desk.shop.close(end - build.day)
    assert desk.shop.announced("invoice.upcoming") == ["invoice.upcoming"]
