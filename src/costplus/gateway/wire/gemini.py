"""Google's generateContent on Gemini and Vertex: an object, a stream of events, or an array of objects.

Rule 1: a stream's counts are cumulative; the last block wins. One that broke off before a finish reason has
not counted all its output, and is flagged `output_incomplete`.
Rule 2: the array of a stream without `alt=sse` is read element by element, as its events would be.
Rule 3: Vertex names its tier in `trafficType`, Gemini in `serviceTier`; either is kept as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.anthropic import OUTPUT_INCOMPLETE
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, SseReader
from costplus.gateway.wire.counts import (
    NULL,
    UNREADABLE,
    block_in,
    compact,
    decode_or_none,
    is_null,
    text_or_none,
    total_in,
)
from costplus.gateway.wire.gemini_usage import Grounding, gemini_usage
from costplus.gateway.wire.json_objects import ObjectSplitter
from costplus.gateway.wire.sse import event_data


class _Chunk(msgspec.Struct, gc=False, rename="camel"):
    """A whole answer or a part of one."""

    candidates: Any = None
    usage_metadata: msgspec.Raw = NULL
    model_version: Any = None
    response_id: Any = None
    prompt_feedback: Any = None
    error: Any = None


class _Statistics(msgspec.Struct, gc=False):
    statistics: msgspec.Raw = NULL


class _Prediction(msgspec.Struct, gc=False):
    embeddings: _Statistics | None = None


class _Embeddings(msgspec.Struct, gc=False, rename="camel"):
    usage_metadata: msgspec.Raw = NULL
    error: Any = None


class _Predictions(msgspec.Struct, gc=False):
    predictions: list[_Prediction] | None = None
    error: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_EMBEDDINGS = msgspec.json.Decoder(_Embeddings)
_PREDICTIONS = msgspec.json.Decoder(_Predictions)
_BLOCK = msgspec.json.Decoder(dict[str, Any])


class _Answer:
    """Collects an answer from its parts, however many there are."""

    __slots__ = (
        "_blocked",
        "_chars",
        "_finished",
        "_grounding",
        "_id",
        "_model",
        "_raw_usage",
        "is_error",
        "seen",
    )

    def __init__(self) -> None:
        self._grounding = Grounding()
        self._finished: dict[object, bool] = {}  # Per candidate: whether it gave its finish reason.
        self._blocked = False  # The prompt was refused: there will be no candidate.
        self._raw_usage = b""
        self._model: str | None = None
        self._id: str | None = None
        self._chars = 0
        self.is_error = False
        self.seen = 0  # Parts read.

    @property
    def finished(self) -> bool:
        """Whether every candidate seen has given its finish reason and the counts are there."""
        ended = self._blocked or (bool(self._finished) and all(self._finished.values()))
        return ended and bool(self._raw_usage)

    def see(self, data: bytes) -> None:
        """Take over one part."""
        chunk = decode_or_none(_CHUNK, data) if data else None
        if chunk is None:
            return
        self.seen += 1
        self._model = text_or_none(chunk.model_version) or self._model
        self._id = text_or_none(chunk.response_id) or self._id
        self.is_error = self.is_error or bool(chunk.error)
        feedback = chunk.prompt_feedback
        self._blocked = self._blocked or (isinstance(feedback, dict) and "blockReason" in feedback)
        if not is_null(chunk.usage_metadata):
            self._raw_usage = compact(chunk.usage_metadata)
        for candidate in chunk.candidates if isinstance(chunk.candidates, list) else ():
            if isinstance(candidate, dict):
                index = str(candidate.get("index", 0))
                self._finished[index] = self._finished.get(index, False) or bool(
                    candidate.get("finishReason")
                )
                self._grounding.see(candidate)
                self._chars += _generated_chars(candidate)

    def reading(self, *, complete: bool) -> Reading:
        """Return what was read; `complete` where nothing of the answer is missing."""
        block = decode_or_none(_BLOCK, self._raw_usage) if self._raw_usage else None
        calls = {"web_search": self._grounding.searches(self._model)}
        usage = None if block is None else gemini_usage(block, calls=calls)
        faults = list(self._grounding.faults)
        if not complete:
            faults.append(OUTPUT_INCOMPLETE)
        if usage is not None and faults:
            usage = Usage(usage.quantities, (*usage.flags, *faults))
        block = block or {}
        return Reading(
            usage=usage,
            model=self._model,
            service_tier=text_or_none(block.get("trafficType")) or text_or_none(block.get("serviceTier")),
            raw_usage=self._raw_usage,
            response_id=self._id,
            output_chars=self._chars,
            complete=complete,
            error=self.is_error,
        )


class GeminiGenerateJson:
    """Reads an answer object, or an array of the parts of one."""

    __slots__ = ("_answer", "_objects", "_splitter")

    def __init__(self) -> None:
        self._splitter = ObjectSplitter()
        self._answer = _Answer()
        self._objects = 0

    @property
    def done(self) -> bool:
        return False

    def feed(self, chunk: bytes) -> bytes:
        for part in self._splitter.feed(chunk):
            self._objects += 1
            self._answer.see(part)
        return chunk

    def flush(self) -> bytes:
        return b""

    def finish(self) -> Reading:
        is_json = self._answer.seen == self._objects > 0
        return self._answer.reading(complete=self._splitter.complete and is_json)


class GeminiGenerateSse(SseReader):
    """Reads a stream of `alt=sse` events."""

    __slots__ = ("_answer",)

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._answer = _Answer()

    def _see(self, raw: bytes) -> bool:
        self._answer.see(event_data(raw))
        self._complete = self._answer.finished
        return False

    def _reading(self) -> Reading:
        return self._answer.reading(complete=self._complete)


class GeminiEmbeddingsJson(JsonReader):
    """Reads embedContent and batchEmbedContents without touching the vectors."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        answer = decode_or_none(_EMBEDDINGS, body)
        if answer is None:
            return EMPTY_READING
        raw_usage = b"" if is_null(answer.usage_metadata) else compact(answer.usage_metadata)
        block = decode_or_none(_BLOCK, raw_usage) if raw_usage else None
        usage = None if block is None else gemini_usage(block, has_output=False)
        return replace(
            EMPTY_READING, usage=usage, raw_usage=raw_usage, complete=True, error=bool(answer.error)
        )


class VertexPredictJson(JsonReader):
    """Reads the embeddings of `predict`, which counts the tokens of each text."""

    __slots__ = ()

    def _read(self, body: bytes) -> Reading:
        answer = decode_or_none(_PREDICTIONS, body)
        if answer is None:
            return EMPTY_READING
        counted = [
            part.embeddings.statistics
            for part in answer.predictions or ()
            if part.embeddings is not None and not is_null(part.embeddings.statistics)
        ]
        read = replace(EMPTY_READING, complete=True, error=bool(answer.error))
        if not counted:
            return read
        raw_usage = b"[" + b",".join(compact(statistics) for statistics in counted) + b"]"
        blocks = [decode_or_none(_BLOCK, statistics) or {} for statistics in counted]
        tokens = [total_in(block, "token_count") for block in blocks]
        if None in tokens or UNREADABLE in tokens:
            return replace(read, raw_usage=raw_usage)
        return replace(read, usage=usage_of({"input": sum(n or 0 for n in tokens)}), raw_usage=raw_usage)


def _generated_chars(candidate: dict[str, Any]) -> int:
    """Return the length of the texts and tool arguments of a candidate."""
    parts = block_in(candidate, "content").get("parts")
    chars = 0
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        text, code = part.get("text"), block_in(part, "executableCode").get("code")
        chars += len(text) if isinstance(text, str) else 0
        chars += len(code) if isinstance(code, str) else 0
        arguments = block_in(part, "functionCall").get("args")
        chars += len(msgspec.json.encode(arguments)) if arguments else 0
    return chars
