"""Histograms: the difference of two, quantiles as Prometheus computes them, bars."""

from __future__ import annotations

import math

import pytest

from reserve.control.top.histograms import Histogram, bars


def test_the_difference_is_what_came_since() -> None:
    assert Histogram((1.0,), (5, 2)).since(Histogram((1.0,), (3, 2))) == Histogram((1.0,), (2, 0))


@pytest.mark.parametrize("earlier", [Histogram((1.0,), (9, 9)), Histogram((2.0,), (1, 1)), Histogram()])
def test_after_a_restart_everything_came_since(earlier: Histogram) -> None:
    assert Histogram((1.0,), (5, 2)).since(earlier) == Histogram((1.0,), (5, 2))


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((10, 0, 0), 0.5, 0.5),
        ((10, 10, 0), 0.5, 1.0),
        ((10, 10, 0), 0.75, 1.5),
        ((0, 10, 0), 0.5, 1.5),
        ((1, 0, 9), 0.99, math.inf),
        ((0, 0, 0), 0.5, None),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    counts: tuple[int, ...], share: float, expected: float | None
) -> None:
    assert Histogram((1.0, 2.0), counts).quantile(share) == expected


def test_every_value_but_zero_can_be_seen() -> None:
    assert bars([0, 1, 1000, 500]) == "\u2581\u2582\u2588\u2585"
    assert bars([0, 1, 1000, 500], unicode=False) == "_.#="
    assert bars([]) == ""
    assert bars([0, 0], unicode=False) == "__"
