"""An invoice's total from its lines: discount, credit, tax and the customer's surplus, in this order.

Rule 1: subtotal − discounts − credit + tax − surplus = total, and the total is never below zero: what is
left of a credit goes to the customer's surplus and waits for the next invoice.
Rule 2: prepaid credit has paid usage already when the invoice is made; a discount lessens only the rest.
Rule 3: tax is rounded once per rate over the whole invoice and spread over the lines by largest remainder, or
rounded line by line, by policy. Tax on what credit paid follows the policy: before tax (the credit was taxed,
or is no money at all) or after tax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from costplus.billing.coupon import Coupon
from costplus.billing.invoice import CreditShare, InvoiceLine, TaxShare
from costplus.billing.invoice_policy import InvoicePolicy
from costplus.billing.tax import Levy, TaxRate
from costplus.core.money import spread

HALF = Fraction(1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """The lines with their shares, and what they come to."""

    lines: tuple[InvoiceLine, ...]
    subtotal_minor: int
    discount_minor: int
    credit_minor: int
    taxes: tuple[TaxShare, ...]
    tax_minor: int
    tax_inclusive_minor: int
    surplus_minor: int
    total_minor: int


def totalled(
    lines: Sequence[InvoiceLine],
    *,
    credits: Sequence[CreditShare],
    coupon: Coupon | None,
    levy: Levy,
    policy: InvoicePolicy,
    surplus_minor: int,
) -> Total:
    """Return what the lines come to; `surplus_minor` is what the customer has to spend (or owes, below 0)."""
    credited = _credited(lines, credits)
    discounts = _discounted(lines, coupon, credited)
    bases = _bases(lines, credited, discounts, policy)
    shares, taxes = _taxed(lines, bases, levy, policy)
    kept = [_with_parts(*parts) for parts in zip(lines, credited, discounts, map(tuple, shares), strict=True)]
    subtotal_minor = sum(line.amount_minor for line in kept)
    discount_minor = sum(discounts)
    credit_minor = sum(share.amount_minor for share in credits)
    added = sum(share.amount_minor for share in taxes if not share.inclusive)
    included = sum(share.amount_minor for share in taxes if share.inclusive)
    gross_minor = subtotal_minor - discount_minor - credit_minor + added
    used_minor = min(gross_minor, surplus_minor) if gross_minor > 0 else gross_minor
    return Total(
        lines=tuple(kept),
        subtotal_minor=subtotal_minor,
        discount_minor=discount_minor,
        credit_minor=credit_minor,
        taxes=taxes,
        tax_minor=added,
        tax_inclusive_minor=included,
        surplus_minor=used_minor,
        total_minor=gross_minor - used_minor,
    )


def credit_shares(credit_minor: int, paid_nano: Mapping[str, int]) -> tuple[CreditShare, ...]:
    """Split what credit paid over the grants that paid it, in the order in which they did."""
    if credit_minor == 0:
        return ()
    grants = [(grant, nano) for grant, nano in paid_nano.items() if grant and nano > 0]
    if credit_minor < 0 or not grants:
        return (CreditShare("", credit_minor),)
    parts = spread(credit_minor, [nano for _, nano in grants])
    return tuple(CreditShare(grant, part) for (grant, _), part in zip(grants, parts, strict=True) if part)


def _with_parts(
    line: InvoiceLine, credits: tuple[CreditShare, ...], discount_minor: int, taxes: tuple[TaxShare, ...]
) -> InvoiceLine:
    """Return the line with what is taken off it and put on it; most lines of most invoices have neither."""
    if (line.credits, line.discount_minor, line.taxes) == (credits, discount_minor, taxes):
        return line
    return replace(line, credits=credits, discount_minor=discount_minor, taxes=taxes)


def _credited(lines: Sequence[InvoiceLine], credits: Sequence[CreditShare]) -> list[tuple[CreditShare, ...]]:
    """Return each line's part of what credit paid; the grants follow each other along the lines."""
    weights = [max(line.amount_minor, 0) if line.kind == "usage" else 0 for line in lines]
    total_minor = sum(share.amount_minor for share in credits)
    if total_minor <= 0 or not any(weights):
        return [()] * len(lines)
    parts = _fitted(total_minor, weights, rooms=weights)
    left = list(credits)
    credited: list[tuple[CreditShare, ...]] = []
    for part in parts:
        shares: list[CreditShare] = []
        while part and left:
            grant, rest = left[0].grant, left[0].amount_minor
            taken = min(part, rest)
            shares.append(CreditShare(grant, taken))
            part -= taken
            left[:1] = [CreditShare(grant, rest - taken)] if rest > taken else []
        credited.append(tuple(shares))
    return credited


def _discounted(
    lines: Sequence[InvoiceLine], coupon: Coupon | None, credited: Sequence[Sequence[CreditShare]]
) -> list[int]:
    """Return what the coupon takes off each line, never more than credit has left of it."""
    if coupon is None:
        return [0] * len(lines)
    amounts = [max(line.amount_minor, 0) if line.discountable else 0 for line in lines]
    rooms = [max(amount - _paid(credits), 0) for amount, credits in zip(amounts, credited, strict=True)]
    return _fitted(coupon.off_minor(sum(amounts)), amounts, rooms=rooms)


def _paid(credits: Sequence[CreditShare]) -> int:
    return sum(share.amount_minor for share in credits)


def _fitted(total: int, weights: Sequence[int], *, rooms: Sequence[int]) -> list[int]:
    """Split `total` in proportion, no part above its room; what does not fit so goes where it does."""
    total = min(total, sum(rooms))
    parts = [min(part, room) for part, room in zip(spread(total, weights), rooms, strict=True)]
    rest = total - sum(parts)
    for i, room in enumerate(rooms):
        more = min(rest, room - parts[i])
        parts[i] += more
        rest -= more
    assert rest == 0
    return parts


def rounded(exact: Fraction, *, policy: InvoicePolicy) -> int:
    """Round a tax to minor units: half away from zero, or down in the taxpayer's favour."""
    if exact < 0:
        return -rounded(-exact, policy=policy)
    return int(exact // 1 if policy.tax_rounding == "down" else (exact + HALF) // 1)


def _taxed(
    lines: Sequence[InvoiceLine], bases: Sequence[int], levy: Levy, policy: InvoicePolicy
) -> tuple[list[list[TaxShare]], tuple[TaxShare, ...]]:
    """Return each line's taxes, and those of all lines together."""
    rates = [levy.rates_of(line) for line in lines]
    shares: list[list[TaxShare]] = [[] for _ in lines]
    taxes: list[TaxShare] = []
    for rate in {rate.id: rate for of_line in rates for rate in of_line}.values():
        taxed = [i for i, of_line in enumerate(rates) if rate in of_line]
        exact = [_exact_tax(bases[i], rate, rates[i]) * (0 if levy.is_free else 1) for i in taxed]
        if policy.tax_scope == "line":
            minors = [rounded(each, policy=policy) for each in exact]
        else:
            minors = _shared(rounded(sum(exact, Fraction(0)), policy=policy), exact)
        for i, minor in zip(taxed, minors, strict=True):
            shares[i].append(TaxShare(rate.id, minor, bases[i], rate.inclusive, levy.reason))
        base = sum(bases[i] for i in taxed)
        taxes.append(TaxShare(rate.id, sum(minors), base, rate.inclusive, levy.reason))
    return shares, tuple(taxes)


def _bases(
    lines: Sequence[InvoiceLine],
    credited: Sequence[Sequence[CreditShare]],
    discounts: Sequence[int],
    policy: InvoicePolicy,
) -> list[int]:
    """Return what of each line is taxed."""
    return [
        line.amount_minor - discount - (_paid(credits) if policy.credit_before_tax else 0)
        for line, credits, discount in zip(lines, credited, discounts, strict=True)
    ]


def _exact_tax(base: int, rate: TaxRate, beside: Sequence[TaxRate]) -> Fraction:
    """Return a rate's tax on a base that may include the tax of some of the rates beside it."""
    included = sum((other.share for other in beside if other.inclusive), Fraction(0))
    return base / (1 + included) * rate.share


def _shared(total: int, exact: Sequence[Fraction]) -> list[int]:
    """Spread a rate's rounded tax over its lines, in proportion to the exact ones."""
    whole = sum(exact, Fraction(0))
    if whole == 0:  # Lines that cancel out: each has its own, rounded towards zero.
        floors = [int(each) for each in exact]
        floors[0] += total - sum(floors)
        return floors
    return spread(total, exact)
