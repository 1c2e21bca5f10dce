"""Figures: every digit, none rounded."""

from __future__ import annotations

from fractions import Fraction

import pytest

from costplus.web import figures

FIGURES = [
    (figures.minor_amount(123456, "usd"), "$1,234.56"),
    (figures.minor_amount(5, "jpy"), "¥5"),
    (figures.minor_amount(1234, "kwd"), "KWD 1.234"),
    (figures.minor_amount(-1, "usd"), "−$0.01"),
    (figures.nano_amount(0, "usd"), "$0.00"),
    (figures.nano_amount(1, "usd"), "$0.000000001"),
    (figures.nano_amount(1_234_567_500_000_000, "usd"), "$1,234,567.50"),
    (figures.exact_amount(Fraction(30, 7), "usd"), "$30/7 (≈ 4.285714)"),
    (figures.unit_amount("0.00000052", "input", "usd"), "$0.52 / 1M tokens"),
    (figures.unit_amount("3/700000", "output", "usd"), "$30/7 (≈ 4.285714) / 1M tokens"),
    (figures.unit_amount("0.013", "web_search", "usd"), "$0.013 / call"),
    (figures.percent(0, 0), "–"),
    (figures.percent(30, 130), "23.08 %"),
    (figures.percent(-1, 3), "−33.33 %"),
    (figures.percent(-1, 10**9), "0.00 %"),
]


@pytest.mark.parametrize(("written", "expected"), FIGURES)
def test_a_figure_is_written_with_all_its_digits(written: str, expected: str) -> None:
    assert written == expected
