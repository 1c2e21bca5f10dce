"""Which path is which endpoint, and where it goes on to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from costplus.gateway.credentials.credential import KeyCredential
from costplus.gateway.endpoint import is_served, native_endpoint, own_endpoint, split_native, with_query
from costplus.gateway.errors import NoSuchEndpoint, ProviderNotConfigured
from costplus.gateway.providers import Provider, Providers, ProviderSettings, Wire


@pytest.mark.parametrize(
    ("path", "wire", "model", "streams"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini_generate", "gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini_generate", "gemini-2.5-pro", True),
        (
            "/publishers/google/models/gemini-2.5-pro:generateContent",
            "gemini_generate",
            "gemini-2.5-pro",
            False,
        ),
        (
            "/v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:generateContent",
            "gemini_generate",
            "gemini-2.5-flash",
            False,
        ),
        (
            "/v1beta/models/gemini-embedding-001:batchEmbedContents",
            "gemini_embeddings",
            "gemini-embedding-001",
            False,
        ),
        ("/v1beta/models/gemini-2.5-pro:countTokens", "free", "gemini-2.5-pro", False),
        ("/v1/chat/completions", "openai_chat", "", False),
        ("/chat/completions", "openai_chat", "", False),
        ("/v1/messages/count_tokens", "free", "", False),
    ],
)
def test_own_endpoints(path: str, wire: str, model: str, streams: bool) -> None:
    found = own_endpoint(path)
    assert is_served(path)
    assert found is not None
    assert (found.wire, found.model, found.streams) == (wire, model, streams)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/customers", "/v1beta/models", "/v1/files", "/"])
def test_what_is_none_of_the_gateways(path: str) -> None:
    assert own_endpoint(path) is None
    assert not is_served(path)


@pytest.mark.parametrize(
    ("speaks", "path", "wire", "sent"),
    [
        ("openai", "/v1/images/generations", "openai_images", "/v1/images/generations"),
        ("groq", "/openai/v1/chat/completions", "openai_chat", "/openai/v1/chat/completions"),
        ("cohere", "/v2/rerank", "cohere_rerank", "/v2/rerank"),
        ("anthropic", "/v1/messages/count_tokens", "free", "/v1/messages/count_tokens"),
        (
            "bedrock",
            "/model/us.amazon.nova-micro-v1:0/converse",
            "bedrock_converse",
            "/model/us.amazon.nova-micro-v1%3A0/converse",
        ),
        (
            "bedrock",
            "/model/arn:aws:bedrock:us-east-1:1:inference-profile/x/invoke",
            "bedrock_invoke",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/invoke",
        ),
        (
            "google",
            "/v1beta/models/gemini 2:generateContent",
            "gemini_generate",
            "/v1beta/models/gemini%202:generateContent",
        ),
    ],
)
def test_native_endpoints(speaks: str, path: str, wire: str, sent: str) -> None:
    found = native_endpoint("p", path, speaks=speaks)
    assert found is not None
    assert (found.wire, found.upstream_path) == (wire, sent)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files",
        "/v1/batches",
        "/v1/responses/resp_1/cancel",
        "/v1/models",
        "",
        "/v1/audio",
        "/v1/threads/t/messages",
    ],
)
def test_what_no_wire_reads_is_no_endpoint(path: str) -> None:
    assert native_endpoint("openai", path, speaks="openai") is None


@pytest.mark.parametrize(
    ("speaks", "path", "shape"),
    [
        ("google", "/v1beta/models/g:generateContent", "gemini"),
        ("google", "/v1beta/openai/chat/completions", "openai"),
        ("bedrock", "/model/m/converse-stream", "bedrock"),
        ("openai", "/v1/messages", "anthropic"),
        ("cohere", "/v2/chat", "cohere"),
        ("mistral", "/v1/chat/completions", "openai"),
    ],
)
def test_refusals_have_the_shape_of_the_wire(speaks: str, path: str, shape: str) -> None:
    found = native_endpoint("p", path, speaks=speaks)
    assert found is not None
    assert found.shape == shape


def test_a_native_path_names_its_provider() -> None:
    assert split_native("/providers/groq/openai/v1/chat/completions") == (
        "groq",
        "/openai/v1/chat/completions",
    )
    assert split_native("/providers/groq") == ("groq", "")


def test_a_query_goes_on_without_a_key() -> None:
    endpoint = own_endpoint("/v1beta/models/g:streamGenerateContent")
    assert endpoint is not None
    assert with_query(endpoint, "alt=sse&key=secret").query == "alt=sse"
    assert with_query(endpoint, "key=secret").query == ""


def provider(base_url: str, wire: Wire = "openai") -> Provider:
    own = KeyCredential("sk-own")
    settings = ProviderSettings(name="p", base_url=base_url, credential=own, wire=wire)
    return Provider(settings, now=lambda: datetime.now(UTC))


@pytest.mark.parametrize(
    ("base_url", "path", "sent"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("https://api.openai.com/v1", "/chat/completions", "/v1/chat/completions"),
        ("https://api.openai.com", "/chat/completions", "/v1/chat/completions"),
        ("https://api.openai.com", "/v1/images/generations", "/v1/images/generations"),
        ("https://api.groq.com/openai/v1", "/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("https://api.groq.com/openai/v1", "/v1/audio/speech", "/openai/v1/audio/speech"),
        ("https://api.groq.com/openai/v1", "/audio/speech", "/openai/v1/audio/speech"),
    ],
)
def test_a_native_path_is_joined_to_the_configured_one_once(base_url: str, path: str, sent: str) -> None:
    endpoint = native_endpoint("p", path, speaks="openai")
    assert endpoint is not None
    assert provider(base_url).path_of(endpoint) == sent
    assert provider(base_url).path_of(with_query(endpoint, "api-version=1&key=x")) == f"{sent}?api-version=1"


async def test_a_native_calls_headers_go_on_but_for_credentials_and_hops() -> None:
    endpoint = native_endpoint("p", "/v1/chat/completions", speaks="openai")
    assert endpoint is not None
    received = {
        "authorization": "Bearer sk_cust_ours",
        "x-api-key": "sk_cust_ours",
        "x-goog-api-key": "sk_cust_ours",
        "x-stripe-customer-id": "cus_1",
        "cookie": "session=1",
        "openai-organization": "org-of-another",
        "x-amz-security-token": "t",
        "x-forwarded-for": "10.0.0.1",
        "host": "gateway",
        "content-type": "application/json",
        "anthropic-beta": "b",
        "x-custom": "kept",
    }
    sent = dict(await provider("https://x.example").headers(received, endpoint, path="/", body=b""))
    assert sent == {
        "authorization": "Bearer sk-own",
        "content-type": "application/json",
        "anthropic-beta": "b",
        "x-custom": "kept",
    }


@pytest.mark.parametrize(
    ("wire", "header"),
    [("google", "x-goog-api-key"), ("azure", "api-key"), ("anthropic", "x-api-key")],
)
async def test_each_provider_gets_its_key_where_it_looks_for_it(wire: Wire, header: str) -> None:
    endpoint = native_endpoint("p", "/v1/chat/completions", speaks="openai")
    assert endpoint is not None
    sent = dict(await provider("https://x.example", wire).headers({}, endpoint, path="/", body=b""))
    assert sent[header] == "sk-own"
    assert "authorization" not in sent


def test_unknown_paths_and_providers_are_named() -> None:
    settings = ProviderSettings(name="openai", base_url="https://api.openai.com/v1")
    providers = Providers({"openai": settings}, now=lambda: datetime.now(UTC))
    with pytest.raises(NoSuchEndpoint, match="/v1/files"):
        providers.endpoint_at("/providers/openai/v1/files", "")
    with pytest.raises(ProviderNotConfigured, match="groq"):
        providers.endpoint_at("/providers/groq/v1/chat/completions", "")


def test_geminis_path_goes_to_vertex_where_only_that_is_configured() -> None:
    settings = ProviderSettings(name="vertex", base_url="https://v.example/v1/projects/p", wire="vertex")
    providers = Providers({"vertex": settings}, now=lambda: datetime.now(UTC))
    endpoint = providers.endpoint_at("/publishers/google/models/g:generateContent", "")
    assert endpoint.provider == "vertex"
