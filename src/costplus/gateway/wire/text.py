"""How many characters a provider generated: what an estimate is made of when usage never arrives.

Rule 1: reasoning and tool arguments count as much as the answer: they are billed as output.
Rule 2: a character of Chinese, Japanese or Korean counts as three: it is most of a token by itself.
`scripts/measure_estimates.py` measures estimates on recorded answers; docs/gateway.md has the figures.
Rule 3: what a provider repeats or adds itself (log probabilities, citations, tool results) does not count.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_ANSWER_KEYS = ("content", "text", "refusal", "transcript")
_REASONING_KEYS = ("thinking", "reasoning", "reasoning_content")
_TOOL_KEYS = ("arguments", "partial_json", "code")
_DENSE = re.compile(
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
_DENSE_MORE = 2  # What such a character counts more than one.
_TEXT_KEYS = frozenset((*_ANSWER_KEYS, *_REASONING_KEYS, *_TOOL_KEYS))
_FOREIGN_KEYS = frozenset(
    ("logprobs", "annotations", "reasoning_details", "executed_tools", "results", "outputs", "citations")
)


def length_of(text: str) -> int:
    """Return how long a text is; however it is cut, its parts are as long together."""
    if text.isascii():
        return len(text)
    return len(text) + _DENSE_MORE * len(_DENSE.findall(text))


def text_chars(value: Any) -> int:
    """Return the length of a string; of anything else, the text inside it."""
    if type(value) is str:
        return length_of(value)
    return body_chars(value) if value else 0


def body_chars(generated: Any) -> int:
    """Return the characters of generated text anywhere in a decoded `choices`, `output` or `content`.

    Iterative, so that no depth of a tool's input can exhaust the stack.
    """
    chars = 0
    pending = [generated]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending += node
        elif isinstance(node, dict):
            kind = node.get("type")
            if isinstance(kind, str) and kind.endswith("_tool_result"):
                continue
            for key, value in node.items():
                if isinstance(value, str):
                    if key in _TEXT_KEYS:
                        chars += length_of(value)
                elif value and isinstance(value, (dict, list)) and key not in _FOREIGN_KEYS:
                    if key == "input":  # A tool call's arguments as an object (Anthropic).
                        chars += len(msgspec.json.encode(value))
                    else:
                        pending.append(value)
    return chars
