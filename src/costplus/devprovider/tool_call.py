"""Tool calls that a message asks for: `[[tool=NAME]]`, `[[tool=NAME {"city":"Oslo"}]]`.

Rule 1: pure.   Rule 2: what is not a name and a JSON object is text, as with every directive.
Rule 3: a stream cuts the arguments every few characters, inside keys, escapes and numbers too.
"""

from __future__ import annotations

import json
import re

import msgspec

_OPENING = re.compile(r"\[\[tool=([A-Za-z0-9_-]{1,64})(?=[ \]])")
_OBJECT = json.JSONDecoder()
_PIECE_CHARS = 5


class ToolCall(msgspec.Struct, frozen=True):
    """One call of a tool; `arguments` is a JSON object without white space."""

    name: str
    arguments: bytes = b"{}"

    @property
    def name_json(self) -> bytes:
        """Return the name as a JSON string."""
        return msgspec.json.encode(self.name)

    @property
    def arguments_json(self) -> bytes:
        """Return the arguments as a JSON string, which is how OpenAI writes them."""
        return msgspec.json.encode(self.arguments.decode())

    def pieces_json(self) -> list[bytes]:
        """Return the arguments as a stream brings them, each piece a JSON string."""
        text = self.arguments.decode()
        cuts = range(0, len(text), _PIECE_CHARS)
        return [msgspec.json.encode(text[start : start + _PIECE_CHARS]) for start in cuts]


def tool_calls_in(text: str) -> tuple[ToolCall, ...]:
    """Return the calls that `text` asks for, in its order."""
    found: list[ToolCall] = []
    for opening in _OPENING.finditer(text):
        arguments, end = b"{}", opening.end()
        if text[end] == " ":
            try:
                value, stop = _OBJECT.raw_decode(text, end + 1)
                raw = text[end + 1 : stop].encode()
                arguments, end = msgspec.json.format(raw, indent=-1), stop
            except (ValueError, RecursionError):
                continue
            if not isinstance(value, dict):
                continue
        if text.startswith("]]", end):
            found.append(ToolCall(opening.group(1), arguments))
    return tuple(found)
