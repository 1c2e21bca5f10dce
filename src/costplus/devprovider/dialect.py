"""Dialect: what the server needs to know of one provider's wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from costplus.devprovider.ask import Ask, Counts
from costplus.devprovider.captures import EVENT_STREAM
from costplus.devprovider.tool_call import ToolCall


class Reply(msgspec.Struct, frozen=True):
    """Everything an answer is built from; `serial` is the changing part of its ids."""

    ask: Ask
    counts: Counts
    serial: bytes
    created_s: int
    with_usage: bool = True
    calls: tuple[ToolCall, ...] = ()
    thoughts: int = 0  # Reasoning tokens whose text is shown.
    says: bool = True  # Whether there is text: a tool call may stand alone.

    @property
    def words(self) -> int:
        """How many tokens of text the answer shows."""
        return self.counts.output if self.says else 0

    @property
    def reports_usage(self) -> bool:
        """Whether a complete answer tells its client the counts."""
        return self.with_usage and (self.ask.usage_in_stream or not self.ask.stream)


def _no_headers(status: int) -> list[tuple[str, str]]:
    return []


def no_events(reply: Reply) -> tuple[list[bytes], int]:
    """Stand for the events of what never streams."""
    raise AssertionError("what is asked for here never streams")


@dataclass(frozen=True, slots=True)
class Dialect:
    """One endpoint of one provider.

    `events` returns the stream in pieces of the wire, and how many of them form its terminal part: without
    those the client has not seen the end, and no final usage.
    """

    name: str
    request_id_header: str
    writes: frozenset[str]  # The leaves of cache writes that this wire can report.
    read: Callable[[bytes, str, str], Ask]  # (body, path, query)
    whole: Callable[[Reply], bytes]
    events: Callable[[Reply], tuple[list[bytes], int]]
    fault: Callable[[int, str, bytes], bytes]  # (status, message, serial)
    stream_type: str = EVENT_STREAM
    fault_headers: Callable[[int], list[tuple[str, str]]] = _no_headers
    free: bool = False  # Answers use no tokens: they count some.
