"""Providers' credentials in the store: the seller's own, and those that customers bring for their calls.

Rule 1: a secret is kept sealed (`vault`) and never shown again; `hint` is its end.
Rule 2: what of a provider is no secret (its address, a region) stands beside it, by the settings' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from costplus.core.errors import Conflict, NotFound
from costplus.core.records import Record

SECRETS = (
    *("api_key", "secret_access_key", "session_token", "service_account", "client_secret"),
    *("access_key_id", "client_id"),
)
HINT_CHARACTERS = 4


class NoSuchProviderRecord(NotFound):
    """The provider or provider key does not exist."""

    code = "resource_missing"


class ProviderRecorded(Conflict):
    """There is one already: of a name, or of a customer for a provider."""

    code = "provider_key_exists"
    remedy = "Update the one there is, or delete it first."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProvider(Record):
    """A provider, or the credential of one that the settings name; what is stored here counts."""

    KIND: ClassVar[str] = "provider"

    name: str
    plain: Mapping[str, str] = field(default_factory=dict)
    sealed: str = ""  # Empty: nothing was told.
    hint: str = ""

    @property
    def lookup(self) -> str:
        return self.name

    @property
    def about(self) -> str:
        """What its secret is sealed about."""
        return f"{self.KIND}/{self.id}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerProviderKey(Record):
    """A customer's own credential for a provider: its calls are made with it, and cost the seller nothing."""

    KIND: ClassVar[str] = "provider_key"

    customer: str
    provider: str
    plain: Mapping[str, str] = field(default_factory=dict)
    sealed: str
    hint: str = ""

    @property
    def parent(self) -> str:
        return self.customer

    @property
    def lookup(self) -> str:
        return own_key(self.customer, self.provider)

    @property
    def about(self) -> str:
        """What its secret is sealed about."""
        return f"{self.KIND}/{self.id}/{self.lookup}"


def own_key(customer: str, provider: str) -> str:
    """Return by what a customer's credential for a provider is found."""
    return f"{customer}/{provider}"
