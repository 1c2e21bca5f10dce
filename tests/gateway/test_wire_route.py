"""The declared table from provider, host and path to a wire."""

from __future__ import annotations

import pytest

from costplus.gateway.wire import READERS
from costplus.gateway.wire.route import HOST_DOMAINS, PROVIDER_ROWS, WireRoute, provider_of, route_of

PATHS = [
    ("openai", "/v1/chat/completions", "openai_chat", None),
    ("openai", "/v1/responses?stream=true", "openai_responses", None),
    ("openai", "/v1/responses/resp_1", "openai_responses", None),
    ("openai", "/v1/images/edits", "openai_images", None),
    ("openai", "/v1/audio/transcriptions", "openai_transcription", None),
    ("openai", "/v1/audio/speech", "openai_speech", None),
    ("openai", "/v1/models", None, None),
    ("azure", "/openai/deployments/my%20gpt/chat/completions?api-version=1", "openai_chat", "my gpt"),
    ("anthropic", "/v1/messages", "anthropic_messages", None),
    ("anthropic", "/v1/messages/count_tokens", None, None),
    ("openrouter", "/api/v1/messages", "anthropic_messages", None),
    ("google", "/v1beta/models/gemini-3:generateContent", "gemini_generate", "gemini-3"),
    ("google", "/v1beta/models/gemini-3:streamGenerateContent?alt=sse", "gemini_generate", "gemini-3"),
    ("google", "/v1beta/models/gemini-3:countTokens", None, None),
    ("google", "/v1beta/models/e:batchEmbedContents", "gemini_embeddings", "e"),
    ("google", "/v1beta/openai/chat/completions", "openai_chat", None),
    ("vertex", "/v1/projects/p/locations/l/publishers/google/models/e:predict", "vertex_predict", "e"),
    ("vertex", "/v1/publishers/anthropic/models/claude@1:streamRawPredict", "anthropic_messages", "claude@1"),
    ("bedrock", "/model/us.amazon.nova-v1%3A0/converse-stream", "bedrock_converse", "us.amazon.nova-v1:0"),
    ("bedrock", "/model/arn%3Aaws%3Ax%2Fy/invoke", "bedrock_invoke", "arn:aws:x/y"),
    ("bedrock", "/model/m/invoke-with-response-stream", "bedrock_invoke", "m"),
    ("bedrock", "/openai/v1/responses", "openai_responses", None),
    ("cohere", "/v2/rerank", "cohere_rerank", None),
    ("cohere", "/v2/tokenize", None, None),
    ("voyage", "/v1/embeddings", "openai_embeddings", None),
    ("huggingface", "/novita/v3/openai/chat/completions/", "openai_chat", None),
    ("nobody", "/v1/chat/completions", None, None),
    ("", "/v1/chat/completions", None, None),
]


@pytest.mark.parametrize(("provider", "path", "wire", "model"), PATHS)
def test_a_path_has_the_wire_that_the_table_declares(
    provider: str, path: str, wire: str | None, model: str | None
) -> None:
    assert route_of(provider=provider, path=path) == (WireRoute(wire, model) if wire else None)


HOSTS = [
    ("api.openai.com", "openai"),
    ("API.OPENAI.COM:443", "openai"),
    ("europe-west4-aiplatform.googleapis.com", "vertex"),
    ("bedrock-runtime.eu-central-1.amazonaws.com", "bedrock"),
    ("mine.openai.azure.com", "azure"),
    ("api.openai.com.evil.example", None),
    ("evilopenrouter.ai", None),
    ("", None),
]


@pytest.mark.parametrize(("host", "provider"), HOSTS)
def test_a_host_stands_for_its_provider(host: str, provider: str | None) -> None:
    assert provider_of(host) == provider


def test_the_host_counts_where_the_provider_is_not_known() -> None:
    for provider in ("", "a name of one's own"):
        route = route_of(provider=provider, host="api.anthropic.com", path="/v1/messages")
        assert route == WireRoute("anthropic_messages")


def test_every_declared_wire_has_readers_and_every_wire_has_a_path() -> None:
    declared = {wire for rows in PROVIDER_ROWS.values() for _, wire in rows}
    assert declared == set(READERS)
    assert {provider for _, provider in HOST_DOMAINS} <= set(PROVIDER_ROWS)
