"""A share of transactions' amounts: with free ones first, a fixed fee, and limits on each fee.

Rule 1: pure and exact, like every price model; the quantity here is a sequence of amounts, in their order.
Rule 2: the free part ends at whichever limit is met first: so many transactions, or so much money.
Rule 3: a wholly free transaction bears no fixed fee and no minimum; one that is partly free bears both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from costplus.core.money import decimal_text
from costplus.rating.price_model import ZERO, InvalidPriceModel, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentage:
    """A fee on each transaction: `percent` of its amount and a fixed amount, at least and at most so much."""

    percent: Fraction
    fixed_amount: Fraction = ZERO
    free_transactions: int | None = None  # None: no limit of this kind.
    free_amount: Fraction | None = None
    fee_min: Fraction | None = None
    fee_max: Fraction | None = None

    def __post_init__(self) -> None:
        given = (self.percent, self.fixed_amount, self.free_transactions, self.free_amount)
        limits = (self.fee_min or 0, self.fee_max)
        if any(value is not None and value < 0 for value in (*given, *limits)):
            raise InvalidPriceModel("An amount of a price is below zero.")
        if self.fee_max is not None and self.fee_max < (self.fee_min or 0):
            raise InvalidPriceModel("The largest fee is below the smallest.", param="fee_max")

    def amount(self, transactions: Sequence[Fraction]) -> Fraction:
        """Return the unrounded fees of the period's transactions."""
        return sum(self._fees(transactions), ZERO)

    def parts(self, *, before: Sequence[Fraction], transactions: Sequence[Fraction]) -> tuple[Part, ...]:
        """Return the fees of `transactions` after those `before` in the period: one part for each fee."""
        title = f"fee of {decimal_text(self.percent)} %"
        fees = list(self._fees([*before, *transactions]))[len(before) :]
        return tuple(Part(1, fee, title) for fee in fees if fee)

    def _fees(self, transactions: Sequence[Fraction]) -> Iterator[Fraction]:
        total = ZERO
        for count, transaction in enumerate(transactions, 1):
            assert transaction >= 0
            free = self._free(count=count, total=total, transaction=transaction)
            total += transaction
            if free == transaction and self._is_within(count=count, total=total):
                yield ZERO
                continue
            fee = (transaction - free) * self.percent / 100 + self.fixed_amount
            fee = fee if self.fee_min is None else max(fee, self.fee_min)
            yield fee if self.fee_max is None else min(fee, self.fee_max)

    def _free(self, *, count: int, total: Fraction, transaction: Fraction) -> Fraction:
        """Return how much of a transaction is free, when `total` was transacted before it."""
        if self.free_transactions is None and self.free_amount is None:
            return ZERO
        if self.free_transactions is not None and count > self.free_transactions:
            return ZERO
        if self.free_amount is None:
            return transaction
        return min(transaction, max(self.free_amount - total, ZERO))

    def _is_within(self, *, count: int, total: Fraction) -> bool:
        limited = self.free_transactions is not None or self.free_amount is not None
        in_count = self.free_transactions is None or count <= self.free_transactions
        return limited and in_count and (self.free_amount is None or total <= self.free_amount)
