"""A request to Gemini's `generateContent` or `streamGenerateContent`, on Google's Gemini API and on Vertex.

Rule 1: tools and answers take their JSON schema as it is (`parametersJsonSchema`, `responseJsonSchema`),
which both APIs understand.
Rule 2: `strict` is the mode VALIDATED, which holds calls to their schemas without forcing one; a call that
is forced is held to it anyway.
Rule 3: a limit of output is sent only where the caller named one: these APIs need none.
Rule 4: public URLs are sent as they are: both APIs fetch them.
Rule 5: cache marks need no words: Gemini caches prompts on its own.
Rule 6: the name and the description of an answer's schema are its `title` and `description`.
"""

from __future__ import annotations

from typing import Any

from costplus.gateway.translate.conversation import Conversation, Format, Tool, refuse
from costplus.gateway.translate.defaults import without_defaults
from costplus.gateway.translate.generate_contents import contents_of, media_of, text_parts
from costplus.gateway.translate.generate_thinking import TARGET, thinking_config, version_of

_MODES = {"auto": "AUTO", "any": "ANY", "none": "NONE", "tool": "ANY"}
_TIERS = {
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "max_tokens": "maxOutputTokens",
}


def write_request(conversation: Conversation, *, model: str, max_tokens: int) -> dict[str, Any]:
    """Return the body for `model`. Raises `NotExpressible`, `ArgumentsInvalid`."""
    asked = without_defaults(conversation)
    asked.only(TARGET, *_OPTIONS, "service_tier")
    version = version_of(model)
    contents = contents_of(asked, version)
    if not contents:
        refuse(asked.name_of("messages"), target=TARGET, why="there must be a message with something in it")
    body: dict[str, Any] = {"contents": contents}
    system = text_parts(asked.system)
    if system:
        body["systemInstruction"] = {"parts": system}
    if asked.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in asked.tools]}]
    tool_config = _tool_config(asked)
    if tool_config:
        body["toolConfig"] = {"functionCallingConfig": tool_config}
    config = _generation_config(asked)
    thinking = None if asked.thinking is None else thinking_config(asked.thinking, version)
    if thinking is not None:
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    if asked.service_tier is not None:
        body["serviceTier"] = _tier(asked, asked.service_tier)
    return body


def _declaration(tool: Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declaration["description"] = tool.description
    if tool.schema:
        declaration["parametersJsonSchema"] = tool.schema
    return declaration


def _tool_config(asked: Conversation) -> dict[str, Any]:
    choice = asked.tool_choice
    is_strict = any(tool.strict for tool in asked.tools)
    if choice is None:
        return {"mode": "VALIDATED"} if is_strict else {}
    if not asked.tools:
        if choice.mode in ("any", "tool"):
            refuse(choice.at, target=TARGET, why="there are no tools to call")
        return {}
    config: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode == "auto" and is_strict:
        config["mode"] = "VALIDATED"
    if choice.mode == "tool":
        config["allowedFunctionNames"] = [choice.name]
    return config


def _generation_config(asked: Conversation) -> dict[str, Any]:
    config: dict[str, Any] = {
        name: getattr(asked, option)
        for option, name in _OPTIONS.items()
        if getattr(asked, option) is not None
    }
    if asked.stop:
        config["stopSequences"] = list(asked.stop)
    if asked.format is not None:
        config["responseMimeType"] = "application/json"
        if asked.format.schema is not None:
            config["responseJsonSchema"] = _answer_schema(asked.format)
    resolution = _resolution(asked)
    if resolution:
        config["mediaResolution"] = resolution
    return config


def _answer_schema(format: Format) -> dict[str, Any]:
    assert format.schema is not None
    named = {"title": format.name, "description": format.description}
    return {**{key: value for key, value in named.items() if value}, **format.schema}


def _resolution(asked: Conversation) -> str:
    """Return at what resolution the pictures of a request are seen: one for all of them."""
    chosen = ""
    for media in media_of(asked):
        if media.detail in ("", "auto"):
            continue
        if media.detail not in _RESOLUTIONS:
            refuse(f"{media.at}.detail", target=TARGET, why="it is low, high or auto")
        if chosen not in ("", media.detail):
            refuse(f"{media.at}.detail", target=TARGET, why="all pictures of a request have the same")
        chosen = media.detail
    return _RESOLUTIONS[chosen] if chosen else ""


def _tier(asked: Conversation, tier: str) -> str:
    if tier not in _TIERS:
        refuse(asked.name_of("service_tier"), target=TARGET, why="it is default, flex or priority")
    return _TIERS[tier]
