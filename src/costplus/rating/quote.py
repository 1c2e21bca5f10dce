"""A quote: the most a call is expected to cost, before it is made; the size of its hold.

Rule 1: input is estimated from the body's size, three bytes a token (dense text has fewer tokens than that),
capped by the model's context. Rule 2: output is what the caller allows, capped by the model's maximum;
without a limit from the caller, a stated default. Rule 3: a quote shows its working.
"""

from __future__ import annotations

from dataclasses import dataclass

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
