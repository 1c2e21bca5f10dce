"""What is at a URL, told from how its path ends.

Rule 1: the table is Python's own and the same everywhere, not the machine's.
"""

from __future__ import annotations

import mimetypes
import re

_PATH_END = re.compile(r"[?#]")
_TYPES = mimetypes.MimeTypes()
for _extension, _type in ((".webp", "image/webp"), (".md", "text/markdown"), (".heif", "image/heif")):
    _TYPES.add_type(_type, _extension)


def media_type_at(url: str) -> str:
    """Return the media type of what is at `url`, empty where its path does not tell."""
    return _TYPES.guess_type(_PATH_END.split(url)[0].lower())[0] or ""
