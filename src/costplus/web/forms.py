"""Bodies and queries as nested values: `a[b][c]=1`, `items[0][price]=p`, `models[]=m`, or JSON.

Rule 1: pure; what a value means is `params`' business.
Rule 2: nesting and the number of parameters are bounded, so that a small body cannot cost much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from costplus.web.errors import BodyNotForm, BodyNotJson
from costplus.web.params import InvalidShape

FIELDS_MAX = 1000
DEPTH_MAX = 8
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the pairs as nested mappings; `x[]` collects an array, `x[0]` stays a mapping by number."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        _put(root, name, value)
    return root


def _put(root: dict[str, Any], name: str, value: str) -> None:
    match = _NAME.fullmatch(name)
    steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])] if match else [name]
    if len(steps) > DEPTH_MAX:
        raise InvalidShape(f"{name} nests too deeply.", param=name, remedy=f"At most {DEPTH_MAX} levels.")
    level: Any = root
    for step, below in zip(steps, [*steps[1:], None], strict=True):
        last = below is None
        if isinstance(level, list):
            if step != "":
                raise InvalidShape(f"{name} mixes an array and named values.", param=name)
            found = value if last else {}
            level.append(found)
        elif step == "":
            raise InvalidShape(f"{name} mixes an array and named values.", param=name)
        elif last:
            level[step] = value
            return
        else:
            found = level.setdefault(step, [] if below == "" else {})
        level = found
        if not last and not isinstance(level, dict | list):
            raise InvalidShape(f"{name} gives both a value and named values.", param=name)


def form_of(text: bytes) -> dict[str, Any]:
    """Return a form's or a query's values, or raise `BodyNotForm`."""
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise BodyNotForm(f"The body is not form-encoded text of at most {FIELDS_MAX} fields.") from error
    return nested(pairs)


def json_of(body: bytes) -> dict[str, Any]:
    """Return a JSON body's values (none for an empty body), or raise `BodyNotJson`."""
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise BodyNotJson(f"The body is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise BodyNotJson("The body is JSON, but not an object.")
    return value
