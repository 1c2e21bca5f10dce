"""Keep the prices of a process current with the book in its store, whoever wrote it."""

from __future__ import annotations

from costplus.billing.store import Store
from costplus.catalog.load import catalogue_of, revision_of
from costplus.rating.pricing import Pricing


async def keep_current(store: Store, pricing: Pricing) -> bool:
    """Load the prices again where the book has changed since; return whether it had."""
    if await store.read(revision_of) == pricing.catalogue.revision:
        return False
    pricing.adopt(await store.read(catalogue_of))
    return True
