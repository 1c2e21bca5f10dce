"""A transaction's postings sum to zero; a known one is not booked again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from costplus.core.money import NANO_MAX, InvalidAmount
from costplus.ledger.transaction import Transaction, transaction


def made(*postings: tuple[str, int], at: Any) -> Transaction:
    return transaction(id="txn_1", customer="cus_1", at=at, kind="invoice", postings=postings)


@pytest.mark.parametrize("postings", [[("a", 1)], [("a", 1), ("b", -2)]])
def test_an_unbalanced_transaction_is_a_broken_invariant(build: SimpleNamespace, postings: Any) -> None:
    with pytest.raises(AssertionError):
        made(*postings, at=build.at)


def test_zero_postings_are_left_out(build: SimpleNamespace) -> None:
    kept = made(("a", 5), ("b", 0), ("c", -5), at=build.at).postings
    assert [posting.account for posting in kept] == ["a", "c"]


def test_a_posting_beyond_an_int64_is_refused(build: SimpleNamespace) -> None:
    assert made(("a", NANO_MAX), ("b", -NANO_MAX), at=build.at)
    with pytest.raises(InvalidAmount):
        made(("a", NANO_MAX + 1), ("b", -NANO_MAX - 1), at=build.at)


def test_a_transaction_known_by_its_id_is_not_booked_again(book: Any, build: SimpleNamespace) -> None:
    entry = made(("a", 5), ("b", -5), at=build.at)
    for _ in range(2):
        book.write(lambda tx: tx.append_transaction(entry))
    assert (book.account("a"), book.account("b")) == (5, -5)
