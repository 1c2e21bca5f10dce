"""The hosted invoice: every line, no cost, and nobody in without the link."""

from __future__ import annotations

from typing import Any

import pytest

from costplus.billing.seller import SELLER, Seller


async def test_the_hosted_invoice_shows_every_line_and_adds_up(seller: Any) -> None:
    await seller.busy()
    invoice = await seller.close_month()
    page = await seller.show(seller.link(invoice.id))
    assert page.status == 200
    assert page.row("openai/gpt-4.1-mini") == ["openai/gpt-4.1-mini"]
    usage = [row for row in page.rows if "put" in row[0]]
    assert usage == [
        ["cached input", "10", "$0.13 / 1M tokens", "$0.00 exact: $0.0000013"],
        ["input", "1,234,567", "$0.52 / 1M tokens", "$0.64 exact: $0.64197484"],
        ["output", "3", "$2.08 / 1M tokens", "$0.00 exact: $0.00000624"],
    ]
    fee = next(row for row in page.rows if row[0].startswith("AI · subscription fee"))
    assert fee == ["AI · subscription fee 2026-12-01 to 2027-01-01", "1", "$5.00", "$5.00"]
    assert page.row("Subtotal") == ["Subtotal", "$5.64"]
    assert page.row("Credit applied") == ["Credit applied", "−$0.50"]
    assert page.row("Total") == ["Total", "$5.14"]
    assert page.row("Amount due") == ["Amount due", "$5.14"]
    assert "is carried: $0.00 came from the invoice before, $0.00198238 goes on to the next." in page.text
    for said in (
        invoice.number,
        "Open: awaiting payment",
        "Ada",
        "cus_ada@example.com",
        "2026-11-01 to 2026-12-01",
    ):
        assert said is not None and said in page.text


async def test_the_hosted_invoice_never_shows_what_the_provider_charges(seller: Any) -> None:
    await seller.busy()
    page = await seller.show(seller.link((await seller.close_month()).id))
    assert "cost" not in page.text.lower().replace("costplus", "")
    for cost in ("0.4938326", "0.4938268", "$0.40", "$1.60", "30 %", "markup"):
        assert cost not in page.text


@pytest.mark.parametrize("token", ["0" * 32, "", "é", "{31}", "{33}", "upper"])
async def test_an_invoice_opens_to_nobody_without_its_whole_token(seller: Any, token: str) -> None:
    await seller.busy()
    path = seller.link((await seller.close_month()).id)
    base, _, right = path.rpartition("/")
    wrong = {"{31}": right[:31], "{33}": right + "0", "upper": right.upper()}.get(token, token)
    async with seller.browser() as browser:
        answer = await browser.get(f"{base}/{wrong}")
    assert answer.status_code == 404
    assert "Ada" not in answer.text


async def test_a_right_token_for_an_unknown_invoice_is_not_found(seller: Any) -> None:
    assert (await seller.show(seller.link("in_none"))).status == 404


async def test_the_invoice_downloads_as_a_pdf_with_its_link_alone(seller: Any) -> None:
    await seller.busy()
    path = seller.link((await seller.close_month()).id)
    assert ("a", {"href": f"{path}/pdf"}) in (await seller.show(path)).tags
    async with seller.browser() as browser:
        answer = await browser.get(f"{path}/pdf")
        stranger = await browser.get(f"{path[:-1]}x/pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == 'inline; filename="CP-000002.pdf"'
    assert answer.content.startswith(b"%PDF-")
    assert stranger.status_code == 404


async def test_the_seller_and_how_to_pay_stand_on_the_invoice(seller: Any) -> None:
    await seller.busy()
    invoice = await seller.close_month()
    record = Seller(id=SELLER, created=invoice.created, name="Example <AI>", payment_instructions="IBAN DE00")
    await seller.store.write(lambda tx: tx.save(record))
    page = await seller.show(seller.link(invoice.id))
    assert "Example <AI>" in page.text
    assert "IBAN DE00" in page.text
