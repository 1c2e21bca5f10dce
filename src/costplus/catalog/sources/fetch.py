"""Fetch a price source: ask whether it changed, wait when asked to, take no more than fits.

Rule 1: what is already known is named (`If-None-Match`, `If-Modified-Since`), so that an unchanged source
costs nobody anything.
Rule 2: three tries; a server that says when to come back is believed up to a limit. What will not get better
by asking again is not asked again.
Rule 3: the limit on the body counts what comes out of the compression, while it comes out.
Rule 4: an answer that began encrypted never ends up in the clear.
Source: spec "prices", §6 (fetch).
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from costplus import __version__
from costplus.catalog.feeds.document import SourceRejected
from costplus.core.errors import Unavailable

BODY_BYTES_MAX = 32 << 20
TRIES = 3
TIMEOUT_MS = 60_000  # For one try as a whole, however slowly the bytes come.
BACKOFF_S = 2  # Before the second try; doubled before each further one.
RETRY_AFTER_S_MAX = 120
REDIRECTS_MAX = 5
USER_AGENT = f"costplus/{__version__}"
_AGAIN = frozenset({408, 425, 429})  # And everything from 500 on.
_GZIP_WINDOW = 31  # What zlib calls "a gzip header, and the largest window".

Pause = Callable[[int], Awaitable[None]]  # Seconds.


class SourceUnavailable(Unavailable):
    """A price source cannot be reached, or does not answer with its document."""

    code = "source_unavailable"
    remedy = "Check the network, set `prices.sources.<name>.url` to a mirror, or turn `prices.sync` off."


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a source answered; `body` is None where it has not changed since it was last fetched."""

    body: bytes | None
    sha256: str  # Of the body; empty without one.
    etag: str
    last_modified: str
    fetched_at: datetime

    @property
    def revision(self) -> str:
        """The best name of the state that came; what has not changed keeps the name it has."""
        assert self.body is not None
        return f"etag:{self.etag}" if self.etag else f"sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a try failed, and whether and when another may succeed."""

    what: str
    again: bool = False
    after_s: int | None = None


def open_client(*, trust_env: bool = True) -> httpx2.AsyncClient:
    """Return a client for price sources; proxies are those of the environment unless it is not trusted."""
    return httpx2.AsyncClient(max_redirects=REDIRECTS_MAX, trust_env=trust_env)


async def fetch(
    url: str,
    *,
    source: str,
    client: httpx2.AsyncClient,
    now: Callable[[], datetime],
    etag: str = "",
    last_modified: str = "",
    pause: Pause = asyncio.sleep,
    timeout_ms: int = TIMEOUT_MS,
    bytes_max: int = BODY_BYTES_MAX,
) -> Fetched:
    """Return the source's document, or that it is still what `etag` and `last_modified` name.

    Raises `SourceUnavailable`, or `SourceRejected` where the document is too large.
    """
    headers = {"user-agent": USER_AGENT, "accept": "application/json, */*;q=0.1", "accept-encoding": "gzip"}
    headers |= {"if-none-match": etag} if etag else {}
    headers |= {"if-modified-since": last_modified} if last_modified else {}
    fault = _Fault("it was not asked")
    for number in range(TRIES):
        if number:
            await pause(BACKOFF_S << (number - 1) if fault.after_s is None else fault.after_s)
        request = _Request(url, source, headers, client, now, timeout_ms, bytes_max)
        answer = await request.send()
        if isinstance(answer, Fetched):
            return answer
        fault = answer
        if not fault.again:
            break
    raise SourceUnavailable(f"Price source '{source}' at {url} is not available: {fault.what}.")


@dataclass(frozen=True, slots=True)
class _Request:
    """One try."""

    url: str
    source: str
    headers: Mapping[str, str]
    client: httpx2.AsyncClient
    now: Callable[[], datetime]
    timeout_ms: int
    bytes_max: int

    async def send(self) -> Fetched | _Fault:
        """Ask once."""
        limit_s = self.timeout_ms / 1000
        try:
            async with (
                asyncio.timeout(limit_s),
                self.client.stream(
                    "GET", self.url, headers=self.headers, follow_redirects=True, timeout=limit_s
                ) as response,
            ):
                return await self._read(response)
        except (TimeoutError, httpx2.TimeoutException):
            return _Fault(f"no whole answer within {self.timeout_ms} ms", again=True)
        except httpx2.TooManyRedirects:
            return _Fault(f"more than {REDIRECTS_MAX} redirects")
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, UnicodeError) as error:
            return _Fault(f"its address cannot be used ({error})")
        except (httpx2.HTTPError, OSError, zlib.error) as error:
            return _Fault(f"{type(error).__name__}: {error}"[:300].rstrip(": "), again=True)

    async def _read(self, response: httpx2.Response) -> Fetched | _Fault:
        status = response.status_code
        if self.url.lower().startswith("https:") and response.url.scheme != "https":
            return _Fault("it was redirected to an address without encryption")
        if status in _AGAIN or status >= 500:
            after_s = _retry_after_s(response.headers.get("retry-after", ""), at=self.now())
            return _Fault(f"HTTP {status}", again=True, after_s=after_s)
        if status == 304 and {"if-none-match", "if-modified-since"} & set(self.headers):
            return self._fetched(None, response)
        if status != 200:
            return _Fault(f"HTTP {status}")
        return self._fetched(await self._body(response), response)

    def _fetched(self, body: bytes | None, response: httpx2.Response) -> Fetched:
        known = self.headers if body is None else {}
        return Fetched(
            body=body,
            sha256="" if body is None else hashlib.sha256(body).hexdigest(),
            etag=response.headers.get("etag", known.get("if-none-match", "")),
            last_modified=response.headers.get("last-modified", known.get("if-modified-since", "")),
            fetched_at=self.now(),
        )

    async def _body(self, response: httpx2.Response) -> bytes:
        """Return the decompressed body, or stop reading as soon as it is too large."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise httpx2.DecodingError(f"the encoding '{encoding}' was not asked for")
        inflate = None if encoding == "identity" else zlib.decompressobj(_GZIP_WINDOW)
        body, received = bytearray(), 0
        async for chunk in response.aiter_raw():
            received += len(chunk)
            room = self.bytes_max + 1 - len(body)
            body += inflate.decompress(chunk, room) if inflate else chunk
            if max(len(body), received) > self.bytes_max:
                what = f"it has more than {self.bytes_max} bytes."
                raise SourceRejected(what, source=self.source, reason="too_large")
        if inflate and (not inflate.eof or inflate.unused_data):
            raise httpx2.DecodingError("its compressed body does not end where it should")
        return bytes(body)


def _retry_after_s(text: str, *, at: datetime) -> int | None:
    """Return how long a server asks to wait, within our limit; None where it does not say."""
    if text.strip().isdecimal():
        return min(int(text.strip()[:9]), RETRY_AFTER_S_MAX)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return min(max(int((then - at).total_seconds()) + 1, 0), RETRY_AFTER_S_MAX)
