"""Typed reading of a request's parameters, the same for forms, queries and JSON.

Rule 1: whatever was sent and not read is refused by name (`expand` apart).
Rule 2: an empty text unsets; an absent parameter leaves things as they are.
Rule 3: an error names the parameter as the caller wrote it: `amount[monetary][value]`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from costplus.core.errors import InvalidRequest
from costplus.core.money import parse_decimal

TEXT_MAX = 5000
METADATA_KEYS_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX = 50, 40, 500
INTEGER_MAX = 2**53  # What JSON readers of every language keep exact.
_INTEGER = re.compile(r"-?\d{1,16}")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")

_BOUNDS: Mapping[str, Callable[[datetime, datetime], bool]] = {
    "gt": lambda at, bound: at.replace(microsecond=0) > bound,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": lambda at, bound: at.replace(microsecond=0) <= bound,
}

C = TypeVar("C", bound=str)


class UnknownParameter(InvalidRequest):
    """A parameter that the endpoint does not have."""

    code = "parameter_unknown"
    remedy = "Leave it out, or check its spelling."


class MissingParameter(InvalidRequest):
    """A required parameter is absent or empty."""

    code = "parameter_missing"


class ParametersExclude(InvalidRequest):
    """Two parameters that cannot be given together."""

    code = "parameters_exclusive"


class InvalidShape(InvalidRequest):
    """A single value where several belong, or the other way round."""

    code = "parameter_invalid_shape"


class InvalidText(InvalidRequest):
    """Text that is too long or of a wrong form."""

    code = "parameter_invalid_string"


class InvalidInteger(InvalidRequest):
    """Not a whole number, or outside its bounds."""

    code = "parameter_invalid_integer"


class InvalidBoolean(InvalidRequest):
    """Neither true nor false."""

    code = "parameter_invalid_boolean"


class InvalidChoice(InvalidRequest):
    """None of the values that are allowed."""

    code = "parameter_invalid_choice"


class InvalidTime(InvalidRequest):
    """Neither Unix seconds nor an RFC 3339 instant."""

    code = "parameter_invalid_time"


class InvalidMetadata(InvalidRequest):
    """Metadata beyond its limits."""

    code = "parameter_invalid_metadata"
    remedy = (
        f"At most {METADATA_KEYS_MAX} keys of {METADATA_KEY_MAX} characters, "
        f"values of {METADATA_VALUE_MAX} characters."
    )


def instant_of(value: str, *, param: str) -> datetime:
    """Return the aware instant that Unix seconds or an RFC 3339 text name."""
    at: datetime | None
    try:
        if _INTEGER.fullmatch(value):
            return datetime.fromtimestamp(int(value), UTC)
        at = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError):
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidTime(
            f"Invalid time: '{value}'.",
            param=param,
            remedy="Give Unix seconds, or RFC 3339 with a time zone such as 2026-11-23T14:35:17Z.",
        )
    return at.astimezone(UTC)


def day_or_instant(value: str, *, param: str) -> datetime:
    """Return the instant that a day (`2026-11-23`: its start in UTC) or an instant's text names."""
    if _DAY.fullmatch(value):
        value = f"{value}T00:00:00Z"
    return instant_of(value, param=param)


class Params:
    """One level of parameters; levels below it share its record of what was read."""

    def __init__(self, values: Mapping[str, Any], *, path: str = "", read: set[str] | None = None) -> None:
        self._values = values
        self._path = path
        self._read = {"expand"} if read is None else read

    def name_of(self, name: str) -> str:
        """Return the parameter's full name, as a caller writes it."""
        return f"{self._path}[{name}]" if self._path else name

    def __contains__(self, name: str) -> bool:
        """Whether the parameter was sent, even empty."""
        return name in self._values

    def keys(self) -> list[str]:
        """Return the names at this level as they were sent."""
        return list(self._values)

    def missing(self, name: str) -> MissingParameter:
        """Return the error that says that `name` is required."""
        param = self.name_of(name)
        return MissingParameter(f"Missing required param: {param}.", param=param)

    def text(self, name: str, *, longest: int = TEXT_MAX) -> str | None:
        """Return the text, or None where it is absent or empty."""
        self._read.add(self.name_of(name))
        value = self._values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int):
            param = self.name_of(name)
            raise InvalidShape(f"{param} must be a single value.", param=param, remedy="Send one text.")
        text = str(value)
        if "\x00" in text:
            param = self.name_of(name)
            raise InvalidText(f"{param} holds a NUL character.", param=param, remedy="Leave it out.")
        if len(text) > longest:
            param = self.name_of(name)
            raise InvalidText(
                f"{param} has {len(text)} characters.", param=param, remedy=f"At most {longest} are kept."
            )
        return text

    def required_text(self, name: str, *, longest: int = TEXT_MAX) -> str:
        """Return the text, or raise `MissingParameter`."""
        value = self.text(name, longest=longest)
        if value is None:
            raise self.missing(name)
        return value

    def integer(self, name: str, *, least: int = 0, most: int = INTEGER_MAX) -> int | None:
        """Return the whole number within its bounds, or None where it is absent or empty."""
        text = self.text(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            param = self.name_of(name)
            raise InvalidInteger(
                f"Invalid integer: {text}.",
                param=param,
                remedy=f"Give a whole number from {least} to {most}.",
            )
        return int(text)

    def required_integer(self, name: str, *, least: int = 0, most: int = INTEGER_MAX) -> int:
        """Return the whole number, or raise `MissingParameter`."""
        value = self.integer(name, least=least, most=most)
        if value is None:
            raise self.missing(name)
        return value

    def decimal(self, name: str) -> Decimal | None:
        """Return the exact decimal, or None where it is absent or empty."""
        text = self.text(name, longest=40)
        return None if text is None else parse_decimal(text, param=self.name_of(name))

    def flag(self, name: str) -> bool | None:
        """Return the truth value, or None where it is absent or empty."""
        text = self.text(name)
        if text is None:
            return None
        if text not in ("true", "false"):
            param = self.name_of(name)
            raise InvalidBoolean(f"Invalid boolean: {text}.", param=param, remedy="Give true or false.")
        return text == "true"

    def choice(self, name: str, options: Sequence[C]) -> C | None:
        """Return which of `options` was given, or None where it is absent or empty."""
        text = self.text(name)
        if text is None:
            return None
        for option in options:
            if option == text:
                return option
        param = self.name_of(name)
        raise InvalidChoice(
            f"Invalid {param}: '{text}'.", param=param, remedy=f"Must be one of {', '.join(options)}."
        )

    def required_choice(self, name: str, options: Sequence[C]) -> C:
        """Return which of `options` was given, or raise `MissingParameter`."""
        value = self.choice(name, options)
        if value is None:
            raise self.missing(name)
        return value

    def time(self, name: str) -> datetime | None:
        """Return the instant, or None where it is absent or empty."""
        text = self.text(name, longest=40)
        return None if text is None else instant_of(text, param=self.name_of(name))

    def required_time(self, name: str) -> datetime:
        """Return the instant, or raise `MissingParameter`."""
        value = self.time(name)
        if value is None:
            raise self.missing(name)
        return value

    def span(self, name: str) -> Callable[[datetime], bool]:
        """Return the test that `name[gt|gte|lt|lte]`, or `name` as one instant, puts to an instant.

        Stripe's instants are whole seconds, so ours are compared by theirs where Unix seconds are given.
        """
        if not isinstance(self._values.get(name), Mapping):
            exact = self.time(name)
            if exact is None:
                return lambda at: True
            return lambda at: at.replace(microsecond=0) == exact
        level = self.within(name)
        bounds = [(test, at) for word, test in _BOUNDS.items() if (at := level.time(word)) is not None]
        return lambda at: all(test(at, bound) for test, bound in bounds)

    def within(self, name: str) -> Params:
        """Return the level below `name`; an empty one where it is absent or empty."""
        value = self._values.get(name)
        path = self.name_of(name)
        self._read.add(path)
        if value is None or value == "":
            value = {}
        if not isinstance(value, Mapping):
            raise InvalidShape(
                f"{path} must hold named values.", param=path, remedy=f"Write {path}[name]=value."
            )
        return Params(value, path=path, read=self._read)

    def is_level(self, name: str) -> bool:
        """Whether named values were sent below `name`, rather than a single one."""
        return isinstance(self._values.get(name), Mapping)

    def is_unset(self, name: str) -> bool:
        """Whether the parameter was sent empty, which unsets what it names."""
        self._read.add(self.name_of(name))
        return name in self._values and self._values[name] in (None, "")

    def mapping(self, name: str) -> dict[str, Any]:
        """Return everything below `name` as it was sent: the caller's own names and values."""
        level = self.within(name)
        self._read.update(_leaves(level._values, level._path))
        return dict(level._values)

    def _items(self, name: str) -> tuple[str, list[Any]]:
        value = self._values.get(name)
        path = self.name_of(name)
        self._read.add(path)
        if value is None or value == "":
            return path, []
        if isinstance(value, Mapping) and all(key.isdecimal() for key in value):
            value = [value[key] for key in sorted(value, key=int)]
        if not isinstance(value, list):
            raise InvalidShape(f"{path} must be an array.", param=path, remedy=f"Write {path}[]=value.")
        return path, value

    def texts(self, name: str) -> list[str]:
        """Return an array's texts in order; none where it is absent or empty."""
        path, items = self._items(name)
        level = Params({str(i): item for i, item in enumerate(items)}, path=path, read=self._read)
        return [level.required_text(str(i)) for i in range(len(items))]

    def each(self, name: str) -> list[Params]:
        """Return an array's members, each a level of its own; none where it is absent or empty."""
        path, items = self._items(name)
        level = Params({str(i): item for i, item in enumerate(items)}, path=path, read=self._read)
        return [level.within(str(i)) for i in range(len(items))]

    def metadata(self, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return `known` with the request's metadata: an empty value removes its key, an empty text all."""
        kept = dict(known or {})
        if self._values.get("metadata") == "":
            self._read.add("metadata")
            return {}
        level = self.within("metadata")
        for key in level.keys():  # noqa: SIM118 - Params is no mapping: it is not iterable by itself.
            value = level.text(key, longest=METADATA_VALUE_MAX)
            kept.pop(key, None)
            if value is not None:
                kept[key] = value
        if len(kept) > METADATA_KEYS_MAX or any(len(key) > METADATA_KEY_MAX for key in kept):
            raise InvalidMetadata("The metadata is too large.", param="metadata")
        return kept

    def refuse_unread(self) -> None:
        """Raise `UnknownParameter` for the first parameter that nothing has read."""
        for name in _leaves(self._values, self._path):
            if name.split("[")[0] != "expand" and name not in self._read:
                raise UnknownParameter(f"Received unknown parameter: {name}.", param=name)


def _leaves(values: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the full names of all values, arrays' members by their number."""
    for key, value in values.items():
        name = f"{path}[{key}]" if path else key
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, name)
        elif isinstance(value, list) and value:
            yield from _leaves({str(i): item for i, item in enumerate(value)}, name)
        else:
            yield name
