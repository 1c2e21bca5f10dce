"""Pages that people read in a browser without JavaScript: hosted documents and the seller's overview.

Owns: hosted invoices and receipts, the admin session, the overview and a customer's page; their templates
and style.
Does not own: the API (`web.api`), figures (billing and rating make them; pages only write them down).
Words: page, view, invoice link, login link, admin session.
Invariants: a customer's page never shows provider cost; every value is escaped; nothing is loaded from
elsewhere; a page changes no money.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.routing import Route

from costplus.web.context import WebContext
from costplus.web.pages.admin import AdminPages
from costplus.web.pages.invoice import DocumentPages, find_invoice, find_receipt
from costplus.web.pages.landing import LandingPages
from costplus.web.pages.session import OneTimeTokens

__all__ = ["routes"]


def routes(
    context: WebContext,
    login_tokens: OneTimeTokens,
    *,
    provider_names: Callable[[], Sequence[str]] | None = None,
) -> list[Route]:
    """Return the pages' routes. `provider_names` tells which providers this process has a key for."""
    landing = LandingPages(context)
    invoices = DocumentPages(context, find_invoice, noun="invoice")
    receipts = DocumentPages(context, find_receipt, noun="receipt")
    admin = AdminPages(context, login_tokens, provider_names)
    return [
        Route("/", landing.show),
        Route("/static/pages.css", landing.style),
        Route("/i/{id}/{token}", invoices.show),
        Route("/i/{id}/{token}/pdf", invoices.pdf),
        Route("/r/{id}/{token}", receipts.show),
        Route("/r/{id}/{token}/pdf", receipts.pdf),
        Route("/admin", admin.overview),
        Route("/admin/login", admin.log_in),
        Route("/admin/logout", admin.log_out, methods=["POST"]),
        Route("/admin/customers/{customer_id}", admin.customer),
    ]
