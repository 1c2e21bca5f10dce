"""The turns of a conversation as Gemini's `contents`.

Rule 1: turns of one role that follow each other become one, since all results of a turn's calls belong in
the turn after it.
Rule 2: a result is named after the call that it answers.
Rule 3: a signature is on the text or the call that it was made with, never on the thought. One without words
ends the text before it; else it belongs to what comes next, or stands on an empty text.
Rule 4: calls that no Gemini model signed (another model made them, or the caller's dialect lost it) carry the
signature that Google defines for them, where the model would refuse them without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from costplus.gateway.translate.arguments import arguments_of
from costplus.gateway.translate.conversation import (
    Conversation,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    refuse,
)
from costplus.gateway.translate.generate_thinking import TARGET, Version
from costplus.gateway.translate.media_types import media_type_at

# "skip_thought_signature_validator" in base64.
_UNSIGNED = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
_SIGNATURES_NEEDED: Version = (3, 0)
_RESULT_MEDIA: Version = (3, 0)  # Since when a result may hold more than words.
_ROLES = {"user": "user", "assistant": "model"}
_URL_SCHEMES = ("https:", "http:", "gs:")


def contents_of(conversation: Conversation, version: Version) -> list[dict[str, Any]]:
    """Return the turns. Raises `NotExpressible`, `ArgumentsInvalid`."""
    names: dict[str, str] = {}
    contents: list[dict[str, Any]] = []
    for message in conversation.messages:
        parts = _parts(message, names, version)
        if not parts:
            continue
        role = _ROLES[message.role]
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"].extend(parts)
        else:
            contents.append({"role": role, "parts": parts})
    if version >= _SIGNATURES_NEEDED:
        for content in contents:
            _sign(content["parts"])
    return contents


def text_parts(texts: Sequence[Text]) -> list[dict[str, Any]]:
    """Return the parts of a system instruction."""
    return [{"text": text.text} for text in texts if text.text]


def _parts(message: Message, names: dict[str, str], version: Version) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    signature = ""  # On its way to the text or the call after it.
    for part in message.parts:
        if isinstance(part, Reasoning):
            parts.extend(_thought(part))
            if part.signature:
                parts.extend(_alone(signature))
                signature = part.signature
            if not part.text and signature and _is_unsigned_text(parts):
                parts[-1]["thoughtSignature"], signature = signature, ""
            continue
        if isinstance(part, ToolCall):
            names[part.id] = part.name
        written = _part(part, names, version)
        if written and signature:
            if isinstance(part, Text | ToolCall) and "thoughtSignature" not in written[0]:
                written[0]["thoughtSignature"] = signature
            else:
                parts.extend(_alone(signature))
            signature = ""
        parts.extend(written)
    return [*parts, *_alone(signature)]


def _is_unsigned_text(parts: list[dict[str, Any]]) -> bool:
    last = parts[-1] if parts else {}
    return "text" in last and "thought" not in last and "thoughtSignature" not in last


def _alone(signature: str) -> list[dict[str, Any]]:
    """Return the part of a signature that nothing beside it takes."""
    return [{"text": "", "thoughtSignature": signature}] if signature else []


def _part(
    part: Text | Media | ToolCall | ToolResult, names: dict[str, str], version: Version
) -> list[dict[str, Any]]:
    if isinstance(part, Text):
        return [{"text": part.text}] if part.text else []
    if isinstance(part, Media):
        # A document's name has no place of its own; to other providers' models it is words too.
        named = [{"text": part.name}] if part.name else []
        return [*named, _media(part)]
    if isinstance(part, ToolCall):
        return [_call(part)]
    return [_result(part, names, version)]


def _thought(part: Reasoning) -> list[dict[str, Any]]:
    if part.redacted:
        refuse(part.at, target=TARGET, why="it is thinking of another provider's model that cannot be read")
    return [{"text": part.text, "thought": True}] if part.text else []


def _call(part: ToolCall) -> dict[str, Any]:
    call: dict[str, Any] = {"functionCall": {"name": part.name, "args": arguments_of(part)}}
    if part.id:
        call["functionCall"]["id"] = part.id
    if part.signature:
        call["thoughtSignature"] = part.signature
    return call


def _result(part: ToolResult, names: dict[str, str], version: Version) -> dict[str, Any]:
    name = names.get(part.call_id) or part.name
    if not name:
        refuse(
            part.at, target=TARGET, why=f"no call before it has the id {part.call_id!r}, which names its tool"
        )
    texts: list[str] = []
    media: list[dict[str, Any]] = []
    for inner in part.parts:
        if isinstance(inner, Text):
            texts.append(inner.text)
        else:
            media.append(_result_media(inner, version))
    said: str | list[str] = texts[0] if len(texts) == 1 else texts if texts else ""
    response: dict[str, Any] = {"name": name, "response": {"error" if part.is_error else "output": said}}
    if part.call_id:
        response["id"] = part.call_id
    if media:
        response["parts"] = media
    return {"functionResponse": response}


def _result_media(part: Media, version: Version) -> dict[str, Any]:
    if version < _RESULT_MEDIA:
        refuse(part.at, target=TARGET, why="this model takes words only as a tool's result")
    if part.url:
        refuse(part.at, target=TARGET, why="within a tool's result, send it as a data: URL")
    return _media(part)


def _media(part: Media) -> dict[str, Any]:
    if not part.url:
        if not part.media_type:
            _refuse_untyped(part)
        return {"inlineData": {"mimeType": part.media_type, "data": part.base64}}
    if not part.url.lower().startswith(_URL_SCHEMES):
        refuse(part.at, target=TARGET, why="a URL begins with https:, http: or gs:")
    media_type = part.media_type or media_type_at(part.url)
    if not media_type:
        _refuse_untyped(part)
    return {"fileData": {"mimeType": media_type, "fileUri": part.url}}


def _refuse_untyped(part: Media) -> NoReturn:
    refuse(part.at, target=TARGET, why="its media type is not known; send it as a data: URL")


def _sign(parts: list[dict[str, Any]]) -> None:
    calls = [part for part in parts if "functionCall" in part]
    if calls and not any("thoughtSignature" in part for part in calls):
        calls[0]["thoughtSignature"] = _UNSIGNED


def media_of(conversation: Conversation) -> list[Media]:
    """Return all media of the turns, those within results of tools too."""
    found: list[Media] = []
    for message in conversation.messages:
        for part in message.parts:
            inner: Sequence[Part] = part.parts if isinstance(part, ToolResult) else (part,)
            found.extend(media for media in inner if isinstance(media, Media))
    return found
