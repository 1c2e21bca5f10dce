"""Directives: what the last user message may ask of the simulated provider, as `[[name=number]]`.

    [[input=N]] [[tokens=N]] [[reasoning=N]]              prompt, visible and hidden output tokens
    [[think=N]]                                           reasoning tokens whose text is shown
    [[cached=N]] [[cache_write=N]] [[cache_write_1h=N]]   parts of the prompt read from, written to the cache
    [[tool=NAME {"a":1}]]                                 call a tool that the request offers; repeatable
    [[say]]                                               text before the tool calls, else there is none
    [[latency=MS]] [[chunk_ms=MS]]                        before the first byte, between stream chunks
    [[error=STATUS]]                                      a refusal in the provider's own shape; 500 if bare
    [[garbage]]                                           status 200 and a body that is not JSON
    [[truncate]]                                          the connection breaks half-way through the answer
    [[early_end]]                                         a stream that ends cleanly without its last events
    [[stream_error]]                                      an error object half-way through a stream
    [[cut_late]]                                          the connection breaks before a stream's last event
    [[stall]]                                             a stream that stops half-way, but for comments
    [[no_usage]]                                          an answer without its usage block
    [[hang]]                                              no answer until the client goes

Rule 1: pure.   Rule 2: what is not a directive is text, so `[[wiki links]]` stay harmless.
Rule 3: a tool is called once: a conversation that ends with a tool's result is answered in words. A tool
that the request does not offer is refused: no model calls what it was not told of. So is a result that
answers no call.
"""

from __future__ import annotations

import re

import msgspec

from costplus.devprovider.tool_call import ToolCall, tool_calls_in

TOKENS_DEFAULT = 20
_DIRECTIVE = re.compile(r"\[\[([a-z][a-z0-9_]*)(?:=(\d{1,9}))?\]\]")
_NUMBERS = frozenset(
    (
        "input",
        "tokens",
        "reasoning",
        "think",
        "cached",
        "cache_write",
        "cache_write_1h",
        "latency",
        "chunk_ms",
        "error",
    )
)
_SWITCHES = frozenset(
    (
        *("garbage", "truncate", "early_end", "no_usage", "hang", "stream_error", "cut_late", "stall"),
        "say",
    )
)
_STATUS_DEFAULT = 500


class Directives(msgspec.Struct, frozen=True):
    """What one request asks for beyond a plain answer; `input` is None where the text decides."""

    input: int | None = None
    tokens: int = TOKENS_DEFAULT
    reasoning: int = 0
    think: int = 0
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    latency: int = 0  # Milliseconds, as all names here are the words of the message.
    chunk_ms: int = 0
    error: int = 0
    garbage: bool = False
    truncate: bool = False
    early_end: bool = False
    stream_error: bool = False
    cut_late: bool = False
    stall: bool = False
    no_usage: bool = False
    hang: bool = False
    say: bool = False
    tools: tuple[ToolCall, ...] = ()


NONE = Directives()


def parse(text: str) -> Directives:
    """Return the directives in `text`; of two with one name the later one counts."""
    numbers: dict[str, int] = {}
    switches: dict[str, bool] = {}
    for name, digits in _DIRECTIVE.findall(text):
        if name in _SWITCHES and not digits:
            switches[name] = True
        elif name in _NUMBERS and digits:
            numbers[name] = int(digits)
        elif name == "error":
            numbers[name] = _STATUS_DEFAULT
    tools = tool_calls_in(text)
    if not numbers and not switches and not tools:
        return NONE
    if "error" in numbers and not 400 <= numbers["error"] <= 599:
        numbers["error"] = _STATUS_DEFAULT
    return Directives(**numbers, **switches, tools=tools)  # type: ignore[arg-type]  # Names are checked against the two sets.
