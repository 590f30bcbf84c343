"""Histograms as bars."""

from __future__ import annotations

from reserve.control.top.histograms import bars


def test_every_value_but_zero_can_be_seen() -> None:
    assert bars([0, 1, 1000, 500]) == "\u2581\u2582\u2588\u2585"
    assert bars([0, 1, 1000, 500], unicode=False) == "_.#="
    assert bars([]) == ""
    assert bars([0, 0], unicode=False) == "__"
