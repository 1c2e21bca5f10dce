"""Write docs/api.md from the endpoints themselves: method, path and the first sentence of each handler."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from costplus.web.api.endpoints import ENDPOINTS
from costplus.web.call import Endpoint

TARGET = Path(__file__).resolve().parent.parent / "docs" / "api.md"
HEAD = """# The API

Stripe's shapes where Stripe has the object, so its SDKs work with another base address; what Stripe lacks is
under `/v1/token_billing`, in the same style. v1 is form-encoded, v2 is JSON; the key goes in Basic or Bearer
authentication; `Idempotency-Key` works on every POST; lists page with `limit`, `starting_after` and
`ending_before`. Refusals: [errors.md](errors.md). Events: [events.md](events.md).

This page is written by `scripts/write_api_reference.py`.

## The gateway

| endpoint | what it does |
|---|---|
| `POST /v1/chat/completions` | OpenAI's chat completions, JSON and streams |
| `POST /v1/responses` | OpenAI's responses, JSON and streams |
| `POST /v1/embeddings` | OpenAI's embeddings |
| `POST /v1/messages` | Anthropic's messages, JSON and streams |
| `POST /v1/messages/count_tokens` | Anthropic's count of tokens, which is free |
| `POST /v1beta/models/{model}:generateContent` | Gemini's, and its other methods |
| `POST /providers/{name}/…` | that provider's own API |
| `GET /v1/models` | the models that can be bought, at the caller's prices |

OpenAI's and Anthropic's also work without `/v1`. More in [the gateway](gateway.md). The key is a customer's
own, or a merchant's together with `X-Stripe-Customer-ID`.
"""


def resource(endpoint: Endpoint) -> str:
    """Return what an endpoint is about: the path up to its first variable."""
    return (
        endpoint.path.split("/{")[0]
        .removesuffix("/create_preview")
        .removesuffix("/init")
        .removesuffix("/resolve")
    )


def shown(endpoint: Endpoint) -> str:
    """Return the path as callers write it: a variable that may hold slashes is one like the others."""
    return endpoint.path.replace(":path}", "}")


def sentence(endpoint: Endpoint) -> str:
    """Return the first line of what the handler says of itself."""
    text = (endpoint.handler.__doc__ or "").strip().splitlines()
    return text[0].rstrip(".").replace("|", "\\|") if text else ""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    ordered = sorted(ENDPOINTS, key=lambda endpoint: (resource(endpoint), endpoint.path, endpoint.method))
    for name, endpoints in groupby(ordered, key=resource):
        rows = [f"| `{entry.method} {shown(entry)}` | {sentence(entry)} |" for entry in endpoints]
        parts.append("\n".join([f"## `{name}`\n", "| endpoint | what it does |", "|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    TARGET.write_text(page())
    sys.stdout.write(f"{TARGET.name}: {len(ENDPOINTS)} endpoints\n")


if __name__ == "__main__":
    main()
