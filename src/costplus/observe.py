"""Logs: one line of JSON an event on standard error; their level may change while a process runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

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
