"""The seller's pages: in by a one-time link, then an overview and a page for each customer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from costplus.web.context import WebContext
from costplus.web.pages import commands
from costplus.web.pages.customer import customer_view
from costplus.web.pages.overview import overview_of
from costplus.web.pages.page import HEADERS, html, message
from costplus.web.pages.session import COOKIE, LIFETIME, OneTimeTokens, new_session, session_is_open

LINK_COMMAND = "costplus admin-link"


class AdminPages:
    """Satisfies everything under `/admin`."""

    def __init__(
        self,
        context: WebContext,
        login_tokens: OneTimeTokens,
        provider_names: Callable[[], Sequence[str]] | None,
    ) -> None:
        self._context = context
        self._login_tokens = login_tokens
        self._provider_names = provider_names
        self._cookie_secure = context.base_url.startswith("https://")

    async def log_in(self, request: Request) -> Response:
        """Trade a login link's token for a session."""
        if request.method == "HEAD":  # Whatever looks at a link before it is followed must not use it up.
            return Response(headers=HEADERS)
        if not self._login_tokens.consume(request.query_params.get("token", "")):
            return self._refusal("This login link is not valid, was used before, or is too old.")
        response = RedirectResponse("/admin", status_code=303, headers=HEADERS)
        response.set_cookie(
            COOKIE,
            new_session(secret=self._context.link_secret, at=self._context.now()),
            max_age=int(LIFETIME.total_seconds()),
            path="/admin",
            secure=self._cookie_secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def log_out(self, request: Request) -> Response:
        """Make the browser forget its session."""
        response = RedirectResponse("/", status_code=303, headers=HEADERS)
        response.delete_cookie(
            COOKIE, path="/admin", secure=self._cookie_secure, httponly=True, samesite="lax"
        )
        return response

    async def overview(self, request: Request) -> Response:
        """Show the overview."""
        if not self._is_open(request):
            return self._refusal("You are not logged in, or your session has ended.")
        context = self._context
        await context.flush()
        at, providers = context.now(), self._provider_names() if self._provider_names else None
        older_than = request.query_params.get("older_than")
        view = await context.store.read(
            lambda tx: overview_of(
                tx,
                context.pricing.catalogue,
                price_sources=context.price_sources,
                at=at,
                secret=context.link_secret,
                base_url=context.base_url,
                older_than=older_than,
                providers=providers,
            )
        )
        first = view.customers[0].customer.id if view.customers else "cus_…"
        return html(
            "overview.html",
            view=view,
            at=at,
            live=self._wants_live(request),
            livemode=context.livemode,
            customer_command=commands.create_customer(context.base_url),
            call_command=commands.call(context.base_url, first),
            endpoint_command=commands.create_endpoint(context.base_url),
            preview_command=commands.preview_invoice(context.base_url, first),
        )

    async def customer(self, request: Request) -> Response:
        """Show one customer."""
        if not self._is_open(request):
            return self._refusal("You are not logged in, or your session has ended.")
        context, id = self._context, request.path_params["customer_id"]
        await context.flush()
        at, older_than = context.now(), request.query_params.get("older_than")
        view = await context.store.read(
            lambda tx: customer_view(tx, id, at=at, secret=context.link_secret, older_than=older_than)
        )
        if view is None:
            return message("Customer not found", "There is no customer with this id.", status=404)
        return html(
            "customer.html",
            view=view,
            at=at,
            live=self._wants_live(request),
            livemode=context.livemode,
            grant_command=commands.grant_credit(context.base_url, id),
            call_command=commands.call(context.base_url, id),
            preview_command=commands.preview_invoice(context.base_url, id),
        )

    def _is_open(self, request: Request) -> bool:
        cookie = request.cookies.get(COOKIE, "")
        return session_is_open(cookie, secret=self._context.link_secret, at=self._context.now())

    def _refusal(self, sentence: str) -> Response:
        return message(
            "Log in",
            f"{sentence} On the machine that runs costplus, ask for a new link:",
            status=401,
            command=LINK_COMMAND,
        )

    def _wants_live(self, request: Request) -> bool:
        return request.query_params.get("live") == "1"
