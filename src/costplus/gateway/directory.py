"""Who is calling: keys and customers' terms, remembered until the configuration changes."""

from __future__ import annotations

import hashlib

from costplus.billing.customer import ApiKey
from costplus.billing.entitlement import Terms
from costplus.billing.store import Store
from costplus.billing.terms import terms_of
from costplus.gateway.errors import CustomerMismatch, CustomerMissing, KeyInvalid

_REMEMBERED_MAX = 100_000


class Directory:
    """A cache of keys and terms in front of the store; any change of configuration empties it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, ApiKey] = {}
        self._terms: dict[str, Terms] = {}
        self._generation = 0
        store.listen("config", self.forget)

    def forget(self) -> None:
        """Drop everything remembered. Called from any thread: it only swaps references."""
        self._generation += 1
        self._keys = {}
        self._terms = {}

    async def customer_for(self, secrets: tuple[str, ...], *, named: str | None) -> str:
        """Return the id of the customer to charge.

        `secrets` are the keys the caller sent, best first; `named` is the customer header.
        Raises `KeyInvalid`, `CustomerMissing`, `CustomerMismatch`.
        """
        key = None
        for secret in secrets:
            key = self._keys.get(secret) or await self._load_key(secret)
            if key is not None:
                break
        if key is None:
            raise KeyInvalid("The API key is missing, unknown or revoked.")
        if not key.customer:
            if not named:
                raise CustomerMissing("Please provide a valid customer ID: a merchant key charges nobody.")
            return named
        if named and named != key.customer:
            raise CustomerMismatch(f"This key belongs to {key.customer}, not to {named}.")
        return key.customer

    async def _load_key(self, secret: str) -> ApiKey | None:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        generation = self._generation
        key = await self._store.read(lambda tx: tx.find_by_lookup(ApiKey, digest))
        if key is None or key.revoked_at is not None:
            return None
        if generation == self._generation and len(self._keys) < _REMEMBERED_MAX:
            self._keys[secret] = key
        return key

    async def terms(self, customer: str) -> Terms:
        """Return the customer's terms. Raises `NoSuchCustomer`, `NotSubscribed`."""
        found = self._terms.get(customer)
        if found is not None:
            return found
        generation = self._generation
        terms = await self._store.read(lambda tx: terms_of(tx, customer))
        if generation == self._generation and len(self._terms) < _REMEMBERED_MAX:
            self._terms[customer] = terms
        return terms
