"""The turns of a conversation as `messages` of Bedrock's Converse API.

Rule 1: turns of one role that follow each other become one: Bedrock wants them to alternate.
Rule 2: a cache mark is a `cachePoint` after what it marks; none fits between the parts of a tool's result.
Rule 3: Bedrock fetches nothing from the web: media come as bytes, or lie in S3.
Rule 4: names of documents and ids of calls are put into the letters that Bedrock takes, and stay apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from costplus.gateway.translate.arguments import arguments_of
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
from costplus.gateway.translate.converse_thinking import TARGET
from costplus.gateway.translate.media_types import media_type_at

Blocks = list[dict[str, Any]]

_FORMATS = {
    "image": {
        "image/png": "png",
        "image/jpeg": "jpeg",
        "image/jpg": "jpeg",
        "image/gif": "gif",
        "image/webp": "webp",
    },
    "document": {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
    },
    "video": {
        "video/x-matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
    "audio": {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/wav": "wav",
        "audio/x-wav": "wav",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/ogg": "ogg",
        "audio/opus": "opus",
        "audio/mp4": "mp4",
        "audio/m4a": "m4a",
        "audio/x-m4a": "m4a",
        "audio/webm": "webm",
    },
}
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9()\[\]-]+")
_NAME_CHARS_MAX = 180  # Of 200; the rest is for what keeps names apart.
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")


def messages_of(messages: Sequence[Message]) -> Blocks:
    """Return the turns. Raises `NotExpressible`, `ArgumentsInvalid`."""
    writer = _Writer()
    turns: Blocks = []
    for message in messages:
        blocks = [block for part in message.parts for block in writer.blocks(part)]
        if not blocks:
            continue
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": message.role, "content": blocks})
    return turns


def system_blocks(texts: Sequence[Text]) -> Blocks:
    """Return the blocks of a system prompt."""
    return [block for text in texts for block in _text(text)]


def cache_point(ttl: Ttl | None) -> Blocks:
    """Return the block that caches what is before it, where that was asked for."""
    if ttl is None:
        return []
    return [{"cachePoint": {"type": "default", "ttl": ttl} if ttl else {"type": "default"}}]


class _Writer:
    """Writes parts as blocks; knows which names of documents are taken."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: set[str] = set()

    def blocks(self, part: Part) -> Blocks:
        """Return the blocks of one part: none for nothing, and the mark after it."""
        if isinstance(part, Text):
            return _text(part)
        if isinstance(part, Reasoning):
            return _reasoning(part)
        if isinstance(part, Media):
            return [self._media(part), *cache_point(part.cache)]
        if isinstance(part, ToolCall):
            use = {"toolUseId": _id(part.id), "name": part.name, "input": arguments_of(part)}
            return [{"toolUse": use}, *cache_point(part.cache)]
        return self._result(part)

    def _result(self, part: ToolResult) -> Blocks:
        content: Blocks = []
        mark = part.cache
        for left, inner in zip(range(len(part.parts) - 1, -1, -1), part.parts, strict=True):
            if left == 0:  # The end of the last part is the end of the result.
                mark = inner.cache if mark is None else mark
            elif inner.cache is not None:
                why = "only the whole result can be marked"
                refuse(f"{inner.at}.cache_control", target=TARGET, why=why)
            if isinstance(inner, Text):
                content.append({"text": inner.text})
            elif inner.kind == "audio":
                refuse(inner.at, target=TARGET, why="a tool's result holds no recordings")
            else:
                content.append(self._media(inner))
        result: dict[str, Any] = {"toolUseId": _id(part.call_id), "content": content}
        if part.is_error:
            result["status"] = "error"
        return [{"toolResult": result}, *cache_point(mark)]

    def _media(self, part: Media) -> dict[str, Any]:
        if part.detail not in ("", "auto"):
            refuse(f"{part.at}.detail", target=TARGET)
        source: dict[str, Any] = {"bytes": part.base64}
        if part.url:
            if not part.url.startswith("s3://"):
                refuse(part.at, target=TARGET, why="send it as a data: URL")
            source = {"s3Location": {"uri": part.url}}
        media_type = part.media_type or media_type_at(part.url)
        format = _FORMATS[part.kind].get(media_type)
        if format is None:
            refuse(part.at, target=TARGET, why=f"it takes no {part.kind} of the type {media_type!r}")
        block = {"format": format, "source": source}
        if part.kind == "document":
            block = {**block, "name": self._name(part.name)}
        return {part.kind: block}

    def _name(self, wanted: str) -> str:
        plain = _NOT_IN_NAMES.sub(" ", wanted).strip()[:_NAME_CHARS_MAX].strip() or "Document"
        name, count = plain, 1
        while name in self._names:
            count += 1
            name = f"{plain} ({count})"
        self._names.add(name)
        return name


def _text(part: Text) -> Blocks:
    """Return a text's blocks; Bedrock refuses an empty one, which says nothing."""
    return [*([{"text": part.text}] if part.text else []), *cache_point(part.cache)]


def _reasoning(part: Reasoning) -> Blocks:
    if part.redacted:
        return [{"reasoningContent": {"redactedContent": part.redacted}}]
    if not part.text and not part.signature:
        return []
    text = {"text": part.text, "signature": part.signature} if part.signature else {"text": part.text}
    return [{"reasoningContent": {"reasoningText": text}}]


def _id(id: str) -> str:
    return id if _ID.fullmatch(id) else f"call_{sha256(id.encode()).hexdigest()[:32]}"
