"""The configured providers: where each is, which wire it speaks, how it is authenticated."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from costplus.gateway.azure import NO_DEPLOYMENTS, Deployments
from costplus.gateway.credentials.authorize import Authorizer, Outgoing, authorizer_of
from costplus.gateway.credentials.credential import Credential
from costplus.gateway.credentials.token_service import Route
from costplus.gateway.endpoint import (
    BARE_PATHS,
    Endpoint,
    Shape,
    chat_at,
    converse_at,
    generate_at,
    messages_at,
    native_endpoint,
    own_endpoint,
    rows_for,
    split_native,
    with_query,
)
from costplus.gateway.errors import DialectUnsupported, NoSuchEndpoint, ProviderNotConfigured
from costplus.gateway.translate.registry import CALLERS
from costplus.gateway.tunnel import forward_proxy_of
from costplus.gateway.upstream import PoolLoad, UpstreamPool

ANTHROPIC_VERSION = "2023-06-01"
Wire = Literal["openai", "anthropic", "google", "vertex", "bedrock", "cohere", "azure"]
_PASSED_ON = ("anthropic-version", "anthropic-beta", "openai-beta", "traceparent", "tracestate")
# Of a native call's headers, what stays here: credentials, whose account pays, and what belongs to one hop.
_WITHHELD = frozenset(
    (
        *("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-stripe-customer-id", "cookie"),
        *("proxy-authorization", "openai-organization", "openai-project", "x-goog-user-project"),
        *("host", "content-length", "accept-encoding", "connection", "keep-alive", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect", "forwarded", "via", "x-real-ip"),
        *("x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"),
    )
)
_WITHHELD_STARTS = ("x-forwarded-", "x-amz-", "proxy-", "costplus-")
_GOOGLES = "/publishers/google"  # Vertex has others' models, too.
_BROUGHT_MAX = 10_000  # Customers' own credentials that are remembered.
_JSON = ("content-type", "application/json")
_SHAPES: Mapping[Wire, Shape] = {
    "openai": "openai",
    "azure": "openai",
    "anthropic": "anthropic",
    "google": "gemini",
    "vertex": "gemini",
    "bedrock": "bedrock",
    "cohere": "cohere",
}
_KEY_HEADERS: Mapping[Wire, str] = {
    "anthropic": "x-api-key",
    "google": "x-goog-api-key",
    "azure": "api-key",
}
# Where a native path begins at the host's root whatever the configured URL ends with.
_ROOTED: Mapping[Wire, tuple[str, ...]] = {"azure": ("/openai/",)}
_WHERE: Mapping[Shape, str] = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/MODEL:generateContent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a provider may take."""

    connect_s: int = 5
    first_byte_s: int = 600
    between_bytes_s: int = 300


DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One provider as it is configured; `catalog` is its name in the price catalogue."""

    name: str
    base_url: str
    credential: Credential | None = None
    keys: tuple[tuple[Credential, int], ...] = ()  # Several that share its calls, each with its weight.
    wire: Wire = "openai"
    catalog: str = ""
    deployments: Deployments = NO_DEPLOYMENTS
    ssl_context: ssl.SSLContext | None = None
    headers: tuple[tuple[str, str], ...] = ()  # Sent with every call; their names are in lower case.
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    proxy_url: str = field(default="", repr=False)
    connections_max: int = 4096
    waiting_max: int = 4096
    wait_timeout_s: int = 10


def api_path(settings: ProviderSettings) -> str:
    """Return what the gateway's own endpoints are below: a version is added where the URL has no path."""
    path = urlsplit(settings.base_url).path.rstrip("/")
    if settings.wire == "azure" and settings.deployments.is_dated:
        return path.removesuffix("/v1") or "/openai"
    if settings.wire == "vertex":
        return f"{path.removesuffix(_GOOGLES)}{_GOOGLES}"
    if path:
        return path
    return {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta", "azure": "/openai/v1"}.get(
        settings.wire, ""
    )


class Provider:
    """A provider and its connections, with one of its keys."""

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        now: Callable[[], datetime],
        lane: str = "",
        pool: UpstreamPool | None = None,
    ) -> None:
        self.settings = settings
        self.lane = lane or settings.name  # What its health is noted under.
        self.catalog = settings.catalog or settings.name
        self.shape = _SHAPES[settings.wire]
        self.speaks = rows_for(settings.name, self.catalog, settings.wire)
        url = urlsplit(settings.base_url)
        self.pool = pool or UpstreamPool(
            base_url=f"{url.scheme}://{url.netloc}",
            ssl_context=settings.ssl_context,
            proxy=forward_proxy_of(settings.proxy_url) if settings.proxy_url else None,
            connections_max=settings.connections_max,
            waiting_max=settings.waiting_max,
            wait_timeout_s=settings.wait_timeout_s,
            connect_timeout_s=settings.timeouts.connect_s,
            first_byte_timeout_s=settings.timeouts.first_byte_s,
            idle_between_bytes_timeout_s=settings.timeouts.between_bytes_s,
        )
        self.address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        self._fixed_names = frozenset(name for name, _ in settings.headers)
        self._now = now
        self._host = url.netloc
        self._api_path = api_path(settings)
        self._base_path = url.path.rstrip("/")
        self._own = self._authorizer(settings.credential) if settings.credential else None
        self._brought: dict[Credential, Authorizer] = {}

    def _authorizer(self, credential: Credential) -> Authorizer:
        return authorizer_of(
            credential,
            key_header=_KEY_HEADERS.get(self.settings.wire, ""),
            provider=self.settings.name,
            route=Route(proxy=self.settings.proxy_url, ssl_context=self.settings.ssl_context),
            now=self._now,
        )

    def _brought_by(self, credential: Credential) -> Authorizer:
        """Return what shows a customer's own credential; it is kept, for tokens are."""
        known = self._brought.get(credential)
        if known is None:
            if len(self._brought) >= _BROUGHT_MAX:
                self._brought.clear()
            known = self._brought[credential] = self._authorizer(credential)
        return known

    def sold_as(self, name: str, *, is_native: bool) -> str:
        """Return the model that is priced where a caller says `name`: what a deployment of Azure's runs."""
        return self.settings.deployments.model_of(name, is_native=is_native)

    def sent_as(self, name: str) -> str:
        """Return what the provider calls the model that a caller of the gateway's own endpoints names."""
        return self.settings.deployments.deployment_of(name)

    def path_of(self, endpoint: Endpoint) -> str:
        """Return the path that an endpoint's calls are sent to.

        A native one may or may not repeat what the configured URL ends with (`/openai/v1` of Groq's, say).
        """
        path, base = endpoint.upstream_path, self._base_path
        if not endpoint.is_native or path in BARE_PATHS:
            path = self._api_path + path
        elif base and not path.startswith((f"{base}/", *_ROOTED.get(self.settings.wire, ()))):
            version = f"/{base.rpartition('/')[2]}/"
            path = base + (path[len(version) - 1 :] if path.startswith(version) else path)
        return f"{path}?{endpoint.query}" if endpoint.query else path

    def endpoint_for(self, endpoint: Endpoint, *, model: str, streams: bool) -> Endpoint:
        """Return the endpoint here that serves calls made at `endpoint`: another where they are translated.

        Raises `DialectUnsupported` where none does.
        """
        if endpoint.is_native:
            return endpoint
        if self.shape == endpoint.shape:
            return self.settings.deployments.at(endpoint, deployment=model)
        if endpoint.wire in CALLERS and self.shape in _TALKS:
            there = _TALKS[self.shape](self.settings.name, model, streams)
            return self.settings.deployments.at(there, deployment=model)
        native = f"/providers/{self.settings.name}/…"
        raise DialectUnsupported(
            f"Provider '{self.settings.name}' does not speak the dialect of this endpoint.",
            param="model",
            remedy=f"Call its models at {_WHERE.get(self.shape, native)}.",
        )

    async def headers(
        self,
        received: Mapping[str, str],
        endpoint: Endpoint,
        *,
        path: str,
        body: bytes,
        own: Credential | None = None,
    ) -> list[tuple[str, str]]:
        """Return the headers to send: what of the caller's the provider must see, and who calls.

        `own` is the caller's own credential, which takes the place of ours. `path` is that of `path_of`; a
        signature covers it, and the body. Raises `TokenRefused`, `TokenUnavailable`.
        """
        if endpoint.is_native:
            sent = [(name, value) for name, value in received.items() if not _is_withheld(name)]
        else:
            sent = [_JSON, *((name, received[name]) for name in _PASSED_ON if name in received)]
        if endpoint.shape == "anthropic" and "anthropic-version" not in received:
            sent.append(("anthropic-version", ANTHROPIC_VERSION))
        if self.settings.headers:
            sent = [pair for pair in sent if pair[0] not in self._fixed_names]
            sent += self.settings.headers
        shown = self._brought_by(own) if own else self._own
        if shown is None:
            return sent
        outgoing = Outgoing(method="POST", host=self._host, path=path, headers=sent, body=body)
        return [*await shown.authorize(outgoing), *sent]


# Where the models of a provider are talked to, by its dialect: (provider, model, whether it streams).
_TALKS: Mapping[Shape, Callable[[str, str, bool], Endpoint]] = {
    "openai": chat_at,
    "anthropic": messages_at,
    "gemini": generate_at,
    "bedrock": converse_at,
}


def _is_withheld(name: str) -> bool:
    return name in _WITHHELD or name.startswith(_WITHHELD_STARTS)


def _lanes(settings: ProviderSettings, *, now: Callable[[], datetime]) -> list[tuple[Provider, int]]:
    """Return the provider with each of its keys, and the key's weight; they share its connections."""
    first = Provider(settings, now=now)
    lanes = [(first, settings.keys[0][1] if settings.keys else 1)]
    for number, (key, weight) in enumerate(settings.keys[1:], 2):
        with_key = replace(settings, credential=key)
        lane = f"{settings.name}/{number}"
        lanes.append((Provider(with_key, now=now, lane=lane, pool=first.pool), weight))
    return lanes


class Providers:
    """The configured providers by name."""

    def __init__(self, settings: Mapping[str, ProviderSettings], *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._settings: dict[str, ProviderSettings] = dict(settings)
        self._lanes = {name: _lanes(entry, now=now) for name, entry in settings.items()}
        self._by_name = {name: lanes[0][0] for name, lanes in self._lanes.items()}
        self._retired: list[Provider] = []

    def adopt(self, settings: Mapping[str, ProviderSettings]) -> None:
        """Have other providers from now on; calls under way end at the ones that they began at."""
        known, before = self._lanes, self._settings
        self._settings = dict(settings)
        self._lanes = {
            name: known[name] if before.get(name) == entry else _lanes(entry, now=self._now)
            for name, entry in settings.items()
        }
        self._by_name = {name: lanes[0][0] for name, lanes in self._lanes.items()}
        replaced = [lanes[0][0] for name, lanes in known.items() if self._lanes.get(name) is not lanes]
        self._retired = [each for each in (*self._retired, *replaced) if not each.pool.is_empty]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the configured providers."""
        return tuple(self._by_name)

    def catalog_of(self, name: str) -> str:
        """Return the name that a configured provider has in the price catalogue."""
        return self._by_name[name].catalog

    def endpoint_at(self, path: str, query: str) -> Endpoint:
        """Return what a path is for. Raises `NoSuchEndpoint`, `ProviderNotConfigured`."""
        own = own_endpoint(path)
        if own is not None:
            return with_query(self._gemini_at(own), query)
        name, rest = split_native(path)
        provider = self.named(name)
        native = native_endpoint(name, rest, speaks=provider.speaks)
        if native is None:
            raise NoSuchEndpoint(
                f"'{rest or '/'}' is nothing that can be metered in the API of provider '{name}'.",
                remedy="Calls that generate, embed or rank are passed on, and counting tokens; what is kept "
                "at the provider (files, batches, stored answers) is not: it would not be one customer's.",
            )
        return with_query(native, query)

    def _gemini_at(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint at the provider that is there: Google's own models may be served by Vertex."""
        if endpoint.shape != "gemini" or endpoint.provider in self._by_name:
            return endpoint
        other = next((name for name, each in self._by_name.items() if each.shape == "gemini"), None)
        return replace(endpoint, provider=other) if other else endpoint

    def named(self, name: str) -> Provider:
        """Return the provider. Raises `ProviderNotConfigured`."""
        provider = self._by_name.get(name)
        if provider is None:
            raise ProviderNotConfigured(
                f"Provider '{name}' is not configured on this gateway.",
                param="model",
                remedy=f"Set COSTPLUS_PROVIDERS__{name.upper()}__BASE_URL and __API_KEY, "
                f"or use one of: {', '.join(sorted(self._by_name)) or 'none yet'}.",
            )
        return provider

    def loads(self) -> Mapping[str, PoolLoad]:
        """Return how busy each provider's connections are."""
        return {name: provider.pool.load for name, provider in self._by_name.items()}

    def lanes_of(self, name: str) -> Sequence[tuple[Provider, int]]:
        """Return the provider with each of its keys, and the key's weight. Raises `ProviderNotConfigured`."""
        return self._lanes[self.named(name).settings.name]

    async def aclose(self) -> None:
        """Close every connection."""
        for provider in (*self._by_name.values(), *self._retired):
            await provider.pool.aclose()
