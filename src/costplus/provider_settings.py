"""The providers as the settings name them, made ready for the gateway.

Rule 1: a provider is shown one credential; settings that name several, or half of one, are refused by name.
Rule 2: what follows from the rest need not be set: Amazon's and Google's addresses from region and project.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from costplus.config import ProviderSettings as Entry
from costplus.config import Settings, SettingsInvalid
from costplus.gateway.azure import Deployments
from costplus.gateway.credentials.credential import (
    AwsCredential,
    Credential,
    CredentialInvalid,
    EntraClient,
    KeyCredential,
    ServiceAccount,
    entra_token_url,
    service_account_of,
)
from costplus.gateway.credentials.token_service import check_private_key
from costplus.gateway.providers import ProviderSettings, Timeouts
from costplus.gateway.routes import Target
from costplus.gateway.tunnel import forward_proxy_of

_AMAZON = ("access_key_id", "secret_access_key", "session_token")
_ENTRA = ("tenant_id", "client_id", "client_secret", "token_url")
_KINDS: tuple[tuple[str, ...], ...] = (("api_key",), ("api_keys",), _AMAZON, ("service_account",), _ENTRA)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_NOT_SET = frozenset(
    (
        *("host", "content-length", "content-type", "transfer-encoding", "accept-encoding", "connection"),
        *("keep-alive", "te", "trailer", "upgrade", "expect", "proxy-authorization", "proxy-connection"),
    )
)
_OF_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-date"})
# Which wires a setting is for; one that is in no list is for all of them.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_AMAZON, ("bedrock",)),
    **dict.fromkeys(("service_account", "project"), ("vertex", "google")),
    **dict.fromkeys((*_ENTRA, "deployments", "api_version"), ("azure",)),
    "region": ("bedrock", "vertex"),
}


def providers_of(settings: Settings) -> Mapping[str, ProviderSettings]:
    """Return the configured providers by name. Raises `SettingsInvalid`."""
    return {name: provider_of(name, entry) for name, entry in settings.providers.items()}


def provider_of(name: str, entry: Entry) -> ProviderSettings:
    """Return one provider as it is set. Raises `SettingsInvalid`."""
    for field, wires in _ONLY_FOR.items():
        if getattr(entry, field) and entry.wire not in wires:
            raise _invalid(name, field, f"is for wire {' or '.join(wires)}, not {entry.wire}")
    credential = credential_of(name, entry)
    return ProviderSettings(
        name=name,
        base_url=_base_url(name, entry, credential),
        credential=credential,
        wire=entry.wire,
        catalog=entry.catalog,
        keys=tuple((KeyCredential(each.api_key), each.weight) for each in entry.api_keys),
        deployments=_deployments(name, entry),
        headers=_headers(name, entry, has_credential=credential is not None),
        timeouts=Timeouts(
            connect_s=entry.timeouts.connect_s,
            first_byte_s=entry.timeouts.first_byte_s,
            between_bytes_s=entry.timeouts.between_bytes_s,
        ),
        connections_max=entry.connections_max,
        waiting_max=entry.waiting_max,
        wait_timeout_s=entry.wait_timeout_s,
        proxy_url=_proxy_url(name, entry),
        ssl_context=_tls(name, entry),
    )


def routes_of(settings: Settings) -> Mapping[str, tuple[Target, ...]]:
    """Return who serves each routed name."""
    return {
        name: tuple(
            Target(provider=each.provider, model=each.model, weight=each.weight, priority=each.priority)
            for each in targets
        )
        for name, targets in settings.routes.items()
    }


def credential_of(name: str, entry: Entry) -> Credential | None:
    """Return the one credential of the settings, None where there is none. Raises `SettingsInvalid`."""
    named = [field for kind in _KINDS for field in kind if getattr(entry, field)]
    kinds = [kind for kind in _KINDS if set(kind) & set(named)]
    if len(kinds) > 1:
        raise _invalid(name, named[-1], f"stands beside {named[0]}: name one credential")
    if not kinds:
        return None
    if kinds[0] == _AMAZON:
        _complete(name, entry, "access_key_id", "secret_access_key")
        return AwsCredential(
            access_key_id=entry.access_key_id,
            secret_access_key=entry.secret_access_key,
            session_token=entry.session_token,
            region=_region(name, entry),
        )
    if kinds[0] == _ENTRA:
        _complete(name, entry, "client_id", "client_secret", "token_url" if entry.token_url else "tenant_id")
        return EntraClient(
            client_id=entry.client_id,
            client_secret=entry.client_secret,
            token_url=entry.token_url or entra_token_url(entry.tenant_id),
        )
    if kinds[0] == ("service_account",):
        return _service_account(name, entry.service_account)
    return KeyCredential(entry.api_key or entry.api_keys[0].api_key)


def _service_account(name: str, given: str) -> ServiceAccount:
    """Return the service account of a key file, or of what is in one."""
    try:
        text = given if given.lstrip().startswith("{") else Path(given).expanduser().read_text("utf-8")
        account = service_account_of(text)
        check_private_key(account)
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(name, "service_account", f"names a file that cannot be read: {error}") from error
    except CredentialInvalid as error:
        raise _invalid(name, "service_account", f"cannot be used: {error.message}") from error
    return account


def _region(name: str, entry: Entry) -> str:
    """Return Amazon's region: as it is set, else as the address has it."""
    host = entry.base_url.partition("//")[2].partition("/")[0].split(".")
    found = entry.region or (host[1] if host[0].startswith("bedrock-runtime") and len(host) > 2 else "")
    if not found:
        raise _invalid(name, "region", "is needed: signatures are for one region")
    return found


def _base_url(name: str, entry: Entry, credential: Credential | None) -> str:
    if entry.base_url:
        if not _is_address(entry.base_url):
            raise _invalid(name, "base_url", f"is no address of a provider: {entry.base_url!r}")
        return entry.base_url
    if entry.wire == "bedrock" and entry.region:
        return f"https://bedrock-runtime.{entry.region}.amazonaws.com"
    project = entry.project or (credential.project if isinstance(credential, ServiceAccount) else "")
    if entry.wire == "vertex" and entry.region and project:
        host = "aiplatform" if entry.region == "global" else f"{entry.region}-aiplatform"
        return f"https://{host}.googleapis.com/v1/projects/{project}/locations/{entry.region}"
    raise SettingsInvalid(f"Provider '{name}' needs a base URL: set providers.{name}.base_url.")


def _is_address(text: str) -> bool:
    """Return whether calls can be sent there: HTTP, a host, and nothing that belongs elsewhere."""
    try:
        url = urlsplit(text)
        is_whole = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        return is_whole and not url.query and "@" not in url.netloc
    except ValueError:  # Its port is no number, or its host no address.
        return False


def _deployments(name: str, entry: Entry) -> Deployments:
    owners: dict[str, str] = {}
    for model, deployment in entry.deployments.items():
        other = owners.setdefault(deployment, model)
        if other != model:
            raise _invalid(name, "deployments", f"has '{deployment}' for both {other} and {model}")
    if not all(entry.deployments) or not all(entry.deployments.values()):
        raise _invalid(name, "deployments", "has a name that is empty")
    return Deployments(by_model=dict(entry.deployments), api_version=entry.api_version)


def _headers(name: str, entry: Entry, *, has_credential: bool) -> tuple[tuple[str, str], ...]:
    headers = tuple((header.lower(), value.strip()) for header, value in entry.headers.items())
    for header, value in headers:
        if _HEADER.fullmatch(header) is None or not (value.isascii() and value.isprintable()):
            raise _invalid(name, "headers", f"has '{header}', which cannot be sent")
        if header in _NOT_SET or (has_credential and header in _OF_CREDENTIALS):
            raise _invalid(name, "headers", f"has '{header}', which follows from the call")
    return headers


def _proxy_url(name: str, entry: Entry) -> str:
    if entry.proxy:
        try:
            forward_proxy_of(entry.proxy)
        except ValueError as error:
            raise _invalid(name, "proxy", str(error)) from error
    return entry.proxy


def _tls(name: str, entry: Entry) -> ssl.SSLContext | None:
    """Return how the provider's certificate is checked, None where that is as usual."""
    if entry.verify and not entry.ca_bundle:
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if entry.ca_bundle:
        try:
            context.load_verify_locations(entry.ca_bundle)
        except OSError as error:  # ssl.SSLError is one.
            raise _invalid(name, "ca_bundle", f"cannot be used: {error}") from error
    if not entry.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _complete(name: str, entry: Entry, *fields: str) -> None:
    for field in fields:
        if not getattr(entry, field):
            raise _invalid(name, field, "is missing: the others of its credential are set")


def _invalid(name: str, field: str, why: str) -> SettingsInvalid:
    return SettingsInvalid(f"The settings cannot be used: providers.{name}.{field} {why}.")
