"""What a request says, whatever the dialect it was said in.

Rule 1: every part knows where it stands in the caller's body (`at`), so that what another dialect cannot
express is refused by the caller's own name for it.
Rule 2: None means that the caller was silent; nothing is filled in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from costplus.core.errors import InvalidRequest

Role = Literal["user", "assistant"]
Ttl = Literal["", "5m", "1h"]  # Of a cache mark; empty where the caller left it to the provider.


class NotExpressible(InvalidRequest):
    """The model's provider has no way to say what a field of the request asks for."""

    code = "translation_unsupported"
    remedy = "Leave the field out, or call the model in its provider's own dialect below /providers/."


def refuse(at: str, *, target: str, why: str = "") -> NoReturn:
    """Raise what refuses the field at `at` of the caller's body; `target` is the other dialect's API."""
    reason = f": {why}" if why else ""
    raise NotExpressible(f"`{at}` cannot be expressed in {target}{reason}.", param=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Words."""

    text: str
    at: str = ""
    cache: Ttl | None = None  # The prompt up to here is to be cached.


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A picture, a recording or a document: inline as base64, or at a URL."""

    kind: Literal["image", "audio", "video", "document"]
    media_type: str = ""  # `image/png`; empty where the caller did not say.
    base64: str = ""
    url: str = ""
    name: str = ""  # A document's title or file name.
    detail: str = ""  # OpenAI's `low`, `high`; empty or `auto` leaves it to the provider.
    at: str = ""
    cache: Ttl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """What a model thought in an earlier turn; the signature is the provider's and opaque."""

    text: str = ""
    signature: str = ""
    redacted: str = ""  # Opaque thinking that is not shown; then there is neither text nor signature.
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model made; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str
    signature: str = ""  # Gemini's thought signature of the call.
    at: str = ""
    cache: Ttl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call came to."""

    call_id: str
    name: str = ""  # The tool's, where an earlier call or the result itself tells it.
    parts: tuple[Text | Media, ...] = ()
    is_error: bool = False
    at: str = ""
    cache: Ttl | None = None


Part = Text | Media | Reasoning | ToolCall | ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn: a user's with results of tools in it, or the assistant's with calls."""

    role: Role
    parts: tuple[Part, ...]
    at: str = ""

    @property
    def calls(self) -> dict[str, str]:
        """The names of the tools it calls, by the calls' ids."""
        return {part.id: part.name for part in self.parts if isinstance(part, ToolCall)}

    @property
    def holds_results(self) -> bool:
        """Whether it is nothing but results of tools."""
        return all(isinstance(part, ToolResult) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call; `schema` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None
    at: str = ""
    cache: Ttl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether the model may, must or must not call; `tool` names the one that it must."""

    mode: Literal["auto", "any", "none", "tool"]
    name: str = ""
    at: str = "tool_choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """That the answer is JSON, and of what schema (None: any)."""

    schema: Mapping[str, Any] | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None
    at: str = "response_format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """How much the model is to think: by an effort word, a budget of tokens, or not at all."""

    mode: Literal["off", "on", "adaptive"] = "on"
    effort: str = ""  # none, minimal, low, medium, high, xhigh, max.
    budget_tokens: int | None = None
    hidden: bool = False  # The caller does not want to see it.
    at: str = "reasoning_effort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A whole request. `names` says what the caller calls an option where that is not its name here."""

    messages: tuple[Message, ...]
    model: str = ""  # As the caller names it.
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    format: Format | None = None
    thinking: Thinking | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None  # The caller's own id of its end user.
    metadata: Mapping[str, Any] | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    prompt_cache_key: str | None = None
    stream: bool = False
    include_usage: bool = False  # A stream that is to end with its usage, in chat.
    names: Mapping[str, str] = field(default_factory=dict)
    answer_id: str = ""  # For answers whose provider gives them none.
    at_s: int = 0  # When it was asked, in seconds since 1970: the answer's `created`.

    def name_of(self, option: str) -> str:
        """Return the caller's name of an option, for a refusal."""
        return self.names.get(option, option)

    def only(self, target: str, *options: str) -> None:
        """Refuse the first option that is set and is none of `options`, what `target` can express."""
        for option in OPTIONS:
            if option not in options and getattr(self, option) is not None:
                refuse(self.name_of(option), target=target)


# What one dialect has and another may not; the rest every writer must look at.
OPTIONS = (
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "metadata",
    "service_tier",
    "verbosity",
    "prompt_cache_key",
)
