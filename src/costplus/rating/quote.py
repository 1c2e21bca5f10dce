"""A quote: the most a call is expected to cost, before it is made; the size of its hold.

Rule 1: input is estimated from the body's size, three bytes a token (dense text has fewer tokens than that),
capped by the model's context. Rule 2: output is what the caller allows, capped by the model's maximum;
without a limit from the caller, a stated default. Rule 3: a quote shows its working.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from costplus.catalog.context import ORDINARY, RequestContext
from costplus.core.usage import Usage
from costplus.rating.charge import Charge, rate
from costplus.rating.sheet import RateSheet

BYTES_PER_TOKEN = 3
OUTPUT_TOKENS_DEFAULT = 4096


@dataclass(frozen=True, slots=True)
class Quote:
    """The usage assumed and what it would be charged."""

    usage: Usage
    charge: Charge


def quote(
    sheet: RateSheet,
    *,
    body_bytes: int,
    output_tokens_max: int | None,
    has_output: bool = True,
    output_tokens_default: int = OUTPUT_TOKENS_DEFAULT,
    context: RequestContext = ORDINARY,
) -> Quote:
    """Return the quote for a request body of `body_bytes` that allows `output_tokens_max` (None: no limit).

    `has_output` is False for embeddings; `context` is what the caller asked for, such as a service tier.
    """
    input_tokens = -(-body_bytes // BYTES_PER_TOKEN)
    if sheet.price.context_tokens_max:
        input_tokens = min(input_tokens, sheet.price.context_tokens_max)
    quantities = {"input": max(input_tokens, 1)}
    if has_output:
        output = output_tokens_default if output_tokens_max is None else output_tokens_max
        if sheet.price.output_tokens_max:
            output = min(output, sheet.price.output_tokens_max)
        if output > 0:
            quantities["output"] = output
    usage = Usage(quantities)
    return Quote(usage, rate(usage, sheet, context=context))


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """How a quote came to its tokens: what was given, and what capped it."""

    body_bytes: int
    bytes_per_token: int
    input_tokens: int
    context_tokens_max: int | None
    output_tokens: int
    output_tokens_from: Literal["request", "default", "model_maximum"]
    output_tokens_max: int | None  # The most that the model generates, where it is known.


def working(
    made: Quote,
    sheet: RateSheet,
    *,
    body_bytes: int,
    output_tokens_max: int | None,
    output_tokens_default: int = OUTPUT_TOKENS_DEFAULT,
) -> Working:
    """Return how the quote that was made of these figures came to its tokens."""
    output = made.usage.quantities.get("output", 0)
    asked = output_tokens_default if output_tokens_max is None else output_tokens_max
    source: Literal["request", "default"] = "default" if output_tokens_max is None else "request"
    return Working(
        body_bytes=body_bytes,
        bytes_per_token=BYTES_PER_TOKEN,
        input_tokens=made.usage.quantities["input"],
        context_tokens_max=sheet.price.context_tokens_max,
        output_tokens=output,
        output_tokens_from="model_maximum" if output < asked else source,
        output_tokens_max=sheet.price.output_tokens_max,
    )
