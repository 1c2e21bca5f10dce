"""OpenTelemetry: a span for every call to a model and the metrics of the GenAI conventions, sent by OTLP.

Rule 1: it is set up by the standard environment variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …), and loaded only where they name an endpoint.
Rule 2: a call's span continues the caller's trace, and the provider is told of ours.
Rule 3: no words of a request or an answer are in it; metrics tell no customers apart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter, time_ns

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from costplus import __version__
from costplus.core.usage import INPUT_LEAVES, OUTPUT_LEAVES
from costplus.gateway.call import Call
from costplus.gateway.journal import Used
from costplus.gateway.tally import OTHER
from costplus.gateway.watch import Exchange
from costplus.observe import sends

# Names of the conventions, which call some providers otherwise than the price catalogue.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
_OPERATIONS = (
    ("embed", "embeddings"),
    ("gemini_generate", "generate_content"),
    ("vertex_", "generate_content"),
)
_OTHER_OPERATIONS = ("rerank", "images", "speech", "transcription")
_TOKEN_LIMITS = [float(4**power) for power in range(14)]
_SECOND_LIMITS = [0.01 * 2**power for power in range(14)]

log = structlog.get_logger("costplus.telemetry")
Attributes = dict[str, str | int | float | bool]


class _Said(logging.Handler):
    """What the SDK has to say goes to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("telemetry_not_sent", message=record.getMessage())


class Telemetry:
    """Sends spans and metrics; a `Watcher`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        said = logging.getLogger("opentelemetry")
        said.addHandler(_Said())
        said.propagate = False
        own = {SERVICE_NAME: environ.get("OTEL_SERVICE_NAME", "costplus"), SERVICE_VERSION: __version__}
        resource = Resource.create(own)
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        if sends(environ, "traces"):
            self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if sends(environ, "metrics") else []
        self._metrics = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("costplus", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[str, Span] = {}  # By request id, while calls are under way.
        self._tokens = self._histogram("gen_ai.client.token.usage", "{token}", "Tokens used.", _TOKEN_LIMITS)
        self._duration = self._histogram(
            "gen_ai.client.operation.duration", "s", "How long a call takes.", _SECOND_LIMITS
        )
        self._first_chunk = self._histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "How long a stream's first piece takes.",
            _SECOND_LIMITS,
        )  # fmt: skip

    def _histogram(self, name: str, unit: str, text: str, limits: list[float]) -> Histogram:
        meter = self._metrics.get_meter("costplus", __version__)
        return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=limits)

    def admitted(self, exchange: Exchange) -> None:
        """Begin the call's span, and have the provider told of it."""
        call = exchange.call
        assert call is not None
        parent = self._propagator.extract(dict(call.received))
        began_ns = time_ns() - int((perf_counter() - exchange.began_s) * 1e9)
        attributes = _asked(call)
        span = self._tracer.start_span(
            f"{attributes['gen_ai.operation.name']} {call.requested_model}",
            context=parent,
            kind=SpanKind.CLIENT,
            start_time=began_ns,
            attributes=attributes,
        )
        self._spans[call.id] = span
        sent: dict[str, str] = {}
        self._propagator.inject(sent, set_span_in_context(span))
        call.received = {**call.received, **sent}

    def ended(self, exchange: Exchange) -> None:
        """End the call's span with what it used, and count it."""
        call = exchange.call
        if call is None:
            return
        common, used = _labels(call), call.used
        error = exchange.error_code or (str(exchange.noted_status) if exchange.noted_status >= 400 else "")
        first_s = exchange.first_piece_s - exchange.sent_on_s if exchange.first_piece_s else 0.0
        failed = {"error.type": error} if error else {}
        self._duration.record(exchange.ended_s - exchange.began_s, {**common, **failed})
        if first_s:
            self._first_chunk.record(first_s, common)
        if used is not None:
            for kind, leaves in (("input", INPUT_LEAVES), ("output", OUTPUT_LEAVES)):
                self._tokens.record(_sum(used, leaves), {**common, "gen_ai.token.type": kind})
        span = self._spans.pop(call.id, None)
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(_used(call, used) if used is not None else {})
            span.set_attribute("http.response.status_code", exchange.noted_status)
            if first_s:
                span.set_attribute("gen_ai.response.time_to_first_chunk", first_s)
            if error:
                span.set_attribute("error.type", error)
                span.set_status(Status(StatusCode.ERROR))
        span.end()

    def close(self) -> None:
        """Send what waits, and end. Blocks: call it in a thread."""
        for span in self._spans.values():
            span.end()
        self._traces.shutdown()
        self._metrics.shutdown()


def _operation(wire: str) -> str:
    for word, operation in _OPERATIONS:
        if word in wire:
            return operation
    return next((word for word in _OTHER_OPERATIONS if wire.endswith(word)), "chat")


def _labels(call: Call) -> Attributes:
    """Return what metrics are told apart by; models are those of the catalogue."""
    settings = call.sending.provider.settings
    address, port = call.sending.provider.address
    return {
        "gen_ai.operation.name": _operation(call.sending.endpoint.wire),
        "gen_ai.provider.name": _PROVIDERS.get(settings.name, settings.name),
        "gen_ai.request.model": OTHER if call.sheet.stands_in else call.sheet.model,
        "server.address": address,
        "server.port": port,
    }


def _asked(call: Call) -> Attributes:
    """Return a span's attributes that are known when its call begins."""
    asked = _labels(call)
    asked["gen_ai.request.model"] = call.requested_model
    asked["gen_ai.request.stream"] = call.request.stream
    if call.request.max_tokens is not None:
        asked["gen_ai.request.max_tokens"] = call.request.max_tokens
    if call.request.choices_max > 1:
        asked["gen_ai.request.choice.count"] = call.request.choices_max
    asked["costplus.request_id"] = call.id
    asked["costplus.customer"] = call.terms.customer.id
    return asked


def _used(call: Call, used: Used) -> Attributes:
    """Return what a call's span says of its answer; input holds what was cached, by the conventions."""
    quantities = used.quantities
    found: Attributes = {
        "gen_ai.response.model": used.model,
        "gen_ai.usage.input_tokens": _sum(used, INPUT_LEAVES),
        "gen_ai.usage.output_tokens": _sum(used, OUTPUT_LEAVES),
        "costplus.charged_nano": used.price_nano,
    }
    parts = {
        "gen_ai.usage.cache_read.input_tokens": quantities.get("cached_input", 0),
        "gen_ai.usage.cache_creation.input_tokens": sum(
            n for leaf, n in quantities.items() if leaf.startswith("cache_write")
        ),
        "gen_ai.usage.reasoning.output_tokens": quantities.get("reasoning", 0),
    }
    found.update((name, count) for name, count in parts.items() if count)
    return found


def _sum(used: Used, leaves: frozenset[str]) -> int:
    return sum(n for leaf, n in used.quantities.items() if leaf in leaves)
