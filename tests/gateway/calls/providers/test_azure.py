"""Azure's deployments are called by their names and priced by their models, with a key or a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from openai import AzureOpenAI, OpenAI

pytestmark = pytest.mark.e2e

KEY = "sk_test_credentials"
DEPLOYED = json.dumps({"gpt-4o-mini": "prod-chat", "text-embedding-3-small": "prod-embed"})
VERSIONS = {"AZURE": "2024-10-21", "AZURE_V1": "", "AZURE_NEXT": "preview"}
ENTRA = {"CLIENT_ID": "app", "CLIENT_SECRET": "entra-secret"}


def microsofts(asked: Any) -> tuple[int, dict[str, Any]] | None:
    """Give a token for a client's secret; let calls through that carry it, or the resource's own key."""
    if asked.path == "/tenant/token":
        form = parse_qs(asked.body.decode())
        right = form["client_secret"] == ["entra-secret"] and form["client_id"] == ["app"]
        return (200, {"access_token": "eyJ.given", "expires_in": 3599}) if right else (401, {})
    shown = asked.headers.get("api-key"), asked.headers.get("authorization")
    right = shown in (("azure-secret", None), (None, "Bearer eyJ.given"))
    return None if right else (401, {"error": {"message": "no"}})


@pytest.fixture(scope="module")
def azure(
    calls: Any, fronts: Any, provider: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Any]]:
    """Run a gateway with one Azure resource under several names: by version, and with a token of Entra ID."""
    folder = tmp_path_factory.mktemp("azure")
    calls.seed(folder, {"cus_own": None}, keys={KEY: "cus_own"})
    with fronts.front(provider.url) as resource:
        resource.judge = microsofts
        of_all = {"BASE_URL": resource.url, "DEPLOYMENTS": DEPLOYED, "WIRE": "azure", "CATALOG": "azure"}
        each = {
            name: {"API_KEY": "azure-secret", "API_VERSION": version} for name, version in VERSIONS.items()
        }
        each["AZURE_ENTRA"] = {**ENTRA, "TOKEN_URL": f"{resource.url}/tenant/token"}
        environ = {
            f"COSTPLUS_PROVIDERS__{name}__{setting}": value
            for name, own in each.items()
            for setting, value in {**of_all, **own}.items()
        }
        with calls.gateway_on(folder, {"COSTPLUS_SECRET_KEY": calls.merchant_key, **environ}) as gateway:
            yield gateway, resource


@pytest.mark.parametrize("name", ["gpt-4o-mini", "prod-chat"])
@pytest.mark.parametrize("provider_name", list(VERSIONS))
def test_a_deployment_is_called_and_its_model_is_priced(
    azure: tuple[Any, Any], calls: Any, fronts: Any, name: str, provider_name: str
) -> None:
    gateway, resource = azure
    before = len(gateway.books.of("cus_own"))
    client = OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)
    answer = client.chat.completions.create(
        model=f"{provider_name.lower()}/{name}",
        messages=[{"role": "user", "content": "Hello [[input=9]] [[tokens=5]]"}],
    )
    assert answer.usage is not None
    quantities = {"input": answer.usage.prompt_tokens, "output": answer.usage.completion_tokens}
    price_nano = calls.price_nano("azure/gpt-4o-mini", quantities)
    assert fronts.new_call(gateway, calls, before).price_nano == price_nano > 0
    asked = resource.asked[-1]
    assert json.loads(asked.body)["model"] == "prod-chat"
    assert (
        asked.path
        == {
            "AZURE": "/openai/deployments/prod-chat/chat/completions?api-version=2024-10-21",
            "AZURE_NEXT": "/openai/v1/chat/completions?api-version=preview",
            "AZURE_V1": "/openai/v1/chat/completions",
        }[provider_name]
    )


def test_azures_own_sdk_names_a_deployment(azure: tuple[Any, Any], calls: Any, fronts: Any) -> None:
    gateway, resource = azure
    before = len(gateway.books.of("cus_own"))
    client = AzureOpenAI(
        azure_endpoint=f"{gateway.url}/providers/azure",
        api_key=KEY,
        api_version="2025-01-01-preview",
        max_retries=0,
    )
    found = client.embeddings.create(model="prod-embed", input="Hello")
    price_nano = calls.price_nano("azure/text-embedding-3-small", {"input": found.usage.prompt_tokens})
    assert fronts.new_call(gateway, calls, before).price_nano == price_nano > 0
    path = "/openai/deployments/prod-embed/embeddings?api-version=2025-01-01-preview"
    assert resource.asked[-1].path == path


def test_a_deployment_of_an_unknown_model_is_refused_not_free(azure: tuple[Any, Any]) -> None:
    gateway, resource = azure
    before = len(resource.asked)
    body = {"model": "azure/unknown-deployment", "messages": [{"role": "user", "content": "Hello"}]}
    answer = gateway.post("/v1/chat/completions", body, key=KEY)
    assert answer.json()["error"]["code"] == "model_unpriced"
    assert len(resource.asked) == before


def test_azure_is_called_with_a_token_of_entra(azure: tuple[Any, Any], calls: Any, fronts: Any) -> None:
    gateway, resource = azure
    before = len(gateway.books.of("cus_own"))
    body = {"model": "azure_entra/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
    assert gateway.post("/v1/chat/completions", body, key=KEY).status_code == 200
    assert fronts.new_call(gateway, calls, before).price_nano > 0
    assert resource.asked[-1].headers["authorization"] == "Bearer eyJ.given"
