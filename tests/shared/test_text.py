"""Sizes and times as a person reads them."""

import pytest

from shared.text import BYTE_UNITS, TIME_UNITS, quantity


@pytest.mark.parametrize(
    ("value", "units", "text"),
    [
        (0.0421, TIME_UNITS, "0.0421 s"),
        (119, TIME_UNITS, "119 s"),
        (120, TIME_UNITS, "2 min"),
        (10_000, TIME_UNITS, "2.78 h"),
        (172_799, TIME_UNITS, "48 h"),
        (864_000, TIME_UNITS, "10 days"),
        (300, BYTE_UNITS, "0.3 kB"),
        (1_999_000, BYTE_UNITS, "1999 kB"),
        (2_000_000, BYTE_UNITS, "2 MB"),
        (5e15, BYTE_UNITS, "5000 TB"),
    ],
)
def test_the_largest_unit_of_which_there_are_two(value: float, units: dict[str, float], text: str) -> None:
    assert quantity(value, units) == text
