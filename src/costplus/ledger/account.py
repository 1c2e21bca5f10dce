"""Account names. A positive balance is value the account's owner holds; postings move it between accounts.

Per customer: one credit account a grant, `accrued` (used, not yet invoiced: negative while owed) and
`receivable` (invoiced, not yet paid: negative while owed). Per book and bucket: revenue, cost, payable to
providers, payments, promotions, breakage.
"""

from __future__ import annotations

from typing import Literal

Book = Literal["revenue", "cost", "provider_payable", "payments", "promotions", "breakage"]


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


def book(name: Book) -> str:
    """An account of the seller."""
    return f"book/{name}"
