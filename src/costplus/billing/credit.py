"""Credit that is given, begins, ends and comes back: the ledger's verbs with their scope, alerts and events.

Rule 1: a grant that becomes effective pays what is owed at that very instant, and alerts recover then.
Rule 2: what scopes go by follows from the rates that usage was charged at: live and in hindsight the same.
Rule 3: credit that paid usage of a voided invoice comes back; where its grant has ended, it is breakage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.notify import announce, cross
from costplus.billing.roll_over import end_grant
from costplus.billing.settle import billed_by
from costplus.billing.store import Tx
from costplus.billing.subjects import Subjects
from costplus.core.ids import from_milliseconds, milliseconds
from costplus.core.money import NANO
from costplus.ledger import account
from costplus.ledger.balance import Crossing
from costplus.ledger.grant import Grant
from costplus.ledger.post import InScope, begin_grant, credit_of, grant_credit, move
from costplus.ledger.scope import Scope
from costplus.ledger.transaction import EVERY_ONE, Transaction


def give(tx: Tx, grant: Grant, *, at: datetime) -> Crossing:
    """Book a grant; what is owed already is paid from it, as far as its scope goes."""
    return grant_credit(tx, grant, at=at, in_scope=charged_in_scope(tx, grant.customer))


def charged_in_scope(tx: Tx, customer: str) -> InScope:
    """Return what tells the charges of one of the customer's periods within a scope."""

    def charged(period_ms: int, scope: Scope) -> int:
        start = from_milliseconds(period_ms)
        period = billed_by(tx, customer).billed_in(start)
        totals, _ = tx.usage_totals(customer, start, period.end)
        subjects = Subjects(tx)
        exact = sum(
            total.quantity * total.rate.unit_price
            for total in totals
            if scope.covers(subjects.of_rate(total.rate))
        )
        return int(exact * NANO // 1)

    return charged


def grant_steps(tx: Tx, customer: str) -> Iterator[tuple[datetime, int, str]]:
    """Yield when each of the customer's grants begins or ends, with its place among steps of one instant."""
    for grant in tx.live_grants(customer):
        if grant.begins:
            yield grant.effective_at, 1, grant.id
        if grant.expires_at is not None:
            yield grant.expires_at, 1, grant.id


def turn_grant(tx: Tx, customer: Customer, id: str, *, at: datetime) -> None:
    """Let a grant end, or begin, whichever is due at `at`."""
    grant = tx.grant(id)
    assert grant is not None
    if grant.expires_at is not None and grant.expires_at <= at:
        end_grant(tx, customer, grant, at=at)
    else:
        crossing = begin_grant(tx, grant, at=at, in_scope=charged_in_scope(tx, grant.customer))
        cross(tx, crossing, currency=customer.currency, at=at)


def reinstate(tx: Tx, invoice: Invoice, *, currency: str, at: datetime) -> int:
    """Give back the credit that paid the usage of an invoice that was voided; return how much, in nanos.

    Done again it gives back nothing: what came back already is counted.
    """
    customer = invoice.customer
    before = credit_of(tx, tx.balance_for_update(customer).customer, at=at)
    entries: list[Transaction] = []
    left_nano = invoice.credit_nano  # Of a period, an interim invoice asked for a part only.
    for id, nano in sorted(_paid_by(tx, invoice).items()):
        grant = tx.grant(id)
        if grant is None or nano <= 0:
            continue
        nano = min(nano, grant.amount_nano - grant.remaining_nano, left_nano)
        left_nano -= nano
        if nano:
            entries += _give_back(tx, grant, nano, invoice=invoice.id, at=at)
    if entries:
        after = credit_of(tx, customer, at=at)
        crossing = Crossing(entries[0].customer, before, after, transactions=tuple(entries))
        cross(tx, crossing, currency=currency, at=at)
    return sum(p.amount_nano for e in entries for p in e.postings if account.grant_in(p.account))


def _paid_by(tx: Tx, invoice: Invoice) -> dict[str, int]:
    """Return what each grant paid of the invoice's usage, less what came back since."""
    start = milliseconds(invoice.period.start)
    paid: dict[str, int] = defaultdict(int)
    for entry in tx.transactions_of(invoice.customer, limit=EVERY_ONE):
        is_usage = entry.kind in ("usage", "debt_payment") and entry.period_ms == start
        if is_usage or (entry.kind == "invoice_void" and entry.reference == invoice.id):
            for posting in entry.postings:
                if id := account.grant_in(posting.account):
                    paid[id] -= posting.amount_nano
    return paid


def _give_back(tx: Tx, grant: Grant, nano: int, *, invoice: str, at: datetime) -> Sequence[Transaction]:
    """Return credit to its grant; one that has ended loses it again at once."""
    name = account.credit(grant.customer, grant.id)
    back = move(
        tx,
        customer=grant.customer,
        kind="invoice_void",
        reference=invoice,
        postings=[(name, nano), (account.book("revenue"), -nano)],
        at=at,
    )
    returned = replace(grant, remaining_nano=grant.remaining_nano + nano, updated=at)
    if replace(returned, begun_at=at).is_burnable(at):
        tx.save_grant(returned)
        announce(tx, "billing.credit_grant.updated", returned, at=at)
        return [back]
    postings = [(name, -nano), (account.book("breakage"), nano)]
    lost = move(
        tx, customer=grant.customer, kind="grant_expiry", reference=grant.id, postings=postings, at=at
    )
    return [back, lost]
