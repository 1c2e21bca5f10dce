"""Usage events, their charges, and totals computed from the charges themselves."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from costplus.billing.invoice import UsageTotal
from costplus.billing.store import ChargedEvent, ModelTotal
from costplus.core.period import hour_floor
from costplus.core.records import check_unchanged
from costplus.metering.event import UsageEvent
from costplus.rating.item_charge import Metered
from costplus.rating.sheet import UnitRate
from costplus.storage.codec import KEY_WINDOW
from costplus.storage.memory.tables import Undoable


class MemoryEvents(Undoable):
    """Satisfies `MeteringStore`."""

    def append_events(self, events: Sequence[UsageEvent]) -> set[str]:
        new: set[str] = set()
        for event in events:
            rows = self.tables.events[event.customer]
            same_key = self.tables.keys.get((event.customer, event.key), ())
            if event.id in rows or any(abs(event.at - other.at) <= KEY_WINDOW for other in same_key):
                continue
            self.put(rows, event.id, event)
            self.put(self.tables.keys, (event.customer, event.key), (*same_key, event))
            new.add(event.id)
        return new

    def event(self, customer: str, id: str) -> UsageEvent | None:
        return self.tables.events[customer].get(id)

    def event_by_key(self, customer: str, key: str) -> UsageEvent | None:
        return max(self.tables.keys.get((customer, key), ()), key=lambda event: event.at, default=None)

    def reported_as(self, identifier: str) -> Sequence[UsageEvent]:
        found = (
            event
            for (_, key), events in self.tables.keys.items()
            for event in events
            if key == identifier and event.source in ("meter_events_v1", "meter_events_v2")
        )
        return sorted(found, key=lambda event: (event.at, event.id), reverse=True)

    def events_between(
        self,
        customer: str,
        start: datetime,
        end: datetime,
        *,
        meter: str | None = None,
        limit: int = 100_000,
    ) -> Sequence[UsageEvent]:
        found = (
            event
            for event in self.tables.events[customer].values()
            if start <= event.at < end and meter in (None, event.meter)
        )
        return sorted(found, key=lambda event: (event.at, event.id))[:limit]


class MemoryCharges(Undoable):
    """Satisfies `ChargeStore`."""

    def append_charges(self, charged: Sequence[ChargedEvent]) -> None:
        for entry in charged:
            rows = self.tables.charges[entry.event.customer]
            assert entry.event.id not in rows  # Only new events are charged.
            self.put(rows, entry.event.id, entry)
            for line in entry.charge.lines:
                known = self.tables.unit_rates.get(line.rate.id)
                if known is None:
                    self.put(self.tables.unit_rates, line.rate.id, line.rate)
                elif known is not line.rate:
                    check_unchanged(known, line.rate, name=f"unit rate '{known.id}'")

    def charge_of(self, customer: str, event_id: str) -> ChargedEvent | None:
        return self.tables.charges[customer].get(event_id)

    def charged_page(
        self, *, customer: str | None, limit: int, older_than: str | None = None
    ) -> Sequence[ChargedEvent]:
        older = (
            entry for entry in self._charges_of(customer) if older_than is None or entry.event.id < older_than
        )
        return heapq.nlargest(limit, older, key=lambda entry: entry.event.id)

    def _charges_of(self, customer: str | None) -> Iterator[ChargedEvent]:
        if customer is not None:
            yield from self.tables.charges[customer].values()
            return
        for rows in self.tables.charges.values():
            yield from rows.values()

    def usage_totals(self, customer: str, start: datetime, end: datetime) -> tuple[Sequence[UsageTotal], int]:
        quantities: dict[str, int] = defaultdict(int)
        price_nano = 0
        for entry in self._charges_of(customer):
            if start <= entry.billed_at < end:
                price_nano += entry.charge.price_nano
                for line in entry.charge.lines:
                    quantities[line.rate.id] += line.quantity
        totals = [UsageTotal(self.tables.unit_rates[id], n) for id, n in quantities.items() if n]
        totals.sort(key=lambda total: (total.rate.provider, total.rate.model, total.rate.leaf, total.rate.id))
        return totals, price_nano

    def metered(self, customer: str, meter: str, period_start: datetime) -> Metered:
        return self.tables.metered.get((customer, meter, period_start), Metered())

    def add_metered(self, customer: str, meter: str, period_start: datetime, added: Metered) -> None:
        known = self.metered(customer, meter, period_start)
        total = Metered(known.units + added.units, known.price_nano + added.price_nano)
        self.put(self.tables.metered, (customer, meter, period_start), total)

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
        prices = [
            entry.charge.price_nano
            for entry in self._charges_of(customer)
            if start <= (entry.billed_at if by_billing else entry.event.at) < end
            and (not model or (entry.event.provider, entry.event.model) == (provider, model))
            and api_key in ("", entry.event.api_key)
        ]
        return Metered(len(prices), sum(prices))

    def model_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[ModelTotal]:
        if start >= end:
            return []
        first = hour_floor(start)
        sums: dict[tuple[str, str], tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
        for entry in self._charges_of(customer):
            if first <= entry.billed_at and hour_floor(entry.billed_at) < end:
                model, charge = (entry.event.provider, entry.event.model), entry.charge
                events, price_nano, cost_nano = sums[model]
                events += not entry.event.is_correction
                sums[model] = (events, price_nano + charge.price_nano, cost_nano + charge.cost_nano)
        totals = [
            ModelTotal(provider=provider, model=model, events=events, price_nano=price, cost_nano=cost)
            for (provider, model), (events, price, cost) in sums.items()
        ]
        return sorted(totals, key=lambda total: (-total.price_nano, total.provider, total.model))

    def waived_totals(self, customer: str | None, start: datetime, end: datetime) -> Sequence[UsageTotal]:
        first = hour_floor(start)
        quantities: dict[str, int] = defaultdict(int)
        for entry in self._charges_of(customer) if start < end else ():
            if first <= entry.billed_at and hour_floor(entry.billed_at) < end:
                for line in entry.charge.lines:
                    if line.rate.waived:
                        quantities[line.rate.id] += line.quantity
        return [UsageTotal(self.tables.unit_rates[id], n) for id, n in sorted(quantities.items()) if n]

    def charged_between(
        self, customer: str, start: datetime, end: datetime, *, after: str = "", limit: int = 1000
    ) -> Sequence[ChargedEvent]:
        found = (
            entry
            for entry in self._charges_of(customer)
            if start <= entry.event.at < end and entry.event.id > after
        )
        return heapq.nsmallest(limit, found, key=lambda entry: entry.event.id)

    def unpaired(self, customer: str) -> Sequence[str]:
        return sorted(self.tables.events[customer].keys() ^ self.tables.charges[customer].keys())

    def users_since(self, start: datetime, *, provider: str = "", model: str = "") -> Sequence[str]:
        since = hour_floor(start)
        users = set()
        for customer, rows in self.tables.charges.items():
            for entry in rows.values():
                named = not model or any(
                    (line.rate.provider, line.rate.model) == (provider, model) for line in entry.charge.lines
                )
                if entry.billed_at >= since and named:
                    users.add(customer)
                    break
        return sorted(users)

    def unit_rate(self, id: str) -> UnitRate | None:
        return self.tables.unit_rates.get(id)
