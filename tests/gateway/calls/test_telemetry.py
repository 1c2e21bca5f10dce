"""With an OTLP endpoint in the environment, calls are spans and metrics of the GenAI conventions."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

pytestmark = pytest.mark.e2e

DOLLAR = 10**9
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 10},
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "secret"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


class Listener:
    """An HTTP server that keeps what it is sent, and answers with what it was given."""

    def __init__(self, answer: bytes = b"", content_type: str = "application/x-protobuf") -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        kept = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                kept.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status = 503 if b"please fail" in body else 200
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def model() -> Iterator[Listener]:
    listener = Listener(json.dumps(ANSWER).encode(), "application/json")
    yield listener
    listener.close()


def telling(collector: Listener) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=seller",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "NO_PROXY": "*",
    }


def value_of(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def attributes(owner: Any) -> dict[str, Any]:
    return {entry.key: value_of(entry.value) for entry in owner.attributes}


def spans(collector: Listener) -> list[tuple[dict[str, Any], Any]]:
    """Return every span that was sent, with its resource's attributes."""
    found = []
    for path, _, body in list(collector.requests):
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    found += [(attributes(resource.resource), span) for span in scope.spans]
    return found


def metrics(collector: Listener) -> dict[str, Any]:
    """Return the last of every metric that was sent."""
    found = {}
    for path, _, body in list(collector.requests):
        if path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    found |= {metric.name: metric for metric in scope.metrics}
    return found


def test_calls_are_spans_of_the_callers_trace_and_the_provider_is_told_of_them(
    calls: Any, collector: Listener, model: Listener, tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    environ = calls.environment(model.url) | telling(collector)
    with calls.gateway_on(tmp_path, environ) as gateway:
        headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": "cus_1", **CALLER}
        body = {
            "model": "openai/gpt-4o-mini",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "secret"}],
        }
        answer = httpx2.post(
            f"{gateway.url}/v1/chat/completions", json=body, headers=headers, trust_env=False
        )
        assert answer.status_code == 200
        assert gateway.chat("please fail", "cus_1").status_code == 503
        assert gateway.chat("hello", "cus_1", model="made-up").status_code == 400
        assert gateway.process.end() == 0
    (resource, span), (_, failed) = spans(collector)
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("costplus", "test")
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.kind) == (TRACE, PARENT, 3)
    assert span.name == "chat openai/gpt-4o-mini"
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10 * DOLLAR
    said = attributes(span)
    charged = answer.headers["costplus-charged"]
    assert said.pop("costplus.charged_nano") == round(float(charged) * DOLLAR)
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "openai/gpt-4o-mini",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "server.address": "127.0.0.1",
        "server.port": int(model.url.rpartition(":")[2]),
        "http.response.status_code": 200,
        "costplus.request_id": answer.headers["costplus-request-id"],
        "costplus.customer": "cus_1",
    }
    assert (attributes(failed)["error.type"], failed.status.code) == ("503", 2)
    assert failed.trace_id.hex() != TRACE and not failed.parent_span_id
    told = model.requests[0][1]
    assert told["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert told["tracestate"] == "vendor=1"
    assert collector.requests[0][1]["x-tenant"] == "seller"
    assert not [body for _, _, body in collector.requests if b"secret" in body]


def test_metrics_count_tokens_and_durations_by_the_conventions(
    calls: Any, collector: Listener, provider: Any, tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    with calls.gateway_on(tmp_path, calls.environment(provider.url) | telling(collector)) as gateway:
        for _ in range(2):
            gateway.chat("[[input=11]] [[tokens=7]]", "cus_1", stream=True)
        gateway.messages("[[input=5]] [[tokens=3]]", "cus_1")
        assert gateway.process.end() == 0
    found = metrics(collector)
    points = {
        (said["gen_ai.provider.name"], said["gen_ai.token.type"]): (point.count, point.sum)
        for point in found["gen_ai.client.token.usage"].histogram.data_points
        if (said := attributes(point))
    }
    assert points == {
        ("openai", "input"): (2, 22),
        ("openai", "output"): (2, 14),
        ("anthropic", "input"): (1, 5),
        ("anthropic", "output"): (1, 3),
    }
    durations = found["gen_ai.client.operation.duration"]
    assert durations.unit == "s" and sum(point.count for point in durations.histogram.data_points) == 3
    (first,) = found["gen_ai.client.operation.time_to_first_chunk"].histogram.data_points
    assert first.count == 2 and first.explicit_bounds[0] == 0.01
    assert not [
        entry for point in durations.histogram.data_points for entry in attributes(point) if "cus" in entry
    ]


def test_without_telemetry_the_callers_trace_goes_on_as_it_is(
    calls: Any, model: Listener, tmp_path: Path
) -> None:
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    with calls.gateway_on(tmp_path, calls.environment(model.url)) as gateway:
        headers = {"authorization": f"Bearer {calls.merchant_key}", "x-stripe-customer-id": "cus_1", **CALLER}
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
        for path in ("/v1/chat/completions", "/providers/openai/v1/chat/completions"):
            assert httpx2.post(f"{gateway.url}{path}", json=body, headers=headers, trust_env=False).is_success
    assert [told["traceparent"] for _, told, _ in model.requests] == [CALLER["traceparent"]] * 2


def test_a_collector_that_is_away_disturbs_nothing_and_is_said_in_the_log(
    calls: Any, collector: Listener, provider: Any, tmp_path: Path
) -> None:
    collector.close()
    calls.seed(tmp_path, {"cus_1": DOLLAR})
    environ = calls.environment(provider.url) | telling(collector) | {"COSTPLUS_LOG_LEVEL": "warning"}
    with calls.gateway_on(tmp_path, environ) as gateway:
        assert gateway.chat("[[tokens=5]]", "cus_1").status_code == 200
        assert gateway.process.end() == 0
    lines = [json.loads(line) for line in (tmp_path / "stderr.log").read_text().splitlines()]
    assert {line["event"] for line in lines} >= {"telemetry_not_sent"}
    assert len(gateway.books.of("cus_1")) == 1


def test_where_nobody_asks_for_telemetry_it_is_not_even_loaded() -> None:
    program = (
        "import sys; from costplus import observe, serve\n"
        "assert observe.open_telemetry({}) is None\n"
        "assert observe.open_telemetry({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://x', "
        "'OTEL_SDK_DISABLED': 'true'}) is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
