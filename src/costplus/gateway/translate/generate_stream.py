"""A stream of Gemini's `streamGenerateContent?alt=sse`, in pieces.

Rule 1: an error may come as an event, or as bare JSON between events.
Rule 2: a stream that breaks off before it said why it ended is an error, not an end.
"""

from __future__ import annotations

from costplus.gateway.translate.generate_reply import GenerateAnswer
from costplus.gateway.translate.reply import Piece
from costplus.gateway.wire.sse import SseSplitter, event_data


class GenerateReader:
    """Reads a stream, however its bytes are cut."""

    __slots__ = ("_answer", "_splitter")

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        self._answer = GenerateAnswer()

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return what `chunk` completes. Raises `AnswerFailed`, `AnswerUnreadable`."""
        pieces: list[Piece] = []
        for raw in self._splitter.feed(chunk):
            pieces.extend(self._see(raw))
        return pieces

    def flush(self) -> list[Piece]:
        """Return the last pieces and why it ended. Raises `AnswerFailed`, `AnswerUnreadable`."""
        return [*self._see(self._splitter.flush()), self._answer.end()]

    def _see(self, raw: bytes) -> list[Piece]:
        data = event_data(raw) if raw else b""
        if not data and raw.lstrip().startswith(b"{"):
            data = raw
        return self._answer.see(data) if data else []
