"""Ask: a request reduced to what decides the answer, and Counts: the tokens that answer reports.

Rule 1: input tokens are ceil(characters of text / 4) + 3 per message; directives are text like any other.
Rule 2: reasoning, shown or not, comes on top of the visible tokens; `tokens_max` caps it first.
Rule 3: cached and cache-written tokens are parts of the input: cached first, each cut to what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from costplus.devprovider.directives import NONE, TOKENS_DEFAULT, Directives
from costplus.devprovider.tool_call import ToolCall

CHARS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 3
_WORDS = (
    "amber", "basin", "copper", "delta", "ember", "fjord", "granite", "harbor",
    "island", "juniper", "kelp", "lagoon", "meadow", "north", "opal", "prairie",
)  # fmt: skip


class Part(msgspec.Struct):
    """One part of a message; what is not text counts nothing."""

    text: str | None = None
    type: str | None = None


class Named(msgspec.Struct):
    """A tool that a request offers."""

    name: str | None = None


Content = str | Sequence[Part] | None


class Ask(msgspec.Struct, frozen=True):
    """A request of any dialect."""

    model: str
    chars: int
    messages: int
    last_user: str
    tokens_max: int | None = None
    stream: bool = False
    usage_in_stream: bool = True  # OpenAI's chat streams report usage only when asked.
    sse: bool = True  # Gemini streams a JSON array unless `alt=sse`.
    dimensions: int = 0
    inputs: int = 1  # Embedded texts.
    base64: bool = False
    tools: frozenset[str] = frozenset()  # The names of those offered.
    after_tool: bool = False  # The conversation ends with a tool's result.


class Counts(msgspec.Struct, frozen=True):
    """The tokens of one answer as disjoint leaves."""

    input: int
    cached: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    reasoning: int
    cut_short: bool  # Whether `tokens_max` ended the answer.

    @property
    def prompt(self) -> int:
        """All input tokens."""
        return self.input + self.cached + self.cache_write_5m + self.cache_write_1h

    @property
    def completion(self) -> int:
        """All output tokens."""
        return self.output + self.reasoning


class BadAsk(ValueError):
    """The request cannot be served, with a sentence for the client."""


def names_of(tools: Sequence[Named | None]) -> frozenset[str]:
    """Return the names of the tools that a request offers."""
    return frozenset([tool.name for tool in tools if tool is not None and tool.name])


def check_results(called: Iterable[str | None], answered: Iterable[str | None]) -> None:
    """Refuse results of tools that answer no call of the conversation, as providers do."""
    unknown = set(answered) - set(called)
    if unknown:
        named = ", ".join(sorted([repr(id) for id in unknown]))
        raise BadAsk(f"A tool result answers {named}, which is no call of this conversation.")


def text_of(content: Content) -> str:
    """Return a message's text, parts joined."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    return "".join([part.text for part in content if part.text])


def text_in(messages: Sequence[tuple[str, Content]]) -> tuple[int, str]:
    """Return the characters of all messages, and the text of the user's last one that has any."""
    chars, last_user = 0, ""
    for role, content in messages:
        text = content if isinstance(content, str) else text_of(content)
        chars += len(text)
        if text and role == "user":
            last_user = text
    return chars, last_user


def count(ask: Ask, directives: Directives, *, writes: frozenset[str]) -> Counts:
    """Return what the answer to `ask` reports on a wire that can express the cache `writes`."""
    left = directives.input
    if left is None:
        left = -(-ask.chars // CHARS_PER_TOKEN) + TOKENS_PER_MESSAGE * ask.messages
    if directives is NONE:
        return _plain(left, ask.tokens_max)
    prompt = left
    cached = min(directives.cached, left)
    left -= cached
    write_5m = min(directives.cache_write, left) if "cache_write_5m" in writes else 0
    left -= write_5m
    write_1h = min(directives.cache_write_1h, left) if "cache_write_1h" in writes else 0
    left -= write_1h

    hidden = directives.reasoning + directives.think
    wanted = hidden + directives.tokens
    allowed = wanted if ask.tokens_max is None else min(wanted, ask.tokens_max)
    reasoning = min(hidden, allowed)
    counts = Counts(left, cached, write_5m, write_1h, allowed - reasoning, reasoning, allowed < wanted)
    assert counts.prompt == prompt  # Leaves are disjoint and nothing got lost.
    assert counts.completion == allowed
    return counts


def calls_of(ask: Ask, directives: Directives) -> tuple[ToolCall, ...]:
    """Return the tool calls that answer `ask`; refuse one of a tool that it does not offer."""
    if not directives.tools or ask.after_tool:
        return ()
    for call in directives.tools:
        if call.name not in ask.tools:
            raise BadAsk(f"tools: no tool is named {call.name!r}")
    return directives.tools


def _plain(prompt: int, tokens_max: int | None) -> Counts:
    """The same for an ask without directives, which is most of a benchmark."""
    if tokens_max is None or tokens_max >= TOKENS_DEFAULT:
        return Counts(prompt, 0, 0, 0, TOKENS_DEFAULT, 0, False)
    return Counts(prompt, 0, 0, 0, tokens_max, 0, True)


@lru_cache(maxsize=256)
def pieces(tokens: int) -> tuple[str, ...]:
    """Return the reply of so many tokens, one word each, as a stream would bring it."""
    return tuple(_WORDS[n % len(_WORDS)] if n == 0 else " " + _WORDS[n % len(_WORDS)] for n in range(tokens))


@lru_cache(maxsize=256)
def reply_json(tokens: int) -> bytes:
    """Return the whole reply as a JSON string."""
    return msgspec.json.encode("".join(pieces(tokens)))


@lru_cache(maxsize=256)
def pieces_json(tokens: int) -> tuple[bytes, ...]:
    """Return the reply's pieces as JSON strings."""
    return tuple(msgspec.json.encode(piece) for piece in pieces(tokens))


@lru_cache(maxsize=1024)
def as_json(text: str) -> bytes:
    """Return a JSON string, remembered: model names come again."""
    return msgspec.json.encode(text)
