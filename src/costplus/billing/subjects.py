"""What the scopes of credit grants go by, as it follows from the rates that usage is charged at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from costplus.billing.store import ChargedEvent, Tx
from costplus.billing.subscription import Subscription
from costplus.core.ids import milliseconds
from costplus.core.money import NANO
from costplus.ledger.scope import UNKNOWN, Subject
from costplus.metering.event import METER, TOKEN_METER
from costplus.rating.charge import Charge
from costplus.rating.rate_card import RateCardVersion
from costplus.rating.sheet import UnitRate


class Subjects:
    """The subjects of rates; each rate card is looked up once."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._cards: dict[str, str] = {}

    def of_rate(self, rate: UnitRate) -> Subject:
        """Return what usage at this rate was."""
        card = self._card(rate.rate_card_version)
        if rate.provider == METER:
            return Subject(meter=rate.model, price=card)
        return Subject(
            meter=TOKEN_METER, provider=rate.provider, model=rate.model, token_type=rate.leaf, price=card
        )

    def _card(self, version: str) -> str:
        """Return the card whose version this is; a customer's own is named after the one it adjusts."""
        if version not in self._cards:
            found = self._tx.find(RateCardVersion, version.partition("~")[0])
            self._cards[version] = found.rate_card if found else ""
        return self._cards[version]

    def parts(self, charge: Charge) -> list[tuple[Subject, int]]:
        """Split a charge into what each subject pays; the parts add up to it exactly.

        What rounding adds goes to the dearest line.
        """
        if not charge.lines:
            return [(UNKNOWN, charge.price_nano)] if charge.price_nano else []
        exact = [line.quantity * line.rate.unit_price * NANO for line in charge.lines]
        nanos = [int(value // 1) for value in exact]
        dearest = max(range(len(exact)), key=lambda position: abs(Fraction(exact[position])))
        nanos[dearest] += charge.price_nano - sum(nanos)
        return [(self.of_rate(line.rate), nano) for line, nano in zip(charge.lines, nanos, strict=True)]


def split(
    tx: Tx, charged: Sequence[ChargedEvent], subscription: Subscription
) -> Mapping[tuple[int, Subject], int]:
    """Return what a batch charges by period (its start in milliseconds) and subject."""
    subjects = Subjects(tx)
    sums: dict[tuple[int, Subject], int] = defaultdict(int)
    for entry in charged:
        start = milliseconds(subscription.billed_in(entry.billed_at).start)
        for subject, nano in subjects.parts(entry.charge):
            sums[start, subject] += nano
    return sums
