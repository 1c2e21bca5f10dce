"""Four ways to sell, each from set-up to the PDF over three months; every figure is worked out by hand here.

Prices per million tokens: gpt-4.1 $3 in and $12 out, so 3,000 and 12,000 nanos a token; gpt-4o-mini $0.20 in.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2
import pypdf
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import pricing_models

pytestmark = pytest.mark.e2e

MERCHANT_KEY = "sk_test_e2e_0123456789"
NANO = 10**9
CENT = 10**7
Told = Callable[[str], pricing_models.Story]


@pytest.fixture
def told(serve: Callable[..., Any], tmp_path: Path) -> Iterator[Told]:
    """Play a story on a server of its own; afterwards every line and every book must agree."""
    book = pricing_models.Book(serve().url, MERCHANT_KEY)
    stories: list[pricing_models.Story] = []

    def tell(name: str) -> pricing_models.Story:
        stories.append(pricing_models.STORIES[name](book))
        return stories[-1]

    try:
        yield tell
        for story in stories:
            check_charges(book, story)
    finally:
        book.close()
    audit = [sys.executable, "-m", "costplus", "audit", "--json", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(audit, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["findings"] == 0


def check_charges(book: pricing_models.Book, story: pricing_models.Story) -> None:
    """Every usage line is the sum of its charges, page after page."""
    for invoice in story.invoices:
        working = book.get(f"/v1/token_billing/invoices/{invoice.id}/explain")
        for line in working["lines"]:
            if line["kind"] != "usage":
                assert line["charges"] is None
                continue
            charges = list(pages(book, line["charges"]))
            assert charges
            assert sum(Fraction(c["exact_price"]) for c in charges) == Fraction(line["exact_amount"])
            units = sum(charge["quantity"] for charge in charges)
            # What a minimum lacks is counted in nanos, and stands on its line as one amount.
            assert units == (
                line["quantity"] if line["token_type"] != "minimum" else line["amount_minor"] * CENT
            )
            # Events are rounded up to a nano each: the ledger has a little more than the exact sum.
            assert 0 <= Fraction(line["ledger_amount"]) * NANO - Fraction(line["exact_amount"]) * NANO < units


def pages(book: pricing_models.Book, path: str) -> Iterator[dict[str, Any]]:
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = book.get(path, **query)
        yield from page["data"]
        if not page["has_more"]:
            return
        query["starting_after"] = page["data"][-1]["id"]


def pdf_text(url: str) -> str:
    """Return the text of a PDF that a link gives, each stretch of white space as one space."""
    answer = httpx2.get(url, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    pages = pypdf.PdfReader(io.BytesIO(answer.content)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def lines_of(invoice: Any) -> list[tuple[str, int, int]]:
    return [(line.description, line.quantity, line.amount) for line in invoice.lines.data]


def figures(invoice: Any) -> tuple[int, int, int]:
    return invoice.subtotal, invoice.total, invoice.amount_due


def check_pdf(invoice: Any, *said: str) -> None:
    """The PDF says its number, who sells and buys, each line's quantity and amount, what is due, and more."""
    text = pdf_text(invoice.invoice_pdf)
    assert f"Invoice {invoice.number}" in text
    assert "Lumen Labs GmbH" in text and "Acme Research, Inc." in text
    for _, quantity, minor in lines_of(invoice):
        assert f"{quantity:,}" in text
        assert dollars(minor) in text
    assert f"Amount due {dollars(invoice.amount_remaining)}" in text
    for words in said:
        assert words in text, text


def dollars(minor: int) -> str:
    return f"{'−' if minor < 0 else ''}${abs(minor) // 100:,}.{abs(minor) % 100:02}"


def test_prepaid_credit_pays_for_everything_and_at_zero_the_customer_is_blocked(told: Told) -> None:
    story = told("prepaid")
    # The pack of 20 with a bonus of 2, 10 by the rule, 15 by hand: 47 to spend.
    assert [(r["amount"], r["promotional_amount"]) for r in story.receipts] == [
        (2000, 200),
        (1000, 0),
        (1500, 0),
    ]
    # January: 5,600,000 in = 16.80, 50,000 out = 0.60. February: 3,000,000 in = 9.00. March: 6,800,000 in
    # = 20.40 and 1,000,000 of the small model = 0.20. 17.40 + 9.00 + 20.60 = 47.00: nothing is left.
    assert [figures(invoice) for invoice in story.invoices] == [(1740, 0, 0), (900, 0, 0), (2060, 0, 0)]
    assert {invoice.status for invoice in story.invoices} == {"paid"}
    january, february, march = story.invoices
    assert lines_of(january) == [
        ("openai/gpt-4.1 · input", 5_600_000, 1680),
        ("openai/gpt-4.1 · output", 50_000, 60),
    ]
    assert lines_of(february) == [("openai/gpt-4.1 · input", 3_000_000, 900)]
    assert lines_of(march) == [
        ("openai/gpt-4.1 · input", 6_800_000, 2040),
        ("openai/gpt-4o-mini · input", 1_000_000, 20),
    ]
    assert story.seen["refusal"] == (402, "customer_credit_exhausted")
    for invoice in story.invoices:
        check_pdf(invoice, f"Credit applied {dollars(-invoice.subtotal)}", "$3.00 / 1M tokens")
    for receipt in story.receipts:
        text = pdf_text(receipt["receipt_pdf"])
        assert f"Receipt {receipt['number']}" in text and "Acme Research, Inc." in text
        assert f"Amount paid {dollars(receipt['amount'])}" in text
        assert ("Promotional credit of $2.00" in text) is (receipt["promotional_amount"] == 200)


def test_a_fee_includes_tokens_that_roll_over_and_credit_and_what_is_beyond_has_its_price(told: Told) -> None:
    story = told("fixed-fee")
    first, january, february, march = story.invoices
    # The fee is asked for ahead: January's at once, each other one with the usage of the month before.
    assert figures(first) == (2000, 2000, 2000)
    # 700,000 of 1,000,000 included; 1,000,000 in at 3,000 nano = 3.00, paid by the 5.00 of credit.
    assert figures(january) == (300 + 2000, 2000, 2000)
    # 300,000 go on: of 1,500,000 small tokens 200,000 are beyond, at 200 nano = 0.04. 2,010,000 in = 6.03 and
    # 5,000 out = 0.06: usage of 6.13, of which credit pays 5.00.
    assert figures(february) == (613 + 2000, 613 - 500 + 2000, 2113)
    # 400,000 of 1,000,000 included, nothing else.
    assert figures(march) == (2000, 2000, 2000)
    included, fee = "included in plan: 1M small tokens", ("Team · subscription fee", 1, 2000)
    assert lines_of(january) == [
        ("openai/gpt-4.1 · input", 1_000_000, 300),
        (f"openai/gpt-4o-mini · input ({included})", 700_000, 0),
        fee,
    ]
    assert lines_of(february) == [
        ("openai/gpt-4.1 · input", 2_010_000, 603),
        ("openai/gpt-4.1 · output", 5_000, 6),
        (f"openai/gpt-4o-mini · input ({included})", 1_300_000, 0),
        ("openai/gpt-4o-mini · input", 200_000, 4),
        fee,
    ]
    assert lines_of(march) == [(f"openai/gpt-4o-mini · input ({included})", 400_000, 0), fee]
    check_pdf(first, "Team · subscription fee")
    check_pdf(january, included, "Credit applied −$3.00")
    check_pdf(february, included, "Credit applied −$5.00", "$0.20 / 1M tokens")
    check_pdf(march, included)


def test_usage_alone_is_taxed_carries_fractions_of_a_cent_and_names_what_came_late(told: Told) -> None:
    story = told("pay-as-you-go")
    january, february, march = story.invoices
    # 12,345,678 × 3,000 + 1,000,001 × 12,000 = 49.037046: 49.03, 0.007046 to carry; 19 % of 49.03 = 9.3157.
    assert figures(january) == (4903, 4903 + 932, 5835)
    # 5,020,000 × 3,000 = 15.06, 4,000 × 12,000 = 0.048, late 100,000 × 12,000 = 1.20: 16.308, with what was
    # carried 16.315046: 16.31 and 0.005046 to carry; 19 % of 16.31 = 3.0989.
    assert figures(february) == (1631, 1631 + 310, 1941)
    # 10,000,000 × 3,000 = 30.00, with what was carried 30.005046. Less 10 % = 27.00; 19 % of that = 5.13. The
    # balance of 5.00 pays its part.
    assert figures(march) == (3000, 2700 + 513, 3213 - 500)
    # 49.03 in proportion to 37.037034 and 12.000012 is 37.0317 and 11.9983: 37.03 and, nearer to it, 12.00.
    assert lines_of(january) == [
        ("openai/gpt-4.1 · input", 12_345_678, 3703),
        ("openai/gpt-4.1 · output", 1_000_001, 1200),
    ]
    late = "late usage of 2027-01-01 to 2027-02-01"
    assert lines_of(february) == [
        ("openai/gpt-4.1 · input", 5_020_000, 1506),
        ("openai/gpt-4.1 · output", 4_000, 5),
        (f"openai/gpt-4.1 · output · {late}", 100_000, 120),
    ]
    check_pdf(january, "VAT 19 % on $49.03 $9.32", "$0.007046")
    check_pdf(february, "VAT 19 % on $16.31 $3.10", late.capitalize(), "Due 2027-03-15")
    check_pdf(
        march,
        "Early friend (10 %) −$3.00",
        "VAT 19 % on $27.00 $5.13",
        "Total $32.13",
        "Balance applied −$5.00",
    )


def test_a_hybrid_commits_includes_credit_and_prorates_seats_in_mid_month(told: Told) -> None:
    story = told("hybrid")
    first, january, february, march = story.invoices
    assert figures(first) == (7400, 7400, 7400)  # The fee of 50, two seats at 12.
    # 4,600,000 in = 13.80 and 100,000 out = 1.20: 15.00, so 15.00 lack to the minimum of 30. Credit pays
    # 10.00 of usage. 31 days have 15½ after noon of the 16th: half of 2 seats comes back (12.00), half of 5
    # is asked for (30.00). February's fee of 50 and five seats of 12.
    assert figures(january) == (1500 + 1500 - 1200 + 3000 + 5000 + 6000, 15_800 - 1000, 14_800)
    # 15,000,000 in = 45.00, more than the minimum; credit pays 10.00.
    assert figures(february) == (4500 + 5000 + 6000, 15_500 - 1000, 14_500)
    assert figures(march) == (3000 + 5000 + 6000, 14_000, 14_000)  # No credit pays what is lacking.
    assert sorted(lines_of(january)) == sorted(
        [
            ("Minimum commitment · true-up", 1, 1500),
            ("openai/gpt-4.1 · input", 4_600_000, 1380),
            ("openai/gpt-4.1 · output", 100_000, 120),
            ("Business · subscription fee", 1, 5000),
            ("5 × Seat · subscription fee", 1, 6000),
            ("Unused time on 2 × Seat after 16 Jan 2027", 2, -1200),
            ("Remaining time on 5 × Seat after 16 Jan 2027", 5, 3000),
        ]
    )
    check_pdf(first, "2 × Seat · subscription fee")
    check_pdf(
        january,
        "Minimum commitment true-up",
        "Unused time on 2 × Seat after 16 Jan 2027",
        "Remaining time on 5 × Seat after 16 Jan 2027",
        "2027-01-16 to 2027-02-01",
        "Credit applied −$10.00",
    )
    check_pdf(february, "15,000,000 $3.00 / 1M tokens $45.00")
    check_pdf(march, "Minimum commitment true-up")
