"""The ASGI application: every API resource, and whatever routes are handed in besides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from costplus.core.errors import BillingError
from costplus.web.api.endpoints import ENDPOINTS
from costplus.web.auth import KeyRing
from costplus.web.call import Endpoint
from costplus.web.callbacks import callback_route
from costplus.web.context import WebContext
from costplus.web.exports import export_route
from costplus.web.kernel import on_defect, on_http_error, on_refusal, serve


def _route(endpoint: Endpoint, keys: KeyRing, context: WebContext) -> Route:
    async def answer(request: Request) -> Response:
        return await serve(endpoint, keys, context, request)

    return Route(endpoint.path, answer, methods=[endpoint.method], name=f"{endpoint.method} {endpoint.path}")


def build_app(context: WebContext, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application; `app.state.context` is the context, for the extra routes' sake."""
    keys = KeyRing(context)
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        BillingError: on_refusal,
        HTTPException: on_http_error,
        Exception: on_defect,
    }
    app = Starlette(
        routes=[
            *(_route(endpoint, keys, context) for endpoint in ENDPOINTS),
            export_route(keys, context),
            callback_route(context),
            *extra_routes,
        ],
        exception_handlers=handlers,
    )
    app.state.context = context
    app.state.keys = keys
    return app
