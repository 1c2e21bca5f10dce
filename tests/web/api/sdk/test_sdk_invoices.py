"""The released SDK lets a period end, and keeps a seller's books by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from costplus.core.period import add_months

pytestmark = pytest.mark.e2e


def invoiced(shop: Any) -> None:
    shop.set_up(subscription_fee_amount="500")
    client = shop.client()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=5)
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": int(start.timestamp())})
    customer = client.v1.customers.create({"test_clock": clock.id})
    client.v2.billing.meter_events.create(
        {"event_name": shop.meter, "payload": shop.payload(customer.id, 10_000_000)}
    )
    preview = client.v1.invoices.create_preview({"customer": customer.id})
    assert (preview.total, preview.billing_reason) == (195 + 500, "upcoming")
    later = add_months(start, 1) + timedelta(hours=2)
    moved = client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": int(later.timestamp())})
    assert moved.status == "ready"
    invoice, first = client.v1.invoices.list({"customer": customer.id}).data
    assert (invoice.total, invoice.status, first.billing_reason) == (695, "open", "subscription_create")
    assert [line.amount for line in client.v1.invoices.line_items.list(invoice.id).data] == [195, 500]
    paid = client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid) == ("paid", 695)
    assert client.v1.invoices.void_invoice(first.id).status == "void"
    (subscription,) = client.v1.subscriptions.list({"customer": customer.id}).data
    assert client.v1.subscriptions.retrieve(subscription.id).status == "active"


async def test_a_period_ends_with_an_invoice(shop: Any) -> None:
    await shop.sees(invoiced)


def bookkeeping(shop: Any) -> None:
    """Items, tax, an invoice by hand, its lines, payment, credit note and the customer's balance."""
    shop.set_up()
    v1 = shop.client().v1
    customer = v1.customers.create({"name": "Ann", "address": {"country": "DE"}}).id
    rate = v1.tax_rates.create({"display_name": "VAT", "percentage": 19.0, "inclusive": False})
    v1.invoice_items.create({"customer": customer, "amount": 1000, "currency": "usd", "tax_rates": [rate.id]})
    draft = v1.invoices.create(
        {"customer": customer, "pending_invoice_items_behavior": "include", "days_until_due": 14}
    )
    assert draft.id is not None and (draft.total, draft.status) == (1190, "draft")
    added = v1.invoices.add_lines(draft.id, {"lines": [{"amount": 10, "description": "Help"}]})
    line = added.lines.data[1]
    v1.invoices.update_lines(draft.id, {"lines": [{"id": line.id, "amount": 20}]})
    v1.invoices.remove_lines(draft.id, {"lines": [{"id": line.id, "behavior": "delete"}]})
    v1.invoices.update(draft.id, {"description": "Thanks", "metadata": {"po": "7"}})
    final = v1.invoices.finalize_invoice(draft.id)
    assert (final.total, final.status, final.description) == (1190, "open", "Thanks")
    assert v1.invoices.send_invoice(draft.id).due_date == final.due_date is not None
    assert v1.invoices.pay(draft.id, {"paid_out_of_band": True}).amount_paid == 1190
    note = v1.credit_notes.create({"invoice": draft.id, "amount": 119, "reason": "duplicate"})
    assert (note.total_excluding_tax, note.type) == (100, "post_payment")
    assert v1.customers.retrieve(customer).balance == -119
    entries = v1.customers.balance_transactions.list(customer)
    assert [(entry.amount, entry.type) for entry in entries.data] == [(-119, "credit_note")]
    other = v1.invoices.create({"customer": customer})
    assert other.id is not None and v1.invoices.delete(other.id).deleted is True
    listed = v1.invoices.list({"customer": customer, "status": "paid", "created": {"gte": 1}})
    assert [entry.id for entry in listed.data] == [draft.id]


async def test_invoices_are_written_changed_and_credited_by_hand(shop: Any) -> None:
    await shop.sees(bookkeeping)
