"""Find what an invoice is taxed by: the customer's standing and address, and the account's rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice, InvoiceLine
from costplus.billing.invoice_policy import POLICY_ID, InvoicePolicy
from costplus.billing.store import Tx
from costplus.billing.tax import Levy, NoSuchTaxRate, TaxExempt, TaxLocationMissing, TaxRate, of_address
from costplus.core.ids import from_milliseconds

PAGE = 500
EXEMPTIONS: tuple[TaxExempt, ...] = ("none", "exempt", "reverse")


def policy_of(tx: Tx) -> InvoicePolicy:
    """Return the account's rules for invoices."""
    return tx.find(InvoicePolicy, POLICY_ID) or InvoicePolicy(id=POLICY_ID, created=from_milliseconds(0))


def tax_rate_of(tx: Tx, id: str, *, param: str) -> TaxRate:
    """Return the tax rate, or raise `NoSuchTaxRate`."""
    rate = tx.find(TaxRate, id)
    if rate is None:
        raise NoSuchTaxRate(f"No such tax rate: '{id}'", param=param)
    return rate


def _every_rate(tx: Tx) -> Iterator[TaxRate]:
    cursor: str | None = None
    while True:
        page = tx.page(TaxRate, limit=PAGE, older_than=cursor)
        yield from page
        if len(page) < PAGE:
            return
        cursor = page[-1].id


def _named(tx: Tx, ids: tuple[str, ...], *, at: datetime) -> tuple[TaxRate, ...]:
    """Return the rates that are in force; one that has ended is replaced by naming another."""
    found = (tx.find(TaxRate, id) for id in ids)
    return tuple(rate for rate in found if rate is not None and rate.in_force(at))


def exemption_of(customer: Customer | None) -> TaxExempt:
    """Return the customer's standing towards tax."""
    said = customer.profile.get("tax_exempt") if customer else None
    return next((word for word in EXEMPTIONS if word == said), "none")


def levy_of(tx: Tx, invoice: Invoice, *, lines: tuple[InvoiceLine, ...], policy: InvoicePolicy) -> Levy:
    """Return what the invoice's lines are taxed by at its instant.

    Raises `TaxLocationMissing` where tax goes by an address that is not known and nothing else says.
    """
    customer = tx.find(Customer, invoice.customer)
    at, exempt = invoice.created, exemption_of(customer)
    own = {id: rate for line in lines for id in line.tax_rates if (rate := tx.find(TaxRate, id))}
    if invoice.tax_rates:
        return Levy(rates=_named(tx, invoice.tax_rates, at=at), own=own, exempt=exempt)
    if policy.tax_by_address:
        address = (customer.profile.get("address") if customer else None) or {}
        country, state = address.get("country") or "", address.get("state") or ""
        if country:
            found = of_address(_every_rate(tx), country=country, state=state, at=at)
            if found:
                return Levy(rates=found, own=own, exempt=exempt, by_address=True)
        elif exempt == "none" and not policy.default_tax_rates:
            raise TaxLocationMissing(
                f"Customer {invoice.customer} has no country, by which its invoices are taxed.",
                param="customer[address][country]",
            )
    return Levy(rates=_named(tx, policy.default_tax_rates, at=at), own=own, exempt=exempt)
