"""Invoices as documents and PDFs: every text arrives, hostile ones as they are."""

from __future__ import annotations

import importlib.util
import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.billing.seller import Seller
from costplus.core.period import Period
from costplus.web import invoice_pdf
from costplus.web.invoice_document import document_of
from costplus.web.invoice_pdf import PdfUnavailable, can_make_pdf, pdf_of

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
