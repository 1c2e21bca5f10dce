"""Charges and their hourly roll-ups.

Rule 1: roll-ups change in the transaction that appends the charges, so they can never disagree.
Rule 2: what is kept must fit 64 bits, and does or is refused; sums over rows are NUMERIC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from datetime import datetime

from costplus.billing.invoice import UsageTotal
from costplus.billing.store import ChargedEvent, ModelTotal
from costplus.core.ids import bucket_of, milliseconds
from costplus.core.period import hour_ceil, hour_floor
from costplus.core.records import check_unchanged
from costplus.rating.charge import ChargeLine
from costplus.rating.item_charge import Metered
from costplus.rating.sheet import UnitRate
from costplus.storage.codec import (
    EVENT_COLUMNS,
    HOUR_US,
    Row,
    charge_row,
    charged_from_row,
    decode_lines,
    hour_of,
    micros,
    unit_rate_from_row,
    unit_rate_row,
)
from costplus.storage.postgres.metering import LAST_ID, PostgresEvents, first_id
from costplus.storage.postgres.session import Session
from costplus.storage.postgres.tables import Write
from costplus.storage.postgres.text import columns_of, kept_row
from costplus.storage.queries import load_queries

SQL = load_queries("costplus.storage.postgres", "charges.sql")

COLUMNS = (
    *("bucket", "customer", "event_id", "billed_at", "price_nano", "cost_nano", "lines", "unpriced", "txn"),
)


class PostgresCharges(PostgresEvents):
    """Satisfies `ChargeStore`."""

    def __init__(self, session: Session, customers: Collection[str] | None, *, reads_only: bool) -> None:
        super().__init__(session, customers, reads_only=reads_only)
        self.rates: MutableMapping[str, UnitRate] = {}  # Known to be stored; a rate never changes.
        self.fresh_rates: dict[str, UnitRate] = {}  # Stored by this transaction.
        self._new_charges: list[Row] = []
        self._units: dict[tuple[int, str, int, str], list[int]] = defaultdict(lambda: [0, 0])
        self._totals: dict[tuple[int, str, int, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._metered: dict[tuple[int, str, str, int], list[int]] = defaultdict(lambda: [0, 0])

    def append_charges(self, charged: Sequence[ChargedEvent]) -> None:
        self.changing()
        self.know({entry.event.customer for entry in charged})
        self.check_months(entry.event.id for entry in charged)
        self._keep_rates(charged)
        for entry in charged:
            event, charge = entry.event, entry.charge
            customer, bucket, billed_us = event.customer, bucket_of(event.customer), micros(entry.billed_at)
            hour, counted = hour_of(billed_us), int(not event.is_correction)
            lines = [(line.rate.id, line.quantity) for line in charge.lines]
            for rate_id, quantity in lines:
                unit = self._units[bucket, customer, hour, rate_id]
                unit[0] += quantity
                unit[1] += counted
            total = self._totals[bucket, customer, hour, event.provider, event.model]
            total[0] += counted
            total[1] += charge.price_nano
            total[2] += charge.cost_nano
            self._new_charges.append(charge_row(entry, lines, bucket=bucket, billed_us=billed_us))

    def _keep_rates(self, charged: Sequence[ChargedEvent]) -> None:
        """Store the rates that are new; one that is known must be equal."""
        unknown: dict[str, UnitRate] = {}
        for entry in charged:
            for line in entry.charge.lines:
                rate = line.rate
                known = self.rates.get(rate.id) or self.fresh_rates.get(rate.id)
                if known is None:
                    known = unknown.setdefault(rate.id, rate)
                if known is not rate:
                    check_unchanged(known, rate, name=f"unit rate '{rate.id}'")
        if not unknown:
            return
        rows = [unit_rate_row(unknown[id]) for id in sorted(unknown)]  # Two that store the same take turns.
        fresh = {row[0] for row in self._all(SQL.add_unit_rates, *columns_of(rows))}
        self.fresh_rates.update((id, unknown[id]) for id in fresh)
        self._find_rates(set(unknown) - fresh)
        for id in set(unknown) - fresh:
            check_unchanged(self._rate(id), unknown[id], name=f"unit rate '{id}'")

    def _find_rates(self, ids: Collection[str]) -> None:
        """Remember the stored ones of these rates."""
        missing = [id for id in ids if id not in self.rates and id not in self.fresh_rates]
        for row in self._all(SQL.find_unit_rates, missing) if missing else ():
            self.rates[row[0]] = unit_rate_from_row(row)

    def unit_rate(self, id: str) -> UnitRate | None:
        self._find_rates([id])
        return self.rates.get(id) or self.fresh_rates.get(id)

    def _rate(self, id: str) -> UnitRate:
        rate = self.unit_rate(id)
        assert rate is not None, id  # A charge is appended together with its rates.
        return rate

    def _flush_charges(self) -> None:
        if self._new_charges or self._new_events or self._metered:
            self.flush()

    def copy_charges(self) -> None:
        """Send the charges that wait."""
        rows, self._new_charges = self._new_charges, []
        if rows:
            self._session.copy("charges", COLUMNS, [kept_row(row) for row in rows])

    def charge_writes(self) -> Iterator[Write]:
        """Yield what else waits, and forget that it does."""
        for name, sums in (
            ("add_to_units", self._units),
            ("add_to_totals", self._totals),
            ("add_to_metered", self._metered),
        ):
            if sums:
                rows = [(*key, *values) for key, values in sums.items()]
                yield Write(name, getattr(SQL, name), columns_of(rows))
                sums.clear()

    def charge_of(self, customer: str, event_id: str) -> ChargedEvent | None:
        found = self._charged_by(SQL.find_charge, bucket_of(customer), customer, event_id)
        return found[0] if found else None

    def charged_page(
        self, *, customer: str | None, limit: int, older_than: str | None = None
    ) -> Sequence[ChargedEvent]:
        page = (older_than or LAST_ID, limit)
        if customer is None:
            return self._charged_by(SQL.charges_latest, *page)
        return self._charged_by(SQL.charges_latest_of_customer, *page, bucket_of(customer), customer)

    def _charged_by(self, sql: str, *arguments: object) -> list[ChargedEvent]:
        self._flush_charges()
        rows = self._all(sql, *arguments)
        charged = [(row, decode_lines(row[EVENT_COLUMNS + 3])) for row in rows]
        self._find_rates({id for _, lines in charged for id, _ in lines})
        return [
            charged_from_row(row, (ChargeLine(quantity, self._rate(id)) for id, quantity in lines))
            for row, lines in charged
        ]

    def usage_totals(self, customer: str, start: datetime, end: datetime) -> tuple[Sequence[UsageTotal], int]:
        if start >= end:
            return [], 0
        self._flush_charges()
        key = (bucket_of(customer), customer)
        start_us, end_us = micros(start), micros(end)
        whole_from, whole_to = micros(hour_ceil(start)), micros(hour_floor(end))
        quantities: dict[str, int] = defaultdict(int)
        price_nano = 0
        ends = [(start_us, end_us)]
        if whole_from < whole_to:
            ends = [(start_us, whole_from), (whole_to, end_us)]
            for id, quantity in self._all(SQL.units_between, *key, whole_from, whole_to):
                quantities[id] += int(quantity)
            ((whole,),) = self._all(SQL.price_between, *key, whole_from, whole_to)
            price_nano += int(whole)
        for first, last in ends:
            below = LAST_ID if first < 0 else first_id(last + 1000)
            found = self._all(SQL.charges_billed_between, *key, first, last, below) if first < last else []
            for nano, lines in found:
                price_nano += nano
                for id, quantity in decode_lines(lines):
                    quantities[id] += quantity
        self._find_rates([id for id, quantity in quantities.items() if quantity])
        totals = [UsageTotal(self._rate(id), quantity) for id, quantity in quantities.items() if quantity]
        totals.sort(key=lambda total: (total.rate.provider, total.rate.model, total.rate.leaf, total.rate.id))
        return totals, price_nano

    def metered(self, customer: str, meter: str, period_start: datetime) -> Metered:
        self._flush_charges()
        row = self._one(SQL.find_metered, bucket_of(customer), customer, meter, micros(period_start))
        return Metered() if row is None else Metered(*row)

    def add_metered(self, customer: str, meter: str, period_start: datetime, added: Metered) -> None:
        self.changing()
        self.know([customer])
        sums = self._metered[bucket_of(customer), customer, meter, micros(period_start)]
        sums[0] += added.units
        sums[1] += added.price_nano

    def spent_between(
        self,
        customer: str,
        start: datetime,
        end: datetime,
        *,
        provider: str = "",
        model: str = "",
        api_key: str = "",
        by_billing: bool = False,
    ) -> Metered:
        if start >= end:
            return Metered()
        self._flush_charges()
        start_us, end_us = micros(start), micros(end)
        asked = (bucket_of(customer), customer, start_us, end_us, provider, model, api_key)
        if by_billing:
            row = self._one(
                SQL.spent_billed_between, *asked, LAST_ID if start_us < 0 else first_id(end_us + 1000)
            )
        else:
            below = f"{max(milliseconds(end), 0) + 1:012x}"
            row = self._one(SQL.spent_between, *asked, f"{max(milliseconds(start), 0):012x}", below)
        assert row is not None  # A sum over no rows is a row.
        return Metered(row[0], int(row[1]))

    def waived_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[UsageTotal]:
        if start >= end:
            return []
        self._flush_charges()
        hours = (hour_of(micros(start)), hour_of(micros(end) - 1) + HOUR_US)
        if customer is None:
            rows = self._all(SQL.waived_units, *hours)
        else:
            rows = self._all(SQL.waived_units_of_customer, *hours, bucket_of(customer), customer)
        self._find_rates([row[0] for row in rows])
        return [UsageTotal(self._rate(id), int(quantity)) for id, quantity in rows if quantity]

    def model_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[ModelTotal]:
        if start >= end:
            return []
        self._flush_charges()
        hours = (hour_of(micros(start)), hour_of(micros(end) - 1) + HOUR_US)
        if customer is None:
            rows = self._all(SQL.model_totals, *hours)
        else:
            rows = self._all(SQL.model_totals_of_customer, *hours, bucket_of(customer), customer)
        totals = [
            ModelTotal(
                provider=row[0],
                model=row[1],
                events=int(row[2]),
                price_nano=int(row[3]),
                cost_nano=int(row[4]),
            )
            for row in rows
        ]
        return sorted(totals, key=lambda total: (-total.price_nano, total.provider, total.model))

    def charged_between(
        self, customer: str, start: datetime, end: datetime, *, after: str = "", limit: int = 1000
    ) -> Sequence[ChargedEvent]:
        return self._charged_by(
            SQL.charges_between,
            bucket_of(customer),
            customer,
            f"{max(milliseconds(start), 0):012x}",
            f"{max(milliseconds(end), 0) + 1:012x}",
            after,
            micros(start),
            micros(end),
            limit,
        )

    def users_since(self, start: datetime, *, provider: str = "", model: str = "") -> Sequence[str]:
        self._flush_charges()
        hour = hour_of(micros(start))
        if not model:
            return [row[0] for row in self._all(SQL.users_since, hour)]
        return [row[0] for row in self._all(SQL.users_of_model_since, provider, model, hour)]
