"""Named SQL: `.sql` files whose blocks begin with `-- :name the_name`, loaded once.

Rule 1: SQL stands in these files only.   Rule 2: a missing or a doubled name is found when the module loads
or, at the latest, by the test that prepares every query.
"""

from __future__ import annotations

import re
from importlib import resources
from types import SimpleNamespace

_NAME = re.compile(r"^-- :name (\w+)\n", re.MULTILINE)


def parse_queries(text: str) -> dict[str, str]:
    """Return each block's SQL under its name; text before the first name is a comment."""
    parts = _NAME.split(text)[1:]
    names = parts[::2]
    assert len(set(names)) == len(names), names
    return dict(zip(names, (sql.strip() for sql in parts[1::2]), strict=True))


def load_queries(package: str, file: str) -> SimpleNamespace:
    """Return the file's queries as attributes."""
    text = resources.files(package).joinpath("queries", file).read_text("utf-8")
    return SimpleNamespace(**parse_queries(text))


def load_migrations(package: str) -> list[tuple[int, str]]:
    """Return (number, SQL) of `migrations/NNNN_*.sql`, ascending and without a gap."""
    files = resources.files(package).joinpath("migrations").iterdir()
    found = sorted((file.name, file) for file in files if file.name.endswith(".sql"))
    numbered = [(int(name[:4]), file.read_text("utf-8")) for name, file in found]
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return numbered
