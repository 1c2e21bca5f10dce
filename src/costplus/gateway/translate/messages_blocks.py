"""How a turn is said to Anthropic: its parts as blocks of content.

Rule 1: empty text is left out: it says nothing, and Anthropic refuses it; a turn of nothing else likewise.
Rule 2: thinking without a signature is left out, as is Gemini's signature of a call: Anthropic takes back
only what it signed itself. They are what another model thought, not what the caller asks.
Rule 3: arguments that are no JSON object are wrapped in one, `{"INVALID_JSON": text}`, as Anthropic advises
whoever streams tools to.
Rule 4: an id of a call that has signs Anthropic does not take has them replaced, at the call and its result.
Rule 5: a document of text goes as its words, whatever text it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from costplus.gateway.translate.conversation import (
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Ttl,
    refuse,
)
from costplus.gateway.translate.messages_fields import MessagesFieldInvalid

ANTHROPIC = "Anthropic's messages API"
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_DETAILS = ("", "auto", "high")  # Anthropic looks at every picture as closely as it can.
_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])

_FOREIGN_SIGN = re.compile(r"[^a-zA-Z0-9_-]")

Block = dict[str, Any]


def turns(messages: Iterable[Message]) -> list[Block]:
    """Return the turns, those of one role that follow each other as one."""
    merged: list[Block] = []
    for message in messages:
        blocks = [block for part in message.parts if (block := _block(part, message)) is not None]
        if not blocks:
            continue
        if merged and merged[-1]["role"] == message.role:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": message.role, "content": blocks})
    return merged


def text_block(text: Text) -> Block:
    return {"type": "text", "text": text.text, **cache_mark(text.cache)}


def cache_mark(ttl: Ttl | None) -> Block:
    """Return the field that marks a part to be cached, none where it is not."""
    if ttl is None:
        return {}
    return {"cache_control": {"type": "ephemeral", "ttl": ttl} if ttl else {"type": "ephemeral"}}


def input_of(arguments: str) -> msgspec.Raw:
    """Return a call's arguments to be put into a body, digit for digit; no text at all is an empty object."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    if is_object(arguments):
        return msgspec.Raw(arguments.encode())
    return msgspec.Raw(msgspec.json.encode({"INVALID_JSON": arguments}))


def is_object(arguments: str) -> bool:
    """Whether a text is a whole JSON object."""
    try:
        _OBJECT.decode(arguments)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _block(part: Part, message: Message) -> Block | None:
    if isinstance(part, Text):
        return text_block(part) if part.text else None
    if isinstance(part, Reasoning):
        return _thinking(part)
    if isinstance(part, ToolCall):
        return _call(part)
    if message.role == "assistant":
        refuse(part.at, target=ANTHROPIC, why="the assistant's turns hold text, thinking and calls only")
    return _media(part) if isinstance(part, Media) else _result(part)


def _thinking(part: Reasoning) -> Block | None:
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    if not part.signature:
        return None
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _call(call: ToolCall) -> Block:
    block = {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": input_of(call.arguments)}
    return block | cache_mark(call.cache)


def _id(id: str) -> str:
    return _FOREIGN_SIGN.sub("_", id)


def _result(result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(result.call_id)}
    content = [
        text_block(part) if isinstance(part, Text) else _media(part)
        for part in result.parts
        if not isinstance(part, Text) or part.text
    ]
    if content:
        block["content"] = content
    if result.is_error:
        block["is_error"] = True
    return block | cache_mark(result.cache)


def _media(media: Media) -> Block:
    if media.kind not in ("image", "document"):
        refuse(media.at, target=ANTHROPIC, why=f"{media.kind} is nothing that it takes")
    if media.detail not in _DETAILS:
        refuse(media.at, target=ANTHROPIC, why=f"it knows no detail `{media.detail}`")
    block: Block = {"type": media.kind, "source": _source(media)}
    if media.name and media.kind == "document":
        block["title"] = media.name
    return block | cache_mark(media.cache)


def _source(media: Media) -> Block:
    is_image = media.kind == "image"
    if media.url:
        if not media.url.startswith(("https://", "http://")):
            refuse(media.at, target=ANTHROPIC, why="it fetches over https only")
        if not is_image and media.media_type not in ("", "application/pdf"):
            refuse(media.at, target=ANTHROPIC, why="the only documents that it fetches are PDF")
        return {"type": "url", "url": media.url}
    if not is_image and media.media_type.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": _words(media)}
    if media.media_type not in (_IMAGES if is_image else ("application/pdf",)):
        kinds = ", ".join(_IMAGES) if is_image else "application/pdf, text"
        refuse(media.at, target=ANTHROPIC, why=f"it takes {kinds}, not `{media.media_type}`")
    return {"type": "base64", "media_type": media.media_type, "data": media.base64}


def _words(media: Media) -> str:
    try:
        return base64.b64decode(media.base64, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        message = f"`{media.at}` must be text in UTF-8, encoded as base64."
        raise MessagesFieldInvalid(message, param=media.at) from error
