"""`costplus export` and `costplus import`: files in and out of the installation's own database.

Rule 1: an import looks at the whole file before it writes anything, and tells everything that is wrong.
Rule 2: it writes a batch a transaction and may be begun again; a server may run beside it.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from costplus.billing.export import FIRST, LAST, Kind, Wanted, csv_chunks
from costplus.billing.import_rows import (
    ImportKind,
    Parsed,
    RowError,
    RowShape,
    check_heading,
    error_at,
    parse_row,
)
from costplus.billing.offer import account_currency
from costplus.billing.store import Store
from costplus.billing.take_in import Seen, Tally, look, take_balances, take_customers, take_usage
from costplus.bootstrap import open_prices, real_now
from costplus.config import OptionInvalid, Settings
from costplus.core.errors import Unavailable
from costplus.core.money import nano_text
from costplus.database import open_existing
from costplus.rating.pricing import Pricing
from costplus.web.params import day_or_instant

BATCH = 500
STANDARD = "-"
CELL_MAX = 1 << 20
Progress = Callable[[int], None]


class FileUnusable(Unavailable):
    """A file cannot be read or written."""

    code = "file_unusable"


@dataclass(slots=True)
class Outcome:
    """What an import did, or would do, and what was wrong with its file; then nothing was done."""

    kind: ImportKind
    is_dry: bool
    currency: str
    tally: Tally = field(default_factory=Tally)
    errors: list[RowError] = field(default_factory=list)


async def export(
    settings: Settings, kind: Kind, target: str, *, customer: str = "", start: str = "", end: str = ""
) -> int:
    """Write a file, or to standard output for `-`; return how many lines it has below its heading."""
    wanted = Wanted(
        customer=customer,
        start=day_or_instant(start, param="--start") if start else FIRST,
        end=day_or_instant(end, param="--end") if end else LAST,
    )
    if wanted.start >= wanted.end:
        raise OptionInvalid("The export ends before it starts.", param="--start")
    store = await open_existing(settings)
    lines = -1
    try:
        with _writing(target) as file:
            async for chunk in csv_chunks(store, kind, wanted, at=real_now()):
                file.write(chunk)
                lines += chunk.count("\n")
    finally:
        await store.close()
    return lines


@contextmanager
def _writing(target: str) -> Iterator[IO[str]]:
    """Open a file that has its name only once it is whole."""
    if target == STANDARD:
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(target)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FileUnusable(f"{target} cannot be written: {error.strerror}.") from error


async def take_in(
    settings: Settings, kind: ImportKind, origin: str, *, dry: bool, progress: Progress | None = None
) -> Outcome:
    """Import a file (`-`: standard input), or show what that would do."""
    with _reading(origin) as path:
        store = await open_existing(settings)
        try:
            outcome = Outcome(kind, dry, await store.read(account_currency))
            importer = _Importer(store, await open_prices(store, at=real_now()), path, outcome, progress)
            await importer.run()
        finally:
            await store.close()
    return outcome


@contextmanager
def _reading(origin: str) -> Iterator[Path]:
    """Give a path that can be read twice."""
    if origin != STANDARD:
        if not Path(origin).is_file():
            raise FileUnusable(f"There is no file {origin}.")
        yield Path(origin)
        return
    with tempfile.NamedTemporaryFile(suffix=".csv") as copy:
        while piece := sys.stdin.buffer.read(1 << 16):
            copy.write(piece)
        copy.flush()
        yield Path(copy.name)


class _Importer:
    """One import: read for errors, looked at against the database, then written."""

    def __init__(
        self, store: Store, pricing: Pricing, path: Path, outcome: Outcome, progress: Progress | None
    ) -> None:
        self._store = store
        self._pricing = pricing
        self._path = path
        self._outcome = outcome
        self._progress = progress
        self._at = real_now()
        self._canceled: set[str] = set()  # Ids of usage events that the file cancels further down.

    async def run(self) -> None:
        """Do it, unless something is wrong."""
        outcome = self._outcome
        for row in self._rows():
            outcome.errors += row.errors
            if row.cancels:
                self._canceled.add(row.cancels)
        if outcome.errors:
            return
        seen = Seen()
        for batch in self._batches():
            step = partial(
                look, rows=batch, pricing=self._pricing, seen=seen, at=self._at, rates=outcome.is_dry
            )
            tally, errors = await self._store.read(step)
            outcome.errors += errors
            outcome.tally.add(tally)
        if outcome.errors or outcome.is_dry:
            return
        skipped = {name: n for name, n in outcome.tally.counts.items() if name.startswith("skipped_")}
        outcome.tally = Tally()
        outcome.tally.counts.update(skipped)
        for done, batch in enumerate(self._batches(), 1):
            outcome.tally.add(await self._take(batch))
            if self._progress is not None:
                self._progress(done * BATCH)

    async def _take(self, batch: Sequence[Parsed]) -> Tally:
        at = self._at
        customers = [row.customer for row in batch if row.customer is not None]
        grants = [row.grant for row in batch if row.grant is not None]
        events = [row.event for row in batch if row.event is not None]
        if customers:
            return await self._store.write(lambda tx: take_customers(tx, customers, at=at))
        if grants:
            return await self._store.write(lambda tx: take_balances(tx, grants, at=at))
        if events:
            return await self._store.write(lambda tx: take_usage(tx, events, self._pricing, at=at))
        return Tally()

    def _batches(self) -> Iterator[list[Parsed]]:
        rows = (self._kept(row) for row in self._rows())
        while batch := list(islice(rows, BATCH)):
            yield batch

    def _kept(self, row: Parsed) -> Parsed:
        """Return the row, or that it is passed over because the file cancels it."""
        if row.event is not None and row.event.id in self._canceled:
            return Parsed(line=row.line, skipped="canceled")
        return row

    def _rows(self) -> Iterator[Parsed]:
        """Yield what the lines say; what cannot be read at all ends it."""
        kind, line = self._outcome.kind, 1
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                csv.field_size_limit(CELL_MAX)
                reader = csv.reader(file, strict=True)
                heading = [name.strip() for name in next(reader, [])]
                wrong = check_heading(kind, heading)
                if wrong:
                    yield Parsed(line=1, errors=tuple(wrong))
                    return
                line = reader.line_num + 1
                for cells in reader:
                    if cells:
                        yield parse_row(kind, heading, cells, line=line, at=self._at)
                    line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            yield Parsed(line=line, errors=(error_at(line, RowShape(f"The file cannot be read: {error}.")),))


def summary(outcome: Outcome) -> dict[str, object]:
    """Return the outcome for programs."""
    tally = outcome.tally
    return {
        "kind": outcome.kind,
        "dry_run": outcome.is_dry,
        "ok": not outcome.errors,
        "counts": dict(sorted(tally.counts.items())) if not outcome.errors else {},
        "granted": nano_text(tally.granted_nano),
        "price": nano_text(tally.price_nano),
        "cost": nano_text(tally.cost_nano),
        "unpriced": tally.unpriced,
        "currency": outcome.currency,
        "errors": [
            {"line": error.line, "column": error.column, "code": error.code, "message": error.message}
            for error in outcome.errors
        ],
    }


def report_text(outcome: Outcome) -> str:
    """Return the outcome for people."""
    if outcome.errors:
        lines = [
            f"line {error.line}: {error.message} [{error.code}]"
            for error in sorted(outcome.errors, key=lambda error: error.line)
        ]
        return "\n".join([*lines, f"{len(lines)} errors; nothing was imported."])
    tally, would = outcome.tally, "would be " if outcome.is_dry else ""
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in sorted(tally.counts.items()))
    lines = [f"{outcome.kind}: {would}{counts or 'nothing'}"]
    currency = outcome.currency.upper()
    if outcome.kind == "balances":
        lines.append(f"granted {nano_text(tally.granted_nano)} {currency}")
    if outcome.kind == "usage":
        lines.append(
            f"price {nano_text(tally.price_nano)} {currency}, cost {nano_text(tally.cost_nano)} {currency}"
            + (f", {tally.unpriced} without a price" if tally.unpriced else "")
        )
    return "\n".join(lines)
