"""The report of wrk, the start of servers, and the messages of ``benchmarks.hello`` when something is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable

import pytest

from benchmarks import hello
from benchmarks.load import Figures, parse_wrk, serving, wrk
from benchmarks.process import Unmeasurable, free_port, pinned

REPORT = """\
Running 2s test @ http://127.0.0.1:39871/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   322.88us  363.08us   3.27ms   93.02%
    Req/Sec    15.72k     1.86k   19.37k    63.64%
  Latency Distribution
     50%  214.00us
     75%  293.00us
     90%    1.03s
     99%    2.21ms
  17189 requests in 1.10s, 29.62MB read
Requests/sec:  15628.69
Transfer/sec:     26.93MB
"""


def test_parse_wrk_reads_a_report() -> None:
    assert parse_wrk(REPORT) == Figures(requests_per_second=15628.69, p50=0.214, p99=2.21, requests=17189, failures=0)


def test_parse_wrk_counts_every_kind_of_failure() -> None:
    failed = REPORT.replace(
        "Requests/sec:",
        "  Socket errors: connect 1, read 20, write 300, timeout 4000\n"
        "  Non-2xx or 3xx responses: 50000\nRequests/sec:",
    )
    assert parse_wrk(failed).failures == 54321


@pytest.mark.parametrize(
    ("printed", "milliseconds"),
    [("999.00us", 0.999), ("1.00ms", 1.0), ("1.50s ", 1500.0), ("1.00m", 60000.0), ("0.00us", 0.0)],
)
def test_parse_wrk_reads_every_unit_of_time(printed: str, milliseconds: float) -> None:
    assert parse_wrk(REPORT.replace("  2.21ms", printed)).p99 == pytest.approx(milliseconds)


@pytest.mark.parametrize("missing", ["50%", "99%", "Requests/sec", " requests in "])
def test_parse_wrk_rejects_a_text_that_is_no_report(missing: str) -> None:
    with pytest.raises(Unmeasurable, match="no report of wrk --latency"):
        parse_wrk(REPORT.replace(missing, "?"))


def test_parse_wrk_rejects_unreadable_socket_errors() -> None:
    with pytest.raises(Unmeasurable, match="no report"):
        parse_wrk(REPORT + "  Socket errors: many\n")


def test_a_server_that_ends_at_once_is_an_error_with_its_output() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with pytest.raises(Unmeasurable, match="ended with exit code 1: no such thing"), serving(command, free_port()):
        pass


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot bind processes to processors")
def test_pinned_restores_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    with pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.peer
def test_wrk_measures_a_server(require_peer: Callable[[str], str]) -> None:
    require_peer("wrk")
    port = free_port()
    with serving(hello.command_for("reserve", port, 2), port):
        figures = wrk(f"http://127.0.0.1:{port}/", seconds=1, connections=4, headers=["Accept: text/html"])
    assert figures.failures == 0
    assert figures.requests > 0
    with pytest.raises(Unmeasurable, match="wrk ended with exit code 1: unable to connect"):
        wrk(f"http://127.0.0.1:{port}/", seconds=1, connections=1)


# ---- benchmarks.hello ----
def figures(rate: float, failures: int = 0) -> Figures:
    return Figures(requests_per_second=rate, p50=1.0, p99=2.0, requests=1000, failures=failures)


def test_the_ratio_is_of_medians_and_comes_last() -> None:
    text = hello.report(
        {
            "reserve": {"hello": [figures(100), figures(900), figures(300)], "browser": [figures(50)]},
            "cheroot": {"hello": [figures(60), figures(40), figures(50, failures=7)], "browser": [figures(20)]},
            "waitress": {"hello": [figures(100)], "browser": [figures(100)]},
        }
    )
    assert text.splitlines()[-2:] == [
        "RATIO reserve/waitress: hello 3.00, browser 0.50",
        "RATIO reserve/cheroot: hello 6.00, browser 2.50",
    ]
    assert "cheroot: 7 of 3000 requests FAILED" in text


def test_a_server_without_a_single_response_has_no_ratio() -> None:
    text = hello.report({"reserve": {"hello": [figures(100)]}, "cheroot": {"hello": [figures(0)]}})
    assert text.splitlines()[-1] == "RATIO reserve/cheroot: hello -"


def test_a_missing_program_or_server_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(hello.importlib.util, "find_spec", lambda name: object())
    assert hello.main([]) == 2
    assert "wrk is not installed" in capsys.readouterr().err
    monkeypatch.setattr(hello.importlib.util, "find_spec", lambda name: None if name == "cheroot" else object())
    assert hello.main([]) == 2
    assert "cheroot cannot be imported; pip install 'reserve[bench]'" in capsys.readouterr().err


def test_failed_requests_give_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hello, "_check", lambda names: None)
    monkeypatch.setattr(hello, "_setting", lambda *given: "")
    for failures, code in ((0, 0), (1, 1)):
        runs = {name: {"hello": [figures(10, failures)]} for name in ("reserve", "cheroot")}
        monkeypatch.setattr(hello, "_measure", lambda *given, runs=runs: runs)
        assert hello.main([]) == code
        assert capsys.readouterr().out.splitlines()[-1] == "RATIO reserve/cheroot: hello 1.00"
