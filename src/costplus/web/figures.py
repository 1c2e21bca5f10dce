"""How figures are written for people: every digit of an exact amount, thousands separated.

Rule 1: nothing here rounds money. An amount without a finite decimal is written as its fraction, with a
marked approximation beside it.   Rule 2: instants are UTC and say so.
"""

from __future__ import annotations

from datetime import date, datetime
from fractions import Fraction

from costplus.core.money import NANO, decimal_text, minor_exponent, parse_exact
from costplus.core.usage import LEAVES

_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹", "krw": "₩"}
_PER_MILLION = 1_000_000
_APPROXIMATE_DIGITS = 6


def grouped(number: str) -> str:
    """Separate the thousands of a plain decimal: `1234567.5` → `1,234,567.5`."""
    whole, point, decimals = number.partition(".")
    return f"{int(whole):,}{point}{decimals}"


def _unsigned_text(exact: Fraction, *, places_min: int) -> str:
    text = decimal_text(exact)
    if "/" in text:
        near = exact.numerator * 10**_APPROXIMATE_DIGITS // exact.denominator
        return f"{text} (≈ {grouped(decimal_text(Fraction(near, 10**_APPROXIMATE_DIGITS)))})"
    whole, _, decimals = text.partition(".")
    decimals = decimals.ljust(places_min, "0")
    return grouped(f"{whole}.{decimals}" if decimals else whole)


def exact_amount(exact: Fraction | int, currency: str) -> str:
    """Write currency units with all their digits, at least those of the minor unit: `$1,234.50`, `¥5`."""
    value = Fraction(exact)
    symbol = _SYMBOLS.get(currency.lower(), f"{currency.upper()} ")
    sign = "−" if value < 0 else ""
    return f"{sign}{symbol}{_unsigned_text(abs(value), places_min=minor_exponent(currency))}"


def nano_amount(nano: int, currency: str) -> str:
    """Write a ledger amount."""
    return exact_amount(Fraction(nano, NANO), currency)


def minor_amount(minor: int, currency: str) -> str:
    """Write an amount of minor units."""
    return exact_amount(Fraction(minor, 10 ** minor_exponent(currency)), currency)


def unit_amount(unit_price: str, leaf: str, currency: str) -> str:
    """Write an exact unit price: tokens by the million, calls one by one, others as they are."""
    price, known = parse_exact(unit_price), LEAVES.get(leaf)
    if known is None:
        return exact_amount(price, currency)
    if known.unit == "token":
        return f"{exact_amount(price * _PER_MILLION, currency)} / 1M tokens"
    return f"{exact_amount(price, currency)} / {known.unit}"


def percent(part: int, whole: int) -> str:
    """Write `part` of `whole` in percent, rounded to two decimals; a dash where there is no whole."""
    if whole == 0:
        return "–"
    hundredths = (abs(part) * 20_000 + abs(whole)) // (2 * abs(whole))  # Half up: 30 of 130 is 23.08 %.
    sign = "−" if (part < 0) != (whole < 0) and hundredths else ""
    return f"{sign}{hundredths // 100:,}.{hundredths % 100:02d} %"


def count(quantity: int) -> str:
    """Write a quantity."""
    return f"{quantity:,}"


def leaf_name(leaf: str) -> str:
    """Write a token type in words."""
    return leaf.replace("_", " ")


def days(quantity: int) -> str:
    """Write a stretch of whole days."""
    return f"{quantity:,} day{'' if quantity == 1 else 's'}"


def day(at: date) -> str:
    """Write the UTC day."""
    return f"{at:%Y-%m-%d}"


def instant(at: datetime) -> str:
    """Write the UTC second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
