"""`/v1/token_billing/callbacks/{provider}`: where payment providers call; their signature is their key.

Rule 1: the exact bytes are verified before anything is read from them.
Rule 2: what is signed is answered with 200 and kept, whatever it tells: a repetition would bring nothing new.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from costplus.web.context import WebContext
from costplus.web.kernel import body_of, reply

PATH = "/v1/token_billing/callbacks/{provider}"


def callback_route(context: WebContext) -> Route:
    """Return the route of callbacks."""

    async def answer(request: Request) -> Response:
        body = await body_of(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        kept = await context.collector.called(request.path_params["provider"], headers, body)
        said = {"object": "token_billing.payment_callback", "received": True, "result": kept.result}
        return reply(request, 200, msgspec.json.encode(said))

    return Route(PATH, answer, methods=["POST"], name=f"POST {PATH}")
