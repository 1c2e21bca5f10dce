"""An endpoint and one call of it, as handlers see them.

Rule 1: a handler is a plain function of an open transaction and a call; it returns what to render.
Rule 2: refusing is raising; the transaction then never happened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NewType

from costplus.billing.clock import present
from costplus.billing.customer import ApiKey
from costplus.billing.event import Event
from costplus.billing.notify import announce
from costplus.billing.store import Tx
from costplus.core.records import Record
from costplus.ledger.grant import Grant
from costplus.web.context import WebContext
from costplus.web.params import Params

JsonObject = dict[str, Any]
RequestId = NewType("RequestId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request; `at` is the real now."""

    context: WebContext
    key: ApiKey
    params: Params
    path: Mapping[str, str]
    url: str
    at: datetime
    request_id: RequestId
    idempotency_key: str | None = None
    api_version: str | None = None

    @property
    def is_v2(self) -> bool:
        return self.url.startswith("/v2/")

    @property
    def request_key(self) -> str:
        """What tells this request and its repetitions from all others; empty without an Idempotency-Key."""
        return f"{self.key.id}:{self.idempotency_key}" if self.idempotency_key else ""

    @property
    def is_preview(self) -> bool:
        """Whether the caller asked for Stripe's preview shapes."""
        return "preview" in (self.api_version or "")

    def present(self, tx: Tx, customer: str) -> datetime:
        """Return the customer's now: its test clock's, or the real one."""
        return present(tx, customer, real=self.at)

    def announce(self, tx: Tx, type: str, subject: Record | Grant, *, at: datetime) -> Event:
        """Announce an event that this call caused."""
        return announce(
            tx,
            type,
            subject,
            at=at,
            request_id=self.request_id,
            idempotency_key=self.idempotency_key,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of records or objects, in the order of the answer; v2 says where the next one is."""

    entries: Sequence[object]
    has_more: bool
    next_page_url: str | None = None


@dataclass(frozen=True, slots=True)
class Revealed:
    """An object with a secret that is told now and never again, not even to a repeated request."""

    body: JsonObject
    field: str = "secret"


Handler = Callable[[Tx, Call], object]
CustomersOf = Callable[[Tx, Call], Collection[str]]
Finish = Callable[[Call, object], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A method and path with its handler.

    `fresh` awaits the gateway's queue first. `keeps_reply` stores the answer to an Idempotency-Key;
    endpoints that recognise a repetition by themselves need no such copy. `reprices` loads the prices
    again before answering, so that callers read their own writes. `customers` tells, by a read beforehand,
    which customers a request concerns alone: the store may then serve it beside those of others. `finish`
    goes on where the handler's transaction has ended: it may wait for others (a payment provider), and makes
    the answer. Its handler must bear being run again for the same Idempotency-Key: the reply is kept only
    once all is done.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    fresh: bool = False
    writes: bool = False
    keeps_reply: bool = True
    takes_sessions: bool = False  # A meter event session's token is a key here.
    reprices: bool = False
    customers: CustomersOf | None = None
    finish: Finish | None = None


def get(
    path: str,
    handler: Handler,
    *,
    fresh: bool = False,
    writes: bool = False,
    customers: CustomersOf | None = None,
) -> Endpoint:
    """Return a reading endpoint; `writes` where reading takes locks."""
    return Endpoint(method="GET", path=path, handler=handler, fresh=fresh, writes=writes, customers=customers)


def post(
    path: str,
    handler: Handler,
    *,
    fresh: bool = False,
    keeps_reply: bool = True,
    takes_sessions: bool = False,
    writes: bool = True,
    reprices: bool = False,
    customers: CustomersOf | None = None,
    finish: Finish | None = None,
) -> Endpoint:
    """Return a writing endpoint, or one that only looks but takes more than a query should hold."""
    assert writes or not keeps_reply  # Keeping a reply is writing.
    return Endpoint(
        method="POST",
        path=path,
        handler=handler,
        fresh=fresh,
        writes=writes,
        keeps_reply=keeps_reply,
        takes_sessions=takes_sessions,
        reprices=reprices,
        customers=customers,
        finish=finish,
    )


def delete(
    path: str, handler: Handler, *, reprices: bool = False, customers: CustomersOf | None = None
) -> Endpoint:
    """Return a deleting endpoint."""
    return Endpoint(
        method="DELETE", path=path, handler=handler, writes=True, reprices=reprices, customers=customers
    )


def customer_in_path(tx: Tx, call: Call) -> Collection[str]:
    """Return the customer whose id the path ends with."""
    return [call.path["id"]]


def customer_in_params(tx: Tx, call: Call) -> Collection[str]:
    """Return the customer that the parameter `customer` names."""
    return [call.params.required_text("customer")]
