"""The figures and messages of ``benchmarks.observability``, its reader of metrics, and one short run."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from benchmarks import observability
from benchmarks.load import Figures
from benchmarks.observability import SETTINGS, Sample, report, scraping
from benchmarks.process import Unmeasurable
from reserve.testing import running


def sample(rate: float, server: float, failures: int = 0) -> Sample:
    figures = Figures(requests_per_second=rate, p50=1.0, p99=2.0, requests=1000, failures=failures)
    return Sample(figures=figures, server=server)


def test_the_report_compares_medians_with_the_first_setting() -> None:
    rows = {
        "nothing": [sample(100, 50), sample(900, 10), sample(200, 40)],
        "log": [sample(50, 60), sample(1, 80, failures=7), sample(100, 100)],
    }
    assert [line.split() for line in report(rows).splitlines()[1:]] == [
        ["nothing", "200", "1.00", "100", "900", "40.0", "1.00"],
        ["log", "50", "0.25", "1", "100", "80.0", "2.00"],
        ["log:", "7", "of", "3000", "requests", "FAILED"],
    ]


def test_nothing_is_divided_by_zero() -> None:
    lines = report({"nothing": [sample(0, 0)], "log": [sample(5, 5)]}).splitlines()
    assert lines[2].split() == ["log", "5", "-", "5", "5", "5.0", "-"]


def test_failed_requests_give_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/{name}")
    for failures, code in ((0, 0), (1, 1)):
        runs = {"nothing": [sample(10, 10, failures)]}
        monkeypatch.setattr(observability, "_measure", lambda *given, runs=runs: runs)
        assert observability.main([]) == code


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    assert observability.main([]) == 2
    assert "wrk is not installed; on Debian: apt-get install wrk" in capsys.readouterr().err


def test_a_path_without_metrics_is_no_measurement() -> None:
    def application(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("404 Not Found", [("Content-Length", "0")])
        return [b""]

    with (
        running(application) as served,
        pytest.raises(Unmeasurable, match="responds with 404"),
        scraping(served.address[1]),
    ):
        pass


@pytest.mark.peer
def test_a_short_run_measures_every_setting(
    require_peer: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    require_peer("wrk")
    code = observability.main(["--rounds", "1", "--seconds", "1", "--threads", "2", "--connections", "2"])
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
    rows = captured.out.splitlines()[-len(SETTINGS) :]
    assert [row[:20].strip() for row in rows] == list(SETTINGS)
    assert all(float(row[20:].split()[0]) > 0 for row in rows)
