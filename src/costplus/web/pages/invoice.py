"""The hosted invoice, as a page and as a PDF: what a customer is asked for, without the seller's cost."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from costplus.billing.coupon import Coupon
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.seller import SELLER, Seller
from costplus.billing.store import Tx
from costplus.billing.tax import TaxRate
from costplus.web.context import WebContext
from costplus.web.invoice_document import Document, document_of
from costplus.web.invoice_pdf import can_make_pdf, pdf_of
from costplus.web.pages.links import opens_invoice
from costplus.web.pages.page import HEADERS, html, message

Found = tuple[Invoice, Document]


def _find(tx: Tx, invoice_id: str) -> Found | None:
    invoice = tx.find(Invoice, invoice_id)
    if invoice is None:
        return None
    customer, seller = tx.find(Customer, invoice.customer), tx.find(Seller, SELLER)
    rates = [rate for share in invoice.taxes if (rate := tx.find(TaxRate, share.rate))]
    coupon = tx.find(Coupon, invoice.coupon) if invoice.coupon else None
    return invoice, document_of(invoice, customer, seller, rates=rates, coupon=coupon)


class InvoicePages:
    """Satisfies `/i/{invoice_id}/{token}` and `/i/{invoice_id}/{token}/pdf`."""

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def show(self, request: Request) -> Response:
        """Show the invoice to whoever holds its link; say nothing about it to anybody else."""
        found = await self._opened(request)
        if found is None:
            return _not_found()
        pdf_path = f"{request.url.path}/pdf" if can_make_pdf() else ""
        return html("invoice.html", document=found[1], pdf_path=pdf_path, livemode=self._context.livemode)

    async def pdf(self, request: Request) -> Response:
        """Return the invoice as a file to whoever holds its link."""
        found = await self._opened(request)
        if found is None:
            return _not_found()
        if not can_make_pdf():
            return message(
                "No PDF here",
                "This installation cannot make PDFs; the page of the invoice can be printed.",
                status=501,
                command="pip install 'costplus[pdf]'",
            )
        invoice, document = found
        body = await asyncio.to_thread(pdf_of, document, at=invoice.finalized_at or invoice.created)
        name = f"{invoice.number or invoice.id}.pdf"
        headers = {**HEADERS, "content-disposition": f'inline; filename="{name}"'}
        return Response(body, media_type="application/pdf", headers=headers)

    async def _opened(self, request: Request) -> Found | None:
        invoice_id, token = request.path_params["invoice_id"], request.path_params["token"]
        if not opens_invoice(invoice_id, token, secret=self._context.link_secret):
            return None
        return await self._context.store.read(lambda tx: _find(tx, invoice_id))


def _not_found() -> Response:
    return message(
        "Invoice not found",
        "There is no invoice at this address. Ask whoever sent you the link for a new one.",
        status=404,
    )
