"""Where webhooks may go: not into the seller's own network, unless the settings say so.

Rule 1: what counts is the address that a connection is made to, not the name; a name is judged only where it
is an address itself. Rule 2: only addresses of the public Internet. An address that carries another one
(IPv4-mapped, NAT64, 6to4, Teredo) is none. Rule 3: `private` opens private networks, `loopback` this machine;
link-local addresses (where clouds keep their metadata) are opened by an entry of their own only.
Rule 4: ports 80, 443 and 1024 upwards; hosts of the allow list may have any.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from costplus.core.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)
# Metadata services that live in a private network: opened by their own entry only.
_METADATA = tuple(map(ipaddress.ip_network, ("fd00:ec2::254/128", "100.100.100.200/32", "192.0.0.192/32")))
# Beyond what `is_global` knows: addresses that lead to others, and what only some releases of Python refuse.
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"),
            *("224.0.0.0/4", "240.0.0.0/4", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"),
            *("64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
            *("5f00::/16", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
    )
)


class AddressForbidden(InvalidRequest):
    """Webhooks are not sent to this address."""

    code = "webhook_address_forbidden"
    remedy = (
        "Use a public address, or let the operator allow this one: COSTPLUS_WEBHOOK_ALLOW takes hosts and "
        "networks, COSTPLUS_WEBHOOK_ALLOW_PRIVATE=true opens private networks."
    )


class AllowListInvalid(InvalidRequest):
    """An entry of the allow list is neither a host nor a network."""

    code = "webhook_allow_invalid"
    remedy = "Give hosts (hooks.internal, *.internal) and networks (10.1.0.0/16), separated by commas."


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which addresses webhooks may go to."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = field(default=())
    private: bool = False
    loopback: bool = False

    def check_host(self, host: str, *, port: int, param: str | None = "url") -> None:
        """Raise `AddressForbidden` where the host, as it is written, can be known to be forbidden."""
        if self._is_listed(host):
            return
        self._check_port(port, param=param)
        address = literal(host)
        if address is not None:
            self.check(host, address, port=port, param=param)
        elif (_plain(host) == "localhost" or _plain(host).endswith(".localhost")) and not self.loopback:
            raise AddressForbidden(f"Webhooks are not sent to {host}, which is this machine.", param=param)

    def check(self, host: str, address: Address, *, port: int, param: str | None = None) -> None:
        """Raise `AddressForbidden` unless a connection to `address`, found for `host`, may be made."""
        if self._is_listed(host) or any(address in network for network in self.networks):
            return
        self._check_port(port, param=param)
        if not self._may_reach(address):
            what = f"{host}" if str(address) == host else f"{host}, whose address is {address}"
            raise AddressForbidden(f"Webhooks are not sent to {what}.", param=param)

    def _may_reach(self, address: Address) -> bool:
        if any(address in network for network in _LOOPBACK):
            return self.loopback or self.private
        if any(address in network for network in (*_METADATA, *_NEVER)):
            return False
        if any(address in network for network in _PRIVATE):
            return self.private
        return address.is_global and not address.is_multicast

    def _check_port(self, port: int, *, param: str | None) -> None:
        if port not in (80, 443) and port < 1024:
            raise AddressForbidden(
                f"Webhooks are not sent to port {port}.",
                param=param,
                remedy="Use port 80, 443, or one from 1024 upwards.",
            )

    def _is_listed(self, host: str) -> bool:
        name = _plain(host)
        return any(
            name == entry or (entry.startswith("*.") and name.endswith(entry[1:])) for entry in self.hosts
        )


def _plain(host: str) -> str:
    return host.lower().rstrip(".").strip("[]")


def literal(host: str) -> Address | None:
    """Return the address that the host is, or None where it is a name."""
    try:
        return ipaddress.ip_address(_plain(host).partition("%")[0])
    except ValueError:
        return None


def address_policy(allow: str, *, private: bool, loopback: bool) -> AddressPolicy:
    """Return the policy of the settings. Raises `AllowListInvalid`."""
    hosts: list[str] = []
    networks: list[Network] = []
    for entry in allow.replace(",", " ").split():
        try:
            networks.append(ipaddress.ip_network(entry, strict=False))
        except ValueError:
            if not entry.isascii() or any(char in entry for char in "/:@?#"):
                raise AllowListInvalid(f"'{entry}' is neither a host nor a network.") from None
            hosts.append(_plain(entry))
    return AddressPolicy(tuple(hosts), tuple(networks), private=private, loopback=loopback)


def addresses_allowed(policy: AddressPolicy, host: str, found: Sequence[str], *, port: int) -> list[str]:
    """Return the addresses that were found for a host, all of them judged: one that is forbidden ends it."""
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        policy.check(host, address, port=port)
    return list(dict.fromkeys(found))
