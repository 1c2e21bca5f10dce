"""The public price lists that can be followed: where each is, who reads it, whether it is on by default.

Rule 1: adding one is a grammar in `feeds`, a view in `views`, and its line here.
Rule 2: routers' lists say what the router charges, so they are off until somebody sells through the router.
Source: spec "prices", §1 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.feeds.document import SourceRejected, decoded
from costplus.catalog.statement import SourceName, SourceView
from costplus.catalog.views import genai_prices, litellm, models_dev, routers
from costplus.catalog.views.assemble import BROKEN

_GITHUB = "https://raw.githubusercontent.com"


class Reader(Protocol):
    """Turns a decoded document into what it states, or raises `SourceRejected`."""

    def __call__(self, raw: Any, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One public price list."""

    name: SourceName
    url: str
    reader: Reader
    is_on: bool = True  # Unless the settings say otherwise.
    stale_after_days: int = 30  # Without a new revision for this long, somebody should look.

    def view(self, body: bytes, *, catalogue: Catalogue, revision: str, as_of: datetime) -> SourceView:
        """Return what a fetched body states, read at `as_of`, or raise `SourceRejected`."""
        raw = decoded(body, source=self.name)
        try:
            return self.reader(raw, catalogue=catalogue, revision=revision, as_of=as_of)
        except BROKEN as error:
            what = f"it cannot be read: {type(error).__name__} {' '.join(str(error).split())[:200]}."
            raise SourceRejected(what, source=self.name, reason="schema_unknown") from error


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            name=genai_prices.SOURCE,
            url=f"{_GITHUB}/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json",
            reader=genai_prices.view,
        ),
        Source(
            name=litellm.SOURCE,
            url=f"{_GITHUB}/BerriAI/litellm/main/model_prices_and_context_window.json",
            reader=litellm.view,
        ),
        Source(name=models_dev.SOURCE, url="https://models.dev/api.json", reader=models_dev.view),
        Source(
            name=routers.OPENROUTER,
            url="https://openrouter.ai/api/v1/models",
            reader=routers.openrouter_view,
            is_on=False,
        ),
        Source(
            name=routers.VERCEL,
            url="https://ai-gateway.vercel.sh/v1/models",
            reader=routers.vercel_view,
            is_on=False,
        ),
    )
}
