"""What an answer says, whatever the dialect: whole (`Reply`), or in `Piece`s of a stream.

Rule 1: usage is not here: the wire's reader counts the provider's own bytes, and a writer is given it last.
Rule 2: the blocks of an answer come one after the other: a piece belongs to the block begun last, but for
calls, which say by `index` which one goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from costplus.core.errors import Unavailable
from costplus.core.usage import Usage
from costplus.gateway.translate.conversation import Reasoning, Text, ToolCall

# Why a model stopped; `pause` is Anthropic's pause_turn, `context` a full context window.
Stop = Literal["end", "length", "tools", "stop_sequence", "refusal", "pause", "context"]


class AnswerUnreadable(Unavailable):
    """The provider's answer is not what its API promises, so that it cannot be translated."""

    code = "provider_answer_invalid"


class AnswerFailed(Unavailable):
    """The provider ended its own stream with an error."""

    code = "provider_stream_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer."""

    id: str
    model: str
    parts: tuple[Text | Reasoning | ToolCall, ...]
    stop: Stop
    stop_sequence: str = ""  # The one that stopped it, where the provider says which.
    at_s: int = 0  # When it was asked for, in seconds since 1970; no reader knows it.


@dataclass(frozen=True, slots=True)
class Began:
    """The answer begins; once, before all else."""

    id: str
    model: str


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """More thinking, or the signature that ends a block of it, or a whole redacted block."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


@dataclass(frozen=True, slots=True)
class CallBegan:
    """A call begins; `index` counts the answer's calls from 0."""

    index: int
    id: str
    name: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class CallPiece:
    """More of a call's arguments: JSON text, cut anywhere."""

    index: int
    arguments: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The model has stopped; once, after all else."""

    stop: Stop
    stop_sequence: str = ""


Piece = Began | TextPiece | ReasoningPiece | CallBegan | CallPiece | Ended


class ReplyReader(Protocol):
    """Reads a provider's stream; the bytes may be cut anywhere."""

    def feed(self, chunk: bytes) -> list[Piece]:
        """Return what `chunk` completes. Raises `AnswerFailed`, `AnswerUnreadable`."""
        ...

    def flush(self) -> list[Piece]:
        """The provider has ended: return what an unfinished last event says."""
        ...


class ReplyWriter(Protocol):
    """Writes a stream in the caller's dialect."""

    def write(self, pieces: Sequence[Piece]) -> bytes:
        """Return the bytes of the pieces; b"" where they must wait for what follows."""
        ...

    def end(self, usage: Usage | None) -> bytes:
        """Return the last bytes: why it stopped, what was used (None: not known), and the end."""
        ...
