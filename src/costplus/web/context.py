"""What every request may need, gathered once by whoever starts the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from costplus.billing.collector import Collector
from costplus.billing.payments.base import NoSuchProvider
from costplus.billing.store import Store
from costplus.billing.vault import Vault
from costplus.rating.pricing import Pricing
from costplus.web.addresses import AddressPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class WebContext:
    """The process around a request.

    `flush` settles what the gateway of this process still queues: awaited before balances, events and
    invoices are read, so that callers read their own writes. `link_secret` signs links and session tokens.
    `price_sources` has the addresses of the price lists that are followed, by name. `addresses` says where
    webhooks may go. `payments` asks payment providers. `vault` seals providers' secrets; `check_provider` and
    `check_own` refuse what the gateway could not use.
    """

    store: Store
    pricing: Pricing
    now: Callable[[], datetime]
    base_url: str
    livemode: bool
    flush: Callable[[], Awaitable[None]]
    link_secret: bytes
    price_sources: Mapping[str, str] = field(default_factory=dict)
    addresses: AddressPolicy = field(default_factory=lambda: AddressPolicy(loopback=True))
    payments: Collector | None = None
    vault: Vault | None = None
    check_provider: Callable[[str, Mapping[str, str]], None] = lambda name, fields: None
    check_own: Callable[[str, Mapping[str, str], Mapping[str, str]], None] = lambda name, stored, own: None

    @property
    def collector(self) -> Collector:
        """What asks payment providers, or `NoSuchProvider` where this process knows none."""
        if self.payments is None:
            raise NoSuchProvider("This process knows no payment provider.")
        return self.payments
