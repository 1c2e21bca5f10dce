"""Invoices as PDF, typeset by Typst (https://typst.app, Apache-2.0).

Rule 1: the library is large and optional; it is loaded when the first PDF is asked for.
Rule 2: typesetting takes tens of milliseconds, so it runs in a thread, one document at a time.
Rule 3: the same document always makes the same bytes.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import msgspec

from costplus.core.errors import Unavailable
from costplus.web.invoice_document import Document

SOURCE = resources.files("costplus.web").joinpath("templates", "invoice.typ").read_bytes()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_one_at_a_time = threading.Lock()


class PdfUnavailable(Unavailable):
    """This installation has no typesetter."""

    code = "pdf_unavailable"
    remedy = "Install costplus[pdf], or use the invoice's page."


def can_make_pdf() -> bool:
    """Return whether the typesetter is installed."""
    return importlib.util.find_spec("typst") is not None


def pdf_of(document: Document, *, at: datetime = _EPOCH) -> bytes:
    """Return the document as PDF, dated `at`. Raises `PdfUnavailable`. Blocks: call it in a thread."""
    if not can_make_pdf():
        raise PdfUnavailable("PDFs cannot be made here.")
    typst: Any = importlib.import_module("typst")
    inputs = {"document": msgspec.json.encode(document).decode()}
    with _one_at_a_time:
        made: bytes = typst.compile(
            SOURCE, format="pdf", sys_inputs=inputs, ignore_system_fonts=True, timestamp=int(at.timestamp())
        )
    return made
