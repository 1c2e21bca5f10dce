"""Pages of lists: `limit`, `starting_after`, `ending_before`, newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from urllib.parse import urlencode

from costplus.billing.store import Tx
from costplus.core.errors import NotFound
from costplus.core.records import R
from costplus.web.call import Call, Listing
from costplus.web.params import ParametersExclude, Params

LIMIT_DEFAULT, LIMIT_MAX = 10, 100
LIMIT_V2 = 20
SCAN = 100  # How many records are fetched at a time while most are filtered out.


class Identified(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str: ...


Entry = TypeVar("Entry", bound=Identified)
Found = TypeVar("Found", bound=Identified, covariant=True)


class Fetch(Protocol[Found]):
    """Returns up to `limit` things, newest first, older or newer than a cursor (exclusive)."""

    def __call__(self, *, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[Found]: ...


class NoSuchCursor(NotFound):
    """The object that a page should begin after does not exist."""

    code = "resource_missing"


def cursors_of(params: Params) -> tuple[int, str | None, str | None]:
    """Return `limit`, `starting_after` and `ending_before`."""
    limit = params.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT
    after, before = params.text("starting_after"), params.text("ending_before")
    if after and before:
        raise ParametersExclude(
            "starting_after and ending_before cannot be used together.", param="starting_after"
        )
    return limit, after, before


def listing(
    params: Params, fetch: Fetch[Entry], *, keep: Callable[[Entry], bool] = lambda _: True
) -> Listing:
    """Return the page that the request's cursors name, of the things that `keep` accepts."""
    limit, after, before = cursors_of(params)
    kept: list[Entry] = []
    if before is None:
        while len(kept) <= limit:
            page = fetch(limit=SCAN, older_than=after, newer_than=None)
            kept += [entry for entry in page if keep(entry)]
            if len(page) < SCAN:
                break
            after = page[-1].id
        return Listing(kept[:limit], len(kept) > limit)
    while len(kept) <= limit:
        page = fetch(limit=SCAN, older_than=None, newer_than=before)
        kept += [entry for entry in reversed(page) if keep(entry)]
        if len(page) < SCAN:
            break
        before = page[0].id
    return Listing(kept[:limit][::-1], len(kept) > limit)


def records(
    tx: Tx,
    call: Call,
    kind: type[R],
    *,
    parent: str | None = None,
    keep: Callable[[R], bool] = lambda _: True,
) -> Listing:
    """Return the page of records of a kind that the request's cursors name."""
    for name in ("starting_after", "ending_before"):
        cursor = call.params.text(name)
        if cursor and tx.find(kind, cursor) is None:
            raise NoSuchCursor(f"No such {kind.KIND}: '{cursor}'", param=name)

    def fetch(*, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[R]:
        return tx.page(kind, parent=parent, limit=limit, older_than=older_than, newer_than=newer_than)

    return listing(call.params, fetch, keep=keep)


def pages_of_v2(
    call: Call, fetch: Fetch[Entry], *, carry: Sequence[tuple[str, str]], keep: Callable[[Entry], bool]
) -> Listing:
    """Return the page of a v2 list that `page` names, and the next one's address with the filters `carry`."""
    limit = call.params.integer("limit", least=1, most=LIMIT_MAX) or LIMIT_V2
    cursor = call.params.text("page")
    kept: list[Entry] = []
    while len(kept) <= limit:
        found = fetch(limit=SCAN, older_than=cursor, newer_than=None)
        kept += [entry for entry in found if keep(entry)]
        if len(found) < SCAN:
            break
        cursor = found[-1].id
    if len(kept) <= limit:
        return Listing(kept, False)
    query = urlencode([*carry, ("limit", str(limit)), ("page", kept[limit - 1].id)])
    return Listing(kept[:limit], True, f"{call.url}?{query}")


def in_memory(
    params: Params, entries: Sequence[Entry], *, keep: Callable[[Entry], bool] = lambda _: True
) -> Listing:
    """Return the page of things that are all at hand, in the answer's order."""

    def fetch(*, limit: int, older_than: str | None, newer_than: str | None) -> Sequence[Entry]:
        ids = [entry.id for entry in entries]
        cursor = older_than or newer_than
        if cursor is not None and cursor not in ids:
            raise NoSuchCursor(f"No such object: '{cursor}'")
        if newer_than is not None:
            end = ids.index(newer_than)
            return entries[max(end - limit, 0) : end]
        start = 0 if older_than is None else ids.index(older_than) + 1
        return entries[start : start + limit]

    return listing(params, fetch, keep=keep)
