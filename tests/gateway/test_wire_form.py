"""What a form with a file asks for."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.errors import InvalidRequest
from costplus.gateway.wire.form import FormInvalid, is_form, parse_form
from costplus.gateway.wire.request import ModelMissing, StreamInvalid

FILE = {"file": ("speech.mp3", b"\x00\xff\r\n--" * 5000, "audio/mpeg")}


def form(fields: dict[str, str], files: Any = FILE) -> tuple[bytes, str]:
    request = httpx2.Request("POST", "http://x/", data=fields, files=files)
    return request.read(), request.headers["content-type"]


def test_a_form_says_what_it_asks_for() -> None:
    body, content_type = form({"model": "gpt-4o-transcribe", "stream": "true", "n": "2", "language": "de"})
    assert is_form(content_type)
    asked = parse_form(body, content_type)
    assert (asked.model, asked.stream, asked.choices_max) == ("gpt-4o-transcribe", True, 2)
    assert bytes(asked.fields["language"]) == b'"de"'


def test_a_file_counts_less_than_text() -> None:
    body, content_type = form({"model": "m"})
    asked = parse_form(body, content_type)
    assert asked.text_bytes is not None
    assert len(body) // 100 < asked.text_bytes < len(body) // 10


def test_the_paths_model_is_the_model() -> None:
    assert parse_form(*form({}), model="deployed").model == "deployed"


@pytest.mark.parametrize(
    ("fields", "error"), [({}, ModelMissing), ({"model": "m", "stream": "perhaps"}, StreamInvalid)]
)
def test_what_is_missing_or_wrong_is_named(fields: dict[str, str], error: type[InvalidRequest]) -> None:
    with pytest.raises(error):
        parse_form(*form(fields))


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(FormInvalid):
        parse_form(b"--x\r\n", "multipart/form-data")


def test_a_form_has_no_end_of_fields() -> None:
    with pytest.raises(FormInvalid):
        parse_form(*form({f"f{n}": "x" for n in range(300)}))


@given(st.binary(max_size=300), st.sampled_from(["x", "----boundary"]))
def test_any_bytes_are_read_or_refused(body: bytes, boundary: str) -> None:
    content_type = f"multipart/form-data; boundary={boundary}"
    for candidate in (body, f"--{boundary}\r\n".encode() + body):
        try:
            parse_form(candidate, content_type, model="m")
        except InvalidRequest:
            continue
