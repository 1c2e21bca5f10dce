"""The caller's request body: what the gateway must know, and the two rewrites it may make.

Rule 1: the body is parsed once, at its top level; values that are not ours keep their exact bytes.
Rule 2: what is forwarded is what was understood: a rewritten body holds each key once.
Rule 3: a limit on the output is never guessed lower than any the caller named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from costplus.core.errors import InvalidRequest

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_MAX_TOKENS_KEYS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_CHOICES_KEYS = ("n", "best_of")
# Where a provider's own API has them in an object of the body; Google's takes either spelling.
_NESTED_LIMITS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "gemini_generate": (
        ("generationConfig", "maxOutputTokens"),
        ("generation_config", "max_output_tokens"),
        ("generationConfig", "max_output_tokens"),
        ("generation_config", "maxOutputTokens"),
    ),
    "vertex_predict": (("parameters", "maxOutputTokens"), ("parameters", "max_output_tokens")),
    "bedrock_converse": (("inferenceConfig", "maxTokens"),),
    "bedrock_invoke": (
        ("inferenceConfig", "maxTokens"),
        ("inferenceConfig", "max_new_tokens"),
        ("textGenerationConfig", "maxTokenCount"),
    ),
}
_NESTED_CHOICES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "gemini_generate": (
        ("generationConfig", "candidateCount"),
        ("generation_config", "candidate_count"),
        ("generationConfig", "candidate_count"),
        ("generation_config", "candidateCount"),
    ),
}
_OWN_LIMITS: Mapping[str, tuple[str, ...]] = {
    "bedrock_invoke": ("max_tokens_to_sample", "maxTokens", "max_gen_len", "max_new_tokens"),
}
_COUNT_MAX = 10**9


class BodyNotJson(InvalidRequest):
    """The request body is not JSON."""

    code = "body_not_json"


class BodyNotObject(InvalidRequest):
    """The request body is JSON, but not an object."""

    code = "body_not_object"


class ModelMissing(InvalidRequest):
    """The request names no model."""

    code = "model_missing"


class ModelInvalid(InvalidRequest):
    """The request's model is not a string."""

    code = "model_invalid"


class StreamInvalid(InvalidRequest):
    """`stream` is not a boolean."""

    code = "stream_invalid"


class StreamOptionsInvalid(InvalidRequest):
    """`stream_options` is not an object with a boolean `include_usage`."""

    code = "stream_options_invalid"


class MaxTokensInvalid(InvalidRequest):
    """A limit on the output is not a whole number of tokens."""

    code = "max_tokens_invalid"


class ChoicesInvalid(InvalidRequest):
    """The number of choices is not a whole number of at least one."""

    code = "choices_invalid"


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request body, understood as far as metering needs it."""

    model: str
    stream: bool
    max_tokens: int | None  # The largest limit named; None where the model's own maximum applies.
    choices_max: int  # How many answers may be generated and billed: `n` or `best_of`.
    fields: Mapping[str, msgspec.Raw]  # The top level, values as they were sent.
    text_bytes: int | None = None  # As how much text its body counts; None: as what it is.


def parse_request(
    body: bytes, *, wire: str = "openai_chat", model: str = "", streams: bool = False
) -> WireRequest:
    """Return what `body` asks for, or raise the `InvalidRequest` that says what is wrong with it.

    `model` and `streams` are what the path says of them already.
    """
    fields = _fields_of(body)
    keys = (*_MAX_TOKENS_KEYS, *_OWN_LIMITS.get(wire, ()))
    limits = [_count(fields, key, MaxTokensInvalid, least=0) for key in keys]
    choices = [_count(fields, key, ChoicesInvalid, least=1) for key in _CHOICES_KEYS]
    if wire in _NESTED_LIMITS:
        limits += _nested(fields, _NESTED_LIMITS[wire], MaxTokensInvalid, least=0)
        choices += _nested(fields, _NESTED_CHOICES.get(wire, ()), ChoicesInvalid, least=1)
    return WireRequest(
        model=model or _model(fields),
        stream=streams or _stream(fields),
        max_tokens=max((limit for limit in limits if limit is not None), default=None),
        choices_max=max((count for count in choices if count is not None), default=1),
        fields=fields,
    )


def rewrite(
    request: WireRequest, *, model: str | None = None, include_usage: bool = False
) -> tuple[bytes, bool]:
    """Return the body to send upstream, and whether usage was asked for on the caller's behalf.

    `include_usage` matters to OpenAI chat streams only; a caller who asked already is left alone.
    """
    fields = dict(request.fields)
    if model is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    injected = include_usage and request.stream and _inject_usage(fields)
    return msgspec.json.encode(fields), injected


def with_include_usage(body: bytes) -> tuple[bytes, bool]:
    """Return `body` with `stream_options.include_usage` set, and whether that changed anything."""
    rewritten, injected = rewrite(parse_request(body), include_usage=True)
    return (rewritten, True) if injected else (body, False)


def with_model(body: bytes, model: str) -> bytes:
    """Return `body` asking for `model`, everything else as it was."""
    return rewrite(parse_request(body), model=model)[0]


def _fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _FIELDS.decode(body)
    except msgspec.ValidationError as error:
        raise BodyNotObject("The request body must be a JSON object.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyNotJson("The request body is not valid JSON.") from error


def _value(fields: Mapping[str, msgspec.Raw], key: str) -> Any:
    raw = fields.get(key)
    if raw is None:
        return None
    try:
        return _ANY.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyNotJson("The request body is not valid JSON.", param=key) from error


def _model(fields: Mapping[str, msgspec.Raw]) -> str:
    model = _value(fields, "model")
    if model is None or model == "":
        raise ModelMissing("The request names no model.", param="model", remedy="Set `model`.")
    if not isinstance(model, str):
        raise ModelInvalid("`model` must be a string.", param="model")
    return model


def _stream(fields: Mapping[str, msgspec.Raw]) -> bool:
    stream = _value(fields, "stream")
    if stream is None:
        return False
    if not isinstance(stream, bool):
        raise StreamInvalid("`stream` must be true or false.", param="stream")
    return stream


def _count(
    fields: Mapping[str, msgspec.Raw], key: str, invalid: type[InvalidRequest], *, least: int
) -> int | None:
    value = _value(fields, key)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= _COUNT_MAX:
        raise invalid(f"`{key}` must be a whole number of at least {least}.", param=key)
    return value


def _nested(
    fields: Mapping[str, msgspec.Raw],
    places: tuple[tuple[str, str], ...],
    invalid: type[InvalidRequest],
    *,
    least: int,
) -> list[int | None]:
    """Return the counts at (object, key) of the body; what is no object holds none."""
    found: list[int | None] = []
    for outer, key in places:
        raw = fields.get(outer)
        if raw is None:
            continue
        try:
            inner = _FIELDS.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # The provider says what is wrong with it.
        found.append(_count(inner, key, invalid, least=least))
    return found


def _inject_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Set `include_usage` in `fields`; return whether the caller had not asked for it."""
    raw = fields.get("stream_options")
    try:
        options = _FIELDS.decode(raw) if raw is not None and bytes(raw) != b"null" else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StreamOptionsInvalid("`stream_options` must be an object.", param="stream_options") from error
    asked = _value(options, "include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise StreamOptionsInvalid("`include_usage` must be true or false.", param="stream_options")
    if asked:
        return False
    options["include_usage"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return True
