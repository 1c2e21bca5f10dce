"""A whole answer as a chat completion: read from a provider, written for a caller.

Rule 1: thoughts are written twice: as plain `reasoning_content`, and as `reasoning_details` with what the
provider needs to know them again; an SDK that sends its messages back whole sends them back, too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.translate.chat_usage import usage_block
from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.reply import AnswerUnreadable, Reply, Stop

FINISHES: dict[Stop, str] = {
    "end": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
    "length": "length",
    "context": "length",
    "tools": "tool_calls",
    "refusal": "content_filter",
}
_STOPS: dict[str, Stop] = {
    "stop": "end",
    "length": "length",
    "model_length": "length",  # Mistral's word for a full context.
    "tool_calls": "tools",
    "function_call": "tools",
    "content_filter": "refusal",
}
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def stop_of(word: Any) -> Stop:
    """Return why a model stopped; a word of a provider's own is an ordinary end."""
    return _STOPS.get(word, "end") if isinstance(word, str) else "end"


def write_reply(reply: Reply, usage: Usage | None) -> bytes:
    """Return the completion."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(part.text for part in reply.parts if isinstance(part, Text)) or None,
        "refusal": None,
    }
    thoughts = [part for part in reply.parts if isinstance(part, Reasoning)]
    if thoughts:
        message["reasoning_content"] = "".join(thought.text for thought in thoughts) or None
        message["reasoning_details"] = [detail_of(thought) for thought in thoughts]
    calls = [part for part in reply.parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = [
            call_of(call.id, call.name, call.arguments, call.signature) for call in calls
        ]
    answer: dict[str, Any] = {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.at_s,
        "model": reply.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISHES[reply.stop]}
        ],
    }
    if usage is not None:
        answer["usage"] = usage_block(usage)
    return msgspec.json.encode(answer)


def detail_of(thought: Reasoning) -> dict[str, Any]:
    """Return one of `reasoning_details`."""
    if thought.redacted:
        return {"type": "reasoning.encrypted", "data": thought.redacted}
    detail = {"type": "reasoning.text", "text": thought.text}
    if thought.signature:
        detail["signature"] = thought.signature
    return detail


def call_of(id: str, name: str, arguments: str, signature: str) -> dict[str, Any]:
    """Return one of `tool_calls`; Google's signature stands where Google puts it."""
    call: dict[str, Any] = {
        "id": id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    if signature:
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def read_reply(body: bytes) -> Reply:
    """Return what a provider's completion says. Raises `AnswerUnreadable`."""
    try:
        answer: Any = _ANY.decode(body)
        (choice,) = answer["choices"]
        message = choice["message"]
        parts: list[Text | Reasoning | ToolCall] = [
            *thoughts_in(message),
            *_texts_in(message),
            *_calls_in(message),
        ]
        refused = isinstance(message.get("refusal"), str) and bool(message["refusal"])
        return Reply(
            id=str(answer.get("id") or ""),
            model=str(answer.get("model") or ""),
            parts=tuple(parts),
            stop="refusal" if refused else stop_of(choice.get("finish_reason")),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError) as error:
        raise unreadable() from error
    except (TypeError, ValueError, AttributeError) as error:  # A value of another kind than promised.
        raise unreadable() from error


def unreadable(
    what: str = "The provider's answer is no chat completion with one choice.",
) -> AnswerUnreadable:
    """Return the error for an answer that makes no sense."""
    return AnswerUnreadable(what, remedy="Send the call again; this one was not charged.")


def thoughts_in(message: Any) -> list[Reasoning]:
    """Return what was thought, of a message or of a delta of one."""
    for key in ("reasoning_content", "reasoning"):
        if isinstance(message.get(key), str) and message[key]:
            return [Reasoning(text=message[key])]
    return [
        Reasoning(text=_joined(part.get("thinking")))
        for part in _listed(message.get("content"))
        if part.get("type") == "thinking"  # Mistral's.
    ]


def has_audio(message: Any) -> bool:
    """Return whether a message speaks; one without data in it is a provider's way of saying nothing."""
    audio = message.get("audio")
    return bool(audio.get("data", audio) if isinstance(audio, dict) else audio)


def text_in(message: Any) -> str:
    """Return what was said, of a message or of a delta of one; a refusal is said, too."""
    content = message.get("content")
    said = content if isinstance(content, str) else _joined(content)
    return said + (message["refusal"] if isinstance(message.get("refusal"), str) else "")


def _texts_in(message: Any) -> list[Text]:
    if has_audio(message):
        raise unreadable("The provider answered with audio, which the caller's dialect has no place for.")
    said = text_in(message)
    return [Text(text=said)] if said else []


def _calls_in(message: Any) -> list[ToolCall]:
    calls = []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        arguments = function.get("arguments") or "{}"
        if not isinstance(arguments, str):  # Some providers send the object itself.
            arguments = msgspec.json.encode(arguments).decode()
        calls.append(ToolCall(id=str(call.get("id") or ""), name=function["name"], arguments=arguments))
    return calls


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in _listed(content) if part.get("type") == "text")
