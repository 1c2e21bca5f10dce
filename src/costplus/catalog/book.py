"""The price book: what has been learned about prices since the snapshot, kept as records for ever.

Rule 1: a recorded price never changes and never goes; a later one supersedes it, an undo restates the old.
Rule 2: a change is proposed, then applied, held, scheduled, rejected, withdrawn or cancelled; its record
tells who said what and why it was decided so.
Rule 3: the same proposal has the same digest: found twice, it is one change.
Rule 4: the book's revision grows with everything that may change a price; who serves prices compares it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from costplus.catalog.snapshot import ComponentEntry, MultiplierEntry, VersionEntry
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.records import Record

Origin = Literal["sync", "override", "redirect", "undo", "bundled"]
ChangeKind = Literal["price", "new_model", "scheduled", "override", "undo", "redirect"]
ChangeStatus = Literal[
    "soaking", "held", "pending", "scheduled", "applied", "rejected", "withdrawn", "cancelled", "superseded"
]
OPEN: frozenset[ChangeStatus] = frozenset({"soaking", "held", "pending", "scheduled"})
BOOK = "price_book"


class NoSuchChange(NotFound):
    """The price change does not exist."""

    code = "resource_missing"
    remedy = "List them with GET /v1/token_billing/price_changes."


class ChangeNotOpen(InvalidRequest):
    """The price change was decided already."""

    code = "price_change_not_open"
    remedy = "Only held, soaking, pending and scheduled changes can be approved or rejected."


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPrice(Record):
    """One price version that was recorded after the snapshot; `created` is when. Its id is the version's."""

    KIND: ClassVar[str] = "recorded_price"

    provider: str
    model: str
    currency: str
    version: VersionEntry
    origin: Origin
    source: str = ""  # Who says so, for people.
    change: str = ""  # The change that recorded it.
    context_tokens_max: int | None = None
    output_tokens_max: int | None = None

    @property
    def parent(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEnd(Record):
    """That a recorded price counts no more from `created` on; its id is the version's."""

    KIND: ClassVar[str] = "price_end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAlias(Record):
    """A name that the operator declares to mean a model, such as an Azure deployment's."""

    KIND: ClassVar[str] = "model_alias"

    provider: str
    name: str
    target: str  # The model's exact id at the same provider.

    @property
    def parent(self) -> str:
        return self.provider

    @property
    def lookup(self) -> str:
        return f"{self.provider}/{self.name.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMove:
    """One part of a price that moves, as it is kept: exact costs of one unit as text."""

    leaf: str
    when: str
    old: str | None
    new: str | None
    standing: str
    votes: Mapping[str, str] = field(default_factory=dict)
    removed_by: tuple[str, ...] = ()
    stands_in: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange(Record):
    """A change of one model's price and what became of it; `created` is when it was detected.

    `components` and `multipliers` are the whole new price; `effective_at` says from when it counts, and
    `precision` how well that is known.
    """

    KIND: ClassVar[str] = "price_change"

    provider: str
    model: str
    kind: ChangeKind
    status: ChangeStatus
    digest: str
    components: tuple[ComponentEntry, ...]
    multipliers: tuple[MultiplierEntry, ...] = ()
    old_version: str = ""
    new_version: str = ""  # Once applied.
    effective_at: datetime
    precision: Literal["day", "instant", "detected"] = "detected"
    ends_at: datetime | None = None  # Of an override that expires.
    moves: tuple[RecordedMove, ...] = ()
    unmapped: tuple[str, ...] = ()  # Price keys that came with it and that nothing expresses.
    reasons: tuple[str, ...] = ()
    large: bool = False
    due_at: datetime | None = None  # When a soak ends or a schedule is looked at again.
    sources: Mapping[str, str] = field(default_factory=dict)  # Source → the revision that says so.
    announced_by: str = ""  # Of a scheduled price: the source that announced it,
    announced_at: datetime | None = None  # and when its revision was published.
    decided_at: datetime | None = None
    decided_by: str = ""  # `policy`, or whose key.
    note: str = ""
    undoes: str = ""  # The change that this one takes back,
    undone_by: str = ""  # and the change that took this one back.

    @property
    def parent(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def lookup(self) -> str:
        return self.digest if self.status in OPEN or self.status == "rejected" else ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState(Record):
    """What is known of one source; its id is its name, `created` the first time it was asked."""

    KIND: ClassVar[str] = "price_source"

    url: str = ""
    etag: str = ""
    last_modified: str = ""
    sha256: str = ""  # Of the body accepted last; the archive has it.
    revision: str = ""
    model_count: int = 0
    checked_at: datetime | None = None  # When it was asked last.
    accepted_at: datetime | None = None  # When its newest revision was accepted.
    status: Literal["ok", "unavailable", "rejected"] = "ok"
    error: str = ""
    stale: bool = False  # Whether `source.stale` was announced of this revision.
    unknown_keys: tuple[str, ...] = ()  # Price keys of the accepted revision that nothing here expresses.


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMark(Record):
    """What sources say about a model besides its price: that it ends, ended, is served as another,
    or that its sources differ.

    Its id is `provider/model`.
    """

    KIND: ClassVar[str] = "model_mark"

    provider: str
    model: str
    deprecated_at: datetime | None = None  # `ALWAYS` where no day is said.
    is_over: bool = False  # Whether that day has come.
    gone_from: tuple[str, ...] = ()  # Sources that listed it and do so no more.
    redirect_to: str = ""
    disputed: tuple[str, ...] = ()  # Leaves whose list price sources state differently.


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBase(Record):
    """The snapshot that the book begins with: a newer release of the program does not replace it unseen."""

    KIND: ClassVar[str] = "price_base"

    digest: str
    body: bytes  # The snapshot's JSON, deflated.


@dataclass(frozen=True, slots=True, kw_only=True)
class BookState(Record):
    """How often the book has changed; there is one, with the id `price_book`."""

    KIND: ClassVar[str] = "price_book"

    revision: int = 0
