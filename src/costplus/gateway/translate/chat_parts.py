"""The parts of chat completions messages, as they are read.

Rule 1: an assistant's thoughts are its `reasoning_details` where it has some: they carry the signatures that
a provider wants back; else the plain text of `reasoning_content` or `reasoning`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from costplus.gateway.translate.conversation import (
    Media,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Ttl,
    refuse,
)
from costplus.gateway.translate.fields import Fields, list_of, malformed, object_of, text_of

OTHERS = "the dialect of the model's provider"
_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,(?P<base64>[\s\S]*)")
_TTLS = ("", "5m", "1h")


def cache_of(fields: Fields, at: str) -> Ttl | None:
    """Return the cache mark of a part or a tool."""
    value = fields.get("cache_control")
    if value is None:
        return None
    mark = object_of(value, f"{at}.cache_control")
    if mark.get("type") != "ephemeral":
        malformed(f"{at}.cache_control.type", "ephemeral")
    ttl = text_of(mark, "ttl", f"{at}.cache_control")
    if ttl not in _TTLS:
        malformed(f"{at}.cache_control.ttl", "5m or 1h")
    return ttl  # type: ignore[return-value]  # One of the three.


def content_parts(message: Fields, at: str) -> tuple[Text | Media, ...]:
    """Return the parts of a message's content, which may be one string."""
    content = message.get("content")
    mark = cache_of(message, at)
    where = f"{at}.content"
    if isinstance(content, str):
        return (Text(text=content, at=where, cache=mark),)
    if not isinstance(content, list):
        malformed(where, "a string or an array of parts")
    parts = tuple(_part(object_of(part, f"{where}[{i}]"), f"{where}[{i}]") for i, part in enumerate(content))
    if mark is not None:
        refuse(f"{at}.cache_control", target=OTHERS, why="mark the part up to which to cache")
    return parts


def assistant_parts(message: Fields, at: str) -> tuple[Part, ...]:
    """Return what the assistant thought, said and called, in this order."""
    for key in ("function_call", "audio"):
        if message.get(key) is not None:
            refuse(f"{at}.{key}", target=OTHERS)
    parts: list[Part] = list(_thoughts(message, at))
    if message.get("content") not in (None, "", []):
        parts += content_parts(message, at)
    refusal = text_of(message, "refusal", at)
    if refusal:
        parts.append(Text(text=refusal, at=f"{at}.refusal"))
    for index, each in enumerate(list_of(message.get("tool_calls"), f"{at}.tool_calls")):
        parts.append(_call(each, f"{at}.tool_calls[{index}]"))
    if not parts:
        parts.append(Text(text="", at=f"{at}.content"))
    return tuple(parts)


def tool_result(message: Fields, at: str, *, names: Mapping[str, str]) -> ToolResult:
    """Return what a message of the role `tool` says; `names` are the called tools, by the calls' ids."""
    call_id = text_of(message, "tool_call_id", at, default=None)
    cache = cache_of(message, at) if isinstance(message.get("content"), str) else None
    return ToolResult(
        call_id=call_id,
        name=names.get(call_id, "") or text_of(message, "name", at),
        parts=content_parts({"content": message.get("content")}, at),
        at=at,
        cache=cache,
    )


def _part(part: Fields, at: str) -> Text | Media:
    kind = part.get("type")
    cache = cache_of(part, at)
    if kind in ("text", "refusal"):
        return Text(text=text_of(part, str(kind), at, default=None), at=at, cache=cache)
    if kind == "image_url":
        image = object_of(part.get("image_url"), f"{at}.image_url")
        url = text_of(image, "url", f"{at}.image_url", default=None)
        detail = text_of(image, "detail", f"{at}.image_url")
        return _at_url("image", url, f"{at}.image_url.url", detail=detail, cache=cache)
    if kind == "input_audio":
        audio = object_of(part.get("input_audio"), f"{at}.input_audio")
        media_type = f"audio/{text_of(audio, 'format', f'{at}.input_audio', default=None)}"
        data = text_of(audio, "data", f"{at}.input_audio", default=None)
        return Media(kind="audio", media_type=media_type, base64=data, at=at, cache=cache)
    if kind == "file":
        file = object_of(part.get("file"), f"{at}.file")
        if file.get("file_id") is not None:
            refuse(f"{at}.file.file_id", target=OTHERS, why="send the file itself as `file_data`")
        url = text_of(file, "file_data", f"{at}.file", default=None)
        name = text_of(file, "filename", f"{at}.file")
        return _at_url("document", url, f"{at}.file.file_data", name=name, cache=cache)
    if not isinstance(kind, str):
        malformed(f"{at}.type", "text, image_url, input_audio or file")
    return refuse(f"{at}.type", target=OTHERS, why=f"it is '{kind}'")


def _at_url(kind: Any, url: str, at: str, *, detail: str = "", name: str = "", cache: Ttl | None) -> Media:
    """Return what is in a `data:` URL, or at another one."""
    if not url.startswith("data:"):
        return Media(kind=kind, url=url, detail=detail, name=name, at=at, cache=cache)
    match = _DATA_URL.fullmatch(url)
    if match is None or not match["type"]:
        malformed(at, "a `data:` URL with a media type and base64")
    return Media(
        kind=kind,
        media_type=match["type"].lower(),
        base64=match["base64"],
        detail=detail,
        name=name,
        at=at,
        cache=cache,
    )


def _thoughts(message: Fields, at: str) -> list[Reasoning]:
    details = list_of(message.get("reasoning_details"), f"{at}.reasoning_details")
    thoughts = []
    for index, each in enumerate(details):
        where = f"{at}.reasoning_details[{index}]"
        detail = object_of(each, where)
        if detail.get("type") == "reasoning.encrypted":
            thoughts.append(Reasoning(redacted=text_of(detail, "data", where, default=None), at=where))
        elif detail.get("type") == "reasoning.text":
            text, signature = text_of(detail, "text", where), text_of(detail, "signature", where)
            thoughts.append(Reasoning(text=text, signature=signature, at=where))
        else:
            malformed(f"{where}.type", "reasoning.text or reasoning.encrypted")
    if thoughts:
        return thoughts
    for key in ("reasoning_content", "reasoning"):
        text = text_of(message, key, at)
        if text:
            return [Reasoning(text=text, at=f"{at}.{key}")]
    return []


def _call(value: Any, at: str) -> ToolCall:
    call = object_of(value, at)
    if call.get("type", "function") != "function":
        refuse(f"{at}.type", target=OTHERS)
    function = object_of(call.get("function"), f"{at}.function")
    extra = call.get("extra_content")
    google = object_of(extra, f"{at}.extra_content").get("google") if extra is not None else None
    signature = ""
    if google is not None:
        where = f"{at}.extra_content.google"
        signature = text_of(object_of(google, where), "thought_signature", where)
    return ToolCall(
        id=text_of(call, "id", at, default=None),
        name=text_of(function, "name", f"{at}.function", default=None),
        arguments=text_of(function, "arguments", f"{at}.function") or "{}",
        signature=signature,
        at=at,
        cache=cache_of(call, at),
    )
