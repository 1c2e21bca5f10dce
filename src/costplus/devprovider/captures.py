"""Captures: recorded exchanges with real providers, found again by id or by the request they answer.

Rule 1: an id decides; without one the endpoint and the canonical body do.
Rule 2: a canonical body ignores `stream_options.include_usage`, which a gateway may inject, and, when nothing
else matches, the provider's prefix of the model.
Rule 3: of several recordings of one request the first is answered.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import msgspec

AWS_EVENT_STREAM = "application/vnd.amazon.eventstream"
EVENT_STREAM = "text/event-stream"
_ENDPOINTS = ("chat/completions", "responses", "embeddings", "messages")
_CUTS = 6


class _Line(msgspec.Struct):
    id: str
    provider: str
    path: str
    model: str | None
    stream: bool
    request: msgspec.Raw
    status: int
    content_type: str | None
    response: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recording, its answer as the bytes that go out."""

    id: str
    provider: str
    path: str
    model: str | None
    stream: bool
    status: int
    content_type: str
    body: bytes

    @property
    def streams(self) -> bool:
        """Whether the answer is sent in several writes."""
        return self.content_type in (EVENT_STREAM, AWS_EVENT_STREAM)

    def writes(self) -> list[bytes]:
        """Return the body cut at arbitrary places, the same ones each time, inside characters too."""
        places = random.Random(self.id).sample(range(len(self.body)), min(_CUTS, len(self.body)))
        edges = sorted({0, len(self.body), *places})
        return [self.body[start:end] for start, end in itertools.pairwise(edges)]


class Captures:
    """The recordings, by id and by request."""

    def __init__(self, exchanges: Iterable[tuple[Exchange, bytes]]) -> None:
        self.by_id: dict[str, Exchange] = {}
        self._by_request: dict[bytes, Exchange] = {}
        self._by_loose_request: dict[bytes, Exchange] = {}
        for exchange, request in exchanges:
            self.by_id[exchange.id] = exchange
            body = _object_in(request)
            if body is not None:
                self._by_request.setdefault(_digest(exchange.path, body), exchange)
                self._by_loose_request.setdefault(_digest(exchange.path, _without_prefix(body)), exchange)

    def find(self, *, id: str | None, path: str, body: bytes) -> Exchange | None:
        """Return the recording named `id`, else the one that answered this request."""
        if id is not None and id in self.by_id:
            return self.by_id[id]
        asked = _object_in(body)
        if asked is None:
            return None
        found = self._by_request.get(_digest(path, asked))
        return found or self._by_loose_request.get(_digest(path, _without_prefix(asked)))


def load(path: Path) -> Captures:
    """Read a file of recordings, one JSON object a line, gzipped or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    decoder = msgspec.json.Decoder(_Line)
    with opener(path, "rb") as lines:
        return Captures([_exchange(decoder.decode(line)) for line in lines if line.strip()])


def endpoint_of(path: str) -> str:
    """Return what a recorded and a live path share: the known suffix, the model's method, or all of it."""
    plain = unquote(path.partition("?")[0])  # A server may hand on a live path decoded.
    for endpoint in _ENDPOINTS:
        if plain.endswith("/" + endpoint):
            return endpoint
    last = plain.rpartition("/")[2]
    return f"models/{last}" if "/models/" in plain and ":" in last else plain


def _exchange(line: _Line) -> tuple[Exchange, bytes]:
    content_type = (line.content_type or "application/json").partition(";")[0]
    raw = bytes(line.response)
    if raw.startswith(b'"'):
        text = msgspec.json.decode(raw, type=str)
        raw = base64.b64decode(text) if content_type == AWS_EVENT_STREAM else text.encode()
    exchange = Exchange(
        line.id, line.provider, line.path, line.model, line.stream, line.status, content_type, raw
    )
    return exchange, bytes(line.request)


def _object_in(body: bytes) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return None


def _without_prefix(body: Mapping[str, object]) -> dict[str, object]:
    model = body.get("model")
    return {**body, "model": model.rpartition("/")[2]} if isinstance(model, str) else dict(body)


def _digest(path: str, body: Mapping[str, object]) -> bytes:
    options = body.get("stream_options")
    if isinstance(options, dict):
        kept = {name: value for name, value in options.items() if name != "include_usage"}
        body = {name: value for name, value in body.items() if name != "stream_options"}
        if kept:
            body["stream_options"] = kept
    canonical = msgspec.json.encode(body, order="deterministic")
    return hashlib.sha256(endpoint_of(path).encode() + b"\n" + canonical).digest()
