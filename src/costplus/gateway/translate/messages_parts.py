"""The turns of a messages body: what a block of content says.

Rule 1: a block of Anthropic's own servers (their tools' calls and results, files, containers, compactions) is
refused by its type: nobody else could make sense of it.
Rule 2: a document of plain text becomes base64, as every other document is.
Rule 3: a call's thought signature of Gemini's travels in a thinking block before the call (`CALL_SIGNATURE`),
since a `tool_use` has no place for one; here it returns to its call.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from costplus.gateway.translate.conversation import (
    Media,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Ttl,
    refuse,
)
from costplus.gateway.translate.messages_fields import ELSEWHERE, Fields, MessagesFieldInvalid, invalid

CALL_SIGNATURE = "of-the-next-call:"  # How the signature of such a thinking block begins.

_WORDS_OR_BLOCKS = "a string or a list of blocks"

Names = dict[str, str]  # The tools' names by the ids of their calls.


def read_messages(body: Fields, *, automatic: Ttl | None) -> tuple[Message, ...]:
    """Return the turns; `automatic` is the mark that belongs on the last part that can be cached."""
    turns = body.items("messages")
    if not turns:
        raise invalid("messages", "a list of one turn or more")
    names: Names = {}
    messages = [_read_message(turn, at=at, names=names) for at, turn in turns]
    if not messages[-1].parts and messages[-1].role == "assistant":
        messages.pop()  # The only turn that may be empty, and it says nothing.
    for message in messages:
        if not message.parts:
            raise invalid(f"{message.at}.content", f"{_WORDS_OR_BLOCKS}, one or more")
    return tuple(messages) if automatic is None else _marked(messages, automatic)


def read_system(body: Fields) -> tuple[Text, ...]:
    """Return the system prompt."""
    system = body.take("system")
    if system is None or system == "":
        return ()
    if isinstance(system, str):
        return (Text(text=system, at="system"),)
    blocks = Fields({"system": system}).items("system", _WORDS_OR_BLOCKS)
    return tuple(_read_text(Fields(block, at), only_text=True) for at, block in blocks)


def _read_message(turn: object, *, at: str, names: Names) -> Message:
    fields = Fields(turn, at)
    role: Role = "assistant" if _role(fields) == "assistant" else "user"
    if isinstance(content := fields.take("content"), str):
        fields.done()
        return Message(role=role, parts=(Text(text=content, at=f"{at}.content"),), at=at)
    blocks = Fields({"content": content}, at).items("content", _WORDS_OR_BLOCKS)
    parts = _with_signatures([_read_part(Fields(block, where), role, names) for where, block in blocks])
    fields.done()
    return Message(role=role, parts=tuple(parts), at=at)


def _role(fields: Fields) -> str:
    role = fields.word("role", "user", "assistant", "system")
    if role == "system":
        refuse(fields.path("role"), target=ELSEWHERE, why="a system prompt in the midst of a conversation")
    return role


def _read_part(block: Fields, role: Role, names: Names) -> Part:
    kind = block.text("type")
    if kind not in _READERS:
        refuse(block.path("type"), target=ELSEWHERE, why=f"`{kind}` is a matter of Anthropic's own servers")
    roles, read = _READERS[kind]
    if role not in roles:
        raise MessagesFieldInvalid(
            f"`{block.path('type')}`: a turn of the {role} holds no `{kind}`.", param=block.path("type")
        )
    part = read(block, names)
    block.done()
    return part


def _read_text(block: Fields, *, only_text: bool = False) -> Text:
    if only_text:
        block.word("type", "text")
    text = Text(text=block.text("text"), at=block.at, cache=block.cache_mark())
    block.only("citations", [])
    if only_text:
        block.done()
    return text


def _read_image(block: Fields) -> Media:
    kind, source = _source(block, "base64", "url")
    media = Media(
        kind="image",
        media_type="" if kind == "url" else source.text("media_type"),
        base64="" if kind == "url" else source.text("data"),
        url=source.text("url") if kind == "url" else "",
        at=block.at,
        cache=block.cache_mark(),
    )
    source.done()
    block.only("transformations", {}, {"oversized_image": "downsize"})
    return media


def _read_document(block: Fields) -> Media:
    kind, source = _source(block, "base64", "url", "text")
    content = "" if kind == "url" else source.text("data")
    if kind == "text":
        content = base64.b64encode(content.encode()).decode()
    media = Media(
        kind="document",
        media_type="" if kind == "url" else source.text("media_type"),
        base64=content,
        url=source.text("url") if kind == "url" else "",
        name=block.text_or("title", ""),
        at=block.at,
        cache=block.cache_mark(),
    )
    source.done()
    block.only("citations", {}, {"enabled": False})
    return media


def _source(block: Fields, *kinds: str) -> tuple[str, Fields]:
    """Return how a picture or a document comes; a file of Anthropic's own store is refused."""
    source = Fields(block.take("source"), block.path("source"))
    kind = source.text("type")
    if kind not in kinds:
        refuse(source.path("type"), target=ELSEWHERE, why=f"`{kind}` is known to Anthropic only")
    return kind, source


def _read_thinking(block: Fields) -> Reasoning:
    return Reasoning(text=block.text("thinking"), signature=block.text_or("signature", ""), at=block.at)


def _read_redacted(block: Fields) -> Reasoning:
    return Reasoning(redacted=block.text("data"), at=block.at)


def _read_call(block: Fields, names: Names) -> ToolCall:
    block.only("caller", {"type": "direct"})
    call = ToolCall(
        id=block.text("id"),
        name=block.text("name"),
        arguments=msgspec.json.encode(block.mapping("input")).decode(),
        at=block.at,
        cache=block.cache_mark(),
    )
    names[call.id] = call.name
    return call


def _read_result(block: Fields, names: Names) -> ToolResult:
    call_id, content = block.text("tool_use_id"), block.take("content")
    parts: tuple[Text | Media, ...]
    if content is None or content == "":
        parts = ()
    elif isinstance(content, str):
        parts = (Text(text=content, at=block.path("content")),)
    else:
        inner = Fields({"content": content}, block.at).items("content", _WORDS_OR_BLOCKS)
        parts = tuple(_read_of_result(Fields(found, at)) for at, found in inner)
    return ToolResult(
        call_id=call_id,
        name=names.get(call_id, ""),
        parts=parts,
        is_error=block.flag_or_none("is_error") or False,
        at=block.at,
        cache=block.cache_mark(),
    )


def _read_of_result(block: Fields) -> Text | Media:
    kind = block.text("type")
    if kind not in _RESULT_READERS:
        refuse(block.path("type"), target=ELSEWHERE, why=f"a result with a `{kind}` in it")
    part = _RESULT_READERS[kind](block)
    block.done()
    return part


def _with_signatures(parts: list[Part]) -> list[Part]:
    """Return the parts with each call's signature at its call."""
    kept: list[Part] = []
    signature = ""
    for part in parts:
        if isinstance(part, Reasoning) and part.signature.startswith(CALL_SIGNATURE):
            signature = part.signature.removeprefix(CALL_SIGNATURE)
            continue
        if signature and isinstance(part, ToolCall):
            part, signature = replace(part, signature=signature), ""
        kept.append(part)
    return kept


def _marked(messages: list[Message], ttl: Ttl) -> tuple[Message, ...]:
    """Return the turns with the mark on the last part that can be cached, as Anthropic itself places it."""
    for place, message in reversed(list(enumerate(messages))):
        for spot, part in reversed(list(enumerate(message.parts))):
            if isinstance(part, Reasoning) or (isinstance(part, Text) and not part.text):
                continue
            if part.cache is not None and part.cache != ttl:
                raise invalid("cache_control", f"the same as that of `{part.at}`")
            parts = (*message.parts[:spot], replace(part, cache=ttl), *message.parts[spot + 1 :])
            messages[place] = replace(message, parts=parts)
            return tuple(messages)
    return tuple(messages)


_BOTH: tuple[Role, ...] = ("user", "assistant")
_USER: tuple[Role, ...] = ("user",)
_ASSISTANT: tuple[Role, ...] = ("assistant",)
_READERS: Mapping[str, tuple[tuple[Role, ...], Callable[[Fields, Names], Part]]] = {
    "text": (_BOTH, lambda block, names: _read_text(block)),
    "image": (_USER, lambda block, names: _read_image(block)),
    "document": (_USER, lambda block, names: _read_document(block)),
    "thinking": (_ASSISTANT, lambda block, names: _read_thinking(block)),
    "redacted_thinking": (_ASSISTANT, lambda block, names: _read_redacted(block)),
    "tool_use": (_ASSISTANT, _read_call),
    "tool_result": (_USER, _read_result),
}
_RESULT_READERS: Mapping[str, Callable[[Fields], Text | Media]] = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
}
