"""Hosted invoices and receipts, as pages and as PDFs: what a customer sees, without the seller's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from costplus.billing.coupon import Coupon
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.seller import SELLER, Seller
from costplus.billing.store import Tx
from costplus.billing.tax import TaxRate
from costplus.billing.top_up import Receipt
from costplus.web.context import WebContext
from costplus.web.invoice_document import Document, document_of
from costplus.web.invoice_pdf import can_make_pdf, pdf_of
from costplus.web.pages.links import opens
from costplus.web.pages.page import HEADERS, html, message
from costplus.web.receipt_document import receipt_document


@dataclass(frozen=True, slots=True)
class Found:
    """A document, what its file is called, and the time that it is dated."""

    name: str
    at: datetime
    document: Document


Find = Callable[[Tx, str], Found | None]


def find_invoice(tx: Tx, id: str) -> Found | None:
    """Return an invoice's document."""
    invoice = tx.find(Invoice, id)
    if invoice is None:
        return None
    customer, seller = tx.find(Customer, invoice.customer), tx.find(Seller, SELLER)
    rates = [rate for share in invoice.taxes if (rate := tx.find(TaxRate, share.rate))]
    coupon = tx.find(Coupon, invoice.coupon) if invoice.coupon else None
    document = document_of(invoice, customer, seller, rates=rates, coupon=coupon)
    return Found(invoice.number or invoice.id, invoice.finalized_at or invoice.created, document)


def find_receipt(tx: Tx, id: str) -> Found | None:
    """Return a receipt's document."""
    receipt = tx.find(Receipt, id)
    if receipt is None:
        return None
    customer, seller = tx.find(Customer, receipt.customer), tx.find(Seller, SELLER)
    return Found(receipt.number, receipt.paid_at, receipt_document(receipt, customer, seller))


class DocumentPages:
    """Satisfies `/i/{id}/{token}` for invoices, `/r/{id}/{token}` for receipts, and `…/pdf` of both."""

    def __init__(self, context: WebContext, find: Find, *, noun: str) -> None:
        self._context = context
        self._find = find
        self._noun = noun

    async def show(self, request: Request) -> Response:
        """Show the document to whoever holds its link; say nothing about it to anybody else."""
        found = await self._opened(request)
        if found is None:
            return self._not_found()
        pdf_path = f"{request.url.path}/pdf" if can_make_pdf() else ""
        return html(
            "invoice.html", document=found.document, pdf_path=pdf_path, livemode=self._context.livemode
        )

    async def pdf(self, request: Request) -> Response:
        """Return the document as a file to whoever holds its link."""
        found = await self._opened(request)
        if found is None:
            return self._not_found()
        if not can_make_pdf():
            return message(
                "No PDF here",
                f"This installation cannot make PDFs; the page of the {self._noun} can be printed.",
                status=501,
                command="pip install 'costplus[pdf]'",
            )
        body = await asyncio.to_thread(pdf_of, found.document, at=found.at)
        headers = {**HEADERS, "content-disposition": f'inline; filename="{found.name}.pdf"'}
        return Response(body, media_type="application/pdf", headers=headers)

    async def _opened(self, request: Request) -> Found | None:
        id, token = request.path_params["id"], request.path_params["token"]
        if not opens(id, token, secret=self._context.link_secret):
            return None
        return await self._context.store.read(lambda tx: self._find(tx, id))

    def _not_found(self) -> Response:
        return message(
            f"{self._noun.capitalize()} not found",
            f"There is no {self._noun} at this address. Ask whoever sent you the link for a new one.",
            status=404,
        )
