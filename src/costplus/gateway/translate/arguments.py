"""The arguments of a call as JSON text, for dialects that have them as an object.

Rule 1: the text goes on as it is, but for its whitespace: numbers keep their digits, members their order.
"""

from __future__ import annotations

from typing import Any

import msgspec

from costplus.core.errors import InvalidRequest
from costplus.gateway.translate.conversation import ToolCall

_OBJECT = msgspec.json.Decoder(dict[str, Any])


class ArgumentsInvalid(InvalidRequest):
    """The arguments of an earlier call are not a JSON object, which its provider needs them to be."""

    code = "tool_arguments_invalid"
    remedy = "Send the arguments of earlier calls as the model wrote them: a JSON object, as text."


def arguments_of(call: ToolCall) -> msgspec.Raw:
    """Return a call's arguments, to be put into a body. Raises `ArgumentsInvalid`."""
    text = call.arguments if call.arguments.strip() else "{}"  # Some clients send nothing for nothing.
    try:
        _OBJECT.decode(text)
        return msgspec.Raw(msgspec.json.format(text.encode(), indent=-1))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ArgumentsInvalid(
            f"The arguments in `{call.at}` are not a JSON object.", param=call.at
        ) from error
