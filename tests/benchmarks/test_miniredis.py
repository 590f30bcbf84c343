"""The figures that ``benchmarks.miniredis`` reads and prints."""

from __future__ import annotations

import pytest

from benchmarks.miniredis import rate_in, report
from benchmarks.process import Unmeasurable

HEAD = '"test","rps","avg_latency_ms","min_latency_ms"\n'


def test_the_rate_is_that_of_the_last_line() -> None:
    text = (
        HEAD
        + '"LPUSH (needed to benchmark LRANGE)","10.00","1","1"\n"LRANGE_100 (first 100 elements)","20.50","1","1"\n'
    )
    assert rate_in(text) == 20.5


def test_no_rate_is_an_error() -> None:
    with pytest.raises(Unmeasurable, match="Connection refused"):
        rate_in("Could not connect to Redis: Connection refused")


def test_the_report_compares_medians() -> None:
    results = {
        (name, test, pipeline, figure): values
        for name, values in (("reserve", [50.0, 60.0, 1.0]), ("redis-server", [100.0, 99.0, 400.0]))
        for test in ("set", "get")
        for pipeline in (1, 16)
        for figure in ("rate", "cpu")
    }
    lines = report(results, ["set", "get"]).splitlines()
    assert len(lines) == 8
    assert lines[2].split() == ["-P", "1", "set", "50", "100", "0.50", "50", "100", "0.50"]
    assert lines[-1].split() == ["-P", "16", "median", "0.50", "0.50"]
