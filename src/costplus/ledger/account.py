"""Account names. A positive balance is value the account's owner holds; postings move it between accounts.

Per customer: one credit account a grant, `accrued` (used, not yet invoiced: negative while owed),
`receivable` (invoiced, not yet paid: negative while owed) and `surplus` (money of the customer's that no
invoice has used yet, from credit notes and overpayments). Per book and bucket: revenue, cost, payable to
providers, payments, promotions, breakage, tax collected for authorities, write-offs.
"""

from __future__ import annotations

from typing import Literal

Book = Literal[
    "revenue",
    "cost",
    "provider_payable",
    "payments",
    "promotions",
    "breakage",
    "tax_payable",
    "write_offs",
]


def credit(customer: str, grant: str) -> str:
    """The credit that `grant` still holds."""
    return f"{customer}/credit/{grant}"


def grant_in(account: str) -> str:
    """Return the id of the grant whose credit the account is, or empty for any other account."""
    return account.partition("/credit/")[2]


def accrued(customer: str) -> str:
    """Usage that credit did not cover and no invoice has asked for yet."""
    return f"{customer}/accrued"


def receivable(customer: str) -> str:
    """What invoices have asked for and nobody has paid yet."""
    return f"{customer}/receivable"


def surplus(customer: str) -> str:
    """Money of the customer's that later invoices use."""
    return f"{customer}/surplus"


def book(name: Book) -> str:
    """An account of the seller."""
    return f"book/{name}"
