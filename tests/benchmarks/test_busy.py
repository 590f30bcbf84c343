"""The report of ``benchmarks.busy``, and what it counts."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from benchmarks import busy, procfs
from benchmarks.busy import Round, report

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")


def _round(rate: float, failures: int = 0) -> Round:
    return Round(rate=rate, switches=0.25, cpu=31.4, failures=failures)


def test_the_ratios_are_those_of_medians_alone_and_busy() -> None:
    text = report(
        {
            ("hello", "alone", "reserve"): [_round(1), _round(400), _round(900)],
            ("hello", "alone", "other"): [_round(100)],
            ("hello", "busy", "reserve"): [_round(200)],
            ("hello", "busy", "other"): [_round(40, failures=3)],
        }
    )
    assert "RATIO reserve/other, hello: alone 4.00, busy 5.00" in text
    assert "3 requests FAILED" in text
    assert "0.25" in text


def test_a_server_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert busy.main(["--servers", "reserve,nosuchserver"]) == 2
    assert "nosuchserver" in capsys.readouterr().err


def test_the_switches_of_all_threads_count() -> None:
    before = procfs.switches(os.getpid())
    for _ in range(10):
        thread = threading.Thread(target=threading.Event().wait, args=(0.001,))
        thread.start()
        thread.join()
    assert procfs.switches(os.getpid()) > before
