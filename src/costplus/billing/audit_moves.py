"""Prove what moved: each transaction follows from a charge, grant, invoice, note, payment or refund.

Rule 1: all transactions of a customer are read once, in order; what they moved is compared with what the
documents say that they had to move. What is left over is named as well.
Rule 2: revenue is what balances a transaction; so where every other account agrees, it does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from costplus.billing.finding import Finding
from costplus.billing.store import Tx
from costplus.ledger import account
from costplus.ledger.grant import Grant
from costplus.ledger.transaction import Kind, Transaction

PAGE = 1000
Sums = dict[str, int]


def _sums() -> Sums:
    return defaultdict(int)


@dataclass(slots=True)
class Moves:
    """What a customer's transactions moved, in nanos, added up in the ways that are compared."""

    usage: dict[str, tuple[int, int]] = field(default_factory=dict)  # Transaction → revenue, cost.
    by_account: Sums = field(default_factory=_sums)
    documents: dict[tuple[Kind, str], Sums] = field(default_factory=lambda: defaultdict(_sums))
    given: Sums = field(default_factory=_sums)  # Grant → what was given with it.
    lapsed: Sums = field(default_factory=_sums)  # Grant → what lapsed and nobody burned since.

    def add(self, entry: Transaction, before: Transaction | None) -> None:
        """Count a transaction; `before` is the one that went ahead of it."""
        sums = self.documents[entry.kind, entry.reference]
        for posting in entry.postings:
            self.by_account[posting.account] += posting.amount_nano
            sums[posting.account] += posting.amount_nano
        if entry.kind == "usage":
            moved = _by_account(entry)
            self.usage[entry.id] = (
                moved.get(account.book("revenue"), 0),
                -moved.get(account.book("cost"), 0),
            )
        if entry.kind in ("grant", "grant_expiry"):
            self._of_grants(entry, before)

    def _of_grants(self, entry: Transaction, before: Transaction | None) -> None:
        for posting in entry.postings:
            if not (grant := account.grant_in(posting.account)):
                continue
            if entry.kind == "grant":
                self.given[grant] += posting.amount_nano
            elif not _came_back(before, posting.account, -posting.amount_nano):
                self.lapsed[grant] -= posting.amount_nano

    def of(self, kind: Kind, reference: str, name: str) -> int:
        """Return what transactions of a kind moved on an account for a document."""
        return self.documents.get((kind, reference), {}).get(name, 0)


def _by_account(entry: Transaction) -> Mapping[str, int]:
    sums = _sums()
    for posting in entry.postings:
        sums[posting.account] += posting.amount_nano
    return sums


def _came_back(before: Transaction | None, name: str, nano: int) -> bool:
    """Return whether the transaction before gave this very credit back to a grant that had ended."""
    if before is None or before.kind != "invoice_void":
        return False
    return any((posting.account, posting.amount_nano) == (name, nano) for posting in before.postings)


def moves_of(tx: Tx, customer: str) -> Moves:
    """Read all of a customer's transactions."""
    moves = Moves()
    before: Transaction | None = None
    after = ""
    while page := tx.transactions_of(customer, limit=PAGE, after=after):
        for previous, entry in pairwise((before, *page)):
            assert entry is not None
            moves.add(entry, previous)
        before, after = page[-1], page[-1].id
    return moves


def usage_findings(moves: Moves, posted: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Compare what usage transactions moved with the charges that they stand for: Σ price, Σ cost."""
    for id, (price_nano, cost_nano) in sorted(posted.items()):
        if id not in moves.usage:
            if price_nano or cost_nano or id:
                wrong = f"charges of {price_nano} (cost {cost_nano}) name it, and there is none"
                yield Finding("transaction", id or "(none)", wrong)
            continue
        revenue, cost = moves.usage[id]
        if revenue != price_nano:
            yield Finding("transaction", id, f"revenue of {revenue}, its charges make {price_nano}")
        if cost != cost_nano:
            yield Finding("transaction", id, f"cost of {cost}, its charges make {cost_nano}")
    for id in sorted(moves.usage.keys() - posted.keys()):
        revenue, cost = moves.usage[id]
        if revenue or cost:
            yield Finding("transaction", id, f"revenue of {revenue} (cost {cost}), and no charge names it")


def grant_findings(tx: Tx, customer: str, grants: Iterable[Grant], moves: Moves) -> Iterator[Finding]:
    """Compare grants with what was given, what moved, and what lapsed."""
    known: set[str] = set()
    for grant in grants:
        known.add(grant.id)
        for wrong in _grant_wrongs(tx, grant, moves):
            yield Finding("grant", grant.id, wrong)
    for name, nano in sorted(moves.by_account.items()):
        id = account.grant_in(name)
        if id and id not in known:
            yield Finding("grant", id, f"does not exist, its account has {nano}")


def _grant_wrongs(tx: Tx, grant: Grant, moves: Moves) -> Iterator[str]:
    name = account.credit(grant.customer, grant.id)
    kept = tx.account_balance(grant.customer, name)
    if grant.remaining_nano != kept:
        yield f"has {grant.remaining_nano} left, its account {kept}"
    if not 0 <= grant.remaining_nano <= grant.amount_nano:
        yield f"has {grant.remaining_nano} left of {grant.amount_nano}"
    ended = grant.expired_at or grant.voided_at
    if ended is not None and grant.remaining_nano:
        yield f"ended at {ended.isoformat()} and has {grant.remaining_nano} left"
    if (lapsed := moves.lapsed[grant.id]) != grant.lapsed_nano:
        yield f"{grant.lapsed_nano} lapsed, its transactions make {lapsed}"
    # What gives usage back is a grant without a transaction of its own.
    given = moves.given[grant.id]
    if given != grant.amount_nano and (given or grant.source != "correction"):
        yield f"is of {grant.amount_nano}, its transactions gave {given}"
    back = moves.of("grant_void", grant.id, name)
    if -back != (grant.amount_nano if grant.voided_at else 0):
        yield f"{-back} was taken back when it was voided"
