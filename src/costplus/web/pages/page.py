"""How a page is made: a template, values, and headers that let nothing in from elsewhere."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from costplus.web import figures

STYLE = resources.files("costplus.web").joinpath("templates", "pages.css").read_bytes()
STYLE_PATH = f"/static/pages.css?v={hashlib.sha256(STYLE).hexdigest()[:12]}"

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "referrer-policy": "no-referrer",  # The paths of invoices are secrets.
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}

_templates = Environment(
    loader=PackageLoader("costplus.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "count": figures.count,
    "day": figures.day,
    "days": figures.days,
    "instant": figures.instant,
    "leaf": figures.leaf_name,
    "minor": figures.minor_amount,
    "nano": figures.nano_amount,
}
_templates.globals["style_path"] = STYLE_PATH


def html(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return the page that `template` makes of `values`."""
    text = _templates.get_template(template).render(values)
    return HTMLResponse(text, status_code=status, headers=HEADERS)


def message(title: str, sentence: str, *, status: int, command: str = "") -> HTMLResponse:
    """Return a page that says one thing, and perhaps what to type next."""
    return html("message.html", status=status, title=title, sentence=sentence, command=command)
