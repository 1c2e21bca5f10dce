"""A stream of chat completion chunks: read from a provider, written for a caller.

Rule 1: calls are told apart by their `index`; a provider that leaves it out begins a call with each new id.
Rule 2: the model has stopped when a chunk gives a `finish_reason`, or else where the stream ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.translate.chat_reply import (
    FINISHES,
    call_of,
    detail_of,
    has_audio,
    stop_of,
    text_in,
    thoughts_in,
    unreadable,
)
from costplus.gateway.translate.chat_usage import usage_block
from costplus.gateway.translate.conversation import Conversation, Reasoning
from costplus.gateway.translate.reply import (
    AnswerFailed,
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    TextPiece,
)
from costplus.gateway.wire.sse import SseSplitter, event_data

_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class ChatReader:
    """Reads a provider's chunks."""

    __slots__ = ("_began", "_calls", "_ended", "_ids", "_splitter")

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._began = False
        self._ended = False
        self._calls: dict[Any, int] = {}  # The provider's index of a call → ours.
        self._ids: dict[int, str] = {}

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return what `chunk` completes. Raises `AnswerFailed`, `AnswerUnreadable`."""
        pieces: list[Piece] = []
        for raw in self._splitter.feed(chunk):
            pieces += self._read(event_data(raw))
        return pieces

    def flush(self) -> list[Piece]:
        """Return what an unfinished last event says, and that the answer has ended."""
        rest = self._splitter.flush()
        pieces = self._read(event_data(rest)) if rest.strip() else []
        if self._began and not self._ended:
            self._ended = True
            pieces.append(Ended("tools" if self._ids else "end"))
        return pieces

    def _read(self, data: bytes) -> list[Piece]:
        if not data or data.strip() == b"[DONE]":
            return []
        try:
            return self._pieces(_ANY.decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError) as error:
            raise unreadable("The provider's stream holds something else than chat chunks.") from error
        except (TypeError, ValueError, AttributeError) as error:  # A value of another kind than promised.
            raise unreadable("The provider's stream holds something else than chat chunks.") from error

    def _pieces(self, chunk: Any) -> list[Piece]:
        if chunk.get("error"):
            said = chunk["error"]
            message = said.get("message") if isinstance(said, dict) else said
            raise AnswerFailed(f"The provider ended its answer with an error: {message}")
        pieces: list[Piece] = []
        if not self._began:
            self._began = True
            pieces.append(Began(str(chunk.get("id") or ""), str(chunk.get("model") or "")))
        for choice in chunk.get("choices") or []:
            if choice.get("index"):
                raise unreadable("The provider gave several answers where one was asked for.")
            delta = choice.get("delta") or {}
            if has_audio(delta):
                raise unreadable(
                    "The provider answers with audio, which the caller's dialect has no place for."
                )
            pieces += [ReasoningPiece(thought.text) for thought in thoughts_in(delta)]
            said = text_in(delta)
            if said:
                pieces.append(TextPiece(said))
            for call in delta.get("tool_calls") or []:
                pieces += self._call(call)
            if choice.get("finish_reason") and not self._ended:
                self._ended = True
                pieces.append(Ended(stop_of(choice["finish_reason"])))
        return pieces

    def _call(self, call: Any) -> list[Piece]:
        id, function = str(call.get("id") or ""), call.get("function") or {}
        key = call.get("index")
        if key is None:
            key = id or (max(self._calls.values(), default=0))
        pieces: list[Piece] = []
        known = self._calls.get(key)
        if known is None or (id and self._ids[known] not in ("", id)):
            known = len(self._ids)
            self._calls[key] = known
            self._ids[known] = id
            pieces.append(CallBegan(known, id, function["name"]))
        arguments = function.get("arguments")
        if arguments:
            if not isinstance(arguments, str):
                arguments = msgspec.json.encode(arguments).decode()
            pieces.append(CallPiece(known, arguments))
        return pieces


class ChatWriter:
    """Writes chunks for a caller."""

    __slots__ = ("_conversation", "_head", "_stop", "_thoughts")

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._thoughts = 0  # Blocks of thinking that have ended.
        self._stop: Ended | None = None
        self._head = self._head_of(Began("", ""))

    def write(self, pieces: Sequence[Piece]) -> bytes:
        """Return the chunks of the pieces."""
        chunks = []
        for piece in pieces:
            if isinstance(piece, Began):
                self._head = self._head_of(piece)
                chunks.append(self._chunk({"role": "assistant", "content": "", "refusal": None}))
            elif isinstance(piece, TextPiece):
                chunks.append(self._chunk({"content": piece.text}))
            elif isinstance(piece, ReasoningPiece):
                chunks.append(self._chunk(self._thought(piece)))
            elif isinstance(piece, CallBegan):
                call = call_of(piece.id, piece.name, "", piece.signature)
                chunks.append(self._chunk({"tool_calls": [{"index": piece.index, **call}]}))
            elif isinstance(piece, CallPiece):
                call = {"index": piece.index, "function": {"arguments": piece.arguments}}
                chunks.append(self._chunk({"tool_calls": [call]}))
            else:
                self._stop = piece
        return b"".join(chunks)

    def end(self, usage: Usage | None) -> bytes:
        """Return the chunk that says why it stopped, the usage where it was asked for, and the end."""
        finish = FINISHES[self._stop.stop if self._stop else "end"]
        last = self._chunk({}, finish=finish)
        if self._conversation.include_usage and usage is not None:
            last += _event({**self._head, "choices": [], "usage": usage_block(usage)})
        return last + b"data: [DONE]\n\n"

    def _head_of(self, began: Began) -> dict[str, Any]:
        return {
            "id": began.id,
            "object": "chat.completion.chunk",
            "created": self._conversation.at_s,
            "model": began.model,
        }

    def _thought(self, piece: ReasoningPiece) -> dict[str, Any]:
        """Return a delta of thinking: who joins deltas by `index` has whole blocks with their signatures."""
        thought = Reasoning(text=piece.text, signature=piece.signature, redacted=piece.redacted)
        delta: dict[str, Any] = {"reasoning_details": [{"index": self._thoughts, **detail_of(thought)}]}
        if piece.text:
            delta["reasoning_content"] = piece.text
        if piece.signature or piece.redacted:
            self._thoughts += 1
        return delta

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._head, "choices": [choice]}
        if self._conversation.include_usage:
            chunk["usage"] = None
        return _event(chunk)


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(chunk)
