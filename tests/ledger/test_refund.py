"""What is given back: first off what its period owes, the rest as credit, and once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from costplus.core.ids import CustomerId, milliseconds
from costplus.ledger.balance import Balance
from costplus.ledger.refund import Refund, give_back
from costplus.storage.memory import MemoryStore
from costplus.storage.memory.store import MemoryTx

AT = datetime(2026, 3, 1, tzinfo=UTC)
PERIOD, LATER = milliseconds(AT), milliseconds(AT) + 1
CUSTOMER = CustomerId("cus_1")


def refund(nano: int) -> Refund:
    return Refund(
        customer=CUSTOMER,
        currency="usd",
        amount_nano=nano,
        period_start=PERIOD,
        reference="event_1",
        name="Seats · true-up",
    )


# Owed of the period and of a later one, the refund → owed after it, credit.
CASES = [
    ({PERIOD: 100}, 40, {PERIOD: 60}, 0),
    ({PERIOD: 100}, 100, {}, 0),
    ({PERIOD: 100}, 101, {}, 1),
    ({}, 50, {}, 50),
    ({PERIOD: 10, LATER: 30}, 25, {LATER: 15}, 0),
    ({PERIOD: 10, LATER: 30}, 50, {}, 10),
]


@pytest.mark.parametrize(("owed", "nano", "left", "credit_nano"), CASES)
async def test_a_refund_is_taken_off_what_is_owed_and_its_rest_is_credit(
    owed: dict[int, int], nano: int, left: dict[int, int], credit_nano: int
) -> None:
    store = MemoryStore()

    def verb(tx: MemoryTx) -> None:
        tx.save_balance(Balance(customer=CUSTOMER, owed_nano=owed))
        given = give_back(tx, refund(nano), at=AT)
        assert dict(tx.balance_for_update(CUSTOMER).owed_nano) == left
        assert given.crossing.after_nano == sum(g.remaining_nano for g in tx.live_grants(CUSTOMER))
        assert given.crossing.after_nano == credit_nano
        entries = tx.transactions_of(CUSTOMER)
        assert all(sum(posting.amount_nano for posting in entry.postings) == 0 for entry in entries)
        assert tx.account_balance(CUSTOMER, "book/revenue") == -nano
        assert tx.account_balance(CUSTOMER, "book/promotions") == 0
        assert tx.account_balance(CUSTOMER, "cus_1/accrued") == sum(owed.values()) - sum(left.values())

    await store.write(verb)
