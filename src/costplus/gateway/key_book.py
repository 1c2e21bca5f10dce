"""What the gateway asks the store about credentials; whoever starts the process answers."""

from __future__ import annotations

from typing import Protocol

from costplus.gateway.credentials.credential import Credential


class KeyBook(Protocol):
    """The credentials that are kept in the store."""

    async def refresh(self) -> None:
        """See to it that the providers are those of the store's present configuration."""

    async def own(self, customer: str, provider: str) -> Credential | None:
        """Return the credential that a customer brings for a provider, None where it brings none."""
