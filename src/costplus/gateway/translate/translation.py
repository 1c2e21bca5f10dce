"""One call between two dialects: its request on the way there, its answer on the way back.

Rule 1: a stream ends once, and only after its usage is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from costplus.core.errors import InvalidRequest
from costplus.core.usage import Usage
from costplus.gateway.translate.conversation import Conversation, Reasoning, Text
from costplus.gateway.translate.registry import CALLERS, TARGETS, Caller, Target
from costplus.gateway.translate.reply import (
    Began,
    CallBegan,
    CallPiece,
    Ended,
    Piece,
    ReasoningPiece,
    Reply,
    TextPiece,
)

_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class BodyTooDeep(InvalidRequest):
    """The request body is nested deeper than any request is."""

    code = "body_too_deep"


class TranslatedStream:
    """A provider's stream on its way into the caller's dialect.

    An answer that names itself no better has the id of the call and the model that was asked for.
    """

    __slots__ = ("_conversation", "_ended", "_reader", "_writer")

    def __init__(self, conversation: Conversation, caller: Caller, target: Target) -> None:
        self._conversation = conversation
        self._reader = target.reader()
        self._writer = caller.writer(conversation)
        self._ended = False

    def feed(self, chunk: bytes) -> bytes:
        """Return what the provider's next bytes mean. Raises `AnswerFailed`, `AnswerUnreadable`."""
        return b"" if self._ended else self._written(self._reader.feed(chunk))

    def end(self, usage: Usage | None) -> bytes:
        """Return the last bytes of the stream, once."""
        if self._ended:
            return b""
        rest = self._written(self._reader.flush())
        self._ended = True
        return rest + self._writer.end(usage)

    def _written(self, pieces: list[Piece]) -> bytes:
        if pieces and isinstance(pieces[0], Began):
            began = pieces[0]
            id, model = began.id or self._conversation.answer_id, began.model or self._conversation.model
            pieces[0] = Began(id, model)
        return self._writer.write(pieces)


@dataclass(frozen=True, slots=True)
class Translation:
    """How one call is translated."""

    conversation: Conversation
    caller: Caller
    target: Target

    def request(self, *, model: str, max_tokens: int) -> bytes:
        """Return the body in the provider's dialect. Raises `NotExpressible`."""
        return msgspec.json.encode(
            self.target.write_request(self.conversation, model=model, max_tokens=max_tokens)
        )

    def read(self, body: bytes) -> Reply:
        """Return what a whole answer says. Raises `AnswerUnreadable`."""
        reply, asked = self.target.read_reply(body), self.conversation
        id, model = reply.id or asked.answer_id, reply.model or asked.model
        return replace(reply, id=id, model=model, at_s=asked.at_s)

    def write(self, reply: Reply, usage: Usage | None) -> bytes:
        """Return a whole answer in the caller's dialect: a stream where the caller asked for one."""
        if not self.conversation.stream:
            return self.caller.write_reply(reply, usage)
        writer = self.caller.writer(self.conversation)
        return writer.write(list(_pieces(reply))) + writer.end(usage)

    def stream(self) -> TranslatedStream:
        """Return what a stream goes through."""
        return TranslatedStream(self.conversation, self.caller, self.target)


def translation(
    body: bytes, *, caller_wire: str, target_wire: str, answer_id: str, at: datetime
) -> Translation:
    """Return how a request body is translated. Raises `InvalidRequest` where it makes no sense.

    `answer_id` is for providers that give their answers no id; `at` is when the request was made.
    """
    caller, target = CALLERS[caller_wire], TARGETS[target_wire]
    try:
        fields = _ANY.decode(body)
    except RecursionError as error:
        raise BodyTooDeep("The request body is nested too deep.") from error
    conversation = replace(caller.read_request(fields), answer_id=answer_id, at_s=int(at.timestamp()))
    return Translation(conversation, caller, target)


def _pieces(reply: Reply) -> Iterator[Piece]:
    yield Began(reply.id, reply.model)
    calls = 0
    for part in reply.parts:
        if isinstance(part, Text):
            yield TextPiece(part.text)
        elif isinstance(part, Reasoning):
            yield ReasoningPiece(part.text, part.signature, part.redacted)
        else:
            yield CallBegan(calls, part.id, part.name, part.signature)
            yield CallPiece(calls, part.arguments)
            calls += 1
    yield Ended(reply.stop, reply.stop_sequence)
