"""Audit: prove the books from the ground up, and name whatever differs.

Rule 1: nothing that is kept as a sum is believed: accounts are recomputed from postings, grants and balances
from accounts and holds, roll-ups and postings from charges, charges from their events and prices, invoices
from charges.
Rule 2: it only reads. Each customer, and each bucket, is seen in one snapshot, so a running server may go on.
Rule 3: money moves within a bucket, so a bucket's postings sum to zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from costplus.billing.audit_documents import document_findings
from costplus.billing.audit_invoice import account_findings, invoice_findings, pending_findings
from costplus.billing.audit_moves import grant_findings, moves_of, usage_findings
from costplus.billing.finding import Finding
from costplus.billing.invoice import Invoice
from costplus.billing.minimum import COMMITTED, lacking_rate
from costplus.billing.pinned import card_named
from costplus.billing.store import ChargedEvent, Tx
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.exchange import MARK, FxRate, converted
from costplus.catalog.load import every
from costplus.catalog.price import PriceVersion
from costplus.core.period import hour_floor
from costplus.ledger import account
from costplus.ledger.balance import Balance
from costplus.metering.event import METER, UsageEvent, rerated
from costplus.rating.proof import charge_wrongs, coverage_wrongs, rate_wrongs, waives
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

    def __init__(self, catalogue: Catalogue, exchange: Iterable[FxRate] = ()) -> None:
        self._catalogue = catalogue
        self._exchange = tuple(exchange)
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
        balance, grants = tx.balance_for_update(customer), tx.grants_of(customer)
        invoices = [*every(tx, Invoice, parent=customer)]
        moves = moves_of(tx, customer)
        found += usage_findings(moves, sums.posted)
        found += grant_findings(tx, customer, grants, moves)
        found += _balance(tx, balance)
        found += pending_findings(balance, invoices, charged_nano=sum(sums.price_nano.values()))
        found += invoice_findings(tx, invoices)
        found += document_findings(tx, customer, invoices=invoices, grants=grants, moves=moves)
        return found, sums.events

    def account(self, tx: Tx) -> list[Finding]:
        """Prove what customers share: the series of numbers, and how often coupons were used."""
        return [*account_findings(tx)]

    def _charge(self, tx: Tx, entry: ChargedEvent) -> Iterator[Finding]:
        event, charge = entry.event, entry.charge
        wrongs = [*_cost_back_wrongs(tx, entry)] if _is_cost_back(entry) else [*charge_wrongs(charge)]
        if event.provider != METER and not event.is_correction:
            wrongs += coverage_wrongs(charge, event.usage)
        yield from (Finding("charge", event.id, wrong) for wrong in wrongs)
        for line in charge.lines:
            rate = line.rate
            if self._proven.get(rate.id) != rate:
                yield from (Finding("unit_rate", rate.id, wrong) for wrong in self._rate(tx, event, rate))
                self._proven[rate.id] = rate

    def _rate(self, tx: Tx, event: UsageEvent, rate: UnitRate) -> Iterator[str]:
        """Yield how a rate differs from what it was made of; a waived one from the rate that it waives."""
        if rate.waived:
            whole = waives(rate)
            if whole is None:
                yield "its id does not follow from the rate that it waives"
                return
            rate = whole
        card = card_named(tx, rate.rate_card_version, customer=event.customer)
        if rate.provider == METER and rate.model == COMMITTED:
            if rate != lacking_rate(rate.rate_card_version):
                yield "is not what asks for what is lacking to a minimum commitment"
            return
        price, basis = self._version(rate.price_version), self._version(rate.basis_version)
        if exchange := exchange_in(rate.conditions):
            fx = next((fx for fx in self._exchange if fx.words == exchange), None)
            if fx is None:
                yield f"no stored exchange rate is '{exchange}'"
                return
            price, basis = price and converted(price, fx), basis and converted(basis, fx)
        yield from rate_wrongs(rate, price=price, basis=basis, card=card)

    def _version(self, id: str) -> PriceVersion | None:
        return self._catalogue.price_version(id) if id else None


def exchange_in(conditions: str) -> str:
    """Return what a rate's conditions say about the exchange rate that it was converted by, or nothing."""
    _, mark, rest = f", {conditions}".rpartition(f", {MARK}")
    return MARK + rest if mark else ""


def _is_cost_back(entry: ChargedEvent) -> bool:
    """Return whether it takes back what usage cost; its price, which a final invoice asked for, is credit."""
    charge = entry.charge
    return entry.event.source == "reversal" and not charge.lines and charge.price_nano == 0


def _cost_back_wrongs(tx: Tx, entry: ChargedEvent) -> Iterator[str]:
    customer = entry.event.customer
    original = tx.charge_of(customer, entry.event.corrects)
    if original is None:
        yield f"takes back {entry.event.corrects}, which has no charge"
        return
    again = tx.charge_of(customer, rerated(original.event).id)
    costs = [known.charge.cost_nano for known in (original, again) if known is not None]
    if -entry.charge.cost_nano not in costs:
        yield f"takes back a cost of {-entry.charge.cost_nano}, which was {costs[-1]}"


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


def _balance(tx: Tx, balance: Balance) -> Iterator[Finding]:
    customer = balance.customer
    held_nano = sum(hold.amount_nano for hold in tx.placed_holds(customer=customer))
    if balance.held_nano != held_nano:
        yield Finding("balance", customer, f"{balance.held_nano} is held, placed holds make {held_nano}")
    owed_nano = balance.owed_total_nano + balance.carried_nano
    accrued_nano = -tx.account_balance(customer, account.accrued(customer))
    if owed_nano != accrued_nano:
        yield Finding("balance", customer, f"{owed_nano} is owed and carried, its account has {accrued_nano}")
