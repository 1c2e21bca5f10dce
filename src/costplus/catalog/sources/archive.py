"""The documents that were fetched, kept as they came, so that every price can be traced to its source.

    FOLDER/litellm/20261124T091158Z-<sha256>.json.gz

Rule 1: a file appears whole or not at all, and what is read back is checked against its name.
Rule 2: the same document is kept once, under the instant at which it was last seen; a damaged file is
replaced.
Rule 3: of each source only the newest are kept.
Source: spec "prices", §6 (store raw by sha256).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from costplus.catalog.sources.fetch import BODY_BYTES_MAX
from costplus.core.errors import Unavailable

KEPT = 20
_SUFFIX = ".json.gz"
_NAME = re.compile(r"(?P<at>\d{8}T\d{6}Z)-(?P<sha256>[0-9a-f]{64})\.json\.gz")
_INSTANT = "%Y%m%dT%H%M%SZ"
_SOURCE = re.compile(r"[a-z0-9][a-z0-9.-]*")


class ArchiveDamaged(Unavailable):
    """A stored document of a price source is not what it was when it was kept."""

    code = "source_archive_damaged"
    remedy = "The source is fetched again with the next synchronisation, which replaces the file."


@dataclass(frozen=True, slots=True)
class Kept:
    """A document in the archive."""

    sha256: str
    seen_at: datetime
    path: Path


class Archive:
    """A folder of fetched documents, by source. Its methods block: call them from a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, source: str, body: bytes, *, at: datetime) -> Kept:
        """Store a document that was seen at `at`."""
        folder = self._of(source)
        folder.mkdir(parents=True, exist_ok=True)
        sha256 = hashlib.sha256(body).hexdigest()
        target = folder / f"{at.astimezone(UTC):{_INSTANT}}-{sha256}{_SUFFIX}"
        known = self._find(source, sha256)
        if known is not None and not _is_whole(known):
            known.path.unlink(missing_ok=True)
            known = None
        if known is None:
            _write(target, gzip.compress(body, mtime=0))
        elif known.path < target:
            known.path.replace(target)
        else:
            return known
        return Kept(sha256, at.astimezone(UTC).replace(microsecond=0), target)

    def listed(self, source: str) -> list[Kept]:
        """Return a source's documents, the oldest first."""
        found = []
        for path in sorted(self._of(source).glob(f"*{_SUFFIX}")):
            match = _NAME.fullmatch(path.name)
            if match:
                at = datetime.strptime(match["at"], _INSTANT).replace(tzinfo=UTC)
                found.append(Kept(match["sha256"], at, path))
        return found

    def read(self, source: str, sha256: str) -> bytes | None:
        """Return a document, None where it is not kept, or raise `ArchiveDamaged`."""
        known = self._find(source, sha256)
        return None if known is None else _body(known)

    def prune(self, source: str, *, keep: int = KEPT) -> int:
        """Delete all but the newest documents of a source; return how many went."""
        assert keep > 0
        old = self.listed(source)[:-keep]
        for kept in old:
            kept.path.unlink(missing_ok=True)
        return len(old)

    def _find(self, source: str, sha256: str) -> Kept | None:
        return next((kept for kept in self.listed(source) if kept.sha256 == sha256), None)

    def _of(self, source: str) -> Path:
        assert _SOURCE.fullmatch(source), source
        return self._folder / source


def _body(kept: Kept) -> bytes:
    """Return a document that is in the archive, or raise `ArchiveDamaged`."""
    try:
        with gzip.open(kept.path) as file:
            body = file.read(BODY_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveDamaged(f"{kept.path} cannot be read: {error}.") from error
    if hashlib.sha256(body).hexdigest() != kept.sha256:
        raise ArchiveDamaged(f"{kept.path} does not have the content that its name says.")
    return body


def _is_whole(kept: Kept) -> bool:
    try:
        return bool(_body(kept))
    except ArchiveDamaged:
        return False


def _write(target: Path, content: bytes) -> None:
    """Write a file beside its place, push it to the disk, then put it there."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
