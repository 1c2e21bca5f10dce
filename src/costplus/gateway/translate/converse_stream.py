"""A stream of Bedrock's `converse-stream`, in pieces.

Rule 1: a signature, and thinking that is not shown, may come in several deltas; each is passed on whole, when
its block ends.
Rule 2: a call without arguments has no delta of them: its arguments are an empty object.
Rule 3: an exception among the frames fails the answer; so does an end before its `messageStop`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

import msgspec

from costplus.gateway.translate.converse_reply import Block, refuse_block, stop_of, tool_use_of
from costplus.gateway.translate.reply import (
    AnswerFailed,
    AnswerUnreadable,
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    TextPiece,
)
from costplus.gateway.wire.aws_frames import Frame, FrameSplitter
from costplus.gateway.wire.counts import decode_or_none


class _ToolUseDelta(msgspec.Struct, gc=False):
    input: str


class _ReasoningDelta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Event(msgspec.Struct, gc=False, rename="camel"):
    """Any event; each kind has its own fields."""

    content_block_index: int = 0
    start: Block | None = None
    delta: Block | None = None
    stop_reason: str | None = None


class _Said(msgspec.Struct, gc=False):
    message: str = ""


_EVENT = msgspec.json.Decoder(_Event)
_REASONING_DELTA = msgspec.json.Decoder(_ReasoningDelta)
_SAID = msgspec.json.Decoder(_Said)
_TEXT = msgspec.json.Decoder(str)
_TOOL_USE_DELTA = msgspec.json.Decoder(_ToolUseDelta)
_KINDS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop")
_BROKEN = "The provider's answer is no event stream of Bedrock's, or was damaged on its way."


class ConverseReader:
    """Reads a stream, however its bytes are cut."""

    __slots__ = ("_began", "_block", "_calls", "_ended", "_redacted", "_signature", "_silent", "_splitter")

    def __init__(self) -> None:
        self._splitter = FrameSplitter()
        self._began = False
        self._block = -1
        self._calls: dict[int, int] = {}  # Which call each block is.
        self._silent: set[int] = set()  # Blocks of calls whose arguments have not begun.
        self._signature = ""
        self._redacted = b""
        self._ended = False

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return what `chunk` completes. Raises `AnswerFailed`, `AnswerUnreadable`."""
        pieces: list[Piece] = []
        for frame in self._splitter.feed(chunk):
            pieces.extend(self._see(frame))
        if self._splitter.broken:
            raise AnswerUnreadable(_BROKEN)
        return pieces

    def flush(self) -> list[Piece]:
        """Return nothing: no frame ends with the stream. Raises `AnswerUnreadable` where one is missing."""
        if not self._ended:
            raise AnswerUnreadable("The provider's answer broke off before it said why it ended.")
        return []

    def _see(self, frame: Frame) -> list[Piece]:
        if frame.headers.get(":message-type", "event") != "event":
            raise _failure(frame)
        kind = frame.headers.get(":event-type")
        if kind not in _KINDS:
            return []  # `metadata` is the wire's to count.
        if self._ended or self._began == (kind == "messageStart"):
            raise AnswerUnreadable(f"A `{kind}` of the answer comes where none can be.")
        if kind == "messageStart":
            self._began = True
            return [Began("", "")]
        event = decode_or_none(_EVENT, frame.payload)
        if event is None:
            raise AnswerUnreadable(f"A `{kind}` of the answer is not what Bedrock's API promises.")
        if kind == "messageStop":
            self._ended = True
            without = [piece for block in sorted(self._silent) for piece in self._no_arguments(block)]
            return [*self._close(), *without, Ended(stop_of(event.stop_reason or ""))]
        if kind == "contentBlockStop":
            return [*self._close(), *self._no_arguments(event.content_block_index)]
        moved = self._close() if event.content_block_index != self._block else []
        self._block = event.content_block_index
        if kind == "contentBlockStart":
            return [*moved, *self._start(event.start or {})]
        return [*moved, *self._delta(event.delta or {})]

    def _start(self, start: Block) -> list[Piece]:
        if "toolUse" not in start:
            for kind in start:
                refuse_block(kind)
            return []
        call = tool_use_of(start["toolUse"])
        index = self._calls[self._block] = len(self._calls)
        self._silent.add(self._block)
        return [CallBegan(index, call.id, call.name)]

    def _delta(self, delta: Block) -> list[Piece]:
        for kind, raw in delta.items():
            if kind == "text":
                text = decode_or_none(_TEXT, raw)
                if text is None:
                    raise AnswerUnreadable("The `text` of the answer is no text.")
                return [TextPiece(text)] if text else []
            if kind == "toolUse":
                return self._arguments(raw)
            if kind == "reasoningContent":
                return self._reasoning(raw)
            refuse_block(kind)
        return []

    def _arguments(self, raw: msgspec.Raw) -> list[Piece]:
        delta = decode_or_none(_TOOL_USE_DELTA, raw)
        if delta is None or self._block not in self._calls:
            raise AnswerUnreadable("The input of a call is no text, or its call never began.")
        if not delta.input:
            return []
        self._silent.discard(self._block)
        return [CallPiece(self._calls[self._block], delta.input)]

    def _reasoning(self, raw: msgspec.Raw) -> list[Piece]:
        delta = decode_or_none(_REASONING_DELTA, raw)
        if delta is None:
            raise AnswerUnreadable("A `reasoningContent` of the answer is not what Bedrock's API promises.")
        self._signature += delta.signature or ""
        if delta.redacted_content:
            try:
                self._redacted += b64decode(delta.redacted_content, validate=True)
            except binascii.Error as error:
                raise AnswerUnreadable("A `redactedContent` of the answer is not base64.") from error
        return [ReasoningPiece(delta.text)] if delta.text else []

    def _no_arguments(self, block: int) -> list[Piece]:
        """Return the arguments of a call that ended without any."""
        if block not in self._silent:
            return []
        self._silent.discard(block)
        return [CallPiece(self._calls[block], "{}")]

    def _close(self) -> list[Piece]:
        """Return the reasoning that was held back until its block's end."""
        pieces: list[Piece] = []
        if self._signature:
            pieces.append(ReasoningPiece(signature=self._signature))
        if self._redacted:
            pieces.append(ReasoningPiece(redacted=b64encode(self._redacted).decode()))
        self._signature, self._redacted = "", b""
        return pieces


def _failure(frame: Frame) -> AnswerFailed:
    """Return what an exception or an error among the frames says."""
    headers = frame.headers
    name = headers.get(":exception-type") or headers.get(":error-code") or "an error"
    said = decode_or_none(_SAID, frame.payload)
    message = headers.get(":error-message") or (said.message if said is not None else "")
    return AnswerFailed(f"The provider ended its answer with an error: {name} {message}".strip())
