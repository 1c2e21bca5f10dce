"""Providers as they are set: one credential each, what follows from the rest, and what cannot be."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from costplus.config import SettingsInvalid, load
from costplus.gateway.credentials.credential import AwsCredential, EntraClient, KeyCredential, ServiceAccount
from costplus.gateway.providers import ProviderSettings
from costplus.provider_settings import providers_of


def provider(name: str, **given: str) -> ProviderSettings:
    environ = {f"COSTPLUS_PROVIDERS__{name.upper()}__{field.upper()}": text for field, text in given.items()}
    return providers_of(load(flags={}, environ=environ))[name]


AMAZON = {"access_key_id": "AKID", "secret_access_key": "s"}
ENTRA = {"client_id": "a", "client_secret": "s", "tenant_id": "t"}
AZURE = {"base_url": "https://mine.openai.azure.com"}


def test_a_key_is_enough_where_the_url_is_known() -> None:
    found = provider("openai", api_key="sk-1")
    assert (found.credential, found.base_url) == (KeyCredential("sk-1"), "https://api.openai.com/v1")


def test_amazons_address_follows_from_the_region_and_the_region_from_an_address() -> None:
    found = provider("bedrock", region="eu-west-1", **AMAZON)
    assert found.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    given = provider("bedrock", base_url="https://bedrock-runtime.us-east-2.amazonaws.com", **AMAZON)
    assert isinstance(given.credential, AwsCredential)
    assert given.credential.region == "us-east-2"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
    ],
)
def test_vertex_address_follows_from_region_and_account(tmp_path: Path, region: str, host: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    text = json.dumps({"client_email": "a@b", "private_key": pem, "project_id": "p"})
    file = tmp_path / "account.json"
    file.write_text(text)
    for given in (text, str(file)):
        found = provider("vertex", region=region, service_account=given)
        assert isinstance(found.credential, ServiceAccount)
        assert found.base_url == f"https://{host}/v1/projects/p/locations/{region}"
        assert found.catalog == "google"


def test_entras_token_is_got_from_the_tenant() -> None:
    found = provider("azure", **AZURE, **ENTRA).credential
    assert isinstance(found, EntraClient)
    assert found.token_url == "https://login.microsoftonline.com/t/oauth2/v2.0/token"


@pytest.mark.parametrize(
    ("name", "given", "field"),
    [
        ("bedrock", {"api_key": "k", "region": "r", **AMAZON}, "secret_access_key"),
        ("bedrock", {"access_key_id": "AKID", "region": "r"}, "secret_access_key"),
        ("bedrock", {"session_token": "t", "region": "r"}, "access_key_id"),
        ("bedrock", {"base_url": "http://localhost:1", **AMAZON}, "region"),
        ("openai", AMAZON, "access_key_id"),
        ("openai", {"service_account": "{}"}, "service_account"),
        ("openai", {"deployments": '{"a": "b"}'}, "deployments"),
        ("vertex", {"region": "r", "service_account": "{}"}, "service_account"),
        ("vertex", {"region": "r", "service_account": "/nowhere.json"}, "service_account"),
        ("vertex", {"region": "r"}, "base_url"),
        ("azure", {**AZURE, "client_id": "a", "client_secret": "s"}, "tenant_id"),
        ("azure", {**AZURE, "deployments": '{"gpt-4o": "x", "gpt-4": "x"}'}, "deployments"),
        ("azure", {**AZURE, "deployments": '{"gpt-4o": ""}'}, "deployments"),
        ("azure", {"api_key": "k"}, "base_url"),
        ("openai", {"headers": '{"host": "x"}'}, "headers"),
        ("openai", {"headers": '{"a b": "x"}'}, "headers"),
        ("openai", {"headers": '{"a": "x\\ny: z"}'}, "headers"),
        ("openai", {"api_key": "k", "headers": '{"Authorization": "x"}'}, "headers"),
        ("openai", {"proxy": "socks5://p:1"}, "proxy"),
        ("openai", {"ca_bundle": "/nowhere.pem"}, "ca_bundle"),
    ],
)
def test_what_cannot_be_is_named(name: str, given: dict[str, str], field: str) -> None:
    with pytest.raises(SettingsInvalid, match=rf"providers\.{name}\.{field}"):
        provider(name, **given)


def test_timeouts_headers_and_a_proxy_are_a_providers_own() -> None:
    environ = {
        "COSTPLUS_PROVIDERS__OPENAI__TIMEOUTS__FIRST_BYTE_S": "30",
        "COSTPLUS_PROVIDERS__OPENAI__HEADERS": '{"X-Team": "billing"}',
        "COSTPLUS_PROVIDERS__OPENAI__PROXY": "http://me:secret@proxy:3128",
    }
    found = providers_of(load(flags={}, environ=environ))["openai"]
    assert (found.timeouts.connect_s, found.timeouts.first_byte_s) == (5, 30)
    assert found.headers == (("x-team", "billing"),)
    assert "secret" not in repr(found)


def test_a_certificate_is_checked_unless_that_is_set_otherwise() -> None:
    unchecked = provider("openai", verify="false").ssl_context
    assert unchecked is not None
    assert unchecked.verify_mode == ssl.CERT_NONE
    assert provider("openai", verify="true").ssl_context is None
