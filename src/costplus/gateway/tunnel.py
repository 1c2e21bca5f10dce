"""Forward proxies: how a provider is reached where only a proxy reaches out.

Rule 1: to a provider over TLS a tunnel is asked for (CONNECT), and TLS is spoken with the provider through
it: the proxy sees neither key nor call. Plain HTTP is sent to the proxy itself, with the whole address.
Rule 2: whoever the proxy is shown to be, the provider never sees it.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

HEAD_BYTES_MAX = 16 * 1024
_RECEIVE_BYTES = 4096


class TunnelRefused(OSError):
    """The proxy does not let us through, or is none."""


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """Where a proxy listens, and the value of the header that it knows us by (empty: it need not)."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def forward_proxy_of(url: str) -> ForwardProxy:
    """Return the proxy at `http://[user:password@]host[:port]`. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("is http://[user:password@]host:port")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return ForwardProxy(parts.hostname, parts.port or 80, authorization)


async def tunnel(proxy: ForwardProxy, *, host: str, port: int) -> socket.socket:
    """Return a connection through the proxy to `host`. Raises `OSError`, of which `TunnelRefused` is one."""
    loop = asyncio.get_running_loop()
    connection = await _connect(proxy)
    try:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
        if proxy.authorization:
            lines.append(f"proxy-authorization: {proxy.authorization}")
        await loop.sock_sendall(connection, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await loop.sock_recv(connection, _RECEIVE_BYTES)
            if not piece or len(head) > HEAD_BYTES_MAX:
                raise TunnelRefused(f"the proxy {proxy.host}:{proxy.port} gives no answer to CONNECT")
            head += piece
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].startswith(b"2"):
            said = head.split(b"\r\n", 1)[0].decode("latin-1")
            raise TunnelRefused(f"the proxy {proxy.host}:{proxy.port} answers '{said}'")
        if not head.endswith(b"\r\n\r\n"):
            raise TunnelRefused(f"the proxy {proxy.host}:{proxy.port} speaks before the provider was asked")
    except BaseException:
        connection.close()
        raise
    return connection


async def _connect(proxy: ForwardProxy) -> socket.socket:
    """Return a connection to the first of the proxy's addresses that takes one."""
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        proxy.host, proxy.port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            last = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise TunnelRefused(f"the proxy {proxy.host}:{proxy.port} cannot be reached: {last}")
