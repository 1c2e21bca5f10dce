"""Random months under random policies: every invoice adds up, the books agree, numbers have no gap."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from costplus.billing.issue import mark_uncollectible, void
from costplus.core.money import nano_per_minor
from costplus.core.period import monthly_period

Desk = Any  # The desk of conftest.

policies = st.fixed_dictionaries(
    {
        "rounding": st.sampled_from(["down", "line_half_up"]),
        "late_usage": st.sampled_from(["next_invoice", "write_off"]),
        "tax_scope": st.sampled_from(["invoice", "line"]),
        "tax_rounding": st.sampled_from(["half_up", "down"]),
        "credit_before_tax": st.booleans(),
    }
)
rates = st.lists(st.tuples(st.integers(0, 2_500), st.booleans()), max_size=2)


@dataclass(frozen=True)
class Month:
    """What happens in a month; amounts in thousandths of a minor unit."""

    uses: list[tuple[int, int]] = field(default_factory=list)  # (model, amount)
    credit: int = 0
    items: list[int] = field(default_factory=list)
    late: int = 0
    very_late: int = 0
    ending: str = ""
    amount: int = 1


months = st.lists(
    st.builds(
        Month,
        uses=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 200_000)), max_size=4),
        credit=st.integers(0, 300),
        items=st.lists(st.integers(-300, 300).filter(bool), max_size=3),
        late=st.integers(0, 50_000),
        very_late=st.integers(0, 50_000),
        ending=st.sampled_from(["pay", "part", "much", "void", "give_up", "note", "paid_note", "none"]),
        amount=st.integers(1, 400),
    ),
    min_size=1,
    max_size=4,
)


def end(desk: Desk, month: Month, id: str) -> None:
    """Do with a month's invoice what the month says, as far as its state allows."""
    invoice = desk.of(id)
    if invoice.status != "open":
        return
    if month.ending == "void":
        desk.do(void, id)
    elif month.ending == "give_up":
        desk.do(mark_uncollectible, id)
    elif month.ending in ("pay", "part", "much"):
        amounts = {"pay": None, "part": 1, "much": invoice.remaining_minor + month.amount}
        desk.pay(id, amounts[month.ending])
    elif month.ending in ("note", "paid_note"):
        if month.ending == "paid_note":
            desk.pay(id)
        lines = sum(line.amount_minor for line in invoice.lines if line.amount_minor < 0)
        if not lines:
            desk.note(id, min(month.amount, invoice.gross_minor))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["usd", "jpy", "kwd"]),
    policies,
    rates,
    st.integers(0, 60),
    st.integers(0, 500),
    st.sampled_from([0, 60, 200]),
    months,
)
def test_whatever_happens_invoices_add_up_and_the_books_agree(
    new_desk: Any,
    build: SimpleNamespace,
    currency: str,
    policy: dict[str, Any],
    taxes: list[tuple[int, bool]],
    percent: int,
    included: int,
    threshold: int,
    happening: list[Month],
) -> None:
    desk = new_desk(currency=currency, fee_minor=100, credit_minor=included)
    minor = nano_per_minor(currency)
    ids = [desk.tax(f"{n // 100}.{n % 100:02}", inclusive=inside).id for n, inside in taxes]
    desk.policy(**policy, default_tax_rates=tuple(ids))
    desk.terms(threshold_minor=threshold)
    if percent:
        desk.coupon(percent=str(percent))
    sheets = [build.sheet(usd_per_million="0.001", model=f"m{n}") for n in range(3)]
    for ordinal, month in enumerate(happening):
        period = monthly_period(build.at, ordinal)
        desk.shop.close(period.start + 2 * build.hour)
        if ordinal and month.very_late:
            desk.shop.use(month.very_late * minor // 1_000, at=period.start - build.tick)
        if month.credit:
            desk.shop.give(month.credit * minor, currency=currency, expires_at=period.end)
        for amount in month.items:
            desk.item(amount)
        for model, amount in month.uses:
            desk.shop.use(amount * minor // 1_000, rates=sheets[model])
            desk.shop.close(desk.shop.at + build.day)
        desk.shop.close(period.end)
        if month.late:
            desk.shop.use(month.late * minor // 1_000, at=period.end - build.tick)
        desk.shop.close(period.end + build.hour)
        assert desk.shop.wrongs() == []
        end(desk, month, desk.shop.invoices()[-1].id)
        assert desk.shop.wrongs() == []
    numbers = [i.number for i in desk.shop.invoices() if i.number]
    assert sorted(numbers) == [f"CP-{n:06}" for n in range(1, len(numbers) + 1)]
