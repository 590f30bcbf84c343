"""``benchmarks.threads``: its rows, its targets, its advice, its report, chart and page, and one short run."""

from __future__ import annotations

import itertools
import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import procfs
from benchmarks.compare.environment import Environment, locked
from benchmarks.compare.report import About
from benchmarks.compare.servers import SERVERS, Setup
from benchmarks.process import ROOT, Unmeasurable
from benchmarks.runtime import HOSTED
from benchmarks.threads import __main__ as threads
from benchmarks.threads import measure
from benchmarks.threads.advice import advise
from benchmarks.threads.curves import _apart, curves
from benchmarks.threads.page import PAGE, filled
from benchmarks.threads.report import as_json, markdown, read_about
from benchmarks.threads.results import Build, Memory, Point, Results
from benchmarks.threads.rows import APPLICATIONS, LIMIT, Row, rows
from benchmarks.threads.targets import judge

WITH = Build(version="3.14.0", gil=True)
WITHOUT = Build(version="3.14.0", gil=False)
ABOUT = About(
    date="2026-01-01 10:00 UTC", machine="a machine", versions={"reserve": "1"}, setting="Rounds: 3.",
    command="python", absent={"granian": "no wheel"},
)  # fmt: skip


def point(rate: float, *, p50: float = 1.0, p99: float = 2.0, failures: int = 0) -> Point:
    return Point(rate=rate, p50=p50, p99=p99, failures=failures, server=1.5, load=0.25, others=0.125)


def results_of(build: Build, application: str, rates: dict[Row, float]) -> Results:
    results = Results()
    for row, rate in rates.items():
        results.add(build, application, row, point(rate))
    return results


def one(server: str, rates: dict[int, float]) -> dict[Row, float]:
    """The rows of one process."""
    return {Row(server=server, threads=number): rate for number, rate in rates.items()}


def limit(rate: float, threads: int = 1) -> dict[Row, float]:
    return {Row(server=LIMIT, threads=threads, processes=2): rate}


def two(rate: float) -> dict[Row, float]:
    return {Row(server="reserve-c", threads=8, processes=2): rate}


# ---- rows ----
def test_servers_take_turns_at_each_number_of_threads_and_processes_come_last() -> None:
    found = rows(APPLICATIONS["hello"], ["reserve", "reserve-c", "waitress"], [1, 16])
    assert [(row.server, row.threads, row.processes) for row in found] == [
        ("reserve", 1, 1), ("reserve-c", 1, 1), ("waitress", 1, 1),
        ("reserve", 16, 1), ("reserve-c", 16, 1), ("waitress", 16, 1),
        ("reserve-c", 8, 2), (LIMIT, 1, 2),
    ]  # fmt: skip


def test_a_server_without_tls_does_not_take_part_in_it_and_waiting_processes_need_threads() -> None:
    assert {row.server for row in rows(APPLICATIONS["tls"], ["waitress", "granian"], [1])} == {"granian"}
    assert rows(APPLICATIONS["wait-10"], ["reserve"], [1, 16])[-1] == Row(server=LIMIT, threads=8, processes=2)


def test_every_server_gets_its_threads_and_its_certificate() -> None:
    nothing = Environment(python=Path("python"), versions={}, extensions=[], nginx=None, failures={})
    for name in ("reserve", "reserve-c", *threads.PEERS):
        setup = Setup(
            environment=nothing, app="plain_apps:hello", port=1, access_log=False, folder=Path(), file=Path("file"),
            threads=7, processes=2 if name.startswith("reserve") else 1,
            certificate=Path("some.pem") if SERVERS[name].has_tls else None,
        )  # fmt: skip
        command = SERVERS[name].command(setup)
        assert "7" in command or "--threads=7" in command
        assert ("some.pem" in command and "some.key" in command) is SERVERS[name].has_tls
        assert ("--processes" in command) is name.startswith("reserve")


# ---- results ----
def test_results_are_the_same_after_they_were_stored() -> None:
    results = results_of(WITHOUT, "hello", one("reserve-c", {1: 10.0, 2: 15.0}) | two(20.0) | limit(30.0))
    results.memory[WITHOUT] = [Memory(server="reserve-c", idle=30.0, used=60.0)]
    results.notes.append("a note")
    document = json.loads(json.dumps(as_json(results, ABOUT)))
    assert Results.from_json(document) == results
    assert read_about(document) == ABOUT


def test_medians_and_failures() -> None:
    results = Results()
    row = Row(server="reserve", threads=2)
    for rate in (1.0, 9.0, 2.0):
        results.add(WITH, "hello", row, point(rate, failures=1))
    assert results.rate(WITH, "hello", "reserve", 2) == 2.0
    assert results.rate(WITH, "hello", "reserve", 4) is None
    assert results.failures(["reserve"]) == 3
    assert results.failures(["cheroot"]) == 0
    assert results.several(WITH, "hello") is None


# ---- targets ----
def outcomes(results: Results) -> dict[tuple[str, str], tuple[float, str]]:
    return {(each.server, each.text): (round(each.figure, 3), each.word) for each in judge(results)}


def test_hello_has_to_scale_to_stay_and_to_be_ahead() -> None:
    rates = one("reserve-c", {1: 100.0, 2: 150.0, 4: 142.0, 8: 144.0}) | one("granian", {1: 99.0, 2: 151.0})
    assert outcomes(results_of(WITHOUT, "hello", rates | one("cheroot", {1: 3.0}))) == {
        ("reserve-c", "2 threads / 1 thread"): (1.5, "met"),
        ("reserve-c", "4 threads / the best number"): (0.947, "missed"),
        ("reserve-c", "8 threads / the best number"): (0.96, "met"),
        ("reserve-c", "1 thread / the best peer"): (1.01, "met"),
        ("reserve-c", "2 threads / the best peer"): (0.993, "missed"),
    }


def test_computing_is_compared_with_two_independent_processes_and_its_latency_with_the_median() -> None:
    results = results_of(WITHOUT, "compute-1", one("reserve", {1: 9.0, 2: 18.0}) | limit(20.0))
    results.add(WITHOUT, "compute-1", Row(server="reserve", threads=4), point(17.9, p99=3.1))
    assert outcomes(results) == {
        ("reserve", "2 threads / two independent processes"): (0.9, "met"),
        ("reserve", "4 threads / two independent processes"): (0.895, "missed"),
        ("reserve", "1 thread: p99 / p50"): (2.0, "met"),
        ("reserve", "2 threads: p99 / p50"): (2.0, "met"),
        ("reserve", "4 threads: p99 / p50"): (3.1, "missed"),
    }


def test_a_build_with_the_gil_has_no_targets() -> None:
    assert judge(results_of(WITH, "hello", one("reserve-c", {1: 100.0, 2: 100.0}))) == []


# ---- advice ----
@pytest.mark.parametrize(
    ("application", "rates", "choice"),
    [
        ("hello", {1: 100.0, 2: 99.0, 16: 96.0}, "one process, any number of threads"),
        ("hello", {1: 60.0, 2: 99.0, 16: 100.0}, "one process, 2 threads or more"),
        ("hello", {1: 100.0, 2: 90.0, 16: 96.0}, "one process, 16 threads or more"),
        ("hello", {1: 90.0, 2: 100.0, 16: 90.0}, "one process, 2 threads"),
        ("hello", {1: 100.0, 2: 90.0, 16: 90.0}, "one process, 1 thread"),
        ("hello", {1: 50.0, 2: 50.0, 16: 50.0}, "a process for each processor (`--processes auto`)"),
        ("wait-10", {1: 1.0, 16: 16.0}, "as many threads as requests wait at the same time"),
    ],
)
def test_the_advice_is_the_least_that_is_as_good_as_the_best(
    application: str, rates: dict[int, float], choice: str
) -> None:
    (found,) = advise(results_of(WITH, application, one("reserve-c", rates) | two(105.0)))
    assert found.choice == choice
    assert found.best == max(rates.values())


def test_without_reserve_there_is_no_advice() -> None:
    assert advise(results_of(WITH, "hello", one("cheroot", {1: 1.0}))) == []


# ---- report, chart and page ----
def measured() -> Results:
    rates = one("reserve-c", {1: 1000.0, 2: 1600.0}) | one("waitress", {1: 50.0}) | two(1500.0) | limit(1700.0)
    results = results_of(WITHOUT, "hello", rates)
    results.memory[WITHOUT] = [Memory(server="reserve-c", idle=30.0, used=61.25)]
    results.notes.append("waitress did not start")
    return results


def test_the_report_has_rates_latencies_and_targets() -> None:
    text = markdown(measured(), ABOUT, {"A chart": "chart.svg"})
    name = "CPython 3.14.0, without the GIL"
    assert (
        f"| {name} | next to nothing a request | 1,600/s | 2 | 0.94 of that | one process, 2 threads or more |" in text
    )
    assert f"| {name} | reserve-c | 30.0 | 61.2 |" in text
    assert f"| {name} | Hello | reserve-c | 2 threads / 1 thread | >= 1.5 | 1.60 | met |" in text
    assert "| reserve-c | 1,000 | 1,600 |" in text
    assert "| waitress | 50.0 | - |" in text
    assert "| reserve-c | 1.00 / 2.00 | 1.00 / 2.00 |" in text
    assert "| reserve-c | 1.50 / 0.250 | 1.50 / 0.250 |" in text
    assert "reserve-c with 2 processes of 8 threads: 1,500 requests/s." in text
    assert "Two processes of 1 thread, independent: 1,700 requests/s." in text
    assert "Other programs used 0.125 processors (the median of all measurements), and 0.125 at most." in text
    assert "granian was not measured: no wheel." in text
    assert "- waitress did not start" in text
    assert "![A chart](chart.svg)" in text


def test_the_chart_has_a_line_for_each_server_on_the_scale_of_its_panel() -> None:
    text = curves(measured(), WITHOUT)
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    lines = {line.get("class"): str(line.get("points")) for line in root.iter(f"{space}polyline")}
    assert set(lines) == {"line subject", "line"}
    heights = [float(place.partition(",")[2]) for place in lines["line subject"].split()]
    (dotted,) = [float(line.get("y1", "")) for line in root.iter(f"{space}line") if line.get("class") == "limit"]
    bottom = max(float(line.get("y1", "")) for line in root.iter(f"{space}line") if line.get("class") == "axis")
    assert (bottom - heights[0]) / (bottom - dotted) == pytest.approx(1000 / 1700, abs=0.01)
    assert (bottom - heights[1]) / (bottom - dotted) == pytest.approx(1600 / 1700, abs=0.01)
    assert "Hello: reserve-c 1,000 with 1 1,600 with 2, waitress 50.0 with 1" in "".join(root.itertext())
    assert "prefers-color-scheme: dark" in text


def test_a_chart_without_any_figure_is_well_formed() -> None:
    ElementTree.fromstring(curves(results_of(WITH, "hello", limit(0.0)), WITH))


def test_labels_do_not_touch_each_other_and_stay_in_the_panel() -> None:
    placed = _apart([(99.0, "a"), (98.0, "b"), (10.0, "c"), (11.0, "d")], bottom=100.0)
    heights = [place for place, _ in placed]
    assert all(below - above >= 14 for above, below in itertools.pairwise(heights))
    assert heights[-1] == 100.0
    assert [name for _, name in placed] == ["c", "d", "b", "a"]


def test_the_figures_of_the_page_are_replaced_and_the_rest_stays() -> None:
    text = PAGE.read_text("utf-8")
    once = filled(text, measured(), ABOUT, {"A chart": "chart.svg"})
    assert once.startswith(text[: text.index("<!-- The figures")])
    assert "| 1,600/s |" in once
    assert "![A chart](../../benchmarks/results/threads/chart.svg)" in once
    assert "Measured 2026-01-01 on a machine." in once
    assert filled(once, measured(), ABOUT, {"A chart": "chart.svg"}) == once
    with pytest.raises(ValueError, match="the page has no"):
        filled("no place", measured(), ABOUT, {})


def test_the_page_has_the_figures_of_the_stored_run() -> None:
    text = PAGE.read_text("utf-8")
    stored = threads.RESULTS / "report.json"
    if not stored.exists():
        assert "No run has been stored yet." in text
        return
    document = json.loads(stored.read_text("utf-8"))
    results, about = Results.from_json(document), read_about(document)
    charts = threads.charts_of(results)
    assert filled(text, results, about, charts) == text
    assert markdown(results, about, charts) == (threads.RESULTS / "report.md").read_text("utf-8")
    for build in results.builds():
        assert (threads.RESULTS / charts[build.name]).read_text("utf-8") == curves(results, build)


# ---- measuring ----
def test_the_time_of_the_machine_is_without_the_idle_time() -> None:
    text = "cpu  100 20 300 9999 9999 40 50 7 8 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert procfs.busy_in(text) == 510 / os.sysconf("SC_CLK_TCK")
    before = procfs.machine_seconds()
    assert procfs.machine_seconds() >= before > 0


def plan_in(folder: Path) -> measure.Plan:
    """With a certificate that does not exist."""
    here = Environment(python=Path(sys.executable), versions={}, extensions=[], nginx=None, failures={})
    return measure.Plan(
        environment=here, generator=Path("generator"), seconds=0.1, warmup=0.0, connections=2, steps=1,
        certificate=folder / "missing.pem",
    )  # fmt: skip


def test_ports_are_different() -> None:
    assert len(set(measure.ports(50))) == 50


def test_a_module_that_cannot_be_imported_is_named_without_folders() -> None:
    here = Environment(python=Path(sys.executable), versions={}, extensions=[], nginx=None, failures={})
    assert measure.import_error(here, "json") == ""
    assert measure.import_error(here, "no_such_module") == (
        "it cannot be imported (ModuleNotFoundError: No module named 'no_such_module')"
    )
    build = measure.build_of(here)
    assert sys.version.startswith(build.version)
    assert build.gil is getattr(sys, "_is_gil_enabled", lambda: True)()


def test_the_option_for_threads_is_a_sorted_list() -> None:
    assert threads._numbers("16,1,2,2") == [1, 2, 16]
    assert threads._without_folders(["--python", "/a/b/python3", "--rounds", "3"]) == [
        "--python", "python3", "--rounds", "3"
    ]  # fmt: skip


def test_an_interpreter_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threads, "locked", lambda: locked(tmp_path))
    assert threads.main(["--apps", "hello", "--python", "no-such-python", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "benchmarks.threads: there is no interpreter no-such-python\n"


@pytest.mark.peer
def test_a_short_run_writes_a_report_json_and_a_chart(
    require_peer: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the reserve of the clone: nothing is installed. cheroot is said to be missing."""
    for tool in ("cc", "wrk", "openssl"):
        require_peer(tool)
    environment = Environment(
        python=Path(sys.executable), versions={"reserve": "1"}, extensions=[], nginx=None, failures={}
    )
    monkeypatch.setattr(threads, "prepare", lambda **options: environment)
    monkeypatch.setattr(threads, "locked", lambda: locked(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOSTED), str(ROOT)]))
    monkeypatch.setattr(
        measure, "_variables", lambda plan, folder: {"TMPDIR": str(folder), "BENCHMARK_STEPS": str(plan.steps)}
    )
    chosen = ["--servers", "reserve,cheroot", "--apps", "hello,wait-10,tls", "--threads", "1,2", "--rounds", "1"]
    code = threads.main([*chosen, "--seconds", "0.2", "--connections", "4", "--output", str(tmp_path / "out")])
    output = capsys.readouterr()
    assert code == 0, output.out + output.err
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "was not measured: cheroot cannot be installed: no reason." in text
    document = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    results = Results.from_json(document)
    (build,) = results.builds()
    assert results.notes == []
    assert results.applications(build) == ["hello", "wait-10", "tls"]
    for application in results.applications(build):
        assert results.threads(build, application) == [1, 2]
        assert results.several(build, application) is not None
        assert results.several(build, application, limit=True) is not None
    assert [each.server for each in results.memory[build]] == ["reserve"]
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(before) == {"report.md", "report.json", f"{build.slug}.svg"}
    assert threads.main(["--report", "--output", str(tmp_path / "out")]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_server_that_does_not_start_is_noted_and_the_others_serve(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    notes: list[str] = []
    with measure.served(APPLICATIONS["tls"], [Row(server="reserve", threads=1)], plan, tmp_path, notes.append) as found:
        assert found == []
    assert len(notes) == 1
    assert notes[0].startswith("reserve with 1 thread, tls: reserve ended with exit code")


def test_a_failed_start_does_not_end_the_other_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended: list[int] = []

    def start(
        application: object, row: Row, found: list[int], plan: object, folder: Path
    ) -> tuple[measure.Served, ExitStack]:
        if row.threads == 2:
            raise Unmeasurable("no")
        stack = ExitStack()
        stack.callback(ended.append, row.threads)
        return measure.Served(row=row, pids=[], ports=found), stack

    monkeypatch.setattr(measure, "_start", start)
    three = [Row(server="reserve", threads=number) for number in (1, 2, 3)]
    notes: list[str] = []
    with measure.served(APPLICATIONS["hello"], three, plan_in(tmp_path), tmp_path, notes.append) as found:
        assert [each.row.threads for each in found] == [1, 3]
        assert ended == []
    assert sorted(ended) == [1, 3]
    assert notes == ["reserve with 2 threads, hello: no"]
