"""A receipt as a document, set like an invoice: that money was received, and for which credit.

Rule 1: it asks for nothing.   Rule 2: credit beyond what was paid is named as such.
"""

from __future__ import annotations

from collections.abc import Iterator

from costplus.billing.customer import Customer
from costplus.billing.seller import Seller
from costplus.billing.top_up import Receipt
from costplus.web.figures import count, day, minor_amount
from costplus.web.invoice_document import Document, Fact, Group, Row, Total, buyer_lines, seller_lines


def receipt_document(receipt: Receipt, customer: Customer | None, seller: Seller | None) -> Document:
    """Return the receipt's document; a customer or seller that is not known is left out."""
    paid = minor_amount(receipt.amount_minor, receipt.currency)
    return Document(
        title=f"Receipt {receipt.number}",
        state="Paid",
        currency=receipt.currency.upper(),
        seller=seller_lines(seller) if seller else (),
        buyer=buyer_lines(customer, receipt.customer),
        facts=(
            Fact("Amount paid", paid),
            Fact("Paid", day(receipt.paid_at)),
            Fact("By", receipt.method),
            Fact("Payment", receipt.payment),
        ),
        groups=(Group("Prepaid credit", tuple(_rows(receipt))),),
        totals=(Total("Amount paid", paid, is_due=True),),
        notes=tuple(_notes(seller)),
    )


def _rows(receipt: Receipt) -> Iterator[Row]:
    def row(text: str, note: str, minor: int) -> Row:
        amount = minor_amount(minor, receipt.currency)
        return Row(text=text, note=note, quantity=count(1), unit_price=amount, amount=amount, exact="")

    yield row(receipt.description, "", receipt.amount_minor)
    if receipt.promotional_minor:
        bonus = minor_amount(receipt.promotional_minor, receipt.currency)
        yield row(f"Promotional credit of {bonus}", "given beyond what was paid", 0)


def _notes(seller: Seller | None) -> Iterator[str]:
    yield "This is a receipt for credit that usage will take from, and no invoice."
    if seller and seller.footer:
        yield seller.footer
