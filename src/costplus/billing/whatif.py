"""What if: charge past usage again under a scenario, and compare; nothing is written.

Rule 1: one engine: `rerate.rate_again` rates the events, so the real card and prices give the real charges.
Rule 2: a customer's events are priced by the card versions that it was pinned to at their times, each changed
as the scenario says; a customer's own adjustment stays its own.
Rule 3: reported usage of a model that the card does not sell is charged nothing, as when it was reported; a
call is judged so only where the scenario brings another card.
Rule 4: work is done in portions, each in a read of its own, so that none holds up the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from costplus.billing.rerate import rate_again
from costplus.billing.settle import subscription_of
from costplus.billing.store import ChargedEvent, Store, Tx
from costplus.billing.subscription import NotSubscribed, Pin
from costplus.billing.unpriced import WaitingUsage, waits
from costplus.catalog.price import ModelUnpriced
from costplus.core.errors import TooLarge
from costplus.core.usage import LEAVES
from costplus.metering.event import TOKEN_METER, UsageEvent
from costplus.rating.charge import Charge, unpriced_charge
from costplus.rating.comparison import Comparison, Figures, Simulation, Tally
from costplus.rating.pricing import Pricing
from costplus.rating.rate_card import ModelNotOnCard, RateCardVersion
from costplus.rating.scenario import Scenario

PAGE, CUSTOMERS_PAGE = 5000, 1000  # Events and customers of one read: a fraction of a second.
OTHER_METER = "meter_without_tokens"
Progress = Callable[[int, int], None]  # Customers done, customers in all.


class SimulationTooLarge(TooLarge):
    """The window holds more usage than one request may simulate."""

    code = "simulation_too_large"
    remedy = "Choose a shorter window or one customer, or run `costplus simulate`, which has no limit."


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which usage: all with `start ≤ at < end`, of one customer or (empty) of all."""

    start: datetime
    end: datetime
    customer: str = ""


class Run:
    """A simulation under way: `advance` does a portion, until `done`."""

    def __init__(self, pricing: Pricing, scenario: Scenario, window: Window) -> None:
        catalogue = scenario.catalogue_for(pricing.catalogue, start=window.start, end=window.end)
        self._pricing = Pricing(catalogue)
        self._scenario = scenario
        self._window = window
        self._tally = Tally()
        self._customers: Sequence[str] | None = [window.customer] if window.customer else None
        self._versions: dict[str, RateCardVersion | None] = {}
        self._cards: list[
            tuple[datetime, RateCardVersion | None]
        ] = []  # Of the customer at hand, newest first.
        self._after = ""
        self.events = 0
        self.customers_done = 0

    @property
    def customers(self) -> int:
        """How many customers there are to look at; 0 before the first portion."""
        return len(self._customers or ())

    @property
    def done(self) -> bool:
        return self._customers is not None and self.customers_done == len(self._customers)

    @property
    def result(self) -> Simulation:
        """The comparison so far."""
        return self._tally.simulation(start=self._window.start, end=self._window.end)

    def advance(self, tx: Tx) -> None:
        """Rate the next events, up to a page of them, of as many customers as that takes."""
        if self._customers is None:
            self._customers = tx.users_since(self._window.start)
        left, last = PAGE, self.customers_done + CUSTOMERS_PAGE
        while left > 0 and self.customers_done < last and not self.done:
            customer = self._customers[self.customers_done]
            if not self._after:
                self._cards = self._cards_of(tx, customer)
            page = tx.charged_between(
                customer, self._window.start, self._window.end, after=self._after, limit=left
            )
            self._tally.add(customer, self._compared(tx, page))
            self.events += len(page)
            self._after = page[-1].event.id if len(page) == left else ""
            left -= len(page)
            if not self._after:
                self.customers_done += 1

    def _cards_of(self, tx: Tx, customer: str) -> list[tuple[datetime, RateCardVersion | None]]:
        """Return the supposed card of each stretch of the customer's time, None where there was none."""
        try:
            subscription = subscription_of(tx, customer)
        except NotSubscribed:
            return []
        pins = reversed(subscription.every_pin)
        return [(pin.since, self._card(tx, customer, pin)) for pin in pins]

    def _card(self, tx: Tx, customer: str, pin: Pin) -> RateCardVersion | None:
        if pin.version not in self._versions:
            real = tx.find(RateCardVersion, pin.version)
            self._versions[pin.version] = self._scenario.card_for(real) if real else None
        card = self._versions[pin.version]
        return card.for_customer(customer, pin.adjustment) if card and pin.adjustment else card

    def _card_at(self, at: datetime) -> RateCardVersion | None:
        for since, card in self._cards:
            if since <= at:
                return card
        return self._cards[-1][1] if self._cards else None

    def _is_resolved(self, tx: Tx, entry: ChargedEvent) -> bool:
        """Return whether a later event says what the entry is worth: then it stays as it was charged."""
        return waits(entry.charge, entry.event.usage) and tx.find(WaitingUsage, entry.event.id) is None

    def _compared(self, tx: Tx, page: Iterable[ChargedEvent]) -> Iterable[tuple[str, Comparison]]:
        """Return the page's comparisons, one a model."""
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 8)
        for entry in page:
            was = entry.charge
            then = was if self._is_resolved(tx, entry) else self._again(entry)
            had_none = 1 if was.unpriced else 0
            has_none = 1 if then.unpriced else 0
            event = entry.event
            sum_ = sums[event.provider, event.model]
            sum_[0] += 1
            sum_[1] += was.price_nano
            sum_[2] += was.cost_nano
            sum_[3] += had_none
            sum_[4] += then.price_nano
            sum_[5] += then.cost_nano
            sum_[6] += has_none
            sum_[7] += had_none > has_none
        return [
            (f"{provider}/{model}", Comparison(s[0], Figures(*s[1:4]), Figures(*s[4:7]), s[7]))
            for (provider, model), s in sums.items()
        ]

    def _again(self, entry: ChargedEvent) -> Charge:
        """Return what the event would have been charged; what cannot be rated is counted by its reason."""
        event = entry.event
        card = self._card_at(event.at)
        if event.meter != TOKEN_METER or card is None:
            self._tally.skipped[NotSubscribed.code if card is None else OTHER_METER] += 1
            return entry.charge
        try:
            self._check_sold(event, card)
            charge = self._rated(entry, card)
        except (ModelUnpriced, ModelNotOnCard) as reason:
            self._tally.skipped[reason.code] += 1
            return unpriced_charge()
        unpriced = entry.charge.unpriced
        if unpriced:  # What the answer itself made unpriced, such as a tier, is not for rating to know.
            kept = [part for part in unpriced if part not in LEAVES and part != "model"]
            charge = replace(charge, unpriced=tuple(dict.fromkeys((*charge.unpriced, *kept))))
        return charge

    def _check_sold(self, event: UsageEvent, card: RateCardVersion) -> None:
        """Raise `ModelNotOnCard` or `ModelUnpriced` where the event would not have been sold.

        A call is admitted by what it asked for, whatever then served it.
        """
        if not event.is_one_request:
            self._pricing.sold(event.provider, event.model, card=card, at=event.at)
        elif self._scenario.card is not None:
            try:
                self._pricing.sold(event.provider, event.requested_model, card=card, at=event.at)
            except (ModelUnpriced, ModelNotOnCard):
                self._pricing.sold(event.provider, event.model, card=card, at=event.at)

    def _rated(self, entry: ChargedEvent, card: RateCardVersion) -> Charge:
        try:
            return rate_again(entry, pricing=self._pricing, card=card)
        except ModelUnpriced:
            if not entry.charge.lines:
                raise
        # It was served under a name without a price, and priced as what was asked for: so it is again.
        rate = entry.charge.lines[0].rate
        event = replace(entry.event, provider=rate.provider, model=rate.model)
        return rate_again(replace(entry, event=event), pricing=self._pricing, card=card)


def simulate_within(
    tx: Tx, pricing: Pricing, scenario: Scenario, window: Window, *, events_max: int
) -> Simulation:
    """Return the whole simulation within one transaction. Raises `SimulationTooLarge`."""
    totals = tx.model_totals(window.customer or None, window.start, window.end)
    _check_size(sum(total.events for total in totals) // 2, events_max)  # By the hour, so with some slack.
    run = Run(pricing, scenario, window)
    while not run.done:
        run.advance(tx)
        _check_size(run.events, events_max)
    return run.result


def _check_size(events: int, events_max: int) -> None:
    if events > events_max:
        raise SimulationTooLarge(f"The window holds more than {events_max} usage events.")


async def simulate(
    store: Store, pricing: Pricing, scenario: Scenario, window: Window, *, progress: Progress | None = None
) -> Simulation:
    """Return the simulation, however much usage there is; `progress` is told after each portion."""
    run = Run(pricing, scenario, window)
    while not run.done:
        await store.read(run.advance)
        if progress is not None:
            progress(run.customers_done, run.customers)
    return run.result
