"""What was fetched is kept as it came: whole, once, checked, and not for ever."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from costplus.catalog.sources.archive import Archive, ArchiveDamaged

AT = datetime(2026, 11, 24, 9, 11, 58, 123456, tzinfo=UTC)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def test_a_document_is_read_back_as_it_came(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "prices")
    kept = archive.keep("models.dev", b"[1]" * 1000, at=AT)
    assert kept.path.name == f"20261124T091158Z-{kept.sha256}.json.gz"
    assert kept.path.stat().st_size < 200
    assert archive.read("models.dev", kept.sha256) == b"[1]" * 1000
    assert archive.listed("models.dev") == [kept]


def test_what_is_not_kept_is_none(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep("litellm", b"x", at=AT)
    assert archive.read("litellm", sha256(b"y")) is None
    assert archive.read("genai-prices", sha256(b"x")) is None
    assert archive.listed("genai-prices") == []
    assert archive.prune("genai-prices") == 0


def test_the_same_document_is_kept_once_under_the_instant_it_was_last_seen(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.keep("litellm", b"x", at=AT)
    archive.keep("litellm", b"y", at=AT + timedelta(hours=1))
    for at in (AT + timedelta(hours=2), AT):
        archive.keep("litellm", b"x", at=at)
    found = [(kept.sha256, kept.seen_at.hour) for kept in archive.listed("litellm")]
    assert found == [(sha256(b"y"), 10), (sha256(b"x"), 11)]


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"other", mtime=0), gzip.compress(b"x" * 99, mtime=0)[:-6]]
)
def test_a_damaged_document_is_never_returned(tmp_path: Path, content: bytes) -> None:
    archive = Archive(tmp_path)
    kept = archive.keep("litellm", b"x" * 99, at=AT)
    kept.path.write_bytes(content)
    with pytest.raises(ArchiveDamaged) as error:
        archive.read("litellm", kept.sha256)
    assert error.value.code == "source_archive_damaged"
    assert str(kept.path) in error.value.message


def test_only_the_newest_stay_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for number in range(5):
        archive.keep("litellm", b"%d" % number, at=AT + timedelta(seconds=number))
    (tmp_path / "litellm" / "notes.json.gz").write_bytes(b"mine")
    assert archive.prune("litellm", keep=2) == 3
    assert [kept.sha256 for kept in archive.listed("litellm")] == [sha256(b"3"), sha256(b"4")]
    assert (tmp_path / "litellm" / "notes.json.gz").exists()
    assert archive.prune("litellm", keep=2) == 0


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    archive = Archive(tmp_path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        archive.keep("litellm", b"x", at=AT)
    assert list((tmp_path / "litellm").iterdir()) == []


@pytest.mark.parametrize("source", ["", "../x", ".x", "a/b", "A"])
def test_a_source_is_one_folder(tmp_path: Path, source: str) -> None:
    with pytest.raises(AssertionError):
        Archive(tmp_path).keep(source, b"x", at=AT)
