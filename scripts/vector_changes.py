"""Runs cases of proration: subscriptions that change in the middle of a period.

Rule 1: a change is made to a real subscription at the instant that leaves the case's share of the period;
what it gives back and asks for is read from the invoice items that it left.
Rule 2: prices of units that come and go within a period, and the cap of what is given back, are asked of the
functions themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from fractions import Fraction

from vector_case import Figures, Given, NotRun, Runner, fraction, whole
from vector_shop import CUSTOMER, HOUR, START, TICK, Shop, shop_of

from costplus.billing.amend import change_items
from costplus.billing.customer import Customer
from costplus.billing.invoice import Invoice
from costplus.billing.invoice_item import InvoiceItem
from costplus.billing.order import Chosen, Order
from costplus.billing.plan import Plan
from costplus.billing.proration import ProratedTier, capped_credit, prorated_graduated, to_minor
from costplus.billing.store import Tx
from costplus.billing.subscribe import start
from costplus.billing.subscription import Subscription

CENTS = 100
Side = Sequence[
    tuple[Fraction, int]
]  # What is subscribed to: prices of a period in minor units, and how many.


def _instant(given: Given) -> tuple[int, timedelta]:
    """Return how many days the period has, and how long after its start the change comes."""
    if given.has("share_left"):
        share = given.number("share_left")
        if not 0 <= share <= 1:
            raise NotRun("a share of a period that is none")
        passed = timedelta(days=30) * (1 - share).numerator / (1 - share).denominator
        return 30, min(passed, timedelta(days=30) - TICK)
    days = given.count("days" if given.has("days") else "of")
    left = given.count("days_left") if given.has("days_left") else days - given.count("day")
    if not 0 <= left <= days or days == 0:
        raise NotRun(f"{left} days left of {days}")
    passed = timedelta(days=days - left)
    if left and given.follows("days_inclusive"):
        passed += 12 * HOUR  # Some time within the day that is counted as left.
    return days, min(passed, timedelta(days=days) - TICK)


class Life:
    """A subscription to fees, once for each period of so many days, and its change."""

    def __init__(self, given: Given, old: Side, *, days: int) -> None:
        self.shop: Shop = shop_of(given)
        self.shop.at = START + 12 * HOUR  # At midnight.
        self._by = "day" if given.follows("days_inclusive") else "second"
        self._days = days
        self._count = 0
        self._kept: list[Chosen] = []
        chosen = [self._base(), *(self._chosen(*side) for side in old)]
        self.subscription = self.shop.write(lambda tx: self._start(tx, chosen))

    def _start(self, tx: Tx, chosen: Sequence[Chosen]) -> Subscription:
        return start(tx, self._customer(tx), Order(chosen=chosen), at=self.shop.at)

    def _customer(self, tx: Tx) -> Customer:
        customer = tx.find(Customer, CUSTOMER)
        assert customer is not None
        return customer

    def _base(self) -> Chosen:
        """Return what every subscription has, at no price: it stays where the rest goes."""
        return self._chosen(Fraction(0), 1)

    def _chosen(self, price_minor: Fraction, quantity: int, *, interval: str = "day") -> Chosen:
        if price_minor.denominator != 1:
            raise NotRun(f"a price of {price_minor} cents")
        self._count += 1
        plan = Plan(
            id=f"bpp_{self._count}",
            created=self.shop.at,
            display_name=f"Plan {self._count}",
            currency="usd",
            rate_card="",
            fee_minor=int(price_minor),
            interval=interval,  # type: ignore[arg-type]  # An interval.
            interval_count=self._days if interval == "day" else 1,
            proration_by=self._by,  # type: ignore[arg-type]  # One of the two.
        )
        self.shop.write(lambda tx: tx.save(plan))
        return Chosen(plan, quantity)

    def change(self, new: Side, *, passed: timedelta, restarts: bool) -> tuple[int, int]:
        """Change to `new`, and return what that gives back and asks for, in minor units."""
        self.shop.at += passed
        at = self.shop.at
        interval = "year" if restarts else "day"
        chosen = [self._chosen(Fraction(0), 1, interval=interval)] if restarts else []
        chosen += [self._chosen(*side, interval=interval) for side in new]

        def verb(tx: Tx) -> None:
            subscription = tx.find(Subscription, self.subscription.id)
            assert subscription is not None
            base = subscription.every_item[0]
            plan = tx.find(Plan, base.plan)
            assert plan is not None
            kept = [] if restarts else [Chosen(plan, base.quantity, id=base.id)]
            change_items(tx, self._customer(tx), subscription, [*kept, *chosen], at=at)

        self.shop.write(verb)
        items = self.shop.write(lambda tx: tx.page(InvoiceItem, parent=CUSTOMER, limit=100))
        amounts = [item.amount_minor for item in items]
        fees = [
            line.amount_minor
            for invoice in self.shop.write(lambda tx: tx.page(Invoice, parent=CUSTOMER, limit=100))
            for line in invoice.lines
            if line.kind == "fee" and line.period.start == at
        ]
        self.shop.check()
        return -sum(a for a in amounts if a < 0), sum(a for a in (*amounts, *fees) if a > 0)


def _changed(given: Given, old: Side, new: Side, *, scale: int) -> Figures:
    restarts = bool(given.take("new_cycle_starts_now", False)) and given.under("cycle_restarts")
    days, passed = _instant(given)
    back, asked = Life(given, old, days=days).change(new, passed=passed, restarts=restarts)
    credit, charge = Fraction(back, scale), Fraction(asked, scale)
    net = charge - credit
    return {"credit": credit, "charge": charge, "debit": charge, "net": net, "amount": net}


def plan_change(given: Given) -> Figures:
    if given.has("old_cents"):
        old, new = (given.number(name) for name in ("old_cents", "new_cents"))
        return _changed(given, [(old, 1)], [(new, 1)], scale=1)
    sides = [given.take(name) for name in ("old", "new")]
    priced = [
        (fraction(side["price"]) * CENTS, whole(side["qty"]))
        if isinstance(side, Mapping)
        else (fraction(side) * CENTS, 1)
        for side in sides
    ]
    return _changed(given, priced[:1], priced[1:], scale=CENTS)


def quantity_change(given: Given) -> Figures:
    price = given.number("price") * CENTS
    old, new = given.count("old_qty"), given.count("new_qty")
    return _changed(given, [(price, old)], [(price, new)], scale=CENTS)


def add_item(given: Given) -> Figures:
    return _changed(given, [], [(given.number("price") * CENTS, 1)], scale=CENTS)


def remove_item(given: Given) -> Figures:
    return _changed(given, [(given.number("price") * CENTS, 1)], [], scale=CENTS)


def upgrade(given: Given) -> Figures:
    """What begins so many days before its period ends is asked for in proportion."""
    days, of = given.count("days"), given.count("of")
    life = Life(given, [], days=of)
    passed = timedelta(days=of - days)
    _, asked = life.change([(given.number("quarter_cents"), 1)], passed=passed, restarts=False)
    return {"amount": asked}


def credit_cap(given: Given) -> Figures:
    potential, paid, credited = (
        int(given.number(name)) for name in ("potential_credit", "original_paid", "already_credited")
    )
    return {"amount": capped_credit(potential, paid_minor=paid, credited_minor=credited)}


def graduated(given: Given) -> Figures:
    tiers = [
        ProratedTier(
            None if row["up_to"] is None else whole(row["up_to"]),
            fraction(row["unit"]),
            fraction(row.get("flat", 0)),
        )
        for row in given.rows("tiers", "up_to", "unit", "flat")
    ]
    counts = [int(fraction(count)) for count in given.take("event_units", kind=list)]
    worth = [fraction(value) for value in given.take("event_prorated_units", kind=list)]
    exact = prorated_graduated(tiers, list(zip(counts, worth, strict=True)))
    return {"amount": Fraction(to_minor(exact * CENTS), CENTS)}


RUNNERS: Mapping[tuple[str, str], Runner] = {
    ("proration", runner.__name__): runner
    for runner in (
        plan_change, quantity_change, add_item, remove_item, upgrade, credit_cap, graduated,
    )
} | {("proration", "interval_change"): plan_change}  # fmt: skip
