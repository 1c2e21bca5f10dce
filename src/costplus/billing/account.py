"""The account as a whole: its settings and its customers."""

from __future__ import annotations

from collections.abc import Iterator

from costplus.billing.customer import Customer
from costplus.billing.plan import SETTINGS_LOOKUP, Settings
from costplus.billing.store import Tx

PAGE = 500


def account_settings(tx: Tx) -> Settings | None:
    """Return the account's settings, or None before the set-up."""
    return tx.find_by_lookup(Settings, SETTINGS_LOOKUP)


def every_customer(tx: Tx, *, clock: str | None = None) -> Iterator[Customer]:
    """Yield all customers that are not deleted (of one test clock, or all), newest first."""
    cursor: str | None = None
    while True:
        page = tx.page(Customer, parent=clock, limit=PAGE, older_than=cursor)
        yield from (customer for customer in page if not customer.deleted)
        if len(page) < PAGE:
            return
        cursor = page[-1].id
