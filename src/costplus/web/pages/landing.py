"""The front door: what is here and where, as JSON for programs and as a page for people."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from costplus import __version__
from costplus.web.context import WebContext
from costplus.web.pages.page import STYLE, html

_A_YEAR = "public, max-age=31536000, immutable"  # The style's address changes with its content.


class LandingPages:
    """Satisfies `/` and the style that all pages share."""

    def __init__(self, context: WebContext) -> None:
        self._base_url = context.base_url

    async def show(self, request: Request) -> Response:
        """Answer in the caller's language: HTML where it asks for HTML, else JSON."""
        links = {
            "models": f"{self._base_url}/v1/models",
            "admin": f"{self._base_url}/admin",
            "health": f"{self._base_url}/healthz",
        }
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"name": "costplus", "version": __version__, "links": links})
        return html("landing.html", version=__version__, base_url=self._base_url, links=links)

    async def style(self, request: Request) -> Response:
        return Response(STYLE, media_type="text/css", headers={"cache-control": _A_YEAR})
