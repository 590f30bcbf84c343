"""Numbers for a person: short, and without a jump in their width."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.top.units import per_second, short_bytes, short_count, short_duration, short_seconds


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (short_count, 0, "0"),
        (short_count, 9999, "9999"),
        (short_count, 12345, "12.3k"),
        (short_count, 999_960, "1.0M"),
        (short_bytes, 0, "0B"),
        (short_bytes, 1536, "1.5K"),
        (short_bytes, 45 << 20, "45M"),
        (short_bytes, None, "-"),
        (per_second, 0.0, "0"),
        (per_second, 0.25, "0.25"),
        (per_second, 3.5, "3.5"),
        (per_second, 12_300.0, "12.3k"),
        (per_second, None, "-"),
        (short_seconds, 0.0005, "500us"),
        (short_seconds, 0.0024, "2.4ms"),
        (short_seconds, 0.3, "300ms"),
        (short_seconds, 2.5, "2.5s"),
        (short_seconds, 300.0, "5m00s"),
        (short_seconds, math.inf, "inf"),
        (short_seconds, None, "-"),
        (short_duration, 3.9, "3s"),
        (short_duration, 125, "2m05s"),
        (short_duration, 11_520, "3h12m"),
        (short_duration, 367_200, "4d06h"),
        (short_duration, -1, "0s"),
    ],
)
def test_a_number_is_short(function: object, value: float | None, expected: str) -> None:
    assert callable(function)
    assert function(value) == expected


@given(st.floats(0, 1e14))
def test_no_number_is_longer_than_its_cell(value: float) -> None:
    assert len(short_count(value)) <= 6
    assert len(short_bytes(value)) <= 5
    assert len(per_second(value)) <= 6
