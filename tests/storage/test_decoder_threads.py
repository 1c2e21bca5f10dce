"""Store threads that read records for the first time at the same moment do not bring the process down."""

from __future__ import annotations

import subprocess
import sys

READ_AT_ONCE = """
import contextlib, sys, threading
import msgspec
import costplus.serve
from costplus.core.records import Record
from costplus.storage.codec import decode_record

def kinds(base):
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)

every = [kind for kind in kinds(Record) if "KIND" in vars(kind)]
assert len(every) > 30, every
sys.setswitchinterval(1e-6)
gate = threading.Barrier(8)

def read(number):
    gate.wait()
    for kind in every if number % 2 else reversed(every):
        with contextlib.suppress(msgspec.ValidationError):
            decode_record(kind, b'{"id": "x", "created": "2026-01-01T00:00:00Z"}')

threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_reading_of_records_by_many_threads() -> None:
    for _ in range(3):
        subprocess.run([sys.executable, "-c", READ_AT_ONCE], check=True, timeout=60)
