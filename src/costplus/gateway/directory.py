"""Who is calling: keys and customers' terms, remembered until the configuration changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime

from costplus.billing.customer import ApiKey
from costplus.billing.entitlement import Terms
from costplus.billing.store import Store
from costplus.billing.terms import capped_terms_of, default_card
from costplus.gateway.errors import CustomerMismatch, CustomerMissing, KeyExpired, KeyInvalid
from costplus.rating.rate_card import RateCardVersion

_REMEMBERED_MAX = 100_000


class Directory:
    """A cache of keys and terms in front of the store; any change of configuration empties it."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._keys: dict[str, ApiKey] = {}
        self._terms: dict[str, Terms] = {}
        store.listen("config", self.forget)

    def forget(self) -> None:
        """Drop everything remembered. Called from any thread: it only swaps references.

        Whoever is loading meanwhile remembers into what was swapped out, so nothing stale stays.
        """
        self._keys = {}
        self._terms = {}

    async def caller_for(self, secrets: tuple[str, ...], *, named: str | None) -> tuple[str, ApiKey]:
        """Return the id of the customer to charge, and the key that the call came with.

        `secrets` are the keys the caller sent, best first; `named` is the customer header.
        Raises `KeyInvalid`, `KeyExpired`, `CustomerMissing`, `CustomerMismatch`.
        """
        key = None
        for secret in secrets:
            key = self._keys.get(secret) or await self._load_key(secret)
            if key is not None:
                break
        if key is None:
            raise KeyInvalid("The API key is missing, unknown or revoked.")
        if key.limits.is_expired(self._now()):
            raise KeyExpired(f"The API key expired at {key.limits.expires_at:%Y-%m-%dT%H:%M:%SZ}.")
        if not key.customer:
            if not named:
                raise CustomerMissing("Please provide a valid customer ID: a merchant key charges nobody.")
            return named, key
        if named and named != key.customer:
            raise CustomerMismatch(f"This key belongs to {key.customer}, not to {named}.")
        return key.customer, key

    async def _load_key(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        remembered = self._keys
        key = await self._store.read(lambda tx: tx.find_by_lookup(ApiKey, digest))
        if key is None or key.revoked_at is not None:
            return None
        if len(remembered) < _REMEMBERED_MAX:
            remembered[secret] = key
        return key

    async def terms(self, customer: str) -> Terms:
        """Return the customer's terms. Raises `NoSuchCustomer`, `NotSubscribed`."""
        found = self._terms.get(customer)
        if found is not None:
            return found
        remembered = self._terms
        terms = await self._store.read(lambda tx: capped_terms_of(tx, customer))
        if len(remembered) < _REMEMBERED_MAX:
            remembered[customer] = terms
        return terms

    async def default_card(self) -> RateCardVersion:
        """Return the card version that a new customer would get. Raises `NotSubscribed`."""
        return await self._store.read(default_card)
