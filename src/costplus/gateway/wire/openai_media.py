"""OpenAI's images, transcriptions and speech: tokens where they are given.

Rule 1: images: the output is image tokens but for what the details call text.
Rule 2: transcriptions: the input's audio and text stand in its details; models billed by time give seconds,
and a part of a second counts as one.
Rule 3: speech: the output is audio. Without a stream it is bare audio, and nothing says what it used.
Rule 4: models that are billed by the picture send no usage: that is missing, not zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from costplus.core.usage import Usage, usage_of
from costplus.gateway.wire.base import EMPTY_READING, JsonReader, Reading, SseReader
from costplus.gateway.wire.counts import (
    COUNT_MAX,
    NULL,
    compact,
    decode_or_none,
    is_null,
    text_or_none,
)
from costplus.gateway.wire.openai_usage import RESPONSES, Names, inclusive_usage
from costplus.gateway.wire.sse import event_data

_AUDIO_NAMES = Names("input_tokens", "output_tokens", "input_token_details", "output_token_details")
_DONE = (".completed", ".done")

Block = Mapping[str, Any]
Convention = Callable[[Block], Usage | None]


class _Answer(msgspec.Struct, gc=False):
    type: Any = None
    model: Any = None
    text: Any = None
    delta: Any = None
    error: Any = None
    usage: msgspec.Raw = NULL


_ANSWER = msgspec.json.Decoder(_Answer)
_BLOCK = msgspec.json.Decoder(dict[str, Any])


def images_usage(block: Block) -> Usage | None:
    """Return the leaves of an images usage block."""
    usage = inclusive_usage(block, RESPONSES, has_output=True, calls={})
    return _output_as(usage, "output_image") if "output_tokens_details" not in block else usage


def speech_usage(block: Block) -> Usage | None:
    """Return the leaves of a speech usage block."""
    return _output_as(inclusive_usage(block, _AUDIO_NAMES, has_output=True, calls={}), "output_audio")


def transcription_usage(block: Block) -> Usage | None:
    """Return the leaves of a transcription's usage: tokens, or seconds of audio."""
    is_timed = block.get("type") == "duration" or ("seconds" in block and "total_tokens" not in block)
    if not is_timed:
        return inclusive_usage(block, _AUDIO_NAMES, has_output=True, calls={})
    seconds = block.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= COUNT_MAX:
        return None
    return usage_of({"audio_second": math.ceil(seconds)})


def _output_as(usage: Usage | None, leaf: str) -> Usage | None:
    if usage is None or "output" not in usage.quantities:
        return usage
    quantities = dict(usage.quantities)
    quantities[leaf] = quantities.get(leaf, 0) + quantities.pop("output")
    return Usage(quantities, usage.flags)


class _MediaJson(JsonReader):
    """Reads a JSON answer by the convention of its endpoint."""

    __slots__ = ()
    _convention: Convention

    def _read(self, body: bytes) -> Reading:
        answer = decode_or_none(_ANSWER, body)
        return EMPTY_READING if answer is None else _reading(answer, self._convention, complete=True)


class _MediaSse(SseReader):
    """Reads a stream by the convention of its endpoint; its last event counts."""

    __slots__ = ("_chars", "_error", "_last")
    _convention: Convention

    def __init__(self, *, strip_usage: bool = False) -> None:
        super().__init__(strip_usage=strip_usage)
        self._last = _Answer()
        self._chars = 0
        self._error = False

    def _see(self, raw: bytes) -> bool:
        event = decode_or_none(_ANSWER, event_data(raw))
        if event is None:
            return False
        self._error = self._error or event.type == "error" or bool(event.error)
        self._chars += len(event.delta) if isinstance(event.delta, str) else 0
        if not is_null(event.usage):
            self._last = event
        self._complete = self._complete or str(event.type).endswith(_DONE)
        return False

    def _reading(self) -> Reading:
        read = _reading(self._last, self._convention, complete=self._complete)
        return replace(read, output_chars=self._chars or read.output_chars, error=self._error)


class OpenAIImagesJson(_MediaJson):
    """Reads generated, edited or varied images."""

    __slots__ = ()
    _convention = staticmethod(images_usage)


class OpenAIImagesSse(_MediaSse):
    """Reads a stream of partial images."""

    __slots__ = ()
    _convention = staticmethod(images_usage)


class OpenAITranscriptionJson(_MediaJson):
    """Reads a transcription or translation in JSON, or as the bare text that was asked for."""

    __slots__ = ()
    _convention = staticmethod(transcription_usage)

    def _read(self, body: bytes) -> Reading:
        if body.lstrip()[:1] in (b"{", b"<", b""):
            return super()._read(body)
        return replace(EMPTY_READING, output_chars=len(body.decode("utf-8", "replace")), complete=True)


class OpenAITranscriptionSse(_MediaSse):
    """Reads a stream of transcribed text."""

    __slots__ = ()
    _convention = staticmethod(transcription_usage)


class OpenAISpeechJson(_MediaJson):
    """Reads bare audio, which says nothing of its usage, or a JSON refusal."""

    __slots__ = ()
    _convention = staticmethod(speech_usage)

    def _read(self, body: bytes) -> Reading:
        if body.lstrip()[:1] in (b"{", b"<", b""):
            return super()._read(body)
        return replace(EMPTY_READING, complete=True)


class OpenAISpeechSse(_MediaSse):
    """Reads a stream of speech."""

    __slots__ = ()
    _convention = staticmethod(speech_usage)


def _reading(answer: _Answer, convention: Convention, *, complete: bool) -> Reading:
    raw_usage = b"" if is_null(answer.usage) else compact(answer.usage)
    block = decode_or_none(_BLOCK, raw_usage) if raw_usage else None
    return replace(
        EMPTY_READING,
        usage=None if block is None else convention(block),
        model=text_or_none(answer.model),
        raw_usage=raw_usage,
        output_chars=len(answer.text) if isinstance(answer.text, str) else 0,
        complete=complete,
        error=bool(answer.error),
    )


def spoken_tokens(chars: int) -> int:
    """Return about how many tokens of audio so many characters of text are spoken with.

    About 15 characters a second, and a second of audio is about 20 tokens.
    """
    return -(-chars * 4 // 3)
