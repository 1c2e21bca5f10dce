"""Objects out of JSON text in arbitrary byte pieces: one object, or the elements of one array.

Rule 1: where an object ends depends on the bytes alone, never on how they were cut.
Rule 2: brackets are balanced, not validated: whoever decodes an object finds out whether it is JSON.
"""

from __future__ import annotations

import re

_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')
_OPENING = (0x7B, 0x5B)  # { and [
_QUOTE, _ARRAY, _BACKSLASH = 0x22, 0x5B, 0x5C


class ObjectSplitter:
    """Cuts the objects of a JSON body; an array around them may arrive element by element."""

    __slots__ = ("_base", "_depth", "_escaped", "_held", "_in_string", "complete")

    def __init__(self) -> None:
        self._held = bytearray()  # The object under way; empty between objects.
        self._base: int | None = None  # How deep the objects lie: 1 inside of an array.
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.complete = False  # The outermost bracket is closed.

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the objects that `chunk` completes, in order."""
        objects: list[bytes] = []
        at = start = 0
        while not self.complete:
            if self._in_string:
                at = self._after_string_part(chunk, at)
                if at < 0:
                    break
                continue
            found = _STRUCTURE.search(chunk, at)
            if found is None:
                break
            at = found.end()
            byte = chunk[found.start()]
            if byte == _QUOTE:
                self._in_string = True
            elif byte in _OPENING:
                start = self._open(byte, found.start(), start)
            else:
                self._depth -= 1
                if self._depth == self._base:
                    objects.append(bytes(self._held) + chunk[start:at])
                    self._held.clear()
                self.complete = self._depth <= 0
        if self._base is not None and self._depth > self._base and not self.complete:
            self._held += chunk[start:]
        return objects

    def _open(self, byte: int, position: int, start: int) -> int:
        """Go one bracket deeper; return where in this chunk the object under way begins."""
        if self._base is None:
            self._base = 1 if byte == _ARRAY else 0
        self._depth += 1
        return position if self._depth == self._base + 1 else start

    def _after_string_part(self, chunk: bytes, at: int) -> int:
        """Return where to go on after the next quote or escape; -1 where the chunk ends before."""
        if self._escaped:
            if at >= len(chunk):
                return -1
            self._escaped = False
            return at + 1
        found = _STRING_END.search(chunk, at)
        if found is None:
            return -1
        if chunk[found.start()] == _BACKSLASH:
            self._escaped = True
        else:
            self._in_string = False
        return found.end()
