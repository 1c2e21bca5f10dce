"""Settings: flags win over the environment, that over `costplus.toml`, that over the defaults.

Rule 1: every setting has one name in all places: `gateway.body_bytes_max` in TOML is
`COSTPLUS_GATEWAY__BODY_BYTES_MAX` in the environment; a secret may come from a file (`…_FILE`).
Rule 2: an unknown setting is an error that names it, never ignored.
Rule 3: only the roof reads settings; everything below receives plain arguments.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from costplus.catalog.sources.registry import SOURCES
from costplus.core.errors import InvalidRequest

PREFIX = "COSTPLUS_"
FILE_NAME = "costplus.toml"
Role = Literal["all", "gateway", "api", "worker"]

# What is known of providers, so that little has to be set. The wire is OpenAI's where none is named.
KNOWN_PROVIDERS: Mapping[str, Mapping[str, str]] = {
    "openai": {"base_url": "https://api.openai.com/v1"},
    "anthropic": {"base_url": "https://api.anthropic.com/v1", "wire": "anthropic"},
    "cerebras": {"base_url": "https://api.cerebras.ai/v1"},
    "deepseek": {"base_url": "https://api.deepseek.com/v1"},
    "azure": {"wire": "azure"},
    "bedrock": {"wire": "bedrock"},
    "vertex": {"wire": "vertex", "catalog": "google"},
    "cohere": {"base_url": "https://api.cohere.com", "wire": "cohere"},
    "google": {"base_url": "https://generativelanguage.googleapis.com", "wire": "google"},
    "groq": {"base_url": "https://api.groq.com/openai/v1"},
    "mistral": {"base_url": "https://api.mistral.ai/v1"},
    "openrouter": {"base_url": "https://openrouter.ai/api/v1"},
    "together": {"base_url": "https://api.together.xyz/v1"},
    "xai": {"base_url": "https://api.x.ai/v1"},
}


TABLES = ("deployments", "headers")  # Of a provider; their names may have dots and dashes.


class SettingsInvalid(InvalidRequest):
    """A setting is unknown or has a value that cannot be used."""

    code = "settings_invalid"
    remedy = "See docs/settings.md for every setting."


class OptionInvalid(InvalidRequest):
    """An option of the command line is not written as it must be."""

    code = "option_invalid"
    remedy = "See --help for how it is written."


class TimeoutSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How long a provider may take: to accept a connection, to begin its answer, between two pieces of it."""

    connect_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 5
    first_byte_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 600
    between_bytes_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 300


class KeySettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One of a provider's keys, and its share of the calls."""

    api_key: str
    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1


class ProviderSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One provider: where it is and how to authenticate. `catalog` is its name in the price catalogue."""

    base_url: str = ""
    api_key: str = ""
    wire: Literal["openai", "anthropic", "google", "vertex", "bedrock", "cohere", "azure"] = "openai"
    catalog: str = ""
    region: str = ""  # Amazon's or Google's.
    access_key_id: str = ""  # Amazon's key pair, instead of an API key.
    secret_access_key: str = ""
    session_token: str = ""
    service_account: str = ""  # Google's key file: its path, or what is in it.
    project: str = ""  # Google's; else the service account's own.
    tenant_id: str = ""  # An application of Entra ID, instead of an API key.
    client_id: str = ""
    client_secret: str = ""
    token_url: str = ""  # Of a sovereign cloud.
    deployments: dict[str, str] = {}  # Azure's, by the model that each runs.
    api_version: str = ""  # Azure's.
    headers: dict[str, str] = {}  # Sent with every call.
    timeouts: TimeoutSettings = TimeoutSettings()
    proxy: str = ""  # http://[user:password@]host:port
    ca_bundle: str = ""  # Certificates that are trusted beside the system's.
    verify: bool = True  # Whether the provider's certificate is checked.
    connections_max: Annotated[int, msgspec.Meta(ge=1)] = 4096  # Calls to it at once, per process.
    waiting_max: Annotated[int, msgspec.Meta(ge=0)] = 4096  # Calls that may wait for one of them to end,
    wait_timeout_s: Annotated[int, msgspec.Meta(ge=1)] = 10  # and for how long.
    api_keys: tuple[KeySettings, ...] = ()  # Several instead of `api_key`; they share the provider's calls.


class TargetSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One place that serves a route: a provider of these settings and the name of the model there."""

    provider: str
    model: str
    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1  # Its share among those of its priority.
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0  # The lowest is asked first.


class GatewaySettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Limits and durability of the gateway."""

    body_bytes_max: int = 32 << 20
    body_timeout_s: Annotated[int, msgspec.Meta(ge=1)] = 60  # For all of a request's body.
    calls_max: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # At once, per process.
    output_tokens_default: int = 4096  # Held for a call that names no limit on its output.
    fsync: bool = False  # Wait for the disk before an answer is complete; else only the process may die.
    money_headers: bool = True  # Whether answers say what was held and charged, and what remains.
    log_calls: Literal["off", "errors", "all"] = "errors"
    log_bodies: Literal["off", "metadata", "full"] = "off"
    # Who may name what a provider keeps under the seller's key: the seller's own key, nobody, or everybody.
    stored_state: Literal["merchant", "refuse", "allow"] = "merchant"
    drain_s: int = 30  # How long open calls may finish after SIGTERM.
    abandoned_s: Annotated[int, msgspec.Meta(ge=0)] = 60  # How long an answer is read on without its client.
    attempts_max: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3  # For one call, the first one included.
    retry_within_s: Annotated[int, msgspec.Meta(ge=0)] = 30  # No further attempt begins later.


class SourceSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One public price list: whether it is followed (None: as it is by default), and from where."""

    enabled: bool | None = None
    url: Annotated[str, msgspec.Meta(pattern="^(https?://.+)?$")] = ""  # A mirror; empty is its own address.


class PriceSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which public price lists are followed, and how often."""

    sync: bool = True
    every_s: Annotated[int, msgspec.Meta(ge=900)] = 21_600
    sources: dict[str, SourceSettings] = {}
    protect_margin: bool = False  # Rises count before a second source confirms them.
    trust: dict[str, list[str]] = {}  # Provider → its sources, the most trusted first.

    @property
    def followed(self) -> Mapping[str, str]:
        """The addresses of the price lists that are followed, by their names; none without `sync`."""
        chosen = {name: self.sources.get(name, SourceSettings()) for name in SOURCES if self.sync}
        return {
            name: setting.url or SOURCES[name].url
            for name, setting in chosen.items()
            if (SOURCES[name].is_on if setting.enabled is None else setting.enabled)
        }


class PaymentSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which payment providers there are besides payments by hand."""

    fake: bool = True  # The simulated card processor; never with a live key.


class Settings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    data_dir: str = "costplus-data"
    database: str = (
        ""  # sqlite:///PATH, postgresql://… or memory:; empty is costplus.db in the data directory.
    )
    host: str = "127.0.0.1"
    port: int = 4242
    tls_cert: str = ""  # A PEM file, the certificate first, then those that lead to its root;
    tls_key: str = ""  # and its key. Without both, plain HTTP.
    role: Role = "all"
    public_url: str = ""  # How callers reach this server; empty is its own address.
    secret_key: str = ""  # The bootstrap API key (sk_test_… or sk_live_…).
    encryption_key: str = ""  # Signs links and sessions; empty is made once and kept in the data directory.
    webhook_allow: str = ""  # Hosts and networks that webhooks may go to although they are not public.
    webhook_allow_private: bool = False  # Private networks are open to webhooks.
    webhook_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=40)] = 20
    metrics_token: str = ""  # What may read /metrics beside a merchant's key.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    providers: dict[str, ProviderSettings] = {}
    routes: dict[str, tuple[TargetSettings, ...]] = {}  # Model name → who serves it.
    gateway: GatewaySettings = GatewaySettings()
    prices: PriceSettings = PriceSettings()
    payments: PaymentSettings = PaymentSettings()

    @property
    def data_path(self) -> Path:
        """The data directory."""
        return Path(self.data_dir).expanduser()

    @property
    def database_url(self) -> str:
        """The database, its default filled in."""
        return self.database or f"sqlite:///{self.data_path / 'costplus.db'}"

    @property
    def url(self) -> str:
        """The base URL that links carry."""
        return self.public_url.rstrip("/") or self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the server's own address on a port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{port}"


# Names in the environment that the command line promises, beside the general rule.
_LISTS = ("routes", "api_keys")  # What the environment holds as JSON.
_NAMED = {"COSTPLUS_DATABASE_URL": ("database",), "COSTPLUS_CONFIG": None}


def load(*, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Return the settings of flags (None: not given), environment and file, or raise `SettingsInvalid`."""
    tree: dict[str, Any] = {}
    path = file or (Path(environ["COSTPLUS_CONFIG"]) if "COSTPLUS_CONFIG" in environ else None)
    if path is not None and not path.is_file():
        raise SettingsInvalid(f"There is no settings file {path}.")
    path = path or Path(FILE_NAME)
    if path.is_file():
        try:
            tree = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise SettingsInvalid(f"{path} is not valid TOML: {error}.") from error
    _overlay(tree, _from_environment(environ))
    _overlay(tree, {name: value for name, value in flags.items() if value is not None})
    _complete_providers(tree)
    _name_sources(tree)
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsInvalid(f"The settings cannot be used: {error}.") from error
    _check_routes(settings)
    return settings


def _check_routes(settings: Settings) -> None:
    """Raise where a route has no target, or one at a provider that there is not."""
    for name, targets in settings.routes.items():
        if not targets:
            raise SettingsInvalid(f"Route '{name}' names nobody who serves it.")
        for target in targets:
            if target.provider not in settings.providers:
                raise SettingsInvalid(f"Route '{name}' names provider '{target.provider}', which is not set.")


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name == "COSTPLUS_CONFIG":
            continue
        keys = _NAMED.get(name) or tuple(name.removeprefix(PREFIX).lower().split("__"))
        if keys[0] == "shared":  # Where the project's own tests find their data.
            continue
        if keys[-1].endswith("_file"):
            keys, value = (*keys[:-1], keys[-1].removesuffix("_file")), _read_secret(name, value)
        if keys[-1] in _LISTS:
            value = _read_json(name, value)
        at = tree
        for key in keys[:-1]:
            at = at.setdefault(key, {})
        at[keys[-1]] = value
    return tree


def _read_json(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise SettingsInvalid(f"{name} is not valid JSON: {error}.") from error


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsInvalid(f"{name} names {path}, which cannot be read: {error.strerror}.") from error


def _overlay(tree: MutableMapping[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), MutableMapping):
            _overlay(tree[key], value)
        else:
            tree[key] = value


def _complete_providers(tree: MutableMapping[str, Any]) -> None:
    """Fill in what is known of providers that are named."""
    providers = tree.get("providers")
    if isinstance(providers, MutableMapping):
        for name, entry in providers.items():
            if isinstance(entry, Mapping):
                providers[name] = {**KNOWN_PROVIDERS.get(name, {}), **_tables_of(name, entry)}


def _tables_of(name: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a provider's settings; a table whose names the environment cannot have may be JSON there."""
    tables = {key: text for key in TABLES if isinstance(text := entry.get(key), str)}
    read: dict[str, Any] = {}
    for key, text in tables.items():
        try:
            read[key] = msgspec.json.decode(text or "{}", type=dict[str, str])
        except msgspec.DecodeError as error:
            what = f"providers.{name}.{key} must be a table, or a JSON object of texts"
            raise SettingsInvalid(f"{what}: {error}.") from error
    return {**entry, **read}


def _name_sources(tree: MutableMapping[str, Any]) -> None:
    """Give price lists their names, whose dots and dashes no name in the environment can have."""
    prices = tree.get("prices")
    sources = prices.get("sources") if isinstance(prices, MutableMapping) else None
    if not isinstance(prices, MutableMapping) or not isinstance(sources, Mapping):
        return
    names = {re.sub(r"\W", "_", name): name for name in SOURCES}
    named: dict[str, Any] = {}
    for given, entry in sources.items():
        name = names.get(re.sub(r"\W", "_", given))
        if name is None:
            known = ", ".join(SOURCES)
            raise SettingsInvalid(f"There is no price source '{given}' in prices.sources; known are {known}.")
        if not isinstance(entry, Mapping):
            raise SettingsInvalid(f"prices.sources.{name} is a table with `enabled` and `url`.")
        _overlay(named, {name: entry})
    prices["sources"] = named
