"""Rows of imported files: what a line of CSV says, and everything that is wrong with it.

Rule 1: pure; a row is read by itself, so that all errors of a file can be told at once, each with its line.
Rule 2: columns that an export writes and nothing reads are passed over; any other unknown one is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from costplus.billing.cells import CellInvalid, CellMissing, nano_of, text_of, time_of, whole_of
from costplus.billing.customer import OnZeroCredit
from costplus.billing.export import COLUMNS, Kind
from costplus.core.errors import BillingError, InvalidRequest
from costplus.core.ids import CustomerId, GrantId
from costplus.core.money import nano_per_minor
from costplus.core.usage import LEAVES, Usage
from costplus.ledger.grant import Grant
from costplus.metering.event import CORRECTIONS, METER, TOKEN_METER, Source, UsageEvent, usage_event

ImportKind = Literal["customers", "balances", "usage"]
AHEAD_MAX = timedelta(minutes=5)
KEY_MAX = 255
_ID = re.compile(r"[\w.:@-]{1,100}", re.ASCII)
_REPORTED = ("meter_events_v1", "meter_events_v2", "import_reported")
_ONE_CALL = ("", "gateway", "sweep", "import")


class ColumnMissing(InvalidRequest):
    """The file's heading lacks a column that is needed."""

    code = "import_column_missing"


class ColumnUnknown(InvalidRequest):
    """The file's heading has a column that nothing reads."""

    code = "import_column_unknown"


class RowShape(InvalidRequest):
    """A row has more cells than the heading, or the file cannot be read on."""

    code = "import_row_invalid"


class RowConflict(InvalidRequest):
    """What a row says is there already, with other content."""

    code = "import_row_conflict"


class RowCustomerUnknown(InvalidRequest):
    """A row names a customer that does not exist."""

    code = "import_customer_unknown"
    remedy = "Import the customers first."


class RowCustomerUnsubscribed(InvalidRequest):
    """A row's customer is on no plan, so nothing prices its usage."""

    code = "import_customer_unsubscribed"
    remedy = "Set token billing up, which puts every customer on the plan."


@dataclass(frozen=True, slots=True)
class RowError:
    """What is wrong in one line of a file."""

    line: int
    code: str
    message: str
    column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRow:
    """A customer of a file; what is None was in no column and stays as it is."""

    id: str
    name: str | None = None
    email: str | None = None
    description: str | None = None
    currency: str | None = None
    on_zero_credit: OnZeroCredit | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a line says: at most one of these, or why it is passed over."""

    line: int
    customer: CustomerRow | None = None
    grant: Grant | None = None
    event: UsageEvent | None = None
    skipped: str = ""
    cancels: str = ""  # The usage event that a cancellation in the file takes back.
    errors: tuple[RowError, ...] = field(default=())


NEEDED: Mapping[ImportKind, Sequence[str]] = {
    "customers": ("id",),
    "balances": ("id", "customer", "amount"),
    "usage": ("customer", "at", "key"),
}


def check_heading(kind: ImportKind, heading: Sequence[str]) -> list[RowError]:
    """Return what is wrong with the first line of a file."""
    known: Kind = kind
    allowed = set(COLUMNS[known])
    errors: list[BillingError] = [
        ColumnMissing(f"The column '{name}' is missing.", param=name)
        for name in NEEDED[kind]
        if name not in heading
    ]
    for name in dict.fromkeys(heading):
        if name not in allowed:
            errors.append(ColumnUnknown(f"Nothing reads a column '{name}'.", param=name))
        elif heading.count(name) > 1:
            errors.append(ColumnUnknown(f"The column '{name}' is there twice.", param=name))
    return [error_at(1, error) for error in errors]


def error_at(line: int, error: BillingError) -> RowError:
    """Return an error as one of a file's line."""
    return RowError(line, error.code, error.message, error.param or "")


def parse_row(
    kind: ImportKind, heading: Sequence[str], cells: Sequence[str], *, line: int, at: datetime
) -> Parsed:
    """Return what a line says; `at` is the present, and a usage event may not lie ahead of it."""
    if len(cells) > len(heading):
        surplus = RowShape(f"The line has {len(cells)} cells, the heading {len(heading)}.")
        return Parsed(line=line, errors=(error_at(line, surplus),))
    row = _Row(dict(zip(heading, cells, strict=False)), line)
    return _PARSERS[kind](row, at)


class _Row:
    """The cells of a line; reading one that is wrong notes the error and goes on."""

    def __init__(self, cells: Mapping[str, str], line: int) -> None:
        self._cells = cells
        self.line = line
        self.errors: list[RowError] = []

    def __contains__(self, column: str) -> bool:
        return column in self._cells

    def text(self, column: str) -> str:
        return text_of(self._cells.get(column, "")).strip()

    def needed(self, column: str) -> str:
        value = self.text(column)
        if not value:
            self.wrong(CellMissing(f"'{column}' is empty.", param=column))
        return value

    def id(self, column: str) -> str:
        value = self.needed(column)
        if value and not _ID.fullmatch(value):
            self.wrong(CellInvalid(f"'{value}' is no id.", param=column))
        return value

    def wrong(self, error: BillingError) -> None:
        self.errors.append(error_at(self.line, error))

    def time(self, column: str) -> datetime | None:
        try:
            return time_of(self.text(column), column=column)
        except BillingError as error:
            self.wrong(error)
            return None

    def nano(self, column: str) -> int:
        try:
            return nano_of(self.needed(column) or "0", column=column)
        except BillingError as error:
            self.wrong(error)
            return 0

    def whole(self, column: str) -> int:
        try:
            return whole_of(self.text(column), column=column)
        except BillingError as error:
            self.wrong(error)
            return 0

    def one_of(self, column: str, options: Sequence[str]) -> str:
        value = self.text(column)
        if value and value not in options:
            said = f"'{value}' is none of {', '.join(options)}."
            self.wrong(CellInvalid(said, param=column))
        return value

    def currency(self, column: str) -> str:
        value = self.text(column).lower()
        if value and not re.fullmatch(r"[a-z]{3}", value):
            self.wrong(CellInvalid(f"'{value}' is no currency.", param=column))
        return value


def _customer(row: _Row, at: datetime) -> Parsed:
    if row.text("deleted") == "true":
        return Parsed(line=row.line, skipped="deleted")
    metadata: dict[str, str] | None = None
    if "metadata" in row:
        try:
            metadata = msgspec.json.decode(row.text("metadata") or "{}", type=dict[str, str])
        except msgspec.MsgspecError:
            row.wrong(CellInvalid("'metadata' is no JSON object of texts.", param="metadata"))
    on_zero = row.one_of("on_zero_credit", ("block", "overage"))
    customer = CustomerRow(
        id=row.id("id"),
        name=row.text("name") if "name" in row else None,
        email=row.text("email") if "email" in row else None,
        description=row.text("description") if "description" in row else None,
        currency=row.currency("currency") or None,
        on_zero_credit="block" if on_zero == "block" else "overage" if on_zero == "overage" else None,
        metadata=metadata,
    )
    return Parsed(line=row.line, customer=customer, errors=tuple(row.errors))


def _balance(row: _Row, at: datetime) -> Parsed:
    expires_at, ended = row.time("expires_at"), row.time("voided_at") or row.time("expired_at")
    id, customer, nano = row.id("id"), row.id("customer"), row.nano("amount")
    if nano < 0 or (nano == 0 and not row.errors):
        row.wrong(CellInvalid("A balance is more than 0.", param="amount"))
    priority = row.text("priority")
    currency = row.currency("currency") or "usd"
    named = hashlib.sha256(f"{customer}\x00{id}".encode()).hexdigest()[:32]
    category = row.one_of("category", ("paid", "promotional"))
    effective_at = row.time("effective_at") or row.time("created") or at
    if expires_at is not None and expires_at <= effective_at:
        row.wrong(CellInvalid("A balance expires after it begins.", param="expires_at"))
    if row.errors:
        return Parsed(line=row.line, errors=tuple(row.errors))
    if ended is not None or (expires_at is not None and expires_at <= at):
        return Parsed(line=row.line, skipped="ended")
    grant = Grant(
        id=GrantId(id if id.startswith("credgr_") else f"credgr_{named}"),
        customer=CustomerId(customer),
        created=at,
        updated=at,
        amount_nano=nano,
        remaining_nano=nano,
        currency=currency,
        effective_at=effective_at,
        expires_at=expires_at,
        category="promotional" if category == "promotional" else "paid",
        priority=row.whole("priority") if priority else 50,
        name=row.text("name"),
        metadata={"import_id": id},
        minor_amount=nano // nano_per_minor(currency),
    )
    return Parsed(line=row.line, grant=grant, errors=tuple(row.errors))


def _usage(row: _Row, at: datetime) -> Parsed:
    source = row.one_of("source", (*_ONE_CALL[1:], *_REPORTED, "true_up", *sorted(CORRECTIONS)))
    key = row.needed("key")
    if source in ("true_up", *CORRECTIONS):  # They follow from what they correct, and are made anew.
        is_cancel = source == "reversal" and key.startswith("cancel:")
        return Parsed(line=row.line, skipped="corrections", cancels=row.text("corrects") if is_cancel else "")
    customer, used_at = row.id("customer"), row.time("at")
    if used_at is None and not row.errors:
        row.wrong(CellMissing("'at' is empty.", param="at"))
    if used_at is not None and used_at > at + AHEAD_MAX:
        row.wrong(CellInvalid("The usage lies ahead of the present.", param="at"))
    if len(key) > KEY_MAX:
        row.wrong(CellInvalid(f"A key has at most {KEY_MAX} characters.", param="key"))
    meter = row.text("meter") or TOKEN_METER
    provider, model = row.text("provider"), row.text("model")
    if meter != TOKEN_METER:
        provider, model = METER, meter
    elif not provider or not model:
        row.wrong(CellMissing("Usage of tokens names 'provider' and 'model'.", param="model"))
    quantities = {leaf: amount for leaf in LEAVES if (amount := row.whole(leaf))}
    if meter != TOKEN_METER and set(quantities) - {"unit"}:
        row.wrong(CellInvalid("A meter without tokens counts 'unit' only.", param="unit"))
    if row.errors or used_at is None:
        return Parsed(line=row.line, errors=tuple(row.errors))
    kept: Source = "import_reported" if source in _REPORTED or meter != TOKEN_METER else "import"
    event = usage_event(
        customer=customer,
        at=used_at,
        key=key,
        usage=Usage(quantities, tuple(row.text("flags").split())),
        source=kept,
        provider=provider,
        model=model,
        requested_model=row.text("requested_model"),
        meter=meter,
        request_id=row.text("request_id"),
        service_tier=row.text("service_tier"),
        reported_cost=row.text("reported_cost"),
        circumstances=row.text("circumstances"),
    )
    return Parsed(line=row.line, event=event)


_PARSERS: Mapping[ImportKind, Callable[[_Row, datetime], Parsed]] = {
    "customers": _customer,
    "balances": _balance,
    "usage": _usage,
}
