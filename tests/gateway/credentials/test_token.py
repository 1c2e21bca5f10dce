"""A token is fetched once for all who wait, renewed before it expires; its failure makes no storm."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from costplus.gateway.credentials.errors import TokenRefused, TokenUnavailable
from costplus.gateway.credentials.token import Token, TokenSource

HOUR_S = 3600


class Service:
    """A token service in the hands of the test: its clock, its answers, how often it was asked."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, tzinfo=UTC)
        self.asked = 0
        self.lets_go = asyncio.Event()
        self.lets_go.set()
        self.fails: TokenRefused | TokenUnavailable | None = None
        self.source = TokenSource(self.fetch, now=lambda: self.at, name="p")

    async def fetch(self) -> Token:
        self.asked += 1
        number = self.asked
        await self.lets_go.wait()
        if self.fails:
            raise self.fails
        return Token(f"token-{number}", self.at + timedelta(seconds=HOUR_S))

    def passes(self, seconds: int) -> None:
        self.at += timedelta(seconds=seconds)

    async def settled(self) -> None:
        """Let what was begun in the background end."""
        if self.source._fetching is not None:
            await self.source._fetching


async def test_many_calls_at_once_fetch_one_token() -> None:
    service = Service()
    service.lets_go.clear()
    waiting = [asyncio.create_task(service.source.token()) for _ in range(50)]
    await asyncio.sleep(0)
    service.lets_go.set()
    assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert service.asked == 1


async def test_a_caller_that_leaves_does_not_take_the_token_from_the_others() -> None:
    service = Service()
    service.lets_go.clear()
    leaves, stays = (asyncio.create_task(service.source.token()) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    service.lets_go.set()
    assert await stays == "token-1"
    assert leaves.cancelled()


@pytest.mark.parametrize(
    ("after_s", "given", "asked"),
    [
        (0, "token-1", 1),
        (HOUR_S - 301, "token-1", 1),
        (HOUR_S - 300, "token-1", 2),
        (HOUR_S - 61, "token-1", 2),
    ],
)
async def test_a_successor_is_fetched_while_the_token_is_good(after_s: int, given: str, asked: int) -> None:
    service = Service()
    await service.source.token()
    service.passes(after_s)
    assert await service.source.token() == given
    await service.settled()
    assert service.asked == asked
    assert await service.source.token() == f"token-{asked}"


async def test_a_tokens_last_minute_is_not_used() -> None:
    service = Service()
    await service.source.token()
    service.passes(HOUR_S - 60)
    assert await service.source.token() == "token-2"


async def test_a_renewal_that_fails_is_not_noticed_until_the_last_minute() -> None:
    service = Service()
    await service.source.token()
    service.fails = TokenUnavailable("down")
    service.passes(HOUR_S - 200)
    assert await service.source.token() == "token-1"
    await service.settled()
    assert await service.source.token() == "token-1"
    assert service.asked == 2  # Not again within a second.
    service.passes(140)
    with pytest.raises(TokenUnavailable, match="down"):
        await service.source.token()
    service.fails = None
    service.passes(1)
    assert await service.source.token() == "token-4"


async def test_a_refusal_is_told_to_everybody_and_not_asked_for_again_at_once() -> None:
    service = Service()
    service.fails = TokenRefused("no such account")
    found = await asyncio.gather(*(service.source.token() for _ in range(5)), return_exceptions=True)
    assert {type(error) for error in found} == {TokenRefused}
    with pytest.raises(TokenRefused):
        await service.source.token()
    assert service.asked == 1
    service.passes(1)
    with pytest.raises(TokenRefused):
        await service.source.token()
    assert service.asked == 2
