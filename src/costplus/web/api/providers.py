"""`/v1/token_billing/providers` and `…/provider_keys`: credentials, the seller's and customers' own.

Rule 1: a secret is sealed as it comes in and never shown again; what is shown is its end.
Rule 2: what the gateway could not use is refused here, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from costplus.billing.clock import customer_of
from costplus.billing.provider_key import (
    HINT_CHARACTERS,
    SECRETS,
    CustomerProviderKey,
    NoSuchProviderRecord,
    ProviderRecorded,
    StoredProvider,
    own_key,
)
from costplus.billing.store import Tx
from costplus.billing.vault import Vault
from costplus.core.errors import InvalidRequest
from costplus.core.ids import new_id
from costplus.web.call import Call, JsonObject, Listing, delete, get, post
from costplus.web.listing import records
from costplus.web.objects.provider import deleted_object

PLAIN = ("base_url", "wire", "catalog", "region", "project", "tenant_id", "token_url", "api_version")
OWN_PLAIN = ("region", "tenant_id")
SECRET_LENGTH_MAX = 10_000


class ProviderNameInvalid(InvalidRequest):
    """A provider's name cannot stand in a path."""

    code = "provider_name_invalid"
    remedy = "Use letters, digits, dashes, dots and underscores."


def _sent(call: Call, names: tuple[str, ...]) -> dict[str, str]:
    """Return what was sent of some fields; an empty text unsets one."""
    given = {}
    for name in names:
        if name in call.params:
            given[name] = call.params.text(name, longest=SECRET_LENGTH_MAX) or ""
    return given


def _hint(secrets: Mapping[str, str]) -> str:
    """Return the end of the secret that names the credential; of a key file, of the key's id."""
    if account := secrets.get("service_account"):
        email = msgspec.json.decode(account, type=dict[str, str]).get("client_email", "")
        return email.partition("@")[0][-HINT_CHARACTERS:]
    named = (secrets.get(name, "") for name in ("api_key", "access_key_id", "client_id"))
    return next((text[-HINT_CHARACTERS:] for text in named if text), "")


def _vault(call: Call) -> Vault:
    assert call.context.vault is not None  # Whoever serves the API has one.
    return call.context.vault


def _opened(call: Call, record: StoredProvider | CustomerProviderKey) -> dict[str, str]:
    if not record.sealed:
        return {}
    return msgspec.json.decode(_vault(call).open(record.sealed, about=record.about), type=dict[str, str])


def _sealed(call: Call, secrets: Mapping[str, str], about: str) -> str:
    return _vault(call).seal(msgspec.json.encode(secrets).decode(), about=about) if secrets else ""


def _stored(call: Call, record: StoredProvider, secrets: Mapping[str, str]) -> StoredProvider:
    """Return the provider with what was sent; a credential that was sent replaces the whole one."""
    plain = {**record.plain, **_sent(call, PLAIN)}
    sent = _sent(call, SECRETS)
    kept = {name: text for name, text in (sent if sent else secrets).items() if text}
    plain = {name: text for name, text in plain.items() if text}
    call.context.check_provider(record.name, {**plain, **kept})
    return replace(record, plain=plain, sealed=_sealed(call, kept, record.about), hint=_hint(kept))


def create(tx: Tx, call: Call) -> StoredProvider:
    """Store a provider, or a credential for one that the settings name; calls use it at once."""
    name = call.params.required_text("name", longest=100)
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or not name.isascii():
        raise ProviderNameInvalid(f"'{name}' cannot name a provider.", param="name")
    if tx.find_by_lookup(StoredProvider, name) is not None:
        raise ProviderRecorded(f"Provider '{name}' is stored already.", param="name")
    record = _stored(call, StoredProvider(id=new_id("prov", at=call.at), created=call.at, name=name), {})
    tx.save(record)
    tx.touch("config")
    return record


def _provider(tx: Tx, call: Call) -> StoredProvider:
    record = tx.find(StoredProvider, call.path["id"])
    if record is None:
        raise NoSuchProviderRecord(f"No such provider: '{call.path['id']}'", param="id")
    return record


def retrieve(tx: Tx, call: Call) -> StoredProvider:
    """Return a stored provider, without its secret."""
    return _provider(tx, call)


def update(tx: Tx, call: Call) -> StoredProvider:
    """Change a stored provider; what is not sent stays, a credential that is sent replaces the whole one."""
    known = _provider(tx, call)
    record = _stored(call, known, _opened(call, known) if not _sent(call, SECRETS) else {})
    tx.save(record)
    tx.touch("config")
    return record


def remove(tx: Tx, call: Call) -> JsonObject:
    """Forget a stored provider; what the settings say of it counts again."""
    record = _provider(tx, call)
    tx.remove(StoredProvider, record.id)
    tx.touch("config")
    return deleted_object(record)


def index(tx: Tx, call: Call) -> Listing:
    """List stored providers, newest first."""
    return records(tx, call, StoredProvider)


def _own(tx: Tx, call: Call, record: CustomerProviderKey) -> CustomerProviderKey:
    plain = {name: text for name, text in {**record.plain, **_sent(call, OWN_PLAIN)}.items() if text}
    secrets = {name: text for name, text in _sent(call, SECRETS).items() if text}
    if not secrets:
        raise call.params.missing("api_key")
    stored = tx.find_by_lookup(StoredProvider, record.provider)
    base = {**stored.plain, **_opened(call, stored)} if stored else {}
    call.context.check_own(record.provider, base, {**plain, **secrets})
    return replace(record, plain=plain, sealed=_sealed(call, secrets, record.about), hint=_hint(secrets))


def create_own(tx: Tx, call: Call) -> CustomerProviderKey:
    """Store a customer's own key for a provider; its calls are made with it, and are not sold to it."""
    customer = call.params.required_text("customer")
    customer_of(tx, customer)
    provider = call.params.required_text("provider", longest=100)
    if tx.find_by_lookup(CustomerProviderKey, own_key(customer, provider)) is not None:
        raise ProviderRecorded(f"{customer} has a key for '{provider}' already.", param="provider")
    id = new_id("provkey", at=call.at)
    fresh = CustomerProviderKey(id=id, created=call.at, customer=customer, provider=provider, sealed="")
    record = _own(tx, call, fresh)
    tx.save(record)
    tx.touch("config")
    return record


def _key(tx: Tx, call: Call) -> CustomerProviderKey:
    record = tx.find(CustomerProviderKey, call.path["id"])
    if record is None:
        raise NoSuchProviderRecord(f"No such provider key: '{call.path['id']}'", param="id")
    return record


def retrieve_own(tx: Tx, call: Call) -> CustomerProviderKey:
    """Return a customer's key for a provider, without its secret."""
    return _key(tx, call)


def update_own(tx: Tx, call: Call) -> CustomerProviderKey:
    """Replace a customer's key for a provider."""
    record = _own(tx, call, _key(tx, call))
    tx.save(record)
    tx.touch("config")
    return record


def remove_own(tx: Tx, call: Call) -> JsonObject:
    """Forget a customer's key: its calls are made with the seller's again, and are charged."""
    record = _key(tx, call)
    tx.remove(CustomerProviderKey, record.id)
    tx.touch("config")
    return deleted_object(record)


def index_own(tx: Tx, call: Call) -> Listing:
    """List customers' own keys, newest first: one customer's, or all."""
    return records(tx, call, CustomerProviderKey, parent=call.params.text("customer"))


ENDPOINTS = (
    post("/v1/token_billing/providers", create),
    get("/v1/token_billing/providers", index),
    get("/v1/token_billing/providers/{id}", retrieve),
    post("/v1/token_billing/providers/{id}", update),
    delete("/v1/token_billing/providers/{id}", remove),
    post("/v1/token_billing/provider_keys", create_own),
    get("/v1/token_billing/provider_keys", index_own),
    get("/v1/token_billing/provider_keys/{id}", retrieve_own),
    post("/v1/token_billing/provider_keys/{id}", update_own),
    delete("/v1/token_billing/provider_keys/{id}", remove_own),
)
