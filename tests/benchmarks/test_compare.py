"""``benchmarks.compare``: its arithmetic, its targets, its report and charts, its load generator, and one short run."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import xml.etree.ElementTree as ElementTree
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import __main__ as compare
from benchmarks.compare import generator
from benchmarks.compare.charts import Bar, Group, chart
from benchmarks.compare.environment import Environment, locked
from benchmarks.compare.generator import Load, parse, percentile, percentiles
from benchmarks.compare.pictures import pictures
from benchmarks.compare.progress import Progress, duration
from benchmarks.compare.report import About, as_json, markdown, number
from benchmarks.compare.results import Results, Sample, spread
from benchmarks.compare.servers import SERVERS, SUBJECTS, Setup, absent, nginx_configuration
from benchmarks.compare.targets import TARGETS, judge
from benchmarks.compare.workloads import WORKLOADS, Workload, refusal, scaled
from benchmarks.heads import head
from benchmarks.instructions import judged
from benchmarks.process import Unmeasurable
from reserve.testing import running

ABOUT = About(
    date="2026-01-01", machine="a machine", versions={"reserve": "1"}, setting="5 rounds.", command="python", absent={}
)


def load(rate: float = 1000.0, p99: float = 2.0, **changes: object) -> Load:
    latency = percentiles([1000] * 98 + [round(p99 * 1000)] * 2)
    base = Load(
        requests=round(rate),
        seconds=1.0,
        bytes=0,
        failures=0,
        reconnects=0,
        stalled=0,
        open=32,
        slowest=10,
        fastest=20,
        busy=0.5,
        latency=latency,
        first=latency,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def sample(rate: float = 1000.0, *, user: float = 0.01, p99: float = 2.0, **changes: object) -> Sample:
    return Sample(load=load(rate, p99, **changes), user=user, system=0.02, memory=30_000, peak=31_000, before=29_000)


def results_of(values: dict[tuple[str, str, str], list[Sample]]) -> Results:
    results = Results()
    for key, samples in values.items():
        results.cell(*key).samples += samples
    return results


# ---- arithmetic ----
def test_a_percentile_is_the_value_of_the_nearest_rank() -> None:
    hundred = list(range(1, 101))
    assert [percentile(hundred, share) for share in (0.0, 0.5, 0.99, 0.999, 1.0)] == [1, 50, 99, 100, 100]
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.5) == 0


def test_latencies_are_summed_up_in_milliseconds() -> None:
    found = percentiles([3000, 1000, 2000])
    assert (found.count, found.p50, found.p99, found.max) == (3, 2.0, 3.0, 3.0)
    assert percentiles([]).max == 0.0


def test_the_report_of_the_generator_keeps_the_two_kinds_of_requests_apart() -> None:
    report = {
        "requests": 3, "seconds": 2.0, "bytes": 9, "failures": 1, "errors": 2, "reconnects": 4, "stalled": 5,
        "open": 6, "slowest": 7, "fastest": 14, "cpu": 1.0,
    }  # fmt: skip
    found = parse(report, array("I", [1000, 0, 50_000, 1, 2000, 0]).tobytes())
    assert (found.rate, found.failures, found.fairness, found.busy) == (1.5, 3, 0.5, 0.5)
    assert (found.latency.count, found.latency.max) == (3, 50.0)
    assert (found.first.count, found.first.max) == (2, 2.0)


def test_a_server_that_served_no_connection_has_no_fairness() -> None:
    assert load(slowest=0, fastest=0).fairness is None
    assert load(slowest=0, fastest=9).fairness == 0


def test_the_spread_is_median_lowest_and_highest() -> None:
    found = spread([5.0, 1.0, 2.0])
    assert found is not None
    assert (found.median, found.lowest, found.highest) == (2.0, 1.0, 5.0)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.01234, "0.012"), (0.5, "0.500"), (1.234, "1.23"), (45.67, "45.7"), (12345.6, "12,346")],
)
def test_a_number_has_three_digits_that_count(value: float | None, text: str) -> None:
    assert number(value) == text


# ---- targets ----
def outcome(results: Results, workload: str, text: str, form: str = "pure", placement: str = "pinned") -> str:
    (found,) = [
        each
        for each in judge(results, [form])
        if (each.target.workload, each.target.text, each.target.placement) == (workload, text, placement)
    ]
    return f"{number(found.figure)} {found.word}"


def test_a_target_compares_medians_of_the_same_run() -> None:
    rounds = [sample(100), sample(9000), sample(8000)]
    results = results_of(
        {
            ("hello", "pinned", "reserve"): rounds,
            ("hello", "pinned", "cheroot"): [sample(1000)],
            ("hello", "pinned", "granian"): [sample(8001)],
        }
    )
    assert outcome(results, "hello", "requests a second / cheroot") == "8.00 met"
    assert outcome(results, "hello", "requests a second / granian") == "1.000 missed"
    assert outcome(results, "browser", "requests a second / granian") == "- not measured"


def test_a_target_of_the_c_form_is_about_that_form() -> None:
    results = results_of(
        {
            ("hello", "pinned", "reserve-c"): [sample(950, p99=6.0)],
            ("hello", "pinned", "reserve"): [sample(1)],
            ("hello", "pinned", "bjoern"): [sample(1000, p99=3.0)],
        }
    )
    assert outcome(results, "hello", "requests a second / bjoern", "c") == "0.950 met"
    assert outcome(results, "hello", "p99 / bjoern", "c") == "2.00 met"


def test_ahead_of_every_peer_means_the_best_of_those_that_were_measured() -> None:
    values = {"reserve": 100, "cheroot": 50, "waitress": 101, "bjoern": 500}
    results = results_of({("post", "pinned", name): [sample(rate)] for name, rate in values.items()})
    assert outcome(results, "post", "requests a second / the best threaded peer") == "0.990 missed"


def test_targets_about_memory_light_requests_the_hog_and_unpinned_runs() -> None:
    light = percentiles([1000])
    results = results_of(
        {
            ("idle-10000", "pinned", "reserve"): [sample(open=10_000)],
            ("compute-2-20", "pinned", "reserve"): [sample(first=light)],
            ("compute-2-20", "pinned", "waitress"): [sample(first=percentiles([4000]))],
            ("compute-2-20", "pinned", "cheroot"): [sample(first=percentiles([2000]))],
            ("hello", "pinned", "reserve"): [sample(1000)],
            ("hello", "pinned", "bjoern"): [sample(2000)],
            ("hog", "pinned", "reserve"): [sample(500)],
            ("hog", "pinned", "bjoern"): [sample(1000)],
            ("hello", "unpinned", "reserve"): [sample(849)],
        }
    )
    assert outcome(results, "idle-10000", "KiB a connection") == "0.100 met"
    assert outcome(results, "compute-2-20", "p99 of the light requests / the best threaded peer") == "0.500 met"
    assert outcome(results, "hog", "ratio to bjoern / the same without the hog") == "1.00 met"
    assert outcome(results, "hello", "requests a second / pinned", placement="unpinned") == "0.849 missed"


def test_every_workload_but_those_of_the_log_has_targets_in_both_forms() -> None:
    for form in SUBJECTS:
        assert {target.workload for target in TARGETS if target.form == form} == set(WORKLOADS)


# ---- report and charts ----
def test_the_report_states_each_target_beside_its_figures() -> None:
    results = results_of(
        {
            ("hello", "pinned", "reserve"): [sample(9000), sample(7000), sample(8000)],
            ("hello", "pinned", "cheroot"): [sample(1001, failures=3, stalled=1, reconnects=2, busy=0.95)],
            ("hello", "unpinned", "reserve"): [sample(9000)],
            ("hello-log", "pinned", "reserve"): [sample(9000)],
        }
    )
    results.cell("hello", "pinned", "waitress").note = "it ended | early"
    verdicts = judged("pure", {"hello": 59_000}, {})
    text = markdown(results, judge(results, ["pure"]), ABOUT, {"A chart": "chart.svg"}, verdicts)
    assert "| reserve | 8,000 | 7,000-9,000 | 1.25 | 2.50 | 1.00 | 2.00 | 2.00 | 2.00 | 0.500 | 29.3 |  |" in text
    assert (
        "3 failures; 1 connections without a response for a second; closed 2 connections; "
        "the load generator was the limit (95% of its processor)" in text
    )
    assert "it ended \\| early" in text
    assert "- pure: requests a second / cheroot >= 8.00: 7.99, **missed**" in text
    assert "## Hello, unpinned" in text
    assert "Without cheroot (has no access log), waitress (has no access log)." in text
    assert "- pure: requests a second / pinned >= 0.850: 1.12, **met**" in text
    assert "| hello | pure | 59,000 | met: 59,000 of 60,000 |" in text
    assert "![A chart](chart.svg)" in text
    document = json.loads(json.dumps(as_json(results, judge(results, ["pure"]), ABOUT, verdicts)))
    assert len(document["cells"]) == 5
    assert {target["result"] for target in document["targets"]} == {"met", "missed", "not measured"}


def test_the_report_says_where_the_servers_do_not_do_the_same() -> None:
    results = results_of({("upload", "pinned", name): [sample(3)] for name in ("reserve", "reserve-c-stream")})
    text = markdown(results, judge(results, ["pure"]), ABOUT, {})
    assert WORKLOADS["upload"].remark in text
    assert "| reserve-c-stream | 3.00 |" in text


def test_a_chart_is_well_formed_and_has_a_scale_for_each_group() -> None:
    groups = [
        Group(heading="A & B", bars=[Bar(label="<one>", value=50, lowest=40, highest=100), Bar(label="two", value=25)]),
        Group(heading="C", bars=[Bar(label="three", value=1, second=1, subject=True)]),
    ]
    root = ElementTree.fromstring(chart("Title", "unit", groups))
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.get("width", "0")) for bar in root.iter(f"{space}rect") if "bar" in bar.get("class", "")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    assert widths[2] == widths[3] == pytest.approx(widths[0], abs=0.2)
    assert [bar.get("class") for bar in root.iter(f"{space}rect")][-2:] == ["bar subject", "bar subject second"]
    assert "A & B: <one> 50.0, two 25.0; C: three 2.00" in "".join(root.itertext())
    assert "prefers-color-scheme: dark" in "".join(root.itertext())


def test_a_chart_without_any_value_has_no_bars_of_endless_length() -> None:
    ElementTree.fromstring(chart("Title", "unit", [Group(heading="A", bars=[Bar(label="one", value=0.0)])]))


def test_a_run_has_the_charts_of_what_it_measured() -> None:
    results = results_of({("hello", "pinned", "reserve"): [sample()], ("post", "pinned", "cheroot"): [sample()]})
    results.cell("flask", "pinned", "reserve").note = "did not start"
    assert set(pictures(results)) == {"requests-heads", "requests-content", "processor-time", "latency"}


def test_the_bar_tells_what_is_done_and_left() -> None:
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(10, stream, lambda: now[0])
    assert progress.line("first") == "[........................] 0/10: first"
    now[0] = 30.0
    for _ in range(5):
        progress.advance()
    assert progress.line("").startswith("[############............] 5/10, 0:30 left")
    assert len(stream.getvalue().splitlines()) == 5
    assert duration(3725.4) == "1:02:05"


# ---- workloads and servers ----
def test_a_transfer_is_scaled_with_its_head() -> None:
    small = scaled(WORKLOADS["upload"], 0.001)
    assert (small.body, small.transfer) == (1_000_000, 1_000_000)
    assert b"Content-Length: 1000000\r\n" in small.request
    assert scaled(WORKLOADS["hello"], 0.001) is WORKLOADS["hello"]


def test_a_server_takes_part_only_where_it_can() -> None:
    assert refusal("hello", "nginx") == ""
    assert refusal("flask", "nginx") == "runs no Python"
    assert refusal("hello-log", "bjoern") == "has no access log"
    assert refusal("pipelined", "bjoern") == "does not pipeline"
    assert refusal("hello", "gunicorn-sync") == "only in flask, django"
    assert refusal("hello", "reserve-c-stream") == "only in upload"
    assert refusal("upload", "reserve-c-stream") == ""
    assert {server for server in SERVERS if not refusal("compute-2", server)} >= {"reserve-1", "reserve", "cheroot"}


def test_an_absent_server_is_named_with_the_reason() -> None:
    nothing = Environment(
        python=Path("python"), versions={"reserve": "1"}, extensions=[], nginx=None, failures={"waitress": "no network"}
    )
    assert absent("reserve", nothing) == ""
    assert absent("reserve-c", nothing) == "reserve was installed without an extension module"
    assert absent("waitress", nothing) == "waitress cannot be installed: no network"
    assert "apt-get install nginx" in absent("nginx", nothing)
    assert absent("reserve-c", replace(nothing, extensions=["reserve.x"])) == ""


def test_one_round_lets_the_servers_take_turns(tmp_path: Path) -> None:
    workloads, placements = ["hello", "post"], ["pinned", "unpinned"]
    assert compare.order(workloads, placements, ["reserve", "cheroot"], ["hello"]) == [
        ("hello", "pinned", "reserve"),
        ("hello", "pinned", "cheroot"),
        ("hello", "unpinned", "reserve"),
        ("hello", "unpinned", "cheroot"),
        ("post", "pinned", "reserve"),
        ("post", "pinned", "cheroot"),
    ]
    assert len(compare.order(workloads, placements, ["reserve"], workloads)) == 4


def test_only_one_run_has_the_environment(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(Unmeasurable, match="another benchmark uses"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.peer
def test_nginx_takes_its_configuration(require_peer: Callable[[str], str], tmp_path: Path) -> None:
    import subprocess

    nginx = require_peer("nginx")
    environment = Environment(python=Path("python"), versions={}, extensions=[], nginx=nginx, failures={})
    for app in ("plain_apps:hello", "plain_apps:send_file"):
        setup = Setup(
            environment=environment, app=app, port=1, access_log=True, folder=tmp_path, file=tmp_path / "file"
        )  # fmt: skip
        (tmp_path / "nginx.conf").write_text(nginx_configuration(setup))
        command = [nginx, "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


# ---- the load generator ----
@pytest.fixture(scope="session")
def program(require_peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_peer("cc")
    return generator.build(tmp_path_factory.mktemp("generator"))


def measured(program: Path, workload: Workload, port: int, seconds: float = 0.2) -> Load:
    with generator.started(program, workload, port, seconds=seconds, warmup=0.0, core=None) as started:
        return started.measure()


def app(environ: dict[str, object], start_response: Callable[..., object]) -> Iterator[bytes]:
    path = environ["PATH_INFO"]
    if path == "/missing":
        start_response("404 Not Found", [("Content-Length", "0")])
        return iter(())
    length = int(str(environ.get("CONTENT_LENGTH") or 0))
    body = environ["wsgi.input"].read(length)  # type: ignore[attr-defined]
    assert len(body) == length
    fields = [] if path == "/chunked" else [("Content-Length", "300000")]
    start_response("200 OK", fields)
    return iter([b"x" * 100_000] * 3)


@pytest.mark.peer
@pytest.mark.parametrize(
    "workload",
    [
        Workload(title="kept", connections=4),
        Workload(title="chunked", connections=4, request=head("/chunked")),
        Workload(title="together", connections=2, depth=3),
        Workload(title="new", connections=2, fresh=True, request=head(fields=("Connection: close",))),
        Workload(
            title="body", connections=2, request=head(fields=("Content-Length: 70000",), method="POST"), body=70000
        ),
        Workload(title="idle", connections=20, active=2),
        Workload(title="two kinds", connections=2, second=head("/other"), every=5),
    ],
    ids=lambda workload: workload.title,
)
def test_the_generator_counts_whole_responses(program: Path, workload: Workload) -> None:
    with running(app) as served:
        found = measured(program, workload, served.address[1])
    assert found.requests > 0
    assert (found.failures, found.stalled) == (0, 0)
    assert found.bytes >= (found.requests - workload.connections * workload.depth) * 300_000
    assert found.latency.count == found.requests
    assert 0 < found.latency.p50 <= found.latency.p99 <= found.latency.max
    assert bool(workload.second) is (found.first.count < found.latency.count)
    assert found.open == workload.connections or workload.fresh
    assert 0 < found.slowest <= found.fastest


@pytest.mark.peer
def test_a_transfer_is_one_request(program: Path) -> None:
    with running(app) as served:
        found = measured(program, Workload(title="", connections=1, transfer=300_000), served.address[1])
    assert (found.requests, found.failures) == (1, 0)
    assert found.bytes > 300_000


@pytest.mark.peer
def test_the_generator_counts_what_fails(program: Path) -> None:
    with running(app) as served:
        found = measured(program, Workload(title="", connections=2, request=head("/missing")), served.address[1])
    assert found.failures >= found.requests > 0


@contextmanager
def one_response(response: bytes) -> Iterator[int]:
    """A server that sends the same bytes on each connection, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                client = listener.accept()[0]
                with client:
                    client.recv(65536)
                    client.sendall(response)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


@pytest.mark.peer
def test_a_response_that_ends_too_early_is_a_failure_and_one_that_ends_with_the_connection_is_none(
    program: Path,
) -> None:
    with one_response(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as port:
        found = measured(program, Workload(title="", connections=1), port)
    assert found.failures > 0 == found.requests
    with one_response(b"HTTP/1.0 200 OK\r\n\r\nwhole") as port:
        found = measured(program, Workload(title="", connections=1), port)
    assert found.requests > 0 == found.failures
    assert found.reconnects > 0


@pytest.mark.peer
def test_an_upload_is_sent_to_its_end_when_the_response_comes_early(program: Path) -> None:
    received = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as client:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                while piece := client.recv(1 << 20):
                    received.append(len(piece))

        thread = threading.Thread(target=serve)
        thread.start()
        size = 50_000_000
        upload = Workload(title="", connections=1, request=head(method="POST"), body=size, transfer=size)
        found = measured(program, upload, listener.getsockname()[1])
        thread.join()
    assert (found.requests, found.failures) == (1, 0)
    assert sum(received) == size + len(upload.request)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generator.shutil, "which", lambda name: None)
    with pytest.raises(Unmeasurable, match="no C compiler is installed"):
        generator.build(tmp_path)


# ---- a whole run ----
@pytest.mark.peer
def test_a_short_run_writes_a_report_json_and_charts(
    require_peer: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the reserve of the clone: nothing is installed."""
    import os
    import sys

    from benchmarks.compare import measure
    from benchmarks.process import ROOT
    from benchmarks.runtime import HOSTED

    require_peer("cc")
    environment = Environment(
        python=Path(sys.executable), versions={"reserve": "1"}, extensions=[], nginx=None, failures={}
    )
    monkeypatch.setattr(compare, "prepare", lambda: environment)
    monkeypatch.setattr(compare, "locked", lambda: locked(tmp_path))
    real = measure.started_process

    def started_process(*arguments: object, environ: dict[str, str], **others: object) -> object:
        path = os.pathsep.join([str(HOSTED), str(ROOT)])
        return real(*arguments, environ=environ | {"PYTHONPATH": path}, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(measure, "started_process", started_process)
    chosen = ["--quick", "--servers", "reserve,reserve-1,cheroot", "--workloads", "hello,compute-2,file"]
    placements = ["--placements", "unpinned", "--seconds", "0.2", "--scale", "0.001"]
    code = compare.main([*chosen, *placements, "--no-instructions", "--output", str(tmp_path / "out")])
    output = capsys.readouterr()
    assert code == 0, output.out + output.err
    text = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "## Hello, unpinned" in text
    assert "cheroot was not measured: cheroot cannot be installed" in text
    document = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert [cell["server"] for cell in document["cells"]] == ["reserve"]
    assert re.search(r"^hello \(unpinned\), requests/s: reserve \d", output.out, re.MULTILINE)


def test_the_rows_that_are_not_measured_are_those_of_the_stored_report() -> None:
    before, now = Results(), Results()
    for results, workloads in ((before, ("hello", "post", "flask")), (now, ("post",))):
        for workload in workloads:
            results.cell(workload, "pinned", "reserve").samples.append(sample(1000.0 if results is now else 500.0))
    assert now.keep(before.as_json(), list(WORKLOADS)) == ["hello", "flask"]
    assert [workload for workload, _ in now.rows()] == ["hello", "post", "flask"]
    assert [now.row(workload, "pinned") for workload in ("hello", "flask")] == [
        before.row(workload, "pinned") for workload in ("hello", "flask")
    ]
    assert now.row("post", "pinned") != before.row("post", "pinned")
