"""What a process says of itself: logs, and telemetry where the environment names somebody to send it to.

Rule 1: a log is one line of JSON an event on standard error; its level may change while a process runs.
Rule 2: OpenTelemetry is large and optional: it is loaded only where it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

import structlog

from costplus.gateway.watch import Watcher

_least = logging.INFO


def set_level(level: str) -> None:
    """Write what is of `level` and above from now on."""
    global _least
    _least = logging.getLevelName(level.upper())


def _drop_below(_: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop what is below the level. Loggers remember their processors, so the level is looked up here."""
    number = logging.getLevelName(method.upper())
    if isinstance(number, int) and number < _least:
        raise structlog.DropEvent
    return event


def configure(level: str) -> None:
    """Send structured logs of `level` and above to standard error."""
    set_level(level)
    structlog.configure(
        processors=[
            _drop_below,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


class Telemetry(Watcher, Protocol):
    """What sends spans and metrics away."""

    def close(self) -> None:
        """Send what waits, and end. Blocks."""


def sends(environ: Mapping[str, str], signal: str) -> bool:
    """Return whether the environment names somebody to send a signal (`traces`, `metrics`) to."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp") != "otlp":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return any(environ.get(name) for name in names)


def open_telemetry(environ: Mapping[str, str]) -> Telemetry | None:
    """Return what sends this process's telemetry, None where nobody asks for it.

    Where the environment does and the library is missing, the process serves all the same and says so.
    """
    if not sends(environ, "traces") and not sends(environ, "metrics"):
        return None
    if importlib.util.find_spec("opentelemetry.exporter") is None:
        structlog.get_logger("costplus.observe").warning(
            "telemetry_missing", remedy="Install costplus[otel], or unset OTEL_EXPORTER_OTLP_ENDPOINT."
        )
        return None
    opened: Telemetry = importlib.import_module("costplus.telemetry").Telemetry(environ)
    return opened
