"""A line of the log for a call: who, what, how long, how much; its texts only where the operator wants them.

Rule 1: nothing of a request or an answer is written down unless `log_bodies` says so, and never a credential.
Rule 2: what the provider was paid stays out: logs travel further than books.
"""

from __future__ import annotations

from typing import Any, Literal

import structlog

from costplus.core.money import nano_text
from costplus.core.usage import INPUT_LEAVES, OUTPUT_LEAVES
from costplus.gateway.redact import shape_of, shown_text
from costplus.gateway.watch import Exchange

LogCalls = Literal["off", "errors", "all"]
LogBodies = Literal["off", "metadata", "full"]
# Of the caller's headers, what helps to find out what happened.
_HEADERS = ("user-agent", "content-type", "x-stainless-lang", "x-stainless-package-version", "traceparent")

log = structlog.get_logger("costplus.gateway.call")


class CallLog:
    """Writes calls down; a `Watcher`."""

    def __init__(self, *, calls: LogCalls = "errors", bodies: LogBodies = "off") -> None:
        self.calls = calls
        self.bodies = bodies

    @property
    def keeps_answers(self) -> bool:
        """Whether answers must be kept until their end."""
        return self.bodies != "off"

    def admitted(self, exchange: Exchange) -> None:
        """Nothing is written before the end."""

    def ended(self, exchange: Exchange) -> None:
        """Write the exchange down where the settings ask for it."""
        failed = exchange.status >= 500
        if self.calls == "off" and self.bodies == "off":
            return
        if self.calls != "all" and self.bodies == "off" and not failed:
            return
        line = _line(exchange)
        if self.bodies != "off":
            line |= self._contents(exchange)
        (log.warning if failed else log.info)("call", **line)

    def _contents(self, exchange: Exchange) -> dict[str, Any]:
        answer = b"".join(exchange.answer or ())
        received = exchange.received or {}
        headers = {name: shown_text(received[name].encode()) for name in _HEADERS if name in received}
        if self.bodies == "full":
            return {
                "headers": headers,
                "request_body": shown_text(exchange.body),
                "answer_body": shown_text(answer),
            }
        return {
            "headers": headers,
            "request_shape": shape_of(exchange.body),
            "answer_shape": shape_of(answer),
        }


def _line(exchange: Exchange) -> dict[str, Any]:
    """Return what is said of every call."""
    call, endpoint = exchange.call, exchange.endpoint
    line: dict[str, Any] = {
        "request": exchange.request_id,
        "path": exchange.path,
        "endpoint": endpoint.wire if endpoint else "",
        "status": exchange.noted_status,
        "ms": round((exchange.ended_s - exchange.began_s) * 1000, 1),
    }
    if exchange.error_code:
        line["code"] = exchange.error_code
    if call is None:
        return line
    line |= {
        "customer": call.terms.customer.id,
        "api_key": call.api_key,
        "provider": call.sheet.provider,
        "model": call.sheet.model,
        "own_ms": round(exchange.overhead_s * 1000, 2),
    }
    if exchange.first_piece_s:
        line["first_piece_ms"] = round((exchange.first_piece_s - exchange.sent_on_s) * 1000, 1)
    used = call.used
    if used is not None:
        line |= {
            "input_tokens": sum(n for leaf, n in used.quantities.items() if leaf in INPUT_LEAVES),
            "output_tokens": sum(n for leaf, n in used.quantities.items() if leaf in OUTPUT_LEAVES),
            "charged": nano_text(used.price_nano),
        }
        if used.flags:
            line["flags"] = list(used.flags)
    return line
