"""Anthropic's event stream, read.

Rule 1: a call's arguments are the pieces as they came; a call that got none has those its block began with.
Rule 2: events and deltas unknown here are passed over, as Anthropic asks of clients; blocks are not, since
their content would be lost.
Rule 3: what came before a fault is returned first; the fault is raised when the reader is asked again.
Rule 4: a stream that ends without a word of why is a fault.
"""

from __future__ import annotations

import msgspec

from costplus.gateway.translate.messages_reply import ContentBlock, stop_of, unreadable_block
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
from costplus.gateway.wire.sse import SseSplitter, event_data


class _Message(msgspec.Struct, gc=False):
    id: str
    model: str


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Error(msgspec.Struct, gc=False):
    type: str = ""
    message: str = ""


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: ContentBlock | None = None
    delta: _Delta | None = None
    error: _Error | None = None


_EVENT = msgspec.json.Decoder(_Event)


class MessagesReader:
    """Reads a stream of Anthropic's; the bytes may be cut anywhere."""

    __slots__ = ("_began", "_calls", "_ended", "_fault", "_splitter", "_unsaid")

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._began = False
        self._ended = False
        self._fault: AnswerFailed | AnswerUnreadable | None = None  # Which is yet to be raised.
        self._calls: dict[int, int] = {}  # Which call of the answer a block is.
        self._unsaid: dict[int, str] = {}  # What a call's block began with, until a piece has come.

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return what `chunk` completes. Raises `AnswerFailed`, `AnswerUnreadable`."""
        if self._fault is not None:
            raise self._fault
        pieces: list[Piece] = []
        for raw in self._splitter.feed(chunk):
            try:
                pieces += self._read(raw)
            except (AnswerFailed, AnswerUnreadable) as fault:
                if not pieces:
                    raise
                self._fault = fault
                break
        return pieces

    def flush(self) -> list[Piece]:
        """Return what an unfinished last event says. Raises as `feed`, and if nothing said why it ends."""
        if self._fault is not None:
            raise self._fault
        pieces = self._read(self._splitter.flush())
        if not self._ended:
            raise AnswerUnreadable("The provider's stream ended before it said why.")
        return pieces

    def _read(self, raw: bytes) -> list[Piece]:
        text = event_data(raw) if raw else b""
        if not text:
            return []
        try:
            event = _EVENT.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AnswerUnreadable(
                "The provider's stream holds an event that is none of Anthropic's."
            ) from error
        if event.type == "content_block_delta" and event.delta is not None:
            return self._continued(event.index, event.delta)
        if event.type == "content_block_start" and event.content_block is not None:
            return self._begun(event.index, event.content_block)
        if event.type == "content_block_stop":
            return self._stopped(event.index)
        return self._of_message(event)

    def _of_message(self, event: _Event) -> list[Piece]:
        """Return what an event says of the whole answer."""
        if event.type == "error":
            error = event.error or _Error()
            raise AnswerFailed(
                f"The provider ended its stream: {error.message or error.type or 'no reason'}."
            )
        if event.type == "message_start" and event.message is not None and not self._began:
            self._began = True
            return [Began(event.message.id, event.message.model)]
        reason = (
            event.delta.stop_reason if event.type == "message_delta" and event.delta is not None else None
        )
        if reason is None or self._ended:
            return []
        self._ended = True
        assert event.delta is not None  # It had the reason.
        return [Ended(stop_of(reason), event.delta.stop_sequence or "")]

    def _begun(self, index: int, block: ContentBlock) -> list[Piece]:
        if block.type == "text":
            return [TextPiece(block.text)] if block.text else []
        if block.type == "thinking":
            said = block.thinking or block.signature
            return [ReasoningPiece(block.thinking, block.signature)] if said else []
        if block.type == "redacted_thinking":
            return [ReasoningPiece(redacted=block.data)]
        if block.type != "tool_use":
            raise unreadable_block(block.type)
        call = self._calls[index] = len(self._calls)
        self._unsaid[index] = bytes(block.input).decode()
        return [CallBegan(call, block.id, block.name)]

    def _continued(self, index: int, delta: _Delta) -> list[Piece]:
        if delta.text:
            return [TextPiece(delta.text)]
        if delta.thinking or delta.signature:
            return [ReasoningPiece(delta.thinking, delta.signature)]
        if not delta.partial_json:
            return []
        if index not in self._calls:
            raise AnswerUnreadable("The provider's stream continues a call that has not begun.")
        self._unsaid.pop(index, None)
        return [CallPiece(self._calls[index], delta.partial_json)]

    def _stopped(self, index: int) -> list[Piece]:
        unsaid = self._unsaid.pop(index, None)
        return [] if unsaid is None else [CallPiece(self._calls[index], unsaid)]
