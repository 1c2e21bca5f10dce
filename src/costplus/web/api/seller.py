"""`/v1/token_billing/seller`: the seller's name, address and payment instructions on invoices."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.seller import SELLER, Seller
from costplus.billing.store import Tx
from costplus.web.call import Call, get, post
from costplus.web.objects.wire import JsonObject

NAME_MAX, LINE_MAX, TEXT_MAX = 200, 200, 2000


def seller_object(seller: Seller) -> JsonObject:
    """Return the seller as our API writes it."""
    return {
        "object": "token_billing.seller",
        "name": seller.name,
        "address": list(seller.address),
        "email": seller.email,
        "tax_id": seller.tax_id,
        "payment_instructions": seller.payment_instructions,
        "footer": seller.footer,
    }


def _seller(tx: Tx, call: Call) -> Seller:
    return tx.find(Seller, SELLER) or Seller(id=SELLER, created=call.at)


def retrieve(tx: Tx, call: Call) -> JsonObject:
    """Return who the seller is; empty before anything was said."""
    return seller_object(_seller(tx, call))


def update(tx: Tx, call: Call) -> JsonObject:
    """Change what is given; an empty text takes it away. Invoices show it from now on, old ones too."""
    known, params = _seller(tx, call), call.params

    def text(name: str, before: str, *, longest: int) -> str:
        return (params.text(name, longest=longest) or "") if name in params else before

    seller = replace(
        known,
        name=text("name", known.name, longest=NAME_MAX),
        address=tuple(params.texts("address")) if "address" in params else known.address,
        email=text("email", known.email, longest=LINE_MAX),
        tax_id=text("tax_id", known.tax_id, longest=LINE_MAX),
        payment_instructions=text("payment_instructions", known.payment_instructions, longest=TEXT_MAX),
        footer=text("footer", known.footer, longest=TEXT_MAX),
    )
    tx.save(seller)
    return seller_object(seller)


ENDPOINTS = (
    get("/v1/token_billing/seller", retrieve),
    post("/v1/token_billing/seller", update),
)
