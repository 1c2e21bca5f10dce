"""Tokens that expire: fetched when first needed, kept, and renewed before they do.

Rule 1: a token is handed out until a minute before it expires.
Rule 2: one fetch at a time; whoever needs the token meanwhile waits for that one. A caller that leaves does
not end it for the others.
Rule 3: while a token is still good, its successor is fetched in the background; should that fail, the calls
do not notice until the last minute.
Rule 4: what failed is not tried again for a moment: a broken credential must not become a storm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from costplus.gateway.credentials.errors import TokenRefused, TokenUnavailable

SPARE = timedelta(minutes=1)  # So much of a token's life is not used.
RENEWED_BEFORE = timedelta(minutes=5)  # From then on a successor is fetched …
PAUSE = timedelta(seconds=1)  # … and again after this, where that failed.

log = structlog.get_logger("costplus.gateway.credentials")


@dataclass(frozen=True, slots=True)
class Token:
    """What a token service gave, and until when it is good."""

    text: str = field(repr=False)
    expires_at: datetime


class TokenSource:
    """One credential's token."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Token]], *, now: Callable[[], datetime], name: str
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._name = name
        self._token: Token | None = None
        self._failure: TokenRefused | TokenUnavailable | None = None
        self._failed_at: datetime | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def token(self) -> str:
        """Return a token that is good for a minute at least. Raises `TokenRefused`, `TokenUnavailable`."""
        now = self._now()
        token = self._token
        if token is not None and now < token.expires_at - SPARE:
            if now >= token.expires_at - RENEWED_BEFORE and not self._pauses(now):
                self._begin()
            return token.text
        if not self._pauses(now):
            await asyncio.shield(self._begin())
        if self._token is not None and now < self._token.expires_at - SPARE:
            return self._token.text
        failure = self._failure
        if failure is None:
            raise TokenUnavailable(f"The token service of {self._name} gave a token that has expired.")
        raise type(failure)(failure.message)  # Each caller its own: a traceback grows with every raise.

    def _pauses(self, now: datetime) -> bool:
        return self._failed_at is not None and now < self._failed_at + PAUSE

    def _begin(self) -> asyncio.Task[None]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._renew())
        return self._fetching

    async def _renew(self) -> None:
        try:
            self._token = await self._fetch()
        except (TokenRefused, TokenUnavailable) as error:
            self._failure, self._failed_at = error, self._now()
            log.error("token_not_renewed", provider=self._name, code=error.code, message=error.message)
        else:
            self._failure = self._failed_at = None
