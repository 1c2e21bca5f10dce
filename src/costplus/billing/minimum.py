"""Minimum spend: what usage lacks to what was committed is asked for when the committed periods end.

Rule 1: it counts what usage is worth, before credit, as far as it is asked for; fees do not count.
Rule 2: what is lacking is a charge of its own (source `true_up`) that no credit pays: it is owed at once.
Done again, there is nothing lacking.
Rule 3: of a period that is cut short as much counts as was served, by the second. While a period runs, what
is foreseen is the whole of it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction

from costplus.billing.allowance import MinimumSpend, PeriodTerms, terms_id
from costplus.billing.customer import Customer
from costplus.billing.plan import Plan
from costplus.billing.shadow import is_on
from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import milliseconds, new_id
from costplus.core.money import decimal_text, nano_per_minor
from costplus.core.period import Period
from costplus.core.usage import Usage
from costplus.ledger import account
from costplus.ledger.transaction import transaction
from costplus.metering.event import METER, usage_event
from costplus.rating.charge import Charge, ChargeLine
from costplus.rating.commitment import Commitment
from costplus.rating.item_charge import MINIMUM, ONE_NANO
from costplus.rating.rate_card import FIXED
from costplus.rating.sheet import UnitRate

COMMITTED = "minimum_commitment"  # What stands for the model of its charge.
NAME, TITLE = "Minimum commitment", "true-up"
INSTANT = timedelta(microseconds=1)


def lacking_nano(tx: Tx, subscription: Subscription, period: Period, *, usage_nano: int, at: datetime) -> int:
    """Return what a period's usage, worth `usage_nano`, lacks to the minimum that falls due with it."""
    committed = _committed(tx, subscription, period, at=at)
    if committed is None:
        return 0
    minimum, currency = committed
    cycle = subscription.cycle
    ordinal = cycle.ordinal_at(period.start)
    first = ordinal - ordinal % minimum.periods
    is_last = ordinal == first + minimum.periods - 1 or subscription.status == "canceled"
    served = _served(subscription, period, ordinal - first, minimum)
    nano = minimum.amount_minor * nano_per_minor(currency) * served
    start = cycle.period(first).start
    before_nano = 0
    if first < ordinal and is_last:
        before_nano = tx.usage_totals(subscription.customer, start, period.start)[1]
    commitment = Commitment(minimum=nano)
    line = commitment.line(
        Fraction(max(usage_nano, 0)),
        before=Fraction(max(before_nano, 0)),
        place="last" if is_last else "middle",
    )
    return -(-line.top_up.numerator // line.top_up.denominator)


def _committed(
    tx: Tx, subscription: Subscription, period: Period, *, at: datetime
) -> tuple[MinimumSpend, str] | None:
    """Return the minimum that the period commits to and its currency, None where there is none."""
    if subscription.trial_end is not None and period.start < subscription.trial_end:
        return None
    terms = tx.find(PeriodTerms, terms_id(subscription.id, period.start))
    plan = tx.find(Plan, terms.plan if terms else subscription.plan)
    minimum = terms.minimum if terms else plan.minimum if plan else None
    if minimum is None or plan is None:
        return None
    customer = tx.find(Customer, subscription.customer)
    last = min(at, period.end - INSTANT)
    is_tracked = is_on(plan.shadow, last) or (customer is not None and is_on(customer.shadow, last))
    return None if is_tracked else (minimum, plan.currency)


def _served(subscription: Subscription, period: Period, before: int, minimum: MinimumSpend) -> Fraction:
    """Return the share of the committed periods that was served, `before` whole ones and this one."""
    whole = subscription.cycle.period(subscription.cycle.ordinal_at(period.start))
    share = Fraction((period.end - period.start) // INSTANT, (whole.end - whole.start) // INSTANT)
    others = before if subscription.status == "canceled" else minimum.periods - 1
    return (others + min(share, Fraction(1))) / minimum.periods


def lacking_line(subscription: Subscription, nano: int) -> ChargeLine:
    """Return the line that asks for what is lacking: so many nanos at one nano each."""
    return ChargeLine(nano, lacking_rate(subscription.rate_card_version))


def lacking_rate(card_version: str) -> UnitRate:
    """Return the rate that what is lacking is asked for at, under a card version."""
    parts = (METER, COMMITTED, card_version, decimal_text(ONE_NANO))
    return UnitRate(
        id="ur_" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:24],
        provider=METER,
        model=COMMITTED,
        leaf=MINIMUM,
        priced_as=MINIMUM,
        above_prompt_tokens=0,
        unit_cost=Fraction(0),
        unit_price=ONE_NANO,
        adjustment=FIXED,
        price_version="",
        rate_card_version=card_version,
        conditions=TITLE,
    )


def book_lacking(
    tx: Tx, subscription: Subscription, period: Period, *, moment: datetime, at: datetime
) -> None:
    """Charge what the period's usage lacks, as of the period's last `moment`; no credit pays it."""
    customer = subscription.customer
    balance = tx.balance_for_update(customer)
    _, usage_nano = tx.usage_totals(customer, period.start, period.end)
    nano = lacking_nano(tx, subscription, period, usage_nano=usage_nano, at=at)
    if nano <= 0:
        return
    event = usage_event(
        customer=customer,
        at=moment,
        key=f"minimum:{period.start.isoformat()}:{subscription.id}",
        usage=Usage({}),
        source="true_up",
        provider=METER,
        model=COMMITTED,
        meter="",  # No meter counted it.
    )
    if event.id not in tx.append_events([event]):
        return
    entry = transaction(
        id=new_id("txn", at=at),
        customer=customer,
        at=at,
        kind="usage",
        reference=event.id,
        postings=[(account.accrued(customer), -nano), (account.book("revenue"), nano)],
    )
    tx.append_transaction(entry)
    owed = defaultdict(int, balance.owed_nano)
    owed[milliseconds(period.start)] += nano
    tx.save_balance(replace(balance, owed_nano=dict(owed)))
    charge = Charge(price_nano=nano, cost_nano=0, lines=(lacking_line(subscription, nano),))
    billed_at = max(moment, subscription.finalized_until)
    tx.append_charges([ChargedEvent(event=event, charge=charge, billed_at=billed_at, transaction=entry.id)])
