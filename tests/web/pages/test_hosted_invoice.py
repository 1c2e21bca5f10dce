"""The hosted invoice: every line, no cost, and nobody in without the link."""

from __future__ import annotations

from typing import Any

import pytest


async def test_the_hosted_invoice_shows_every_line_and_adds_up(seller: Any) -> None:
    await seller.busy()
    invoice = await seller.close_month()
    page = await seller.show(seller.link(invoice.id))
    assert page.status == 200
    usage = [row for row in page.rows if row[0] == "openai/gpt-4.1-mini"]
    assert usage == [
        ["openai/gpt-4.1-mini", "cached input", "10", "$0.13 / 1M tokens", "$0.00 exact: $0.0000013"],
        ["openai/gpt-4.1-mini", "input", "1,234,567", "$0.52 / 1M tokens", "$0.64 exact: $0.64197484"],
        ["openai/gpt-4.1-mini", "output", "3", "$2.08 / 1M tokens", "$0.00 exact: $0.00000624"],
    ]
    assert page.row("AI · subscription fee")[1:3] == ["1", "$5.00"]
    assert page.row("Subtotal") == ["Subtotal", "$5.64"]
    assert page.row("Credit applied") == ["Credit applied", "−$0.50"]
    assert page.row("Total") == ["Total", "$5.14"]
    assert page.row("Amount due") == ["Amount due", "$5.14"]
    assert "exact: $5.14198238; rounding carried to next invoice: $0.00198238" in page.text
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
