"""What goes wrong on this side: the disk, the archive, the store, the network. Nothing is kept by halves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from costplus.catalog.book import SourceState
from costplus.core.errors import Unavailable

pytestmark = pytest.mark.slow


async def test_a_list_that_cannot_be_kept_changes_nothing(world: Any, build: Any, tmp_path: Path) -> None:
    await world.sync()
    world.state(*world.followed, input="3")
    shutil.rmtree(tmp_path / "prices")
    (tmp_path / "prices").write_text("in the way")
    report = await world.sync()
    assert {s.outcome for s in report.sources} == {"unavailable"}
    assert "cannot be kept" in report.sources[0].why
    assert world.price()["input"] == "2" and await world.news() == []
    (tmp_path / "prices").unlink()
    await world.sync()
    assert world.price()["input"] == "3"


async def test_a_damaged_document_is_fetched_again_and_replaced(
    world: Any, build: Any, tmp_path: Path
) -> None:
    await world.sync()
    (kept,) = (tmp_path / "prices" / build.litellm).iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    world.lists.answered.clear()
    before = await world.counts()
    await world.sync()
    assert (build.litellm, 200) in world.lists.answered
    await world.sync()
    assert world.lists.answered[-2] == (build.litellm, 304)
    assert await world.counts() == before


async def test_a_lost_archive_does_not_open_the_door_to_a_shrunken_list(
    large_world: Any, build: Any, tmp_path: Path
) -> None:
    world = large_world
    await world.sync()
    shutil.rmtree(tmp_path / "prices")
    world.prices[build.litellm] = dict(list(world.prices[build.litellm].items())[::2])
    world.publish(build.litellm)
    report = await world.sync()
    assert [s.outcome for s in report.sources] == ["new", "rejected", "new"]


async def test_what_is_not_believed_does_not_push_the_accepted_document_out(
    large_world: Any, build: Any
) -> None:
    world = large_world
    await world.sync()
    good = world.lists.bodies[build.litellm]
    for number in range(25):
        dear = {"input": "9", "output": f"{10 + number}"}
        world.prices[build.litellm] = dict.fromkeys(world.prices[build.litellm], dear)
        world.publish(build.litellm)
        await world.sync()
    assert world.archive.read(build.litellm, (await world.source(build.litellm)).sha256) == good


async def test_a_list_that_is_away_changes_nothing_and_the_others_go_on(world: Any, build: Any) -> None:
    await world.sync()
    world.lists.gone.add(build.genai)
    world.state(build.litellm, build.models_dev, input="3")
    report = await world.sync()
    assert [s.outcome for s in report.sources] == ["unavailable", "new", "new"]
    assert world.price()["input"] == "3"  # What the first one said last still counts: two against one.


async def test_a_store_that_is_away_keeps_nothing_by_halves(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.sync()
    before = await world.counts(), await world.records(SourceState)
    world.state(*world.followed, input="3")

    async def away(*_: Any) -> Any:
        raise Unavailable("The database is away.")

    async def fails_late(self: Any, verb: Any) -> Any:
        def then_fails(tx: Any) -> None:
            verb(tx)
            raise Unavailable("The disk is full.")

        return await write(then_fails)

    write = world.store.write
    for broken in (away, fails_late):
        with monkeypatch.context() as patched:
            patched.setattr(type(world.store), "write", broken)
            with pytest.raises(Unavailable):
                await world.sync()
        assert (await world.counts(), await world.records(SourceState)) == before
        assert world.price()["input"] == "2"
    await world.sync()
    assert world.price()["input"] == "3"


async def test_somebody_who_writes_the_book_all_the_time_is_told_of(
    world: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.sync()
    monkeypatch.setattr("costplus.billing.price_sync._write", lambda *_, **__: None)
    with pytest.raises(Exception, match="changed during each of 3") as raised:
        await world.sync()
    assert raised.value.code == "price_book_busy"
