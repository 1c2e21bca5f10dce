"""What a request may not name: what a provider keeps under the seller's key, for any customer to read.

Stored answers, conversations, files, caches, vector stores, containers and buckets are the key's at the
provider, not a customer's. The gateway does not know whose they are, so a customer's own key names none.
Rule 1: pure; the body is read in full only where it holds a word that may name something stored.
Rule 2: a key that stands twice is looked at twice: providers differ in which of the two they read.
Rule 3: what a tool takes or gives is the caller's own text, whatever its fields are called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from costplus.core.errors import InvalidRequest
from costplus.gateway.wire.request import BodyNotJson

StoredState = Literal["merchant", "refuse", "allow"]

# Named at all, wherever it stands.
_NAMES = frozenset(
    (
        *("previous_response_id", "previous_interaction_id", "conversation_id", "container_id"),
        *("cachedContent", "cached_content", "vector_store_ids", "library_ids", "collection_ids"),
        *("fileSearchStoreNames", "file_search_store_names", "vertexRagStore", "vertex_rag_store"),
        *("vertexAiSearch", "vertex_ai_search", "file_id", "fileId", "file_ids", "fileIds"),
        *("s3Location", "gcsUri", "gcs_uri", "data_sources"),
    )
)
_FILE_ADDRESSES = ("fileUri", "file_uri")
_ADDRESSES = ("uri", "url", "image_url", "file_url")
_BUCKETS = ("gs://", "s3://")
_GOOGLES = ("googleapis.com", "cloud.google.com")
_WITH_ID = ("audio", "container")  # Objects that name something where they have an `id`.
_ON_TOP = ("conversation", "background", "deferred")  # An answer that is to be fetched later is stored, too.
_BARE_ITEMS: Mapping[str, str] = {"reasoning": "encrypted_content", "image_generation_call": "result"}
_OPAQUE = frozenset(
    (
        *("arguments", "inputSchema", "input_schema", "json_schema", "metadata", "parameters", "schema"),
        *("functionCall", "function_call", "responseJsonSchema", "responseSchema", "toolUse"),
    )
)
_OPAQUE_BY_WIRE: Mapping[str, frozenset[str]] = {
    "gemini_generate": frozenset(("response",)),
    "bedrock_converse": frozenset(("json",)),
}
_HINTS = tuple(
    name.encode()
    for name in (
        *sorted(_NAMES | {*_FILE_ADDRESSES, *_ON_TOP, *_BARE_ITEMS}),
        *("gs://", "gS://", "Gs://", "GS://", "s3://", "S3://"),
        *('"container"', '"audio"', '"prompt"', "item_reference", "skill_id"),
    )
)
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")


class StoredStateRefused(InvalidRequest):
    """The request names something that the provider keeps, and that may be another customer's."""

    code = "stored_state_refused"
    remedy = (
        "Send all of it in the request: the whole conversation, files as content. OpenAI: `store: false`, "
        "reasoning with `encrypted_content`. The operator may allow it: `gateway.stored_state`."
    )


class _Object(list[tuple[str, Any]]):
    """A JSON object as it was written, each key as often as it stands there."""

    def first(self, key: str) -> Any:
        """Return a value of `key` that is not empty, None where there is none."""
        return next((value for name, value in self if name == key and value), None)


def check_stored(body: bytes, *, wire: str) -> None:
    """Raise `StoredStateRefused` where a request body names what a provider keeps."""
    if not _may_name(body, wire):
        return
    try:
        decoded = json.loads(body, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise BodyNotJson("The request body is not valid JSON.") from error
    if isinstance(decoded, _Object):
        _refuse(next(_stored_in(decoded, wire), None))


def check_stored_fields(fields: Mapping[str, Any]) -> None:
    """Raise `StoredStateRefused` where a form names what a provider keeps."""
    _refuse(next((name for name in fields if "file_id" in name or name in _NAMES), None))


def _refuse(name: str | None) -> None:
    if name is not None:
        raise StoredStateRefused(
            f"`{name}` names what is kept at the provider; this key may not use that.", param=name
        )


def _may_name(body: bytes, wire: str) -> bool:
    """Return whether a body holds a word that may name something; an item of a response needs only an id."""
    if any(hint in body for hint in _HINTS) or (wire == "openai_responses" and b'"id"' in body):
        return True
    return b"\\u00" in body and _ESCAPED_ASCII.search(body) is not None


def _stored_in(top: _Object, wire: str) -> Iterator[str]:
    """Yield the keys by which something stored is named."""
    opaque = _OPAQUE | _OPAQUE_BY_WIRE.get(wire, frozenset())
    for key, value in top:
        if key in _ON_TOP and value:
            yield key
        elif key == "prompt" and isinstance(value, _Object) and value.first("id"):
            yield "prompt.id"
        elif key == "input" and isinstance(value, list):
            yield from (name for item in value if (name := _bare_item(item)))
    pending: list[Any] = [top]
    while pending:
        node = pending.pop()
        if not isinstance(node, _Object):
            pending += [each for each in node if isinstance(each, list)]
            continue
        is_tool_use = node is not top and str(node.first("type")).endswith("tool_use")
        for key, value in node:
            if key in opaque or (is_tool_use and key == "input"):
                continue
            if value and _names_stored(key, value, node):
                yield key
            if isinstance(value, list):
                pending.append(value)


def _names_stored(key: str, value: Any, node: _Object) -> bool:
    if key in _NAMES:
        return True
    if key in _FILE_ADDRESSES:
        return not _is_public(value)
    if key in _ADDRESSES:
        return isinstance(value, str) and value.lower().startswith(_BUCKETS)
    if key in _WITH_ID:
        return bool(value.first("id")) if isinstance(value, _Object) else key == "container"
    if key == "skill_id":
        return bool(node.first("type") != "anthropic")
    return bool(key == "type" and value == "item_reference")


def _bare_item(item: Any) -> str | None:
    """Return the key by which an item of OpenAI's `input` is only named, not given."""
    if not isinstance(item, _Object) or not item.first("id"):
        return None
    kind = item.first("type")
    if kind is None:
        return None if item.first("role") else "input.id"
    content = _BARE_ITEMS.get(kind) if isinstance(kind, str) else None
    return "input.id" if content and not item.first(content) else None


def _is_public(address: Any) -> bool:
    """Return whether a file's address is anyone's: neither Google's file store nor a bucket."""
    try:
        parts = urlsplit(address) if isinstance(address, str) else None
        host = (parts.hostname or "").rstrip(".") if parts else ""
    except ValueError:
        return False
    return parts is not None and parts.scheme in ("http", "https") and bool(host) and not _is_googles(host)


def _is_googles(host: str) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in _GOOGLES)
