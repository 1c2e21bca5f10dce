"""Objects of a messages body, read field by field.

Rule 1: what no reader asked for by its name is refused by its name (`Fields.done`).
Rule 2: null is absent, and says nothing that could be refused.
Rule 3: a field stands where Anthropic's own errors would say: `messages.0.content.1.source.data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from costplus.core.errors import InvalidRequest
from costplus.gateway.translate.conversation import Ttl, refuse

ELSEWHERE = "the API of the model's provider"  # While a request is read, it is not known which.
T = TypeVar("T")
_TTLS: Mapping[str, Ttl] = {"5m": "5m", "1h": "1h"}


class MessagesFieldInvalid(InvalidRequest):
    """A field of a messages body that is to be translated is missing or not what it must be."""

    code = "messages_field_invalid"


class Fields:
    """One object of the body, and where it stands there."""

    __slots__ = ("_left", "at")

    def __init__(self, value: object, at: str = "") -> None:
        if not isinstance(value, Mapping):
            raise invalid(at, "an object")
        self._left = {name: inner for name, inner in value.items() if inner is not None}
        self.at = at

    def path(self, name: str) -> str:
        """Return where the field `name` stands in the body."""
        return f"{self.at}.{name}" if self.at else name

    def take(self, name: str) -> Any:
        """Return the field's value as it is, None where there is none."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str:
        """Return the text that must be there."""
        return self._of(name, str, "a string")

    def text_or(self, name: str, otherwise: str) -> str:
        """Return the text, or `otherwise` where there is none."""
        return self._of(name, str, "a string") if name in self._left else otherwise

    def text_or_none(self, name: str) -> str | None:
        return self._of(name, str, "a string") if name in self._left else None

    def word(self, name: str, *words: str) -> str:
        """Return the text that must be one of `words`."""
        value = self.text(name)
        if value not in words:
            raise invalid(self.path(name), "one of " + ", ".join(f"`{word}`" for word in words))
        return value

    def flag_or_none(self, name: str) -> bool | None:
        return self._of(name, bool, "true or false") if name in self._left else None

    def count_or_none(self, name: str) -> int | None:
        """Return the whole number of zero or more, None where there is none."""
        value = self.take(name)
        if type(value) is float and value.is_integer():
            value = int(value)
        if value is not None and (type(value) is not int or value < 0):
            raise invalid(self.path(name), "a whole number of zero or more")
        return value

    def number_or_none(self, name: str) -> Any:
        """Return the number exactly as it was sent, None where there is none."""
        value = self.take(name)
        if value is not None and type(value) not in (int, float):
            raise invalid(self.path(name), "a number")
        return value

    def fields_or_none(self, name: str) -> Fields | None:
        """Return the object at `name`, None where there is none."""
        return Fields(self.take(name), self.path(name)) if name in self._left else None

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return the object that must be there, whatever is in it."""
        return self._of(name, dict, "an object")

    def items(self, name: str, what: str = "a list") -> list[tuple[str, Any]]:
        """Return the elements of a list with where each of them stands; none where there is no list."""
        found = self._of(name, list, what) if name in self._left else []
        return [(f"{self.path(name)}.{place}", item) for place, item in enumerate(found)]

    def cache_mark(self) -> Ttl | None:
        """Return the lifetime that `cache_control` asks for, None where nothing is to be cached."""
        mark = self.fields_or_none("cache_control")
        if mark is None:
            return None
        mark.word("type", "ephemeral")
        ttl = _TTLS[mark.word("ttl", *_TTLS)] if mark.has("ttl") else ""
        mark.done()
        return ttl

    def has(self, name: str) -> bool:
        return name in self._left

    def only(self, name: str, *values: object) -> None:
        """Refuse the field unless it has one of `values`, which say what holds without it."""
        if self._left.pop(name, values[0]) not in values:
            refuse(self.path(name), target=ELSEWHERE)

    def done(self) -> None:
        """Refuse the first field that nobody asked for."""
        for name in self._left:
            refuse(self.path(name), target=ELSEWHERE)

    def _of(self, name: str, kind: type[T], what: str) -> T:
        value = self.take(name)
        if not isinstance(value, kind):
            raise invalid(self.path(name), what)
        return value


def invalid(at: str, what: str) -> MessagesFieldInvalid:
    """Return what refuses the field at `at`, which must be `what`."""
    return MessagesFieldInvalid(f"`{at or 'body'}` must be {what}.", param=at or None)
