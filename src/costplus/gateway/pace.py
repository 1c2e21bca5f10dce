"""The pace of streams: whoever reads slowly is sent slowly; answers wait at the provider and not here.

The server takes what it is given into memory, however little of it the client has read. What the kernel still
holds of a connection says whether the client keeps up; Linux tells that to whoever asks (sock_diag).

Rule 1: a stream is looked at after every `LOOK_EVERY_BYTES`: what people read never costs a system call.
Rule 2: it goes on once the kernel holds little; a client that takes nothing for `STALLED_S` is given up.
Rule 3: where the system does not tell, streams are not paced. On HTTP/2 a client may hold back one stream
of a connection that is otherwise read; that is not seen either.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import TypeAlias

from costplus.gateway.rsgi_asgi import RsgiScope, address_of

Address: TypeAlias = tuple[str, int]

LOOK_EVERY_BYTES = 1 << 20
WAITING_BYTES_MAX = 256 << 10
LOOK_AGAIN_S = 0.05
STALLED_S = 60

_PROTOCOL = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST, _DUMP = 0x001, 0x300
_ALL_STATES = 0xFFFFFFFF
_LISTENING = 10
_NO_COOKIE = 0xFFFFFFFF
_HEAD = struct.Struct("=IHHII")  # Length, type, flags, sequence, port.
_ASKED = struct.Struct("=BBBBI")  # Family, protocol, extensions, padding, states.
_PORTS = struct.Struct("!HH")
_REST = struct.Struct("=III")  # Interface and the cookie's halves.
# Family, state, timer, retransmits; ports, addresses, interface, cookie; expiry; what waits each way.
_ENTRY = struct.Struct("=BBBB4s16s16s12sIII")


class StalledReader(Exception):
    """The client has stopped reading."""


class Pace:
    """One stream's way to its client."""

    __slots__ = ("_local", "_peer", "_since")

    def __init__(self, scope: RsgiScope) -> None:
        self._local = address_of(scope.server)
        self._peer = address_of(scope.client)
        self._since = 0

    def is_due(self, sent_bytes: int) -> bool:
        """Count what was sent; return whether it is time to see how far the client is."""
        self._since += sent_bytes
        return self._since >= LOOK_EVERY_BYTES

    async def kept(self) -> None:
        """Return once the client has read nearly all, or raise `StalledReader`."""
        self._since = 0
        if self._local is None or self._peer is None:
            return
        if ip_address(self._local[0]).is_unspecified:
            self._local = local_end(self._local, self._peer) or self._local
        least, last_s = sys.maxsize, monotonic()
        while True:
            await asyncio.sleep(0)  # The server hands on what it was given.
            waiting = waiting_bytes(self._local, self._peer)
            if waiting is None or waiting <= WAITING_BYTES_MAX:
                return
            if waiting < least:
                least, last_s = waiting, monotonic()
            elif monotonic() - last_s > STALLED_S:
                raise StalledReader
            await asyncio.sleep(LOOK_AGAIN_S)


def waiting_bytes(local: Address, peer: Address) -> int | None:
    """Return how much the kernel holds for the peer of a TCP connection, or None where it does not say."""
    for entry in _entries(local, peer, hosts=(local[0], peer[0])):
        if entry.state != _LISTENING:  # Else the connection is gone, and this is what it came in by.
            return entry.waiting_bytes
    return None


def local_end(local: Address, peer: Address) -> Address | None:
    """Return our end's very address where we listen on all; None where the kernel does not say."""
    family = _family(peer)
    wanted = _packed(family, peer[0])
    for entry in _entries(local, peer):
        if entry.peer == wanted:
            width = 4 if family == socket.AF_INET else 16
            return socket.inet_ntop(family, entry.local[:width]), local[1]
    return None


@dataclass(frozen=True, slots=True)
class _Entry:
    state: int
    local: bytes
    peer: bytes
    waiting_bytes: int


def _entries(local: Address, peer: Address, *, hosts: tuple[str, ...] = ()) -> list[_Entry]:
    """Return what the kernel knows of connections between two ports, all or the one between two hosts."""
    family = _family(peer)
    try:
        ends = b"".join(_packed(family, host) for host in hosts) or bytes(32)
        asked = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES)
        asked += _PORTS.pack(local[1], peer[1]) + ends + _REST.pack(0, _NO_COOKIE, _NO_COOKIE)
        flags = _REQUEST if hosts else _REQUEST | _DUMP
        head = _HEAD.pack(_HEAD.size + len(asked), _BY_FAMILY, flags, 1, 0)
        with socket.socket(getattr(socket, "AF_NETLINK", -1), socket.SOCK_DGRAM, _PROTOCOL) as kernel:
            kernel.setblocking(False)  # It answers while it is asked.
            kernel.send(head + asked)
            said = kernel.recv(1 << 15)
    except OSError:  # Another system, or one that does not let us ask.
        return []
    return list(_read(said))


def _read(said: bytes) -> Iterator[_Entry]:
    at = 0
    while at + _HEAD.size + _ENTRY.size <= len(said):
        length, kind, *_ = _HEAD.unpack_from(said, at)
        if kind != _BY_FAMILY:
            return
        _, state, _, _, _, local, peer, _, _, _, waiting = _ENTRY.unpack_from(said, at + _HEAD.size)
        yield _Entry(state, local, peer, waiting)
        at += -(-length // 4) * 4


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _packed(family: socket.AddressFamily, host: str) -> bytes:
    return socket.inet_pton(family, host).ljust(16, b"\0")
