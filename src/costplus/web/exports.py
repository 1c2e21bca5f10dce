"""`GET /v1/token_billing/exports/{kind}`: an export as a stream, for the seller's key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from costplus.billing.clock import customer_of
from costplus.billing.export import FIRST, KINDS, LAST, Wanted, csv_chunks
from costplus.web.auth import KeyRing
from costplus.web.context import WebContext
from costplus.web.errors import NoSuchUrl
from costplus.web.forms import form_of
from costplus.web.params import InvalidTime, Params, day_or_instant

PATH = "/v1/token_billing/exports/{kind}"


def export_route(keys: KeyRing, context: WebContext) -> Route:
    """Return the route; it is no endpoint like the others because its answer is no JSON object."""

    async def answer(request: Request) -> Response:
        await keys.merchant(request.headers.get("Authorization"))
        kind = next((known for known in KINDS if known == request.path_params["kind"]), None)
        if kind is None:
            raise NoSuchUrl(f"There is no export '{request.path_params['kind']}'.")
        params = Params(form_of(request.url.query.encode()))
        params.choice("format", ("csv",))
        wanted = _wanted(params)
        params.refuse_unread()
        await context.flush()
        if wanted.customer:
            await context.store.read(lambda tx: customer_of(tx, wanted.customer))
        name = f"{kind}-{context.now():%Y%m%d}.csv"
        return StreamingResponse(
            csv_chunks(context.store, kind, wanted, at=context.now()),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    return Route(PATH, answer, methods=["GET"], name=f"GET {PATH}")


def _wanted(params: Params) -> Wanted:
    start, end = params.text("start", longest=40), params.text("end", longest=40)
    wanted = Wanted(
        customer=params.text("customer") or "",
        start=day_or_instant(start, param="start") if start else FIRST,
        end=day_or_instant(end, param="end") if end else LAST,
    )
    if wanted.start >= wanted.end:
        raise InvalidTime("The export ends before it starts.", param="start")
    return wanted
