"""The providers of this moment: those of the settings, and what the store says of them and of others.

Rule 1: what is stored wins over the settings, field by field; a stored credential takes the place of any
that is set.
Rule 2: what is stored and cannot be used is logged and left out: it must not stop the others.
Rule 3: while the store is away, what was known last stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from costplus.billing.provider_key import SECRETS, CustomerProviderKey, StoredProvider, own_key
from costplus.billing.store import Store, Tx
from costplus.billing.vault import Vault
from costplus.config import KNOWN_PROVIDERS, Settings, SettingsInvalid
from costplus.config import ProviderSettings as Entry
from costplus.core.errors import BillingError, Unavailable
from costplus.gateway.credentials.credential import GOOGLE_TOKEN_URL, Credential, ServiceAccount
from costplus.gateway.providers import Providers, ProviderSettings
from costplus.provider_settings import credential_of, provider_of

PAGE = 1000
OWN_MAX = 100_000

log = structlog.get_logger("costplus.provider_book")


class ProviderBook:
    """Keeps the gateway's providers current, and finds the credentials that customers bring."""

    def __init__(self, settings: Settings, store: Store, vault: Vault, providers: Providers) -> None:
        self._settings = settings
        self._store = store
        self._vault = vault
        self._providers = providers
        self._changes = 1
        self._loaded = 0
        self._made: dict[str, tuple[Entry, ProviderSettings]] = {}
        self._entries: Mapping[str, Entry] = settings.providers
        self._own: dict[str, Credential | None] | None = None  # None: no customer brings any.
        store.listen("config", self.forget)

    def forget(self) -> None:
        """Look again before the next call. Called from any thread."""
        self._changes += 1

    def reconfigure(self, settings: Settings) -> None:
        """Go by other settings from the next call on; they must have been found usable."""
        self._settings = settings
        self.forget()

    async def refresh(self) -> None:
        """Give the gateway the providers of the present configuration."""
        changes = self._changes
        if self._loaded == changes:
            return
        try:
            stored, has_own = await self._store.read(_recorded)
        except Unavailable as error:
            log.warning("providers_not_loaded", code=error.code, message=error.message)
            return
        entries, known = dict(self._settings.providers), {}
        for record in stored:
            try:
                entries[record.name] = stored_entry(
                    self._settings, record.name, {**record.plain, **self._opened(record)}
                )
            except BillingError as error:
                log.error("provider_not_usable", provider=record.name, message=error.message)
        for name, entry in entries.items():
            made = self._made.get(name)
            try:
                known[name] = made[1] if made and made[0] == entry else provider_of(name, entry)
            except SettingsInvalid as error:
                log.error("provider_not_usable", provider=name, message=error.message)
        self._made = {name: (entries[name], settings) for name, settings in known.items()}
        self._entries = entries
        self._own = {} if has_own else None
        self._providers.adopt(known)
        self._loaded = changes

    async def own(self, customer: str, provider: str) -> Credential | None:
        """Return the credential that a customer brings for a provider. Raises `SecretUnreadable`."""
        remembered = self._own
        if remembered is None:
            return None
        lookup = own_key(customer, provider)
        if lookup in remembered:
            return remembered[lookup]
        record = await self._store.read(lambda tx: tx.find_by_lookup(CustomerProviderKey, lookup))
        credential = None
        if record is not None:
            entry = own_entry(self._entries[provider], {**record.plain, **self._opened(record)})
            credential = credential_of(provider, entry)
        if len(remembered) < OWN_MAX:
            remembered[lookup] = credential
        return credential

    def _opened(self, record: StoredProvider | CustomerProviderKey) -> Mapping[str, str]:
        if not record.sealed:
            return {}
        opened = self._vault.open(record.sealed, about=record.about)
        return msgspec.json.decode(opened, type=dict[str, str])


def _recorded(tx: Tx) -> tuple[list[StoredProvider], bool]:
    return list(tx.page(StoredProvider, limit=PAGE)), bool(tx.page(CustomerProviderKey, limit=1))


def stored_entry(settings: Settings, name: str, fields: Mapping[str, str]) -> Entry:
    """Return a provider's settings with what is stored of it. Raises `SettingsInvalid`."""
    base: dict[str, Any] = dict(KNOWN_PROVIDERS.get(name, {}))
    if name in settings.providers:
        base = msgspec.to_builtins(settings.providers[name])
    return _converted(name, base, fields)


def own_entry(entry: Entry, fields: Mapping[str, str]) -> Entry:
    """Return a provider's settings with a customer's credential in place of the seller's."""
    return _converted("", msgspec.to_builtins(entry), fields)


def _converted(name: str, base: dict[str, Any], fields: Mapping[str, str]) -> Entry:
    if any(fields.get(secret) for secret in SECRETS):
        base = {field: value for field, value in base.items() if field not in SECRETS}
    account = fields.get("service_account", "")
    if account and not account.lstrip().startswith("{"):
        raise SettingsInvalid("A service account is given by its JSON, not by a path.")
    try:
        return msgspec.convert({**base, **fields}, Entry, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsInvalid(f"The provider '{name}' cannot be used: {error}.") from error


def check_provider(settings: Settings, name: str, fields: Mapping[str, str]) -> None:
    """Raise `SettingsInvalid` where a provider could not be used as it would be stored."""
    provider_of(name, stored_entry(settings, name, fields))


def check_own(settings: Settings, name: str, stored: Mapping[str, str], fields: Mapping[str, str]) -> None:
    """Raise `SettingsInvalid` where a customer's credential could not be used at the provider."""
    entry = own_entry(stored_entry(settings, name, stored), fields)
    credential = credential_of(name, entry)
    if credential is None:
        raise SettingsInvalid("There is no credential in it.")
    if isinstance(credential, ServiceAccount) and credential.token_url != GOOGLE_TOKEN_URL:
        raise SettingsInvalid("A customer's service account gets its tokens from Google, nowhere else.")
