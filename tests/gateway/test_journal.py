"""The journal keeps what the gateway must not forget, whatever happens to its process or its disk."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from costplus.gateway import journal as journal_module
from costplus.gateway.errors import JournalFull
from costplus.gateway.journal import Intent, Journal, JournalBusy, Rated, Used, Void, read_segment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    opened = Journal(folder)
    yield opened
    opened.close()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def entries(folder: Path) -> list[Any]:
    return [entry for path in segments(folder) for entry in read_segment(path)]


def test_what_was_written_is_read_back_whole_and_in_order(
    journal: Journal, folder: Path, records: Any
) -> None:
    intent = records.intent("req_1", hold="hold_1", held_nano=5)
    used, rates = records.used("req_1", unpriced=("web_search",), flags=("estimated",))
    journal.intend(intent)
    journal.use(used, rates)
    journal.void("req_2", "provider_500")
    read = entries(folder)
    assert read == [intent, *(Rated(rate) for rate in rates), used, Void("req_2", "provider_500")]
    assert read[1].rate.unit_cost == rates[0].unit_cost  # Exact: a fraction, not a float.


def test_a_record_is_in_the_file_when_the_call_returns(journal: Journal, folder: Path, records: Any) -> None:
    journal.intend(records.intent("req_1"))
    assert [entry.id for entry in entries(folder)] == ["req_1"]


def test_a_rate_is_written_once_a_segment(journal: Journal, folder: Path, records: Any) -> None:
    for number in range(3):
        journal.use(*records.used(f"req_{number}"))
    kinds = [type(entry) for entry in entries(folder)]
    assert kinds == [Rated, Rated, Used, Used, Used]


@pytest.mark.parametrize("torn", range(1, 12))
def test_a_torn_last_line_is_passed_over(journal: Journal, folder: Path, records: Any, torn: int) -> None:
    journal.intend(records.intent("req_1"))
    journal.intend(records.intent("req_2"))
    (path,) = segments(folder)
    path.write_bytes(path.read_bytes()[:-torn])
    whole = ["req_1", "req_2"] if torn == 1 else ["req_1"]  # Only the line's end is gone: nothing is missing.
    assert [entry.id for entry in entries(folder)] == whole


@pytest.mark.parametrize("damage", [b"\x00" * 20, b"\n", b"}{", b" ", b"\xff\n\xff"])
def test_a_torn_middle_line_costs_no_other_line(
    journal: Journal, folder: Path, records: Any, damage: bytes
) -> None:
    for number in range(3):
        journal.intend(records.intent(f"req_{number}"))
    (path,) = segments(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:30] + damage + lines[1][30 + len(damage) :]
    path.write_bytes(b"".join(lines))
    assert [entry.id for entry in entries(folder)] == ["req_0", "req_2"]


def test_an_empty_file_holds_nothing(folder: Path, journal: Journal) -> None:
    (folder / "000000000009.journal").touch()
    assert entries(folder) == []


def test_a_second_process_on_the_folder_is_refused(folder: Path, journal: Journal) -> None:
    with pytest.raises(JournalBusy) as refused:
        Journal(folder)
    assert refused.value.code == "journal_busy"


def test_the_folder_is_free_again_once_the_journal_is_closed(folder: Path) -> None:
    Journal(folder).close()
    Journal(folder).close()


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 1)  # Every record fills its segment.


@pytest.mark.usefixtures("small_segments")
def test_a_segment_goes_when_all_its_calls_are_settled_and_not_before(
    journal: Journal, folder: Path, records: Any
) -> None:
    for number in range(3):
        journal.intend(records.intent(f"req_{number}"))
    journal.settled(["req_1"])
    journal.intend(records.intent("req_3"))
    assert len(segments(folder)) == 4  # The oldest is still open, so nothing behind it goes either.
    journal.settled(["req_0"])
    journal.intend(records.intent("req_4"))
    assert [entry.id for entry in entries(folder)] == ["req_2", "req_3", "req_4"]


@pytest.mark.usefixtures("small_segments")
def test_a_void_call_is_not_open_any_more_wherever_it_was_begun(
    journal: Journal, folder: Path, records: Any
) -> None:
    journal.intend(records.intent("req_0"))
    journal.void("req_0", "provider_500")
    journal.intend(records.intent("req_1"))
    assert [type(entry) for entry in entries(folder)] == [Intent]


def test_closing_leaves_only_what_is_not_settled(folder: Path, records: Any) -> None:
    journal = Journal(folder)
    journal.intend(records.intent("req_1"))
    journal.settled(["req_1"])
    journal.close()
    assert segments(folder) == []
    journal = Journal(folder)
    journal.intend(records.intent("req_2"))
    journal.close()
    assert [entry.id for entry in entries(folder)] == ["req_2"]


def test_a_new_process_finds_what_an_earlier_one_left_and_writes_beside_it(
    folder: Path, records: Any
) -> None:
    journal = Journal(folder)
    journal.intend(records.intent("req_1"))
    journal.close()
    journal = Journal(folder)
    journal.intend(records.intent("req_2"))
    (left,) = journal.left_behind()
    assert [entry.id for entry in read_segment(left)] == ["req_1"]
    journal.close()


def test_at_its_limit_the_journal_refuses_new_calls_and_lets_the_others_end(
    folder: Path, records: Any
) -> None:
    journal = Journal(folder, bytes_max=320)
    journal.intend(records.intent("req_1"))
    journal.intend(records.intent("req_2"))
    with pytest.raises(JournalFull) as refused:
        journal.intend(records.intent("req_3"))
    assert refused.value.code == "journal_full"
    journal.use(*records.used("req_1"))
    journal.void("req_2", "provider_500")
    journal.settled(["req_1"])
    journal.intend(records.intent("req_3"))
    assert [entry.id for entry in entries(folder)] == ["req_3"]
    journal.close()


def test_a_full_disk_refuses_the_call(
    journal: Journal, folder: Path, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, chunk: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(JournalFull, match="No space left"):
            journal.intend(records.intent("req_1"))
    journal.intend(records.intent("req_2"))
    assert [entry.id for entry in entries(folder)] == ["req_2"]


def test_after_a_half_written_record_the_next_one_is_whole(
    journal: Journal, folder: Path, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.write
    journal.intend(records.intent("req_1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, chunk: whole(fd, chunk[: len(chunk) // 2]))
        with pytest.raises(JournalFull):
            journal.intend(records.intent("req_2"))
    journal.intend(records.intent("req_3"))
    assert [entry.id for entry in entries(folder)] == ["req_1", "req_3"]
    assert len(segments(folder)) == 2


class Flushes:
    """Counts fdatasync, and lets a test hold it back or fail it."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.error: OSError | None = None

    def __call__(self, fd: int) -> None:
        self.begun += 1
        if self.error is not None:
            raise self.error
        self.ended += 1


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Flushes:
    counted = Flushes()
    monkeypatch.setattr(os, "fdatasync", counted)
    return counted


async def test_many_calls_share_one_flush(journal: Journal, records: Any, flushes: Flushes) -> None:
    async def call(number: int) -> None:
        journal.intend(records.intent(f"req_{number}"))
        await journal.durable()
        assert flushes.ended > 0

    await asyncio.gather(*(call(number) for number in range(50)))
    assert flushes.ended <= 3


async def test_a_call_waits_for_a_flush_that_another_has_begun(
    journal: Journal, records: Any, flushes: Flushes
) -> None:
    journal.intend(records.intent("req_1"))
    background = asyncio.ensure_future(journal.sync())
    await asyncio.sleep(0)  # It has begun and not ended.
    await journal.durable()
    assert flushes.ended == 1
    await background


async def test_a_disk_that_cannot_be_flushed_is_told_to_every_call_that_waits(
    journal: Journal, records: Any, flushes: Flushes
) -> None:
    flushes.error = OSError(errno.EIO, "Input/output error")
    journal.intend(records.intent("req_1"))
    outcomes = await asyncio.gather(*(journal.durable() for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [JournalFull] * 3
    flushes.error = None
    await journal.durable()  # What was not flushed is tried again.
    assert flushes.ended == 1


@pytest.mark.usefixtures("small_segments")
async def test_a_segment_is_not_deleted_under_a_flush(
    journal: Journal, folder: Path, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def during(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> Callable[[int], None]:
        def flush(fd: int) -> None:
            asyncio.run_coroutine_threadsafe(asyncio.to_thread(lambda: None), loop).result()
            loop.call_soon_threadsafe(work)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
            os.fsync(fd)  # EBADF where the descriptor is gone.

        return flush

    def rotate() -> None:
        journal.settled(["req_1", "req_2"])
        journal.intend(records.intent("req_3"))

    journal.intend(records.intent("req_1"))
    journal.intend(records.intent("req_2"))
    monkeypatch.setattr(os, "fdatasync", during(asyncio.get_running_loop(), rotate))
    await journal.sync()
    journal.settled(["req_3"])
    journal.intend(records.intent("req_4"))
    assert [entry.id for entry in entries(folder)][-1] == "req_4"
