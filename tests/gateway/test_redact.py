"""What is written down of a body: its shape without a person's words, its text without credentials."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.gateway.redact import REDACTED, TEXT_BYTES_MAX, shape_of, shown_text, without_secrets

WORDS = "the patient's name is Alice"


def test_a_shape_has_numbers_and_protocol_words_and_of_texts_the_length() -> None:
    body = {
        "model": "gpt-4o-mini",
        "temperature": 0.2,
        "stream": True,
        "messages": [{"role": "user", "content": WORDS}],
        "metadata": {"patient": "Alice"},
    }
    assert shape_of(json.dumps(body).encode()) == {
        "model": "gpt-4o-mini",
        "temperature": 0.2,
        "stream": True,
        "messages": [{"role": "user", "content": "[27 chars]"}],
        "metadata": {"patient": "[5 chars]"},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
)


@given(around=JSON, name=st.text(min_size=1, max_size=12))
def test_a_text_never_appears_in_a_shape_wherever_it_is(around: Any, name: str) -> None:
    hidden = "Alice Wonderland"
    body = {"content": hidden, f"x_{name}": [around, {"text": hidden}, hidden], f"{hidden} is a key": 1}
    assert "Alice" not in json.dumps(shape_of(json.dumps(body).encode()))


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff\xfe", b"[" * 5000])
def test_what_is_no_json_is_its_size(body: bytes) -> None:
    assert shape_of(body) == f"[{len(body)} bytes]"


SECRETS = [
    "sk-proj-abcdefghijklmnop1234",
    "sk_live_0123456789abcdefghijk",
    "sk-ant-api03-AAAABBBBCCCCDDDD",
    "Bearer abcdef.ghijkl-0123",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA1234567890abcdefghijk",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_credentials_are_taken_out_of_texts(secret: str) -> None:
    assert secret not in without_secrets(f"my key is {secret}, keep it")
    assert "keep it" in without_secrets(f"my key is {secret}, keep it")


@pytest.mark.parametrize("name", ["api_key", "apiKey", "password", "client_secret", "access_token", "key"])
def test_a_field_named_for_a_credential_is_taken_out_with_whatever_is_in_it(name: str) -> None:
    body = json.dumps({name: 'hunter\\"2', "other": "stays"})
    shown = shown_text(body.encode())
    assert "hunter" not in shown and "stays" in shown
    assert shape_of(body.encode())[name] in (REDACTED, "[9 chars]")


def test_counts_of_tokens_are_no_credentials() -> None:
    body = {"usage": {"prompt_tokens": 5, "total_tokens": 9}, "max_tokens": 3}
    assert shape_of(json.dumps(body).encode()) == body
    assert shown_text(json.dumps(body).encode()) == json.dumps(body)


def test_a_long_body_is_cut_and_never_in_the_middle_of_a_credential() -> None:
    padding = "x" * (TEXT_BYTES_MAX - 10)
    shown = shown_text(f"{padding} sk-proj-abcdefghijklmnop1234 and more".encode())
    assert "sk-proj" not in shown and shown.endswith(" bytes]")
    assert len(shown) < TEXT_BYTES_MAX + 100


@given(st.binary(max_size=300))
def test_any_bytes_can_be_shown(body: bytes) -> None:
    assert isinstance(shown_text(body), str)
