"""Invoices as documents and PDFs: every text arrives, hostile ones as they are."""

from __future__ import annotations

import importlib.util
import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from costplus.billing.coupon import Coupon
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceLine, TaxShare
from costplus.billing.seller import Seller
from costplus.billing.tax import TaxRate
from costplus.billing.top_up import Receipt
from costplus.core.period import Period
from costplus.web import invoice_pdf
from costplus.web.invoice_document import document_of
from costplus.web.invoice_pdf import PdfUnavailable, can_make_pdf, pdf_of
from costplus.web.receipt_document import receipt_document

AT = datetime(2026, 11, 1, tzinfo=UTC)
PERIOD = Period(AT, datetime(2026, 12, 1, tzinfo=UTC))
HOSTILE = '#panic("x") $x^2$ \\ "quoted" <b> `code` *bold* @ref 100% ü ¥'


def line(number: int, **fields: Any) -> InvoiceLine:
    text = "openai/gpt-5 · input (prompt above 200000 tokens)"
    usage = {"provider": "openai", "model": "gpt-5", "leaf": "input", "unit_price": "0.0000013"}
    given = {"description": text, "amount_minor": 13, "amount_nano": 130_000_001, **usage, **fields}
    return InvoiceLine(id=f"il_{number}", period=PERIOD, quantity=100_000, **given)


def invoice(*lines: InvoiceLine, **fields: Any) -> Invoice:
    total = sum(part.amount_minor for part in lines)
    return Invoice(
        id="in_1",
        created=AT,
        customer="cus_1",
        subscription="sub_1",
        currency="usd",
        period=PERIOD,
        billing_reason="subscription_cycle",
        lines=lines,
        **{
            "status": "open",
            "number": "CP-000001",
            "subtotal_minor": total,
            "total_minor": total,
            "finalized_at": AT,
            **fields,
        },
    )


CUSTOMER = Customer(id="cus_1", created=AT, name="Ada & Söhne", email="ada@example.com")
SELLER = Seller(id="seller", created=AT, name=HOSTILE, address=("1 Main Street",), footer="Thank you.")


def test_a_document_groups_the_lines_of_a_model_and_tells_exact_amounts() -> None:
    fee = line(3, kind="fee", description="Pro · fee", provider="", model="", leaf="", amount_nano=13 * 10**7)
    document = document_of(invoice(line(1), line(2, leaf="output"), fee), CUSTOMER, SELLER)
    assert [group.title for group in document.groups] == ["openai/gpt-5", "Fees and other charges"]
    first = document.groups[0].rows[0]
    assert (first.text, first.note) == ("input", "prompt above 200000 tokens")
    assert (first.quantity, first.unit_price) == ("100,000", "$1.30 / 1M tokens")
    assert (first.amount, first.exact) == ("$0.13", "$0.130000001")
    assert document.groups[1].rows[0].exact == ""
    assert [total.label for total in document.totals] == ["Subtotal", "Total", "Amount due"]


def test_a_document_sets_apart_what_is_no_usual_usage_of_a_model() -> None:
    late = line(
        1, is_late=True, description="openai/gpt-5 · input (batch) · late usage of 2026-11-01 to 2026-12-01"
    )
    meter = {"provider": "meter", "quantity": 1, "unit_price": "0.13"}
    lacking = replace(
        line(2, description="Minimum commitment · true-up"),
        **meter,
        model="minimum_commitment",
        leaf="minimum",
    )
    images = replace(line(3, description="Images · units 1 to 100"), **meter, model="images", leaf="unit")
    free = line(4, description="openai/gpt-5 · input (included in plan: 1M tokens)", unit_price="0")
    plain = replace(line(5, description="Set-up"), kind="item", provider="", model="", leaf="")
    document = document_of(invoice(plain, late, lacking, images, free), CUSTOMER, SELLER)
    shown = [(group.title, [(row.text, row.note) for row in group.rows]) for group in document.groups]
    assert shown == [
        ("openai/gpt-5", [("input", "included in plan: 1M tokens")]),
        ("Images", [("units 1 to 100", "")]),
        ("Minimum commitment", [("true-up", "")]),
        ("Late usage of 2026-11-01 to 2026-12-01", [("openai/gpt-5 · input", "batch")]),
        ("Fees and other charges", [("Set-up", "2026-11-01 to 2026-12-01")]),
    ]


def test_the_totals_name_the_discount_what_is_taxed_and_the_balance() -> None:
    rate = TaxRate(id="txr_1", created=AT, display_name="VAT", percentage="19", inclusive=False)
    coupon = Coupon(id="c", created=AT, name="Early friend", percent="10")
    made = invoice(
        line(1, amount_minor=3000),
        discount_minor=300,
        taxes=(TaxShare("txr_1", 513, 2700, False),),
        tax_minor=513,
        surplus_minor=500,
        total_minor=2713,
    )
    document = document_of(made, CUSTOMER, SELLER, rates=[rate], coupon=coupon)
    assert [(total.label, total.amount) for total in document.totals] == [
        ("Subtotal", "$30.00"),
        ("Early friend (10 %)", "−$3.00"),
        ("VAT 19 % on $27.00", "$5.13"),
        ("Total", "$32.13"),
        ("Balance applied", "−$5.00"),
        ("Amount due", "$27.13"),
    ]


def test_a_final_invoice_is_billed_to_whom_it_was_when_it_became_final() -> None:
    then = {
        "name": "Ada Ltd",
        "email": "old@example.com",
        "address": {"line1": "1 High Street", "city": "London", "postal_code": "N1", "country": "GB"},
        "tax_ids": [{"type": "gb_vat", "value": "GB123456789"}],
    }
    document = document_of(invoice(line(1), billed_to=then), CUSTOMER, SELLER)
    assert document.buyer == (
        "Ada Ltd",
        "1 High Street",
        "N1 London",
        "GB",
        "old@example.com",
        "Tax ID: GB123456789",
    )


def test_a_receipt_says_what_was_paid_and_what_came_on_top() -> None:
    receipt = Receipt(
        id="rcpt_1",
        created=AT,
        number="RC-000001",
        customer="cus_1",
        currency="usd",
        amount_minor=2000,
        promotional_minor=200,
        description="Starter pack",
        top_up="topup_1",
        payment="pay_1",
        method="Visa 4242",
        paid_at=AT,
    )
    document = receipt_document(receipt, CUSTOMER, SELLER)
    assert (document.title, document.buyer[0]) == ("Receipt RC-000001", "Ada & Söhne")
    ((paid, bonus),) = (group.rows for group in document.groups)
    assert (paid.text, paid.amount) == ("Starter pack", "$20.00")
    assert (bonus.text, bonus.amount) == ("Promotional credit of $2.00", "$0.00")
    assert [(total.label, total.amount) for total in document.totals] == [("Amount paid", "$20.00")]


def test_a_document_asks_for_nothing_where_nothing_is_due() -> None:
    seller = replace(SELLER, payment_instructions="IBAN 1")
    for status, due in (("open", "$0.13"), ("paid", "$0.00"), ("void", "$0.00")):
        document = document_of(invoice(line(1), status=status), CUSTOMER, seller)
        assert document.totals[-1].amount == due
        assert ("IBAN 1" in document.notes) is (status == "open")


needs_typst = pytest.mark.skipif(
    not can_make_pdf(), reason="typst is not installed: pip install costplus[pdf]"
)


@needs_typst
def test_a_pdf_is_the_same_bytes_each_time() -> None:
    document = document_of(invoice(line(1)), CUSTOMER, SELLER)
    first = pdf_of(document, at=AT)
    assert first.startswith(b"%PDF-1.")
    assert pdf_of(document, at=AT) == first


@needs_typst
@pytest.mark.parametrize("lines", [0, 1, 200])
def test_a_pdf_is_made_of_any_number_of_lines(lines: int) -> None:
    made = invoice(*(line(number, model=f"m{number % 9}") for number in range(lines)))
    body = pdf_of(document_of(made, None, None))
    assert len(re.findall(rb"/Type\s*/Page\b", _plain(body))) >= (5 if lines == 200 else 1)


def _plain(body: bytes) -> bytes:
    """Return the PDF with its compressed object streams written out."""
    parts = [body]
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", body, re.DOTALL):
        try:
            parts.append(zlib.decompress(found[1]))
        except zlib.error:
            continue
    return b"".join(parts)


def test_without_the_typesetter_a_pdf_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> None:
        return None

    monkeypatch.setattr(invoice_pdf.importlib.util, "find_spec", find_spec)
    with pytest.raises(PdfUnavailable) as refused:
        pdf_of(document_of(invoice(line(1)), CUSTOMER, SELLER))
    assert refused.value.code == "pdf_unavailable"
    assert importlib.util.find_spec("typst") is None
