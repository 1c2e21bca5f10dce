"""The configured providers: where each is, which wire it speaks, how it is authenticated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from costplus.gateway.dialect import Endpoint
from costplus.gateway.errors import DialectUnsupported, ProviderNotConfigured
from costplus.gateway.upstream import UpstreamPool

ANTHROPIC_VERSION = "2023-06-01"
_PASSED_ON = ("anthropic-version", "anthropic-beta", "openai-beta", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One provider as it is configured; `catalog` is its name in the price catalogue."""

    name: str
    base_url: str
    api_key: str = ""
    wire: Literal["openai", "anthropic"] = "openai"
    catalog: str = ""


def upstream_base(settings: ProviderSettings) -> str:
    """Return the base that endpoint paths are appended to: `/v1` is added where the URL has no path."""
    base = settings.base_url.rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


class Provider:
    """A provider and its connections."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self.catalog = settings.catalog or settings.name
        self.pool = UpstreamPool(base_url=upstream_base(settings))
        fixed = [("content-type", "application/json")]
        if settings.wire == "anthropic":
            fixed.append(("x-api-key", settings.api_key))
        else:
            fixed.append(("authorization", f"Bearer {settings.api_key}"))
        self._fixed = tuple(fixed)

    def headers(self, received: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the headers to send: ours, and what of the caller's the provider must see."""
        passed = [(name, received[name]) for name in _PASSED_ON if name in received]
        if self.settings.wire == "anthropic" and "anthropic-version" not in received:
            passed.append(("anthropic-version", ANTHROPIC_VERSION))
        return [*self._fixed, *passed]


class Providers:
    """The configured providers by name."""

    def __init__(self, settings: Mapping[str, ProviderSettings]) -> None:
        self._by_name = {name: Provider(entry) for name, entry in settings.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the configured providers."""
        return tuple(self._by_name)

    def catalog_of(self, name: str) -> str:
        """Return the name that a configured provider has in the price catalogue."""
        return self._by_name[name].catalog

    def serving(self, name: str, endpoint: Endpoint) -> Provider:
        """Return the provider, or raise where it is not configured or speaks another dialect."""
        provider = self._by_name.get(name)
        if provider is None:
            raise ProviderNotConfigured(
                f"Provider '{name}' is not configured on this gateway.",
                param="model",
                remedy=f"Set COSTPLUS_PROVIDERS__{name.upper()}__BASE_URL and __API_KEY, "
                f"or use one of: {', '.join(sorted(self._by_name)) or 'none yet'}.",
            )
        if provider.settings.wire != endpoint.shape:
            paths = "/v1/messages" if provider.settings.wire == "anthropic" else "/v1/chat/completions"
            raise DialectUnsupported(
                f"Provider '{name}' does not speak the dialect of this endpoint.",
                param="model",
                remedy=f"Call its models at {paths}.",
            )
        return provider

    async def aclose(self) -> None:
        """Close every connection."""
        for provider in self._by_name.values():
            await provider.pool.aclose()
