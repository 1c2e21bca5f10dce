"""Write docs/errors.md from the error classes themselves: code, where it is raised, what it says to do."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import costplus
from costplus.core.errors import BillingError
from costplus.gateway.dialect import status_of

TARGET = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
HEAD = """# Errors

Every refusal carries a permanent `code`, a plain sentence and what to do. The gateway answers in its
caller's dialect: OpenAI's `{"error": {"message", "type", "param", "code"}}` or Anthropic's
`{"type": "error", "error": {…}}`; the API in Stripe's `{"error": {"type", "code", "message", "param"}}`.
Codes never change; sentences may.

This page is written by `scripts/write_error_reference.py`.

| code | HTTP | meaning | what to do |
|---|---|---|---|
"""


def errors() -> Iterator[type[BillingError]]:
    """Yield every error class of the package that is raised under a code of its own."""
    for module in pkgutil.walk_packages(costplus.__path__, "costplus."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = [BillingError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "code" in vars(kind) and kind is not BillingError and kind.__module__.startswith("costplus."):
            yield kind


def _generality(kind: type[BillingError]) -> tuple[int, bool, str, str]:
    return len(kind.__mro__), not kind.remedy, kind.__module__, kind.__name__


def rows() -> list[str]:
    """Return the table's rows, one a code, in the codes' order.

    Of classes that share a code the most general one speaks, and of equals one that says what to do.
    """
    found: dict[str, str] = {}
    for kind in sorted(errors(), key=_generality):
        sentence = " ".join((kind.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        status = status_of(kind.__new__(kind))
        remedy = kind.remedy.replace("|", "\\|")
        found.setdefault(kind.code, f"| `{kind.code}` | {status} | {sentence} | {remedy} |")
    return [found[code] for code in sorted(found)]


def page() -> str:
    """Return the whole page."""
    return HEAD + "\n".join(rows()) + "\n"


def main() -> None:
    """Write the page."""
    TARGET.write_text(page())
    sys.stdout.write(f"{TARGET.name}: {len(rows())} codes\n")


if __name__ == "__main__":
    main()
