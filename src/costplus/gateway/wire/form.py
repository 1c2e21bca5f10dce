"""Forms: request bodies that carry a file beside their fields, such as a recording to be transcribed.

Rule 1: only the fields are read; a file counts by its size. Rule 2: the body goes on as it came.
"""

from __future__ import annotations

from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from costplus.core.errors import InvalidRequest
from costplus.gateway.wire.request import ModelMissing, StreamInvalid, WireRequest

MULTIPART = "multipart/form-data"
# A second of speech is about ten tokens; at the lowest bit rates in use it takes about a kilobyte.
FILE_BYTES_PER_TOKEN = 100
TEXT_BYTES_PER_TOKEN = 3
_FIELDS_MAX = 200


class FormInvalid(InvalidRequest):
    """The body is not the form that its content type says."""

    code = "form_invalid"
    remedy = "Send multipart/form-data with its boundary, as the provider's own SDK does."


class _Reader:
    """Collects the fields of a form and the size of its files."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.file_bytes = 0
        self._header, self._value = b"", b""
        self._name = ""
        self._is_file = False
        self._pieces: list[bytes] = []

    def callbacks(self) -> dict[str, Any]:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_begin": self._header_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
        }

    def _part_begin(self) -> None:
        self._name, self._is_file, self._pieces = "", False, []

    def _header_begin(self) -> None:
        self._header, self._value = b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._is_file = b"filename" in options

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.file_bytes += end - start
        else:
            self._pieces.append(data[start:end])

    def _part_end(self) -> None:
        if self._is_file:
            return
        if len(self.fields) >= _FIELDS_MAX:
            raise FormInvalid(f"The form has more than {_FIELDS_MAX} fields.")
        self.fields[self._name] = b"".join(self._pieces).decode("utf-8", "replace")


def is_form(content_type: str) -> bool:
    """Return whether a content type is that of a form with files."""
    return content_type.lower().startswith(MULTIPART)


def parse_form(body: bytes, content_type: str, *, model: str = "") -> WireRequest:
    """Return what a form asks for, or raise the `InvalidRequest` that says what is wrong with it."""
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise FormInvalid("The content type names no boundary.")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]  # A TypedDict of the same.
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise FormInvalid(f"The form cannot be read: {error}.") from error
    name = model or reader.fields.get("model", "")
    if not name:
        raise ModelMissing("The form names no model.", param="model", remedy="Add the field `model`.")
    stream = reader.fields.get("stream", "false").lower()
    if stream not in ("true", "false", ""):
        raise StreamInvalid("`stream` must be true or false.", param="stream")
    text_bytes = sum(len(value.encode()) for value in reader.fields.values())
    return WireRequest(
        model=name,
        stream=stream == "true",
        max_tokens=None,
        choices_max=_count(reader.fields.get("n", "")),
        fields={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in reader.fields.items()},
        text_bytes=text_bytes + reader.file_bytes * TEXT_BYTES_PER_TOKEN // FILE_BYTES_PER_TOKEN,
    )


def _count(text: str) -> int:
    return max(int(text), 1) if text.isdecimal() and len(text) < 4 else 1
