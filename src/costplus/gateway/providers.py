"""The configured providers: where each is, which wire it speaks, how it is authenticated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

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
from costplus.gateway.upstream import UpstreamPool

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
    )
)
_WITHHELD_STARTS = ("x-forwarded-", "x-amz-", "proxy-", "costplus-")
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
_WHERE: Mapping[Shape, str] = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/MODEL:generateContent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One provider as it is configured; `catalog` is its name in the price catalogue."""

    name: str
    base_url: str
    api_key: str = ""
    api_keys: tuple[tuple[str, int], ...] = ()  # Several that share its calls, each with its weight.
    first_byte_s: int = 600  # How long it may be silent before its answer begins.
    wire: Wire = "openai"
    catalog: str = ""


def api_path(settings: ProviderSettings) -> str:
    """Return what the gateway's own endpoints are below: a version is added where the URL has no path."""
    path = urlsplit(settings.base_url).path.rstrip("/")
    if path:
        return path
    return {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta", "azure": "/openai/v1"}.get(
        settings.wire, ""
    )


class Provider:
    """A provider and its connections, with one of its keys."""

    def __init__(
        self, settings: ProviderSettings, *, lane: str = "", pool: UpstreamPool | None = None
    ) -> None:
        self.settings = settings
        self.lane = lane or settings.name  # What its health is noted under.
        self.catalog = settings.catalog or settings.name
        self.shape = _SHAPES[settings.wire]
        self.speaks = rows_for(settings.name, self.catalog, settings.wire)
        url = urlsplit(settings.base_url)
        self.pool = pool or UpstreamPool(
            base_url=f"{url.scheme}://{url.netloc}", first_byte_timeout_s=settings.first_byte_s
        )
        self._api_path = api_path(settings)
        self._base_path = url.path.rstrip("/")
        key = settings.api_key
        named = _KEY_HEADERS.get(settings.wire)
        self._key = (named, key) if named else ("authorization", f"Bearer {key}")
        self._fixed = (("content-type", "application/json"), self._key)

    def path_of(self, endpoint: Endpoint) -> str:
        """Return the path that an endpoint's calls are sent to.

        A native one may or may not repeat what the configured URL ends with (`/openai/v1` of Groq's, say).
        """
        path, base = endpoint.upstream_path, self._base_path
        if not endpoint.is_native or path in BARE_PATHS:
            path = self._api_path + path
        elif base and not path.startswith(f"{base}/"):
            version = f"/{base.rpartition('/')[2]}/"
            path = base + (path[len(version) - 1 :] if path.startswith(version) else path)
        return f"{path}?{endpoint.query}" if endpoint.query else path

    def endpoint_for(self, endpoint: Endpoint, *, model: str, streams: bool) -> Endpoint:
        """Return the endpoint here that serves calls made at `endpoint`: another where they are translated.

        Raises `DialectUnsupported` where none does.
        """
        if endpoint.is_native or self.shape == endpoint.shape:
            return endpoint
        if endpoint.wire in CALLERS and self.shape in _TALKS:
            return _TALKS[self.shape](self.settings.name, model, streams)
        native = f"/providers/{self.settings.name}/…"
        raise DialectUnsupported(
            f"Provider '{self.settings.name}' does not speak the dialect of this endpoint.",
            param="model",
            remedy=f"Call its models at {_WHERE.get(self.shape, native)}.",
        )

    def headers(self, received: Mapping[str, str], endpoint: Endpoint) -> list[tuple[str, str]]:
        """Return the headers to send: ours, and what of the caller's the provider must see."""
        if endpoint.is_native:
            passed = [(name, value) for name, value in received.items() if not _is_withheld(name)]
            fixed: Sequence[tuple[str, str]] = (self._key,)
        else:
            passed = [(name, received[name]) for name in _PASSED_ON if name in received]
            fixed = self._fixed
        if endpoint.shape == "anthropic" and "anthropic-version" not in received:
            passed.append(("anthropic-version", ANTHROPIC_VERSION))
        return [*fixed, *passed]


# Where the models of a provider are talked to, by its dialect: (provider, model, whether it streams).
_TALKS: Mapping[Shape, Callable[[str, str, bool], Endpoint]] = {
    "openai": chat_at,
    "anthropic": messages_at,
    "gemini": generate_at,
    "bedrock": converse_at,
}


def _is_withheld(name: str) -> bool:
    return name in _WITHHELD or name.startswith(_WITHHELD_STARTS)


def _lanes(settings: ProviderSettings) -> list[tuple[Provider, int]]:
    """Return the provider with each of its keys; they share its connections."""
    first, *others = settings.api_keys or ((settings.api_key, 1),)
    provider = Provider(replace(settings, api_key=first[0]))
    lanes = [(provider, first[1])]
    for number, (key, weight) in enumerate(others, 2):
        lane = f"{settings.name}/{number}"
        lanes.append((Provider(replace(settings, api_key=key), lane=lane, pool=provider.pool), weight))
    return lanes


class Providers:
    """The configured providers by name."""

    def __init__(self, settings: Mapping[str, ProviderSettings]) -> None:
        self._lanes = {name: _lanes(entry) for name, entry in settings.items()}
        self._by_name = {name: lanes[0][0] for name, lanes in self._lanes.items()}

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

    def lanes_of(self, name: str) -> Sequence[tuple[Provider, int]]:
        """Return the provider with each of its keys, and the key's weight. Raises `ProviderNotConfigured`."""
        return self._lanes[self.named(name).settings.name]

    async def aclose(self) -> None:
        """Close every connection."""
        for provider in self._by_name.values():
            await provider.pool.aclose()
