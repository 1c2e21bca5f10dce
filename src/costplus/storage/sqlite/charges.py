"""Charges and their hourly roll-ups.

Rule 1: roll-ups change in the transaction that appends the charges, so they can never disagree.
Rule 2: sums over rows are put together from halves that fit 64 bits.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from costplus.billing.invoice import UsageTotal
from costplus.billing.store import ChargedEvent, ModelTotal
from costplus.core.ids import bucket_of, milliseconds
from costplus.core.money import InvalidAmount
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
from costplus.storage.queries import load_queries
from costplus.storage.sqlite.tables import Tables, joined

SQL = load_queries("costplus.storage.sqlite", "charges.sql")

_LAST_ID = "~"  # Above every event id, which is hexadecimal.


def _id_from(at: datetime, *, after: int = 0) -> str:
    """Return what ids of events at `at` (and that many milliseconds) begin with."""
    return f"{max(milliseconds(at), 0) + after:012x}"


class SqliteCharges(Tables):
    """Satisfies `ChargeStore`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._rates: dict[str, UnitRate] = {}  # Known to be stored; a rate never changes.
        self.fresh_rates: list[str] = []  # Stored since the last commit.
        self._charge_rows: dict[str, list[Row]] = defaultdict(list)  # What waits, by its statement.
        self._metered: dict[Row, Metered] = {}  # Sums as they are in this verb.
        self._totals: dict[tuple[str, datetime, datetime], tuple[list[UsageTotal], int]] = {}

    def forget_fresh_rates(self) -> None:
        """Forget the rates that a rolled-back verb may have stored; asking for one finds it again."""
        for id in self.fresh_rates:
            self._rates.pop(id, None)

    def forget_all_rates(self) -> None:
        self._rates.clear()
        self.fresh_rates.clear()

    def forget_sums(self) -> None:
        """Forget what waits, and what was counted."""
        self._charge_rows.clear()
        self._metered.clear()
        self._totals.clear()

    def flush_charges(self) -> None:
        """Execute what waits, and forget that it does."""
        if not self._charge_rows:
            return
        waiting = list(self._charge_rows.items())
        self._charge_rows.clear()
        for sql, rows in waiting:
            self._add(sql, rows)

    def append_charges(self, charged: Sequence[ChargedEvent]) -> None:
        self._totals.clear()
        rows = self._charge_rows[SQL.append_charge]
        units: dict[tuple[int, str, int, str], list[int]] = defaultdict(lambda: [0, 0])
        totals: dict[tuple[int, str, int, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in charged:
            event, charge = entry.event, entry.charge
            customer, bucket, billed_us = event.customer, bucket_of(event.customer), micros(entry.billed_at)
            hour, counted = hour_of(billed_us), int(not event.is_correction)
            lines = []
            for line in charge.lines:
                rate, quantity = line.rate, line.quantity
                known = self.unit_rate(rate.id)
                if known is None:
                    self._db.execute(SQL.add_unit_rate, unit_rate_row(rate))
                    self._rates[rate.id] = rate
                    self.fresh_rates.append(rate.id)
                elif known is not rate:
                    check_unchanged(known, rate, name=f"unit rate '{rate.id}'")
                lines.append((rate.id, quantity))
                unit = units[bucket, customer, hour, rate.id]
                unit[0] += quantity
                unit[1] += counted
            total = totals[bucket, customer, hour, event.provider, event.model]
            total[0] += counted
            total[1] += charge.price_nano
            total[2] += charge.cost_nano
            rows.append(charge_row(entry, lines, bucket=bucket, billed_us=billed_us))
        self._charge_rows[SQL.add_to_units] += [(*key, *sums) for key, sums in units.items()]
        self._charge_rows[SQL.add_to_totals] += [(*key, *sums) for key, sums in totals.items()]

    def _add(self, sql: str, rows: Iterable[Row]) -> None:
        try:
            self._insert(sql, rows)
        except (sqlite3.IntegrityError, OverflowError) as error:
            # Beyond 64 bits SQLite turns to REAL, which a STRICT table refuses; Python refuses to bind it.
            raise InvalidAmount("A total is beyond what one roll-up can hold.") from error

    def charge_of(self, customer: str, event_id: str) -> ChargedEvent | None:
        row = self._one(SQL.find_charge, (bucket_of(customer), customer, event_id))
        return None if row is None else self._charged(row)

    def charged_page(
        self, *, customer: str | None, limit: int, older_than: str | None = None
    ) -> Sequence[ChargedEvent]:
        page = (older_than or _LAST_ID, limit)
        if customer is None:
            rows = self._all(SQL.charges_latest, page)
        else:
            rows = self._all(SQL.charges_latest_of_customer, (bucket_of(customer), customer, *page))
        return [self._charged(row) for row in rows]

    def _charged(self, row: Row) -> ChargedEvent:
        lines = decode_lines(row[EVENT_COLUMNS + 3])
        return charged_from_row(row, (ChargeLine(quantity, self._rate(id)) for id, quantity in lines))

    def usage_totals(self, customer: str, start: datetime, end: datetime) -> tuple[Sequence[UsageTotal], int]:
        if start >= end:
            return [], 0
        asked = (customer, start, end)
        if asked not in self._totals:
            self._totals[asked] = self._read_totals(customer, start, end)
        totals, price_nano = self._totals[asked]
        return list(totals), price_nano

    def _read_totals(self, customer: str, start: datetime, end: datetime) -> tuple[list[UsageTotal], int]:
        key = (bucket_of(customer), customer)
        start_us, end_us = micros(start), micros(end)
        whole_from, whole_to = micros(hour_ceil(start)), micros(hour_floor(end))
        quantities: dict[str, int] = defaultdict(int)
        price_nano = 0
        if whole_from < whole_to:
            ends = [(start_us, whole_from), (whole_to, end_us)]
            for id, high, low in self._all(SQL.units_between, (*key, whole_from, whole_to)):
                quantities[id] += joined(high, low)
            price_nano += joined(*self._one(SQL.price_between, (*key, whole_from, whole_to)))
        else:
            ends = [(start_us, end_us)]
        for first, last in ends:
            for nano, lines in self._all(SQL.charges_billed_between, (*key, first, last)):
                price_nano += nano
                for id, quantity in decode_lines(lines):
                    quantities[id] += quantity
        totals = [UsageTotal(self._rate(id), quantity) for id, quantity in quantities.items() if quantity]
        totals.sort(key=lambda total: (total.rate.provider, total.rate.model, total.rate.leaf, total.rate.id))
        return totals, price_nano

    def metered(self, customer: str, meter: str, period_start: datetime) -> Metered:
        key = (bucket_of(customer), customer, meter, micros(period_start))
        if key not in self._metered:
            row = self._one(SQL.find_metered, key)
            self._metered[key] = Metered() if row is None else Metered(*row)
        return self._metered[key]

    def add_metered(self, customer: str, meter: str, period_start: datetime, added: Metered) -> None:
        key = (bucket_of(customer), customer, meter, micros(period_start))
        self._charge_rows[SQL.add_to_metered].append((*key, added.units, added.price_nano))
        if (known := self._metered.get(key)) is not None:
            self._metered[key] = Metered(known.units + added.units, known.price_nano + added.price_nano)

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
        asked = {
            "bucket": bucket_of(customer),
            "customer": customer,
            "start": micros(start),
            "end": micros(end),
            "provider": provider,
            "model": model,
            "api_key": api_key,
        }
        if not by_billing:
            asked |= {"first_id": _id_from(start), "last_id": _id_from(end, after=1)}
        row = self._one(SQL.spent_billed_between if by_billing else SQL.spent_between, asked)
        return Metered(row[0], joined(row[1], row[2]))

    def waived_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[UsageTotal]:
        if start >= end:
            return []
        hours = (hour_of(micros(start)), hour_of(micros(end) - 1) + HOUR_US)
        if customer is None:
            rows = self._all(SQL.waived_units, hours)
        else:
            rows = self._all(SQL.waived_units_of_customer, (*hours, bucket_of(customer), customer))
        sums = ((id, joined(high, low)) for id, high, low in rows)
        return [UsageTotal(self._rate(id), quantity) for id, quantity in sums if quantity]

    def model_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[ModelTotal]:
        if start >= end:
            return []
        hours = (hour_of(micros(start)), hour_of(micros(end) - 1) + HOUR_US)
        if customer is None:
            rows = self._all(SQL.model_totals, hours)
        else:
            rows = self._all(SQL.model_totals_of_customer, (bucket_of(customer), customer, *hours))
        totals = [
            ModelTotal(
                provider=row[0],
                model=row[1],
                events=row[2],
                price_nano=joined(row[3], row[4]),
                cost_nano=joined(row[5], row[6]),
            )
            for row in rows
        ]
        return sorted(totals, key=lambda total: (-total.price_nano, total.provider, total.model))

    def charged_between(
        self, customer: str, start: datetime, end: datetime, *, after: str = "", limit: int = 1000
    ) -> Sequence[ChargedEvent]:
        rows = self._all(
            SQL.charges_between,
            {
                "bucket": bucket_of(customer),
                "customer": customer,
                "first_id": _id_from(start),
                "last_id": _id_from(end, after=1),
                "after": after,
                "start": micros(start),
                "end": micros(end),
                "limit": limit,
            },
        )
        return [self._charged(row) for row in rows]

    def unpaired(self, customer: str) -> Sequence[str]:
        key = {"bucket": bucket_of(customer), "customer": customer}
        return [row[0] for row in self._all(SQL.unpaired, key)]

    def users_since(self, start: datetime, *, provider: str = "", model: str = "") -> Sequence[str]:
        hour = hour_of(micros(start))
        if not model:
            return [row[0] for row in self._all(SQL.users_since, (hour,))]
        return [row[0] for row in self._all(SQL.users_of_model_since, (provider, model, hour))]

    def unit_rate(self, id: str) -> UnitRate | None:
        rate = self._rates.get(id)
        if rate is None:
            row = self._one(SQL.find_unit_rate, (id,))
            if row is None:
                return None
            rate = self._rates[id] = unit_rate_from_row(row)
        return rate

    def _rate(self, id: str) -> UnitRate:
        rate = self.unit_rate(id)
        assert rate is not None, id  # A charge is appended together with its rates.
        return rate
