"""Credit notes: what an invoice asked for too much, given back by line, with its tax.

Rule 1: all notes of an invoice together give back at most what it asked for, and of a line at most the line.
Rule 2: of an open invoice a note lowers what remains to be paid; what is paid already goes to the customer's
surplus, back as a refund, or was given out of band.
Rule 3: tax goes back in proportion to what was asked for, exactly and rounded once; notes that give back
everything give back all of the tax.
Rule 4: notes are numbered after their invoice: CP-000001-CN-01, -02, …
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import ClassVar, Literal

from costplus.billing.invoice import Invoice, InvoiceLine, TaxShare
from costplus.core.errors import InvalidRequest, NotFound
from costplus.core.money import spread
from costplus.core.records import Record

Reason = Literal["duplicate", "fraudulent", "order_change", "product_unsatisfactory"]
REASONS: tuple[Reason, ...] = ("duplicate", "fraudulent", "order_change", "product_unsatisfactory")


class NoSuchCreditNote(NotFound):
    """The credit note does not exist."""

    code = "resource_missing"


class CreditNoteTooLarge(InvalidRequest):
    """Credit notes give back more than the invoice or its line asked for."""

    code = "credit_note_amount_too_large"


class InvalidCreditNote(InvalidRequest):
    """A credit note that cannot be."""

    code = "credit_note_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteLine:
    """What is given back of one invoice line, before tax that was added to it; or of no line."""

    id: str  # cnli_…
    description: str
    amount_minor: int
    invoice_line: str = ""
    quantity: int | None = None
    taxes: tuple[TaxShare, ...] = ()

    @property
    def added_tax_minor(self) -> int:
        return sum(tax.amount_minor for tax in self.taxes if not tax.inclusive)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNote(Record):
    """`total_minor` given back (`cn_…`): from what remained, or by surplus, refund and out of band."""

    KIND: ClassVar[str] = "credit_note"

    customer: str
    invoice: str
    currency: str
    number: str
    lines: tuple[NoteLine, ...]
    total_minor: int
    tax_minor: int  # All tax in it.
    pre_payment_minor: int
    credit_minor: int = 0
    refund_minor: int = 0
    out_of_band_minor: int = 0
    refund: str = ""
    surplus_entry: str = ""
    reason: Reason | None = None
    memo: str | None = None
    effective_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    status: Literal["issued", "void"] = "issued"
    voided_at: datetime | None = None

    @property
    def parent(self) -> str:
        return self.invoice

    @property
    def post_payment_minor(self) -> int:
        return self.total_minor - self.pre_payment_minor

    @property
    def subtotal_minor(self) -> int:
        return sum(line.amount_minor for line in self.lines)

    @property
    def added_tax_minor(self) -> int:
        return sum(line.added_tax_minor for line in self.lines)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a note is to give back: of an invoice line an amount before added tax, or an amount with it."""

    invoice_line: str
    description: str
    amount_minor: int
    quantity: int | None = None


def creditable_minor(invoice: Invoice) -> int:
    """Return what notes may still give back of the invoice, tax included."""
    return max(invoice.gross_minor, 0) - invoice.credited_minor - invoice.credited_after_minor


def credit_cap(potential: int, *, paid: int, credited: int) -> int:
    """Return how much of a potential credit may be given: never more than was paid, less what was given."""
    return min(max(potential, 0), max(paid - credited, 0))


def line_room_minor(line: InvoiceLine, notes: Sequence[CreditNote]) -> int:
    """Return what notes may still give back of a line, before added tax."""
    given = sum(
        part.amount_minor
        for note in notes
        if note.status == "issued"
        for part in note.lines
        if part.invoice_line == line.id
    )
    return line.amount_minor - line.discount_minor - line.credit_minor - given


def tax_back(
    line: InvoiceLine, amount_minor: int, *, given: Mapping[str, int], is_rest: bool
) -> tuple[TaxShare, ...]:
    """Return the taxes that go back with `amount_minor` of a line; `given` went back already, by rate.

    `is_rest` says that nothing is left of the line: then neither is of its taxes.
    """
    base = line.amount_minor - line.discount_minor - line.credit_minor
    shares: list[TaxShare] = []
    for tax in line.taxes:
        room = tax.amount_minor - given.get(tax.rate, 0)
        part = room
        if not is_rest:
            exact = Fraction(tax.amount_minor * amount_minor, base) if base else Fraction(0)
            part = min(int((exact + Fraction(1, 2)) // 1), max(room, 0))
        shares.append(TaxShare(tax.rate, part, amount_minor, tax.inclusive, tax.reason))
    return tuple(shares)


def taxes_given(line: InvoiceLine, notes: Sequence[CreditNote]) -> dict[str, int]:
    """Return what notes gave back of a line's taxes, by rate."""
    given: dict[str, int] = {}
    for note in notes:
        if note.status != "issued":
            continue
        for part in note.lines:
            if part.invoice_line == line.id:
                for tax in part.taxes:
                    given[tax.rate] = given.get(tax.rate, 0) + tax.amount_minor
    return given


def part_of_line(
    line: InvoiceLine, notes: Sequence[CreditNote], *, most_minor: int
) -> tuple[int, tuple[TaxShare, ...]]:
    """Return (amount, taxes) of what a line gives back towards `most_minor`, added tax included.

    As much as is left of the line; where that is too much, amount and added tax in proportion.
    """
    room_minor, given = max(line_room_minor(line, notes), 0), taxes_given(line, notes)
    left = [tax.amount_minor - given.get(tax.rate, 0) for tax in line.taxes]
    added = [0 if tax.inclusive else rest for tax, rest in zip(line.taxes, left, strict=True)]
    whole_minor = room_minor + sum(added)
    if most_minor <= 0 or whole_minor <= 0:
        return 0, ()
    amount, parts = room_minor, left
    if whole_minor > most_minor:
        exact = Fraction(most_minor * room_minor, whole_minor)
        amount = int((exact + Fraction(1, 2)) // 1)
        shares = spread(most_minor - amount, added) if any(added) else added
        parts = [
            (rest * amount // room_minor if room_minor else 0) if tax.inclusive else share
            for tax, rest, share in zip(line.taxes, left, shares, strict=True)
        ]
    taxes = [
        TaxShare(tax.rate, part, amount, tax.inclusive, tax.reason)
        for tax, part in zip(line.taxes, parts, strict=True)
    ]
    return amount, tuple(taxes)
