"""Anthropic's event stream, written.

Rule 1: one block at a time, each begun, continued and stopped before the next, as every client expects: the
pieces of a later call wait until the arguments of the one under way are whole, or nothing more can come.
Rule 2: a signature ends its block of thinking, and comes in one piece: clients keep the last one only.
Rule 3: the counts that begin a stream are placeholders, as Anthropic's own of the output are; what counts is
in `message_delta`, whose counts are cumulative and replace them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from costplus.core.usage import Usage
from costplus.gateway.translate.conversation import Conversation
from costplus.gateway.translate.messages_blocks import is_object
from costplus.gateway.translate.messages_parts import CALL_SIGNATURE
from costplus.gateway.translate.messages_reply import REASON_OF
from costplus.gateway.translate.messages_usage import UNKNOWN, usage_block
from costplus.gateway.translate.reply import (
    AnswerUnreadable,
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    TextPiece,
)

_Event = dict[str, Any]


class MessagesWriter:
    """Writes an answer as a stream of Anthropic's."""

    __slots__ = ("_arguments", "_call", "_ended", "_next", "_open", "_out", "_waiting")

    def __init__(self, conversation: Conversation) -> None:
        self._out: list[bytes] = []
        self._open: Literal["", "text", "thinking", "call"] = ""
        self._next = 0  # The index of the block that begins next; the open one's is the one before.
        self._call = 0  # Which call is under way, where one is.
        self._arguments: list[str] = []  # What it has got.
        self._waiting: dict[int, list[CallBegan | CallPiece]] = {}  # Calls that follow it, in order.
        self._ended: Ended | None = None

    def write(self, pieces: Sequence[Piece]) -> bytes:
        """Return the events of the pieces; b"" where they must wait. Raises `AnswerUnreadable`."""
        for piece in pieces:
            if isinstance(piece, CallBegan | CallPiece):
                self._take_call(piece)
            elif isinstance(piece, Began):
                self._put("message_start", message=_message(piece))
            else:
                self._write_waiting()
                self._write(piece)
        return self._taken()

    def end(self, usage: Usage | None) -> bytes:
        """Return the last events: why it stopped, what was used (None: not known), and the end."""
        self._write_waiting()
        self._stop()
        stop = self._ended
        delta = {
            "stop_reason": REASON_OF[stop.stop] if stop is not None else None,
            "stop_sequence": stop.stop_sequence or None if stop is not None else None,
        }
        self._put("message_delta", delta=delta, usage=usage_block(usage))
        self._put("message_stop")
        return self._taken()

    def _write(self, piece: TextPiece | ReasoningPiece | Ended) -> None:
        if isinstance(piece, Ended):
            self._stop()
            self._ended = piece
        elif isinstance(piece, TextPiece):
            if piece.text:
                self._begin("text", {"type": "text", "text": ""})
                self._continue({"type": "text_delta", "text": piece.text})
        else:
            self._write_reasoning(piece)

    def _write_reasoning(self, piece: ReasoningPiece) -> None:
        if piece.redacted:
            self._stop()
            self._begin("thinking", {"type": "redacted_thinking", "data": piece.redacted})
            self._stop()
            return
        if piece.text or piece.signature:
            self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if piece.text:
            self._continue({"type": "thinking_delta", "thinking": piece.text})
        if piece.signature:
            self._continue({"type": "signature_delta", "signature": piece.signature})
            self._stop()

    def _take_call(self, piece: CallBegan | CallPiece) -> None:
        """Write a piece of the call under way; one of another call begins that call, or waits."""
        if isinstance(piece, CallBegan):
            self._waiting[piece.index] = [piece]
            self._write_next_waiting()
        elif self._open == "call" and piece.index == self._call:
            self._continue_call(piece)
            if self._waiting and piece.arguments.rstrip().endswith("}"):
                self._write_next_waiting()
        elif piece.index in self._waiting:
            self._waiting[piece.index].append(piece)
        elif piece.arguments:
            raise AnswerUnreadable("The provider's stream continues a call that is over.")

    def _write_next_waiting(self) -> None:
        """Write the calls that wait, up to one that is not whole: that one goes on."""
        while self._waiting and (self._open != "call" or self._is_whole()):
            self._write_first_waiting()

    def _write_waiting(self) -> None:
        """Write all the calls that wait: another part follows, so that there is no more of any."""
        while self._waiting:
            self._write_first_waiting()

    def _write_first_waiting(self) -> None:
        index = next(iter(self._waiting))
        self._stop()
        for piece in self._waiting.pop(index):
            if isinstance(piece, CallPiece):
                self._continue_call(piece)
                continue
            if piece.signature:
                self._write_reasoning(ReasoningPiece(signature=CALL_SIGNATURE + piece.signature))
            self._begin("call", {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}})
            self._call, self._arguments = index, []

    def _continue_call(self, piece: CallPiece) -> None:
        if piece.arguments:
            self._arguments.append(piece.arguments)
            self._continue({"type": "input_json_delta", "partial_json": piece.arguments})

    def _is_whole(self) -> bool:
        """Whether the call under way has all of its arguments; none yet is not all."""
        return is_object("".join(self._arguments))

    def _begin(self, kind: Literal["text", "thinking", "call"], block: _Event) -> None:
        """Begin a block, unless text or thinking is under way that goes on."""
        if self._open == kind:
            return
        self._stop()
        self._put("content_block_start", index=self._next, content_block=block)
        self._open = kind
        self._next += 1

    def _continue(self, delta: _Event) -> None:
        self._put("content_block_delta", index=self._next - 1, delta=delta)

    def _stop(self) -> None:
        if self._open:
            self._put("content_block_stop", index=self._next - 1)
            self._open = ""

    def _put(self, name: str, **fields: Any) -> None:
        encoded = msgspec.json.encode({"type": name, **fields})
        self._out.append(b"event: %b\ndata: %b\n\n" % (name.encode(), encoded))

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out


def _message(began: Began) -> _Event:
    return {
        "id": began.id,
        "type": "message",
        "role": "assistant",
        "model": began.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": UNKNOWN,
    }
