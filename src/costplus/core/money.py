"""Exact money: nano units in the ledger, minor units on invoices, fractions in between.

Rule 1: the ledger counts integers of 1e-9 of a currency unit (`nano`), asset `USD/9`; they fit an int64.
Rule 2: rates and unrounded amounts are `Fraction`: finite decimals and ÷0.70 are equally exact.
Rule 3: two functions round, `for_ledger` (up, once per event) and `for_invoice` (down, once per invoice).
`for_invoice` can also round half up: a policy for prices that are agreed to be rounded line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import lcm
from typing import Literal

from costplus.core.errors import InvalidRequest

NANO = 10**9
NANO_MAX = 2**63 - 1
DIGITS_MAX = 40  # Before or after the point; `1e999999999` would fill the memory as a fraction.

# Minor-unit exponents that are not 2 (ISO 4217).
_NO_DECIMALS = ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"]
_NO_DECIMALS += ["pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
_THREE_DECIMALS = ["bhd", "iqd", "jod", "kwd", "lyd", "omr", "tnd"]
_EXPONENTS = {**dict.fromkeys(_NO_DECIMALS, 0), **dict.fromkeys(_THREE_DECIMALS, 3)}


class InvalidAmount(InvalidRequest):
    """The amount is not a number this system can hold."""

    code = "amount_invalid"


def minor_exponent(currency: str) -> int:
    """Return how many decimals the currency's minor unit has (ISO 4217): 2 for usd, 0 for jpy, 3 for kwd."""
    return _EXPONENTS.get(currency.lower(), 2)


def nano_per_minor(currency: str) -> int:
    """Return how many nanos one minor unit of `currency` holds: 10,000,000 for a cent."""
    return int(10 ** (9 - minor_exponent(currency)))


def checked_nano(nano: int) -> int:
    """Return `nano`, or raise `InvalidAmount` where it would not fit the ledger's int64."""
    if not -NANO_MAX <= nano <= NANO_MAX:
        raise InvalidAmount(f"Amount {nano} nano is beyond what one ledger account can hold.")
    return nano


def for_ledger(exact: Fraction | int, *, over: int = 1) -> int:
    """Round an unrounded amount of currency units, `exact` ÷ `over`, UP to whole nanos: the one rounding of
    an event.

    Rounding up keeps price ≥ cost × (1 + markup) true for every single event.
    """
    return checked_nano(-((-exact.numerator * NANO) // (exact.denominator * over)))


def for_invoice(
    nano: int | Fraction, *, currency: str, policy: Literal["down", "line_half_up"] = "down"
) -> int:
    """Round a total DOWN to the currency's minor units; the caller carries the rest to the next invoice.

    Under the policy `line_half_up` it is one line's unrounded amount that is rounded, to the nearest minor
    unit and a half away from zero, and nothing is carried.
    """
    minor = nano_per_minor(currency)
    if policy == "down":
        return nano // minor
    if nano < 0:
        return -for_invoice(-nano, currency=currency, policy=policy)
    return (nano * 2 + minor) // (minor * 2)


def spread(total: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Split the integer `total` in proportion to `weights` by largest remainder; the parts sum to `total`.

    Ties go to the earlier position. All-zero weights put everything on the first part.
    """
    assert weights or total == 0
    scale = lcm(*(weight.denominator for weight in weights))
    whole_weights = [weight.numerator * (scale // weight.denominator) for weight in weights]
    whole = sum(whole_weights)
    if whole == 0:
        return [total if i == 0 else 0 for i in range(len(weights))]
    if whole < 0:
        whole, whole_weights = -whole, [-weight for weight in whole_weights]
    shares = [divmod(total * weight, whole) for weight in whole_weights]
    parts = [part for part, _ in shares]
    rest = total - sum(parts)
    if rest:
        order = sorted(range(len(parts)), key=lambda i: -shares[i][1])  # Equal ones stay in order.
        for i in order[:rest]:
            parts[i] += 1
    assert sum(parts) == total
    return parts


def parse_decimal(text: str, *, param: str | None = None) -> Decimal:
    """Return the finite decimal that `text` writes, or raise `InvalidAmount`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise InvalidAmount(f"'{text}' is not a decimal number.", param=param) from None
    if not value.is_finite():
        raise InvalidAmount(f"'{text}' is not a finite number.", param=param)
    if value and not -DIGITS_MAX <= value.adjusted() <= DIGITS_MAX:
        raise InvalidAmount(f"'{text}' is beyond any amount of money.", param=param)
    return value


def decimal_text(exact: Fraction | Decimal | int) -> str:
    """Write an exact amount: as a plain decimal where it is finite, else as `numerator/denominator`."""
    value = exact if isinstance(exact, Fraction) else Fraction(exact)
    numerator, denominator, fives = value.numerator, value.denominator, 0
    twos = (denominator & -denominator).bit_length() - 1
    odd = denominator >> twos
    while odd % 5 == 0:
        odd, fives = odd // 5, fives + 1
    if odd != 1:
        return f"{numerator}/{denominator}"
    places = max(twos, fives)
    digits = str(abs(numerator) * 10**places // denominator).rjust(places + 1, "0")
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{text}" if numerator < 0 else text


def parse_exact(text: str) -> Fraction:
    """Read back what `decimal_text` wrote."""
    return Fraction(text)


def nano_text(nano: int) -> str:
    """Write a ledger amount in currency units with all of its digits: 1500 → `0.0000015`."""
    whole, rest = divmod(abs(nano), NANO)
    sign = "-" if nano < 0 else ""
    return f"{sign}{whole}.{rest:09d}".rstrip("0") if rest else f"{sign}{whole}"
