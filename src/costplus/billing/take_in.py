"""Take in the rows of a file: see what they would do, then do it, a batch a transaction.

Rule 1: a row has a key of its own (a customer's id, a balance's id, an event's key): taken in again
it changes nothing, so an import that broke off is simply begun again.
Rule 2: balances become credit grants, usage goes through the engine that all usage goes through, at its own
time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from costplus.billing.clock import frozen_time
from costplus.billing.close import account_settings
from costplus.billing.customer import Customer
from costplus.billing.import_rows import (
    CustomerRow,
    Parsed,
    RowConflict,
    RowCustomerUnknown,
    RowCustomerUnsubscribed,
    RowError,
    error_at,
)
from costplus.billing.notify import announce, cross
from costplus.billing.plan import Plan
from costplus.billing.rate_item import ItemRater
from costplus.billing.report import rate_event, report
from costplus.billing.store import Tx
from costplus.billing.subscribe import subscribe
from costplus.billing.subscription import Subscription
from costplus.core.errors import BillingError
from costplus.ledger.grant import GRANTS_MAX, Grant, TooManyGrants
from costplus.ledger.post import grant_credit
from costplus.metering.event import TOKEN_METER, UsageEvent
from costplus.metering.feeds.stripe import PAST_MAX
from costplus.rating.pricing import Pricing


@dataclass(slots=True)
class Tally:
    """What an import does, or would do: counts by outcome, and sums."""

    counts: Counter[str] = field(default_factory=Counter)
    granted_nano: int = 0
    price_nano: int = 0
    cost_nano: int = 0
    unpriced: int = 0

    def add(self, other: Tally) -> None:
        self.counts.update(other.counts)
        self.granted_nano += other.granted_nano
        self.price_nano += other.price_nano
        self.cost_nano += other.cost_nano
        self.unpriced += other.unpriced


@dataclass(frozen=True, slots=True)
class Seen:
    """What earlier rows said: how many grants a customer gets, and by hashes what each key stands for."""

    granted: Counter[str] = field(default_factory=Counter)
    contents: dict[int, int] = field(default_factory=dict)
    lines: Counter[int] = field(default_factory=Counter)

    def is_repeated(self, row: Parsed) -> bool:
        """Return whether the file said this before. Raises `RowConflict` where it said something else."""
        key, content = _said(row)
        known = self.contents.setdefault(hash(key), hash(content))
        if known != hash(content):
            raise RowConflict("An earlier line says something else under the same key.")
        self.lines[hash(key)] += 1
        return self.lines[hash(key)] > 1


def _said(row: Parsed) -> tuple[object, object]:
    """Return the key that a row is known by, and what it says."""
    if row.event is not None:
        event = row.event
        used = tuple(sorted(event.usage.quantities.items()))
        return (event.customer, event.key, event.at), (used, event.provider, event.model, event.meter)
    if row.grant is not None:
        return row.grant.id, (row.grant.customer, row.grant.amount_nano, row.grant.category)
    return (row.customer.id if row.customer else ""), repr(row.customer)


def changed(known: Customer | None, row: CustomerRow, *, at: datetime) -> Customer:
    """Return the customer as the row wants it."""
    customer = known or Customer(id=row.id, created=at)
    return replace(
        customer,
        name=customer.name if row.name is None else row.name or None,
        email=customer.email if row.email is None else row.email or None,
        description=customer.description if row.description is None else row.description or None,
        currency=row.currency or customer.currency,
        on_zero_credit=row.on_zero_credit or customer.on_zero_credit,
        metadata=customer.metadata if row.metadata is None else row.metadata,
    )


def look(
    tx: Tx, rows: Sequence[Parsed], pricing: Pricing, *, seen: Seen, at: datetime, rates: bool
) -> tuple[Tally, list[RowError]]:
    """Return what a batch would do and what stands against it; with `rates`, what its usage would be charged.

    It only reads.
    """
    tally, errors = Tally(), list[RowError]()
    for row in rows:
        errors += row.errors
        try:
            if row.skipped:
                tally.counts[f"skipped_{row.skipped}"] += 1
            elif not row.errors and seen.is_repeated(row):
                tally.counts["duplicate"] += 1
            elif row.customer is not None:
                _look_at_customer(tx, row.customer, tally, at=at)
            elif row.grant is not None:
                _look_at_grant(tx, row.grant, tally, seen)
            elif row.event is not None:
                _look_at_event(tx, row.event, tally, pricing, rates=rates)
        except BillingError as error:
            errors.append(error_at(row.line, error))
    return tally, errors


def _look_at_customer(tx: Tx, row: CustomerRow, tally: Tally, *, at: datetime) -> None:
    known = tx.find(Customer, row.id)
    if known is not None and known.deleted:
        raise RowConflict(f"The customer {row.id} was deleted.", param="id")
    if known is not None and row.currency not in (None, known.currency):
        raise RowConflict(f"The customer {row.id} is billed in {known.currency}.", param="currency")
    wanted = changed(known, row, at=at)
    tally.counts["new" if known is None else "unchanged" if wanted == known else "updated"] += 1


def _customer(tx: Tx, id: str) -> Customer:
    customer = tx.find(Customer, id)
    if customer is None or customer.deleted:
        raise RowCustomerUnknown(f"There is no customer {id}.", param="customer")
    return customer


def _look_at_grant(tx: Tx, grant: Grant, tally: Tally, seen: Seen) -> None:
    customer = _customer(tx, grant.customer)
    if grant.currency != customer.currency:
        raise RowConflict(f"The customer {customer.id} is billed in {customer.currency}.", param="currency")
    known = tx.grant(grant.id)
    if known is not None:
        if (known.customer, known.amount_nano, known.category) != (
            grant.customer,
            grant.amount_nano,
            grant.category,
        ):
            raise RowConflict(f"The balance {grant.id} exists with other content.", param="id")
        tally.counts["duplicate"] += 1
        return
    seen.granted[grant.customer] += 1
    if len(tx.live_grants(grant.customer)) + seen.granted[grant.customer] > GRANTS_MAX:
        raise TooManyGrants(f"The customer {customer.id} would have more than {GRANTS_MAX} unused grants.")
    tally.counts["new"] += 1
    tally.granted_nano += grant.amount_nano


def _look_at_event(tx: Tx, event: UsageEvent, tally: Tally, pricing: Pricing, *, rates: bool) -> None:
    _customer(tx, event.customer)
    if not tx.page(Subscription, parent=event.customer, limit=1):
        raise RowCustomerUnsubscribed(f"The customer {event.customer} is on no plan.", param="customer")
    known = tx.event(event.customer, event.id) or tx.event_by_key(event.customer, event.key)
    if known is not None and abs(known.at - event.at) <= PAST_MAX:
        same = (known.usage.quantities, known.provider, known.model, known.meter)
        if same != (event.usage.quantities, event.provider, event.model, event.meter):
            raise RowConflict(f"Other usage has the key '{event.key}' already.", param="key")
        tally.counts["duplicate"] += 1
        return
    tally.counts["new"] += 1
    if rates and event.meter == TOKEN_METER:
        charge = rate_event(tx, pricing, ItemRater(tx), event)
        tally.price_nano += charge.price_nano
        tally.cost_nano += charge.cost_nano
        tally.unpriced += bool(charge.unpriced)


def take_customers(tx: Tx, rows: Iterable[CustomerRow], *, at: datetime) -> Tally:
    """Make or change the customers; a new one is put on the default plan."""
    tally = Tally()
    settings = account_settings(tx)
    plan = tx.find(Plan, settings.default_plan) if settings and settings.default_plan else None
    for row in rows:
        known = tx.find(Customer, row.id)
        wanted = changed(known, row, at=at)
        if wanted == known:
            tally.counts["unchanged"] += 1
            continue
        tx.save(wanted)
        tx.touch("config")
        announce(tx, "customer.updated" if known else "customer.created", wanted, at=at)
        tally.counts["updated" if known else "new"] += 1
        if known is None and plan is not None:
            subscribe(tx, wanted, plan, at=at)
    return tally


def take_balances(tx: Tx, grants: Iterable[Grant], *, at: datetime) -> Tally:
    """Book the grants that are new."""
    tally = Tally()
    for grant in grants:
        if tx.grant(grant.id) is not None:
            tally.counts["duplicate"] += 1
            continue
        customer = _customer(tx, grant.customer)
        present = frozen_time(tx, customer) or at
        crossing = grant_credit(tx, grant, at=present)
        announce(tx, "billing.credit_grant.created", grant, at=present)
        cross(tx, crossing, currency=customer.currency, at=present)
        tally.counts["new"] += 1
        tally.granted_nano += grant.amount_nano
    return tally


def take_usage(tx: Tx, events: Sequence[UsageEvent], pricing: Pricing, *, at: datetime) -> Tally:
    """Keep, rate and settle the usage that is new."""
    before = {(event.customer, event.id) for event in events if tx.event(event.customer, event.id)}
    settled = report(tx, pricing, events, at=at)
    tally = Tally(Counter({"new": settled.new, "duplicate": settled.duplicate}))
    for customer, id in {(event.customer, event.id) for event in events} - before:
        entry = tx.charge_of(customer, id)
        if entry is not None:
            tally.price_nano += entry.charge.price_nano
            tally.cost_nano += entry.charge.cost_nano
            tally.unpriced += bool(entry.charge.unpriced)
    tally.counts = +tally.counts
    return tally
