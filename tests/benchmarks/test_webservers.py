"""The configuration, the figures and the messages of ``benchmarks.webservers``, and one short run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import webservers
from benchmarks.load import Figures
from benchmarks.webservers import LOCATIONS, WORKLOADS, Sample, configuration, report

UWSGI = "uwsgi of uWSGI"


def sample(rate: float, server: float, nginx: float, failures: int = 0) -> Sample:
    figures = Figures(requests_per_second=rate, p50=1.0, p99=2.0, requests=1000, failures=failures)
    return Sample(figures=figures, server=server, nginx=nginx)


def test_the_report_compares_medians_with_the_first_location() -> None:
    rows = {
        "HTTP": [sample(100, 50, 20), sample(900, 10, 90), sample(200, 40, 10)],
        "SCGI": [sample(50, 60, 10), sample(1, 80, 10, failures=7), sample(100, 100, 10)],
    }
    assert [line.split() for line in report({"hello": rows}).splitlines()[1:]] == [
        ["HTTP", "200", "1.00", "100", "900", "2.0", "40", "1.00", "20", "1.00"],
        ["SCGI", "50", "0.25", "1", "100", "2.0", "80", "2.00", "10", "0.50"],
        ["SCGI:", "7", "of", "3000", "requests", "FAILED"],
    ]


def test_nothing_is_divided_by_a_rate_of_zero() -> None:
    lines = report({"hello": {"HTTP": [sample(0, 0, 0)], "SCGI": [sample(5, 5, 5)]}}).splitlines()
    assert lines[2].split() == ["SCGI", "5", "-", "5", "5", "2.0", "5", "-", "5", "-"]


def test_only_some_locations_keep_connections_to_the_server() -> None:
    addresses = {location.server: f"127.0.0.1:{port}" for port, location in enumerate(LOCATIONS.values(), 1)}
    text = configuration(Path("/tmp/folder"), 8000, addresses, list(LOCATIONS))
    upstreams = {line.split()[1]: line for line in text.splitlines() if line.lstrip().startswith("upstream")}
    assert {name for name, line in upstreams.items() if "keepalive" in line} == {"http", "fcgi"}
    assert f"server {addresses['http']};" in upstreams["http-close"]
    assert text.count("fastcgi_keep_conn on;") == 1
    assert text.count('proxy_set_header Connection "";') == 1


@pytest.mark.parametrize("program", ["wrk", "nginx"])
def test_a_missing_program_is_named(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == program else f"/{name}")
    assert webservers.main([]) == 2
    assert f"{program} is not installed; on Debian: apt-get install {program}" in capsys.readouterr().err


def test_uwsgi_is_left_out_when_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webservers.importlib.util, "find_spec", lambda name: None)
    assert webservers._measurable() == [name for name in LOCATIONS if name != UWSGI]
    assert "uWSGI is left out: pip install pyuwsgi" in capsys.readouterr().err
    monkeypatch.setattr(webservers.importlib.util, "find_spec", lambda name: object())
    assert webservers._measurable() == list(LOCATIONS)
    assert capsys.readouterr().err == ""


def test_failed_requests_give_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webservers, "_tools", lambda: "nginx")
    monkeypatch.setattr(webservers, "_setting", lambda *given: "")
    for failures, code in ((0, 0), (1, 1)):
        runs = {"hello": {"HTTP": [sample(10, 10, 10, failures)]}}
        monkeypatch.setattr(webservers, "_measure", lambda *given, runs=runs: runs)
        assert webservers.main([]) == code


@pytest.mark.peer
@pytest.mark.parametrize(
    ("names", "transport"), [(["HTTP", "uwsgi"], []), (["FastCGI", "SCGI"], ["--tcp"])], ids=["unix", "tcp"]
)
def test_a_short_run_measures_every_location(
    names: list[str],
    transport: list[str],
    require_peer: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_peer("nginx")
    require_peer("wrk")
    monkeypatch.setattr(webservers, "LOCATIONS", {name: LOCATIONS[name] for name in names})
    monkeypatch.setattr(webservers, "WORKLOADS", dict([list(WORKLOADS.items())[-1]]))
    code = webservers.main(["--rounds", "1", "--seconds", "1", "--threads", "2", "--connections", "2", *transport])
    captured = capsys.readouterr()
    assert code == 0, captured.out + captured.err
    rows = captured.out.splitlines()[-2:]
    assert [row.split()[0] for row in rows] == names
    assert all(float(row.split()[1]) > 0 for row in rows)
