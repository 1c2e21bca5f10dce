"""Invoices of other billing systems' tests: discount, tax, rounding, credit and credit notes in one total."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from costplus.billing.credit_note import credit_cap

Desk = Any  # The desk of conftest.
Given = dict[str, Any]  # A case's input.
RUN_MIN = 11  # The number may only grow.


def runners(new_desk: Any, build: SimpleNamespace) -> dict[str, Any]:
    def desk_of(percent: Any, **policy: Any) -> Desk:
        desk = new_desk()
        desk.policy(default_tax_rates=(desk.tax(str(percent)).id,), **policy)
        return desk

    def invoice_total(build: SimpleNamespace, case: Given) -> Any:
        """Lago: coupons, then tax, then credit notes, then prepaid credits; amounts are cents here."""
        desk = desk_of(case["tax_percent"], credit_before_tax=False)
        desk.coupon(amount=case["coupon"])
        desk.shop.give(case["prepaid_credits"] * build.cent)
        desk.surplus(case["credit_notes"])  # As a credit note on a paid invoice leaves it.
        for n, fee in enumerate(case["fees"]):
            desk.shop.use(fee * build.cent, rates=build.sheet(usd_per_million="0.001", model=f"m{n}"))
        invoice = desk.month()
        assert desk.shop.wrongs() == []
        net = invoice.subtotal_minor - invoice.discount_minor
        return {
            "subtotal": net,
            "with_tax": net + invoice.tax_minor,
            "due": invoice.total_minor,
        }

    def tax(build: SimpleNamespace, case: Given) -> Any:
        return desk_of(case["tax_percent"]).invoice(case["net"]).tax_minor

    def invoice_rounding(build: SimpleNamespace, case: Given) -> Any:
        """Lago rounds every fee; the wallet of the first case pays all of it, which changes no figure."""
        desk = desk_of(case["tax_percent"], rounding="line_half_up")
        for n, cents in enumerate(case["fees_precise_cents"]):
            nano = int(Fraction(cents) * build.cent)
            desk.shop.use(nano, rates=build.sheet(usd_per_million="0.001", model=f"m{n}"))
        invoice = desk.month()
        assert desk.shop.wrongs() == []
        return {
            "fees_cents": invoice.subtotal_minor,
            "tax_cents": invoice.tax_minor,
            "total_cents": invoice.total_minor,
        }

    def credit_note(build: SimpleNamespace, case: Given) -> Any:
        desk = desk_of(case["tax_percent"])
        invoice = desk.invoice(case["period_cents"])
        desk.pay(invoice.id)
        left = case["days"] - case["days_used"]
        net = case["period_cents"] * left // case["days"]
        gross = net + int(Fraction(net * case["tax_percent"], 100) + Fraction(1, 2))
        note = desk.note(invoice.id, gross)
        assert desk.shop.wrongs() == []
        return {"net": note.total_minor - note.tax_minor, "tax": note.tax_minor, "total": note.total_minor}

    def cap(build: SimpleNamespace, case: Given) -> Any:
        potential, paid, credited = build.only(case, "potential_credit", "original_paid", "already_credited")
        return credit_cap(potential, paid=paid, credited=credited)

    return {
        "invoice_total": invoice_total,
        "tax": tax,
        "invoice_rounding": invoice_rounding,
        "credit_note": credit_note,
        "credit_cap": cap,
    }


def test_every_case_gives_its_figures(
    new_desk: Any, build: SimpleNamespace, vectors: SimpleNamespace
) -> None:
    mine = runners(new_desk, build)
    cases = [case for case in vectors.cases if case["model"] in mine]
    outcome = vectors.run(build, cases, mine, {})
    assert not outcome.wrong, outcome.wrong
    assert outcome.run == len(cases) >= RUN_MIN
