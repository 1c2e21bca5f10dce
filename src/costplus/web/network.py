"""Connections to addresses that were judged: a name is resolved once, and what is connected to is the answer.

Rule 1: nobody resolves the name a second time, so an answer that changes in between changes nothing.
Rule 2: the name stays what TLS verifies and what the Host header says. Rule 3: proxies of the environment are
not used: behind one, nobody here could know what is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpcore2
import httpx2

from costplus.web.addresses import AddressPolicy, addresses_allowed, literal

CONNECTIONS_MAX = 1000
KEEPALIVE_S = 30
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system finds for a host, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to what the policy lets through."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve = system_addresses) -> None:
        self._policy = policy
        self._resolve = resolve
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first judged address that answers. Raises `AddressForbidden`."""
        try:
            found = [host] if literal(host) else await self._resolve(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(f"The host {host} cannot be found: {error.strerror}.") from error
        failed: httpcore2.ConnectError | None = None
        for address in addresses_allowed(self._policy, host, found, port=port):
            try:
                return await self._inner.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except httpcore2.ConnectError as error:
                failed = error
        raise failed or httpcore2.ConnectError(f"The host {host} has no address.")

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries."""
        await asyncio.sleep(seconds)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """The usual transport on guarded connections."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve = system_addresses, **options: Any) -> None:
        super().__init__(**options)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(**options),
            max_connections=CONNECTIONS_MAX,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=GuardedBackend(policy, resolve),
        )


def guarded_client(
    policy: AddressPolicy, resolve: Resolve = system_addresses, **options: Any
) -> httpx2.AsyncClient:
    """Return a client that connects only where the policy lets it; `options` are those of TLS."""
    transport = GuardedTransport(policy, resolve, **options)
    return httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
