"""From a request to an answer: authenticate, read, run the handler in one transaction, render, reply.

Rule 1: the stored reply to an Idempotency-Key is written in the transaction of the effect it answers for.
Rule 2: a refusal rolls everything back and is not stored, so a corrected request may use the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from costplus.billing.price_current import keep_current
from costplus.billing.store import StoredReply, Tx
from costplus.core.errors import BillingError, PaymentRequired, TooLarge
from costplus.core.ids import new_id
from costplus.web.auth import KeyRing
from costplus.web.call import Call, Endpoint, Listing, RequestId, Revealed
from costplus.web.context import WebContext
from costplus.web.errors import (
    RETRYABLE,
    IdempotencyError,
    IdempotencyKeyTooLong,
    NoSuchUrl,
    envelope,
    internal_envelope,
    status_of,
)
from costplus.web.forms import form_of, json_of
from costplus.web.objects import object_of
from costplus.web.params import Params

BODY_BYTES_MAX = 4 * 1024 * 1024
IDEMPOTENCY_KEY_MAX = 255
_LOG = structlog.get_logger("costplus.web")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the reply to this request's Idempotency-Key belongs, and what tells the request from others."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was answered, and whether that is a stored reply."""

    status: int
    body: bytes
    replayed: bool = False


def request_id_of(request: Request) -> RequestId:
    """Return the id that names this request in headers, events and the log; made once."""
    found = request.scope.get("costplus.request_id")
    if found is None:
        at = request.app.state.context.now()
        found = request.scope["costplus.request_id"] = RequestId(new_id("req", at=at))
    return RequestId(found)


def reply(request: Request, status: int, body: bytes, *, replayed: bool = False) -> Response:
    """Return the response with the headers that Stripe's SDKs read."""
    headers = {
        "Request-Id": request_id_of(request),
        "Stripe-Should-Retry": "true" if status in RETRYABLE else "false",
    }
    for name in ("Stripe-Version", "Idempotency-Key"):
        value = request.headers.get(name)
        if value and value.isascii() and value.isprintable():
            headers[name] = value
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="costplus"'
    return Response(body, status_code=status, media_type="application/json", headers=headers)


async def body_of(request: Request) -> bytes:
    """Return the whole body, or raise `TooLarge` as soon as it exceeds the limit."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise TooLarge(
                f"The request body is larger than {BODY_BYTES_MAX} bytes.", remedy="Send less at a time."
            )
        parts.append(part)
    return b"".join(parts)


def params_of(request: Request, body: bytes) -> Params:
    """Return the parameters: v2 is JSON, v1 is form-encoded (JSON too, where the caller says so)."""
    values = form_of(request.url.query.encode())
    if request.method != "GET" and body:
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        is_json = request.url.path.startswith("/v2/") or media_type == "application/json"
        values |= json_of(body) if is_json else form_of(body)
    return Params(values)


def slot_of(request: Request, endpoint: Endpoint, call: Call, body: bytes) -> Slot | None:
    """Return where this request's reply is kept: POSTs, and v2's DELETEs, that bring an Idempotency-Key."""
    if call.idempotency_key is None or not endpoint.keeps_reply:
        return None
    if endpoint.method != "POST" and not (endpoint.method == "DELETE" and call.is_v2):
        return None
    signed = b"\x00".join([request.method.encode(), call.url.encode(), request.url.query.encode(), body])
    return Slot(f"{call.key.id}:{call.idempotency_key}", hashlib.sha256(signed).hexdigest())


def idempotency_key_of(request: Request) -> str | None:
    """Return the Idempotency-Key, or raise `IdempotencyKeyTooLong`."""
    key = request.headers.get("Idempotency-Key")
    if key and len(key) > IDEMPOTENCY_KEY_MAX:
        raise IdempotencyKeyTooLong(f"The Idempotency-Key has {len(key)} characters.")
    return key or None


def rendered(result: object, call: Call) -> Any:
    """Return what a handler returned as JSON values."""
    if isinstance(result, Listing):
        shown = [
            entry if isinstance(entry, dict) else object_of(entry, call.context) for entry in result.entries
        ]
        if call.is_v2:
            return {"data": shown, "next_page_url": result.next_page_url, "previous_page_url": None}
        return {"object": "list", "data": shown, "has_more": result.has_more, "url": call.url}
    if isinstance(result, Revealed):
        return result.body
    if isinstance(result, dict):
        return result
    return object_of(result, call.context)


def perform(tx: Tx, endpoint: Endpoint, call: Call, slot: Slot | None) -> Outcome:
    """Run the handler, or repeat the stored reply, within the transaction."""
    begun = begin(tx, endpoint, call, slot)
    return begun if isinstance(begun, Outcome) else answered(tx, begun, call, slot)


def begin(tx: Tx, endpoint: Endpoint, call: Call, slot: Slot | None) -> object:
    """Run the handler and return what it did, or return the stored reply."""
    if slot is not None:
        tx.lock(f"reply/{slot.key}")  # Requests of two customers may bring the same key.
        stored = tx.reply(slot.key)
        if stored is not None and stored.request_digest != slot.digest:
            raise IdempotencyError(
                f"The Idempotency-Key '{call.idempotency_key}' was used with other parameters before."
            )
        if stored is not None:
            return Outcome(stored.status, stored.body, replayed=True)
    result = endpoint.handler(tx, call)
    call.params.refuse_unread()
    return result


def answered(tx: Tx, result: object, call: Call, slot: Slot | None) -> Outcome:
    """Return the answer that a result makes, and keep it for repetitions."""
    shown = kept = rendered(result, call)
    if isinstance(result, Revealed):
        kept = shown | {result.field: None}
    body = msgspec.json.encode(shown)
    stored_body = body if kept is shown else msgspec.json.encode(kept)
    _keep(tx, slot, status=200, body=stored_body, call=call)
    return Outcome(200, body)


async def concerned_by(endpoint: Endpoint, call: Call) -> Collection[str] | None:
    """Return the customers that a request concerns alone, or None where that is not known.

    A request that is to be refused concerns everybody: its handler says why.
    """
    find = endpoint.customers
    if find is None:
        return None
    try:
        return await call.context.store.read(lambda tx: find(tx, call))
    except BillingError:
        return None


def _keep(tx: Tx, slot: Slot | None, *, status: int, body: bytes, call: Call) -> None:
    if slot is not None:
        tx.save_reply(
            StoredReply(key=slot.key, request_digest=slot.digest, status=status, body=body, created=call.at)
        )


async def perform_in_two(endpoint: Endpoint, call: Call, slot: Slot | None) -> Outcome:
    """Run the handler in one transaction, wait for what follows outside of any, and answer in another.

    A decline is an answer like any other: it is kept, so that a repeated request is no second attempt.
    """
    assert endpoint.finish is not None
    store = call.context.store
    concerned = await concerned_by(endpoint, call)
    begun = await store.write(lambda tx: begin(tx, endpoint, call, slot), customers=concerned)
    if isinstance(begun, Outcome):
        return begun
    try:
        result = await endpoint.finish(call, begun)
    except PaymentRequired as error:
        status, body = status_of(error), msgspec.json.encode(envelope(error))
        await store.write(lambda tx: _keep(tx, slot, status=status, body=body, call=call), customers=())
        return Outcome(status, body)
    return await store.write(lambda tx: answered(tx, result, call, slot), customers=())


async def serve(endpoint: Endpoint, keys: KeyRing, context: WebContext, request: Request) -> Response:
    """Answer one request to an endpoint."""
    key = await keys.merchant(request.headers.get("Authorization"), takes_sessions=endpoint.takes_sessions)
    body = await body_of(request)
    call = Call(
        context=context,
        key=key,
        params=params_of(request, body),
        path=request.path_params,
        url=request.url.path,
        at=context.now(),
        request_id=request_id_of(request),
        idempotency_key=idempotency_key_of(request),
        api_version=request.headers.get("Stripe-Version"),
    )
    slot = slot_of(request, endpoint, call, body)
    if endpoint.fresh:
        await context.flush()
    if not endpoint.writes:
        outcome = await context.store.read(lambda tx: perform(tx, endpoint, call, slot))
    elif endpoint.finish is not None:
        outcome = await perform_in_two(endpoint, call, slot)
    else:
        concerned = await concerned_by(endpoint, call)
        outcome = await context.store.write(lambda tx: perform(tx, endpoint, call, slot), customers=concerned)
    if endpoint.reprices:
        await keep_current(context.store, context.pricing)
    return reply(request, outcome.status, outcome.body, replayed=outcome.replayed)


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer an expected refusal."""
    assert isinstance(error, BillingError)
    return reply(request, status_of(error), msgspec.json.encode(envelope(error)))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refused: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    unknown = NoSuchUrl(f"There is nothing at {request.method} {request.url.path}.")
    status = 404 if error.status_code in (404, 405) else error.status_code
    return reply(request, status, msgspec.json.encode(envelope(unknown)))


async def on_defect(request: Request, error: Exception) -> Response:
    """Log an unexpected exception and answer without a word about its details."""
    request_id = request_id_of(request)
    _LOG.error(
        "request_failed",
        request_id=request_id,
        method=request.method,
        path=request.url.path,
        exc_info=error,
    )
    return reply(request, 500, msgspec.json.encode(internal_envelope(request_id)))
