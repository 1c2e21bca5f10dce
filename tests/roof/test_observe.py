"""The log's level may change while loggers are in use."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import structlog
from costplus import observe
observe.configure("warning")
log = structlog.get_logger("any")
log.info("early"); log.warning("loud", n=1)
observe.set_level("debug")
log.debug("fine")
observe.set_level("error")
log.warning("late"); log.error("last")
"""


def test_a_logger_in_use_follows_the_level() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("loud", "warning"),
        ("fine", "debug"),
        ("last", "error"),
    ]
