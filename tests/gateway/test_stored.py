"""A request that names what a provider keeps is told from one that only looks like it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.errors import InvalidRequest
from costplus.gateway.stored import StoredStateRefused, check_stored, check_stored_fields
from costplus.gateway.wire.request import BodyNotJson

RESPONSES, CHAT, MESSAGES = "openai_responses", "openai_chat", "anthropic_messages"
GEMINI, CONVERSE = "gemini_generate", "bedrock_converse"


def said(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(parts)}]}


def gemini(part: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [part]}]}


NAMING: list[tuple[str, dict[str, Any]]] = [
    (RESPONSES, {"previous_response_id": "resp_1"}),
    (RESPONSES, {"conversation": "conv_1"}),
    (RESPONSES, {"conversation": {"id": "conv_1"}}),
    (RESPONSES, {"background": True}),
    (RESPONSES, {"prompt": {"id": "pmpt_1", "version": "2"}}),
    (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    (RESPONSES, {"input": [{"id": "msg_1"}]}),
    (RESPONSES, {"input": [{"type": None, "id": "msg_1"}]}),
    (RESPONSES, {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
    (RESPONSES, {"input": [{"type": "image_generation_call", "id": "ig_1"}]}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]}),
    (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
    (RESPONSES, {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}),
    (RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]}),
    (RESPONSES, {"type": "tool_use", "input": [{"role": "user", "content": [{"file_id": "file-1"}]}]}),
    (CHAT, said({"type": "file", "file": {"file_id": "file-1"}})),
    (CHAT, {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
    (CHAT, {"deferred": True}),
    (CHAT, {"data_sources": [{"type": "azure_search"}]}),
    (CHAT, said({"type": "image_url", "image_url": "gs://bucket/cat.png"})),
    (CHAT, said({"type": "image_url", "image_url": {"url": "GS://bucket/cat.png"}})),
    (MESSAGES, {"container": "container_1"}),
    (MESSAGES, {"container": {"id": "container_1"}}),
    (MESSAGES, {"container": {"skills": [{"type": "custom", "skill_id": "skill_1"}]}}),
    (MESSAGES, said({"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
    (MESSAGES, said({"type": "container_upload", "file_id": "file_1"})),
    (GEMINI, {"cachedContent": "cachedContents/1"}),
    (GEMINI, {"cached_content": "cachedContents/1"}),
    (GEMINI, gemini({"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/1"}})),
    (GEMINI, gemini({"file_data": {"file_uri": "files/1"}})),
    (GEMINI, gemini({"fileData": {"fileUri": "gs://bucket/1"}})),
    (GEMINI, gemini({"fileData": {"fileUri": "https://storage.googleapis.com./bucket/1"}})),
    (GEMINI, gemini({"fileData": {"fileUri": "http://[broken"}})),
    (GEMINI, {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/1"]}}]}),
    (GEMINI, {"tools": [{"retrieval": {"vertexRagStore": {"ragCorpora": ["x"]}}}]}),
    (CONVERSE, said({"document": {"source": {"s3Location": {"uri": "s3://bucket/1"}}}})),
    ("cohere_chat", {"conversation_id": "c1"}),
]
HARMLESS: list[tuple[str, dict[str, Any]]] = [
    (RESPONSES, {"previous_response_id": None, "conversation": None, "background": False, "store": True}),
    (RESPONSES, {"input": "the words previous_response_id and file_id and background"}),
    (RESPONSES, {"input": [{"type": "message", "id": "msg_1", "role": "assistant", "content": []}]}),
    (RESPONSES, {"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}),
    (RESPONSES, {"input": [{"type": "function_call", "id": "fc_1", "arguments": '{"file_id":"1"}'}]}),
    (RESPONSES, {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
    (RESPONSES, {"prompt": {"variables": {}}, "metadata": {"file_id": "mine"}}),
    (CHAT, {"modalities": ["audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    (CHAT, {"tools": [{"function": {"parameters": {"properties": {"file_id": {"type": "string"}}}}}]}),
    (CHAT, said({"type": "image_url", "image_url": {"url": "https://example.com/file_id.png"}})),
    (
        MESSAGES,
        said({"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "1"}}, role="assistant"),
    ),
    (MESSAGES, {"tools": [{"name": "f", "input_schema": {"properties": {"container": "x"}}}]}),
    (MESSAGES, {"container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]}}),
    (GEMINI, gemini({"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}})),
    (GEMINI, gemini({"functionCall": {"name": "f", "args": {"file_id": "1"}}})),
    (GEMINI, gemini({"functionResponse": {"name": "f", "response": {"file_id": "1"}}})),
    (CONVERSE, said({"toolUse": {"name": "f", "input": {"file_id": "1"}}}, role="assistant")),
    (CONVERSE, said({"toolResult": {"content": [{"json": {"file_id": "1"}}]}})),
]


@pytest.mark.parametrize(("wire", "body"), NAMING)
def test_what_is_kept_at_the_provider_is_refused_however_it_is_written(
    wire: str, body: dict[str, Any]
) -> None:
    for text in (json.dumps(body), json.dumps(body, indent=1), escaped(json.dumps(body))):
        with pytest.raises(StoredStateRefused) as caught:
            check_stored(text.encode(), wire=wire)
        assert caught.value.param


def escaped(text: str) -> str:
    """Return JSON whose every letter in a string is written as an escape."""
    pieces = text.split('"')
    for at in range(1, len(pieces), 2):
        pieces[at] = "".join(f"\\u{ord(char):04x}" for char in pieces[at])
    return '"'.join(pieces)


@pytest.mark.parametrize(("wire", "body"), HARMLESS)
def test_what_only_looks_like_it_passes(wire: str, body: dict[str, Any]) -> None:
    check_stored(json.dumps(body).encode(), wire=wire)


@pytest.mark.parametrize(("wire", "body"), NAMING)
@pytest.mark.parametrize("is_last", [False, True])
def test_of_a_key_that_stands_twice_both_are_looked_at(
    wire: str, body: dict[str, Any], is_last: bool
) -> None:
    text = json.dumps(body)
    harmless = ", ".join(f'"{key}": null' for key in body)
    twice = f"{{{harmless}, {text[1:]}" if is_last else f"{text[:-1]}, {harmless}}}"
    with pytest.raises(StoredStateRefused):
        check_stored(twice.encode(), wire=wire)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda kid: st.lists(kid) | st.dictionaries(st.text(), kid)
    )
)
def test_no_json_is_too_odd_to_be_looked_at(value: Any) -> None:
    for body in ({"file_ids": [], "x": value}, {"input": value, "y": "item_reference"}, [value, "file_id"]):
        try:
            check_stored(json.dumps(body).encode(), wire=RESPONSES)
        except InvalidRequest as error:
            assert error.code == "stored_state_refused"


def test_a_body_that_cannot_be_looked_at_is_refused() -> None:
    for body in (b'{"file_id"', b'"file_id\xff"', b'{"file_id":' + b"[" * 100_000, b"file_id" + b"1" * 9999):
        with pytest.raises(BodyNotJson):
            check_stored(body, wire=CHAT)


def test_a_form_that_names_a_file_is_refused() -> None:
    check_stored_fields({"model": "gpt-image-1", "prompt": "a cat"})
    for name in ("file_id", "image[file_id]", "image[0][file_id]", "previous_response_id"):
        with pytest.raises(StoredStateRefused):
            check_stored_fields({name: "x"})
