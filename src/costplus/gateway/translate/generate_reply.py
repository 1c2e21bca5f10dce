"""What an answer of Gemini's `generateContent` says: whole, or part by part.

Rule 1: a whole answer is read as a stream of one part, so that both say the same.
Rule 2: a signature of a text follows it as reasoning without words; one of a call is the call's.
Rule 3: a call without an id gets one that follows from the answer, its place in it, and what it says.
Rule 4: what an answer holds that no caller's dialect can carry (a picture, code that was run) is an error.
Rule 5: why it stopped is known at the end only: some models say STOP with every part.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NoReturn

import msgspec

from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall
from costplus.gateway.translate.reply import (
    AnswerFailed,
    AnswerUnreadable,
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    Reply,
    Stop,
    TextPiece,
)
from costplus.gateway.wire.counts import NULL, compact, decode_or_none, is_null

_STOPS: dict[str, Stop] = {
    "STOP": "end",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "OTHER",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
        ),
        "refusal",
    ),
}
_UNEXPECTED_CALL = "UNEXPECTED_TOOL_CALL"  # Of a tool that was not declared; it may be there all the same.
# The model went wrong; the same request may well succeed.
_FAILURES = (
    _UNEXPECTED_CALL,
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "IMAGE_OTHER",
    "NO_IMAGE",
)
_BESIDE_CONTENT = frozenset(("thought", "thoughtSignature", "partMetadata"))


class _Call(msgspec.Struct, gc=False, rename="camel"):
    name: str
    id: str | None = None
    args: msgspec.Raw = NULL
    partial_args: msgspec.Raw = NULL
    will_continue: msgspec.Raw = NULL


class _Content(msgspec.Struct, gc=False):
    parts: list[dict[str, msgspec.Raw]] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_CALL = msgspec.json.Decoder(_Call)
_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_reply(body: bytes) -> Reply:
    """Return what a whole answer says. Raises `AnswerUnreadable`."""
    answer = GenerateAnswer()
    try:
        began, *pieces = answer.see(body)
    except AnswerFailed as error:  # No stream that had begun: there is nothing but the failure.
        raise AnswerUnreadable(error.message) from error
    assert isinstance(began, Began)
    return Reply(id=began.id, model=began.model, parts=_parts(pieces), stop=answer.end().stop)


class GenerateAnswer:
    """Collects an answer from its parts, however many there are."""

    __slots__ = ("_began", "_calls", "_id", "_stop")

    def __init__(self) -> None:
        self._began = False
        self._id = ""
        self._calls = 0
        self._stop: Stop | None = None

    def see(self, data: bytes) -> list[Piece]:
        """Return what one part says. Raises `AnswerFailed`, `AnswerUnreadable`."""
        chunk = decode_or_none(_CHUNK, data)
        if chunk is None:
            raise AnswerUnreadable("A part of the provider's answer is not what Gemini's API promises.")
        if chunk.error:
            raise AnswerFailed(f"The provider ended its answer with an error: {_said(chunk.error)}")
        pieces: list[Piece] = []
        if not self._began:
            self._began = True
            self._id = chunk.response_id or ""
            pieces.append(Began(self._id, chunk.model_version or ""))
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self._stop = "refusal"
        for candidate in chunk.candidates or ():
            if candidate.index:
                raise AnswerUnreadable("The provider gave several answers to one request.")
            for part in (candidate.content and candidate.content.parts) or ():
                pieces.extend(self._part(part))
            if candidate.finish_reason:
                self._finish(candidate.finish_reason, candidate.finish_message or "")
        return pieces

    def end(self) -> Ended:
        """Return why the answer ended. Raises `AnswerUnreadable` where it never said."""
        if self._stop is None:
            raise AnswerUnreadable("The provider's answer broke off before it said why it ended.")
        return Ended("tools" if self._stop == "end" and self._calls else self._stop)

    def _finish(self, reason: str, message: str) -> None:
        if reason in _STOPS:
            self._stop = _STOPS[reason]
        elif reason == _UNEXPECTED_CALL and self._calls:
            self._stop = "end"
        elif reason in _FAILURES:
            raise AnswerFailed(f"The model's answer went wrong: {reason}. {message}".strip())
        else:
            raise AnswerUnreadable(f"The answer ended for a reason that has no translation: {reason}.")

    def _part(self, part: dict[str, msgspec.Raw]) -> list[Piece]:
        signature = _text(part, "thoughtSignature")
        if "functionCall" in part:
            return self._call(part["functionCall"], signature)
        if "text" not in part:
            others = sorted(part.keys() - _BESIDE_CONTENT)
            if others:
                _refuse(others[0])
        text = _text(part, "text")
        pieces: list[Piece] = []
        if _is_thought(part):
            if text or signature:
                pieces.append(ReasoningPiece(text, signature))
            return pieces
        if text:
            pieces.append(TextPiece(text))
        if signature:
            pieces.append(ReasoningPiece(signature=signature))
        return pieces

    def _call(self, raw: msgspec.Raw, signature: str) -> list[Piece]:
        call = decode_or_none(_CALL, raw)
        if call is None:
            raise AnswerUnreadable("A `functionCall` of the answer has no name, or is no object.")
        if not is_null(call.partial_args) or bytes(call.will_continue) == b"true":
            _refuse("partialArgs")
        arguments = "{}" if is_null(call.args) else compact(call.args).decode()
        if decode_or_none(_OBJECT, arguments.encode()) is None:
            raise AnswerUnreadable(f"The arguments of a call of {call.name!r} are no object.")
        index, self._calls = self._calls, self._calls + 1
        id = call.id or _made_id(self._id, index, call.name, arguments)
        return [CallBegan(index, id, call.name, signature), CallPiece(index, arguments)]


def _made_id(*origin: object) -> str:
    return f"call_{sha256(repr(origin).encode()).hexdigest()[:24]}"


def _text(part: dict[str, msgspec.Raw], key: str) -> str:
    if key not in part or is_null(part[key]):
        return ""
    text = decode_or_none(_TEXT, part[key])
    if text is None:
        raise AnswerUnreadable(f"The `{key}` of a part of the answer is no text.")
    return text


def _is_thought(part: dict[str, msgspec.Raw]) -> bool:
    return "thought" in part and decode_or_none(_FLAG, part["thought"]) is True


def _refuse(kind: str) -> NoReturn:
    raise AnswerUnreadable(f"The answer holds a `{kind}`, which cannot be translated.")


def _said(error: Any) -> str:
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return f"{error.get('status') or error.get('code') or ''} {error['message']}".strip()
    return str(error)[:1000]


def _parts(pieces: Sequence[Piece]) -> tuple[Text | Reasoning | ToolCall, ...]:
    parts: list[Text | Reasoning | ToolCall] = []
    begun: CallBegan | None = None
    for piece in pieces:
        last = parts[-1] if parts else None
        if isinstance(piece, TextPiece):
            if isinstance(last, Text):
                parts[-1] = Text(text=last.text + piece.text)
            else:
                parts.append(Text(text=piece.text))
        elif isinstance(piece, ReasoningPiece):
            if isinstance(last, Reasoning) and not last.signature:
                parts[-1] = Reasoning(text=last.text + piece.text, signature=piece.signature)
            else:
                parts.append(Reasoning(text=piece.text, signature=piece.signature))
        elif isinstance(piece, CallBegan):
            begun = piece
        elif isinstance(piece, CallPiece):
            assert begun is not None
            call = ToolCall(
                id=begun.id, name=begun.name, arguments=piece.arguments, signature=begun.signature
            )
            parts.append(call)
    return tuple(parts)
