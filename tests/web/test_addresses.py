"""Where webhooks may go, and that the address which is judged is the one that is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import Any

import httpx2
import pytest

from costplus.web.addresses import AddressForbidden, AddressPolicy, AllowListInvalid, address_policy
from costplus.web.network import guarded_client

STRICT = AddressPolicy()
FORBIDDEN = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "fd00:ec2::254", "fc00::1", "fe80::1", "fec0::1", "ff02::1", "2002:a00:1::1"),
    *("2001::1", "2001:db8::1", "100::1"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450::1"]


def is_open(policy: AddressPolicy, address: str, *, host: str = "hook.example", port: int = 443) -> bool:
    try:
        policy.check(host, ipaddress.ip_address(address), port=port)
    except AddressForbidden:
        return False
    return True


def test_only_the_public_internet_is_open() -> None:
    assert [address for address in FORBIDDEN if is_open(STRICT, address)] == []
    assert [address for address in PUBLIC if not is_open(STRICT, address)] == []


def test_private_networks_are_opened_without_opening_the_metadata_of_clouds() -> None:
    policy = AddressPolicy(private=True)
    opened = {address for address in FORBIDDEN if is_open(policy, address)}
    assert opened == {
        *("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("100.64.0.1", "fc00::1"),
    }


def test_development_opens_this_machine_and_nothing_else() -> None:
    policy = AddressPolicy(loopback=True)
    assert {address for address in FORBIDDEN if is_open(policy, address)} == {
        *("127.0.0.1", "127.9.9.9", "::1")
    }


def test_the_allow_list_opens_hosts_by_name_and_networks_by_address() -> None:
    policy = address_policy("hooks.internal, *.corp 10.1.0.0/16", private=False, loopback=False)
    assert is_open(policy, "192.168.0.1", host="HOOKS.internal.", port=22)
    assert is_open(policy, "192.168.0.1", host="a.b.corp")
    assert is_open(policy, "10.1.2.3") and not is_open(policy, "10.2.0.1")
    assert not is_open(policy, "192.168.0.1", host="corp")
    assert not is_open(policy, "192.168.0.1", host="evilhooks.internal.example")


@pytest.mark.parametrize("entry", ["http://x", "10.0.0.0/99", "a@b", "höst"])
def test_an_entry_that_is_neither_host_nor_network_is_refused(entry: str) -> None:
    with pytest.raises(AllowListInvalid):
        address_policy(entry, private=False, loopback=False)


@pytest.mark.parametrize(
    ("port", "opened"), [(80, True), (443, True), (1024, True), (22, False), (25, False)]
)
def test_ports_below_1024_other_than_those_of_the_web_are_closed(port: int, opened: bool) -> None:
    assert is_open(STRICT, "8.8.8.8", port=port) is opened


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "::ffff:10.0.0.1", "localhost", "x.LOCALHOST.", "169.254.169.254"]
)
def test_a_host_that_is_known_to_be_forbidden_is_refused_as_it_is_written(host: str) -> None:
    with pytest.raises(AddressForbidden):
        STRICT.check_host(host, port=443)
    STRICT.check_host("example.com", port=443)


class Names:
    """A resolver that gives its answers one after the other."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


@pytest.fixture
async def heard(listen: Callable[[Any], Awaitable[str]]) -> tuple[str, list[bytes]]:
    """Return the port of a server that answers everything with a redirect to the metadata service."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            head = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\nconnection: close\r\n"
            writer.write(f"{head}content-length: 0\r\n\r\n".encode())
            await writer.drain()

    return (await listen(serve)).rpartition(":")[2], requests


async def test_a_name_is_resolved_once_and_the_judged_address_is_connected_to(
    heard: tuple[str, list[bytes]],
) -> None:
    port, requests = heard
    policy = address_policy("127.0.0.1/32", private=False, loopback=False)
    names = Names(["127.0.0.1"], ["169.254.169.254"])  # The second answer is the attacker's.
    async with guarded_client(policy, names) as client:
        answer = await client.post(f"http://hook.example:{port}/x")
        assert answer.status_code == 302  # It is not followed.
        assert names.asked == 1
        assert f"Host: hook.example:{port}".lower().encode() in requests[0].lower()
        with pytest.raises(AddressForbidden, match=r"hook\.example, whose address is 169\.254\.169\.254"):
            await client.post(f"http://hook.example:{port}/x")
    assert len(requests) == 1


async def test_one_forbidden_address_among_several_closes_the_name(heard: tuple[str, list[bytes]]) -> None:
    port, requests = heard
    policy = address_policy("127.0.0.1/32", private=False, loopback=False)
    async with guarded_client(policy, Names(["127.0.0.1", "10.0.0.1"])) as client:
        with pytest.raises(AddressForbidden):
            await client.post(f"http://hook.example:{port}/")
    assert requests == []


async def test_spellings_of_an_address_that_only_the_system_understands_are_judged_by_what_they_mean(
    heard: tuple[str, list[bytes]],
) -> None:
    port, requests = heard
    async with guarded_client(STRICT) as client:
        for host in ("2130706433", "0x7f000001", "127.1", "localhost"):
            with pytest.raises((AddressForbidden, httpx2.ConnectError)):
                await client.post(f"http://{host}:{port}/")
    assert requests == []


async def test_a_name_that_does_not_exist_is_unreachable() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    async with guarded_client(STRICT, nobody) as client:
        with pytest.raises(httpx2.ConnectError, match="cannot be found"):
            await client.post("https://nobody.example/")


async def test_tls_still_asks_for_the_name() -> None:
    asked: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer.transport):
            hello = await reader.read(4096)
            asked.append("hook.example" if b"hook.example" in hello else None)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with guarded_client(
            AddressPolicy(loopback=True), Names(["127.0.0.1"]), verify=ssl.create_default_context()
        ) as client:
            with pytest.raises(httpx2.HTTPError):
                await client.post(f"https://hook.example:{port}/")
    assert asked == ["hook.example"]
