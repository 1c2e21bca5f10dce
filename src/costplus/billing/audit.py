"""Audit: prove the books from the ground up, and name whatever differs.

Rule 1: nothing that is kept as a sum is believed: accounts are recomputed from postings, grants and balances
from accounts and holds, roll-ups and postings from charges, charges from their events and prices, invoices
from charges.
Rule 2: it only reads. Each customer, and each bucket, is seen in one snapshot, so a running server may go on.
Rule 3: money moves within a bucket, so a bucket's postings sum to zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from costplus.billing.audit_invoice import invoice_findings
from costplus.billing.finding import Finding
from costplus.billing.store import ChargedEvent, Tx
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.price import PriceVersion
from costplus.core.period import hour_floor
from costplus.ledger import account
from costplus.ledger.transaction import Transaction
from costplus.metering.event import METER
from costplus.rating.proof import charge_wrongs, coverage_wrongs, rate_wrongs
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import UnitRate

PAGE = 1000
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Sums:
    """What a customer's charges come to, for comparison with what is kept as sums."""

    events: int = 0
    price_nano: dict[datetime, int] = field(default_factory=lambda: defaultdict(int))  # By hour.
    units: dict[datetime, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # Then by rate.
    posted: dict[str, list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )  # By transaction.

    def add(self, entry: ChargedEvent) -> None:
        """Count a charge."""
        hour = hour_floor(entry.billed_at)
        self.events += 1
        self.price_nano[hour] += entry.charge.price_nano
        for line in entry.charge.lines:
            self.units[hour][line.rate.id] += line.quantity
        sums = self.posted[entry.transaction]
        sums[0] += entry.charge.price_nano
        sums[1] += entry.charge.cost_nano


class Auditor:
    """Audits one customer or bucket after the other; each call is a verb that only reads."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._proven: dict[str, UnitRate] = {}  # Rates never change: each is looked at once.

    def bucket(self, tx: Tx, bucket: int) -> list[Finding]:
        """Compare a bucket's accounts with its postings."""
        kept, summed = tx.account_balances(bucket), tx.posting_sums(bucket)
        found = [
            Finding(
                "account", name, f"balance is {kept.get(name, 0)}, its postings make {summed.get(name, 0)}"
            )
            for name in sorted(kept.keys() | summed.keys())
            if kept.get(name, 0) != summed.get(name, 0)
        ]
        for id, nano in tx.unbalanced(bucket).items():
            found.append(Finding("transaction", id, f"its postings sum to {nano}, not to 0"))
        if total := sum(kept.values()):
            found.append(Finding("bucket", str(bucket), f"its accounts sum to {total}, not to 0"))
        return found

    def customer(self, tx: Tx, customer: str) -> tuple[list[Finding], int]:
        """Prove one customer's charges, sums, grants, balance and invoices.

        Returns what was found and how many charges there were.
        """
        found: list[Finding] = []
        sums = Sums()
        for entry in _charges(tx, customer):
            found += self._charge(tx, entry)
            sums.add(entry)
        found += [Finding("event", id, "has no charge, or is none") for id in tx.unpaired(customer)]
        found += _rollups(tx, customer, sums)
        found += _postings(tx, customer, sums)
        found += _grants(tx, customer)
        found += _balance(tx, customer)
        found += invoice_findings(tx, customer)
        return found, sums.events

    def _charge(self, tx: Tx, entry: ChargedEvent) -> Iterator[Finding]:
        event, charge = entry.event, entry.charge
        wrongs = [*charge_wrongs(charge)]
        if event.provider != METER and not event.is_correction:
            wrongs += coverage_wrongs(charge, event.usage)
        yield from (Finding("charge", event.id, wrong) for wrong in wrongs)
        for line in charge.lines:
            rate = line.rate
            if self._proven.get(rate.id) == rate:
                continue
            card = tx.find(RateCardVersion, rate.rate_card_version)
            price, basis = self._version(rate.price_version), self._version(rate.basis_version)
            wrongs = [*rate_wrongs(rate, price=price, basis=basis, card=card)]
            yield from (Finding("unit_rate", rate.id, wrong) for wrong in wrongs)
            self._proven[rate.id] = rate

    def _version(self, id: str) -> PriceVersion | None:
        return self._catalogue.price_version(id) if id else None


def _charges(tx: Tx, customer: str) -> Iterator[ChargedEvent]:
    after = ""
    while True:
        page = tx.charged_between(customer, FIRST, LAST, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].event.id


def _rollups(tx: Tx, customer: str, sums: Sums) -> Iterator[Finding]:
    """Compare the hourly roll-ups with the charges; their whole as well, so that no hour is left over."""
    whole_units: Counter[str] = Counter()
    for hour in sorted(sums.price_nano):
        yield from _hour(tx, customer, hour, sums.units[hour], sums.price_nano[hour])
        whole_units.update(sums.units[hour])
    totals, price_nano = tx.usage_totals(customer, FIRST, LAST)
    kept = {total.rate.id: total.quantity for total in totals}
    yield from _differences("roll-up", f"{customer} in all", kept, whole_units)
    if price_nano != (whole := sum(sums.price_nano.values())):
        yield Finding("roll-up", f"{customer} in all", f"charged {price_nano}, its charges make {whole}")


def _hour(
    tx: Tx, customer: str, hour: datetime, units: Mapping[str, int], price_nano: int
) -> Iterator[Finding]:
    name = f"{customer} at {hour.isoformat()}"
    totals, kept_nano = tx.usage_totals(customer, hour, hour + HOUR)
    yield from _differences("roll-up", name, {total.rate.id: total.quantity for total in totals}, units)
    if kept_nano != price_nano:
        yield Finding("roll-up", name, f"charged {kept_nano}, its charges make {price_nano}")


def _differences(kind: str, name: str, kept: Mapping[str, int], made: Mapping[str, int]) -> Iterator[Finding]:
    for key in sorted(kept.keys() | made.keys()):
        if kept.get(key, 0) != made.get(key, 0):
            yield Finding(kind, name, f"{key} has {kept.get(key, 0)}, its charges make {made.get(key, 0)}")


def _postings(tx: Tx, customer: str, sums: Sums) -> Iterator[Finding]:
    """Compare what usage transactions moved with the charges that they stand for."""
    for id, (price_nano, cost_nano) in sorted(sums.posted.items()):
        entry = tx.transaction(customer, id) if id else None
        if entry is None:
            if price_nano or cost_nano or id:
                wrong = f"charges of {price_nano} (cost {cost_nano}) name it, and there is none"
                yield Finding("transaction", id or "(none)", wrong)
            continue
        revenue, cost = _moved(entry, account.book("revenue")), _moved(entry, account.book("cost"))
        if revenue != price_nano:
            yield Finding("transaction", id, f"revenue of {revenue}, its charges make {price_nano}")
        if -cost != cost_nano:
            yield Finding("transaction", id, f"cost of {-cost}, its charges make {cost_nano}")


def _moved(entry: Transaction, name: str) -> int:
    return sum(posting.amount_nano for posting in entry.postings if posting.account == name)


def _grants(tx: Tx, customer: str) -> Iterator[Finding]:
    for grant in tx.grants_of(customer):
        kept = tx.account_balance(customer, account.credit(customer, grant.id))
        if grant.remaining_nano != kept:
            yield Finding("grant", grant.id, f"has {grant.remaining_nano} left, its account {kept}")
        if not 0 <= grant.remaining_nano <= grant.amount_nano:
            yield Finding("grant", grant.id, f"has {grant.remaining_nano} left of {grant.amount_nano}")


def _balance(tx: Tx, customer: str) -> Iterator[Finding]:
    balance = tx.balance_for_update(customer)
    held_nano = sum(hold.amount_nano for hold in tx.placed_holds(customer=customer))
    if balance.held_nano != held_nano:
        yield Finding("balance", customer, f"{balance.held_nano} is held, placed holds make {held_nano}")
    owed_nano = balance.owed_total_nano + balance.carried_nano
    accrued_nano = -tx.account_balance(customer, account.accrued(customer))
    if owed_nano != accrued_nano:
        yield Finding("balance", customer, f"{owed_nano} is owed and carried, its account has {accrued_nano}")
