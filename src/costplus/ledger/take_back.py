"""Take usage back, inside one open transaction: who bears what was charged wrongly.

Rule 1: what is taken back lessens what its own period owes, then what other periods owe, oldest first.
Rule 2: the rest goes back to the grants that it was burned from, and to a new one where they have ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from costplus.core.money import nano_per_minor
from costplus.ledger.balance import drawn, note_paid
from costplus.ledger.grant import Grant, refill
from costplus.ledger.store import LedgerStore


def take_back(
    store: LedgerStore,
    price_nano: Mapping[int, int],
    burned_nano: Mapping[str, int],
    spare: Grant | None,
    *,
    owed: dict[int, int],
    paid: dict[int, dict[str, int]],
    at: datetime,
) -> tuple[list[tuple[Grant, int]], Grant | None]:
    """Undo what is below zero of a batch's prices by period; note in `owed` and `paid` who bears it.

    `burned_nano` says what each grant paid of it; what none can take goes to `spare`. Returns what each grant
    got back, and the grant that was made for the rest.
    """
    made, rests = None, dict[int, int]()
    for period, nano in price_nano.items():
        if nano < 0:
            part = min(owed.get(period, 0), -nano)
            owed[period] = owed.get(period, 0) - part
            rests[period] = -nano - part
    for period in sorted(owed):
        part = min(owed[period], sum(rests.values()))
        owed[period] -= part
        for source, share in drawn(rests, part):
            note_paid(paid, period, "", share)
            note_paid(paid, source, "", -share)
    known = [(grant, nano) for id, nano in burned_nano.items() if (grant := store.grant(id))]
    parts, rest = refill(known, sum(rests.values()), at=at)
    for grant, part in parts:
        store.save_grant(replace(grant, remaining_nano=grant.remaining_nano + part))
    if rest:
        assert spare is not None  # Whoever takes something back says where it may go.
        minor = rest // nano_per_minor(spare.currency)
        made = replace(spare, amount_nano=rest, remaining_nano=rest, minor_amount=minor, begun_at=at)
        store.save_grant(made)
        parts = [*parts, (made, rest)]
    for grant, part in parts:
        for source, share in drawn(rests, part):
            note_paid(paid, source, grant.id, -share)
    return parts, made
