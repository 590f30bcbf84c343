"""The texts of ``reserve status`` for numbers."""

from __future__ import annotations

import pytest

from reserve.cli.control.printing import summary_of
from reserve.control.totals import Histogram


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((2, 0, 0), "median 500 ms, 99 % within 990 ms"),
        ((90, 9, 1), "median 556 ms, more than 1 % longer than 30.0 s"),
        ((90, 0, 10), "median 556 ms, more than 1 % longer than 30.0 s"),
        ((1, 0, 9), "more than half longer than 30.0 s"),
    ],
)
def test_times_beyond_the_last_bound_are_not_said_to_be_within_it(counts: tuple[int, ...], expected: str) -> None:
    assert summary_of(Histogram(bounds=(1.0, 30.0), counts=counts)) == expected
