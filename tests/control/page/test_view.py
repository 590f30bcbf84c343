"""What the status page says about a document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reserve.control.page.view import Table, make_view
from tests.control.page.documents import document, histogram, process, requests, thread


def rows(table: Table) -> list[list[str]]:
    return [[cell.replace("\u00a0", " ") for cell in row.cells] for row in table.rows]


def row(table: Table, name: str) -> Any:
    (found,) = [row for row in table.rows if row.cells[0] == name]
    return found


# ---- health ----


def test_a_server_without_a_trouble_is_healthy() -> None:
    view = make_view(document())
    assert (view.level, view.headline, list(view.reasons)) == ("good", "Healthy", [])


def test_every_thread_in_a_long_run_while_requests_wait_is_no_good_state() -> None:
    workers = tuple(thread(number, state="running", request="GET /", seconds=seconds) for number, seconds in
                    enumerate((0.5, 2.0)))  # fmt: skip
    full: dict[str, Any] = {"busy": 2, "threads": 2, "max_threads": 2, "workers": workers}
    view = make_view(document(process(**full, waiting_requests=3)))
    assert (view.level, view.headline) == ("warn", "Every thread is busy")
    (reason,) = view.reasons
    assert reason.replace("\u00a0", " ") == "3 requests wait for a thread; the longest run has taken 2.0 s"
    assert make_view(document(process(**full))).level == "good"
    full["workers"] = workers[:1]
    assert make_view(document(process(**full, waiting_requests=3))).level == "good"


def test_one_process_says_why_it_is_not() -> None:
    view = make_view(document(process(healthy=False, unhealthy=("too many threads are stuck",))))
    assert (view.level, view.headline, list(view.reasons)) == ("bad", "Not healthy", ["too many threads are stuck"])


def test_one_of_several_processes_is_named() -> None:
    view = make_view(document(process(1), process(2, healthy=False, unhealthy=("it is overloaded",)), supervisor=True))
    assert (view.level, view.headline) == ("warn", "1 of 2 processes are healthy")
    assert list(view.reasons) == ["process 2: it is overloaded"]


def test_a_process_that_does_not_respond_is_not_healthy() -> None:
    view = make_view(document(process(1), process(2, responding=False, age=34.0), supervisor=True))
    assert view.level == "warn"
    assert "process 2" in view.reasons[0]
    assert rows(view.processes)[1][:2] == ["2", "no answer for 34 s"]
    assert [row.level for row in view.processes.rows] == ["", "bad"]


@pytest.mark.parametrize(("phase", "headline"), [("starting", "Starting"), ("retiring", "Stopping")])
def test_a_process_that_starts_or_ends_has_no_trouble(phase: str, headline: str) -> None:
    others = document(process(1), process(2, phase=phase, healthy=False, unhealthy=("x",)), supervisor=True)
    assert make_view(others).level == "good"
    assert make_view(document(process(1, phase=phase))).headline == headline


# ---- threads ----


def test_the_threads_that_do_something_are_listed_and_the_longest_run_comes_first() -> None:
    workers = (
        thread(0),
        thread(1, state="running", request="GET /a", client="192.0.2.1:5000", seconds=0.02),
        thread(2, state="leading"),
        thread(3, state="running", request="GET /b", client="192.0.2.1:5001", seconds=3.0),
        thread(4, state="stuck", request="GET /c", client="192.0.2.1:5002", seconds=2.0),
        thread(5, state="waiting", request="GET /events", client="192.0.2.1:5003", seconds=90.0),
    )
    table = make_view(document(process(7, workers=workers))).threads
    assert rows(table) == [
        ["7", "worker-4", "stuck", "GET /c", "192.0.2.1:5002", "2.0 s"],
        ["7", "worker-5", "waiting", "GET /events", "192.0.2.1:5003", "1 min 30 s"],
        ["7", "worker-3", "running", "GET /b", "192.0.2.1:5001", "3.0 s"],
        ["7", "worker-1", "running", "GET /a", "192.0.2.1:5000", "20 ms"],
    ]
    assert [row.level for row in table.rows] == ["bad", "", "warn", ""]
    assert table.note == "2 threads are idle"  # one of them leads


def test_threads_of_all_processes_are_listed_together() -> None:
    one = process(1, workers=(thread(0, state="running", request="GET /1", seconds=1.0), thread(1)))
    two = process(2, workers=(thread(0, state="running", request="GET /2", seconds=2.0), thread(1)))
    table = make_view(document(one, two, supervisor=True)).threads
    assert [cells[0] for cells in rows(table)] == ["2", "1"]
    assert table.note == "2 threads are idle"


def test_a_single_idle_thread() -> None:
    assert make_view(document(process(1, workers=(thread(0),)))).threads.note == "1 thread is idle"


def test_a_run_goes_on_while_its_process_does_not_respond() -> None:
    workers = (thread(0, state="running", request="GET /1", seconds=1.0),)
    table = make_view(document(process(1, workers=workers, responding=False, age=5.0))).threads
    assert rows(table)[0][5] == "6.0 s"


def test_of_very_many_threads_the_longest_runs_are_listed() -> None:
    workers = tuple(thread(n, state="running", request=f"GET /{n}", seconds=n + 1.0) for n in range(130))
    table = make_view(document(process(1, workers=workers))).threads
    assert len(table.rows) == 100
    assert table.rows[0].cells[3] == "GET /129"
    assert table.note == "and 30 more, which run for a shorter time"


# ---- numbers ----


def test_limits_have_a_share_and_a_level() -> None:
    listeners = ({"address": "127.0.0.1:80", "backlog": 950, "backlog_limit": 1000},
                 {"address": "unix:/run/x", "backlog": -1, "backlog_limit": -1})  # fmt: skip
    table = make_view(document(process(busy=4, buffered=64 << 20, listeners=listeners))).limits
    assert (row(table, "busy threads").share, row(table, "busy threads").level) == (1.0, "bad")
    assert (row(table, "buffer memory").share, row(table, "buffer memory").level) == (0.25, "")
    assert row(table, "backlog of 127.0.0.1:80").level == "warn"
    assert row(table, "backlog of unix:/run/x").share is None


def test_processes_share_their_listeners_and_add_up_everything_else() -> None:
    busy = {"busy": 3, "connections": 10, "waiting_requests": 2, "handled": 7}
    view = make_view(document(process(1, **busy), process(2, **busy), supervisor=True))
    assert len([row for row in view.limits.rows if row.cells[0].startswith("backlog")]) == 1
    assert (view.now["busy"], view.now["max_threads"], view.now["connections"]) == (6, 8, 20)
    assert view.counters["requests"] == 14


def test_counters_include_processes_that_have_ended() -> None:
    counts = requests(responses=(("GET", 200, 5), ("POST", 503, 2)), duration=histogram(b3=7))
    former = {
        "handled": 100,
        "refused": 4,
        "requests": requests(responses=(("GET", 500, 3),), duration=histogram(b0=3)),
    }
    view = make_view(document(process(requests=counts, refused=1), former=former))
    assert dict(view.counters) == {"requests": 10, "errors": 5, "refused": 5}
    assert view.histograms["duration"][:4] == (3, 0, 0, 7)
    assert row(view.totals, "5xx responses").number == 5
    assert row(view.totals, "5xx responses").level == "warn"
    assert row(view.totals, "requests").level == ""


def test_restarts_are_shown_with_a_supervisor() -> None:
    names = [row.cells[0] for row in make_view(document()).totals.rows]
    assert not any(name.startswith("processes") for name in names)
    several = document(supervisor=True)
    several["supervisor"]["restarts"]["crash"] = 2
    assert row(make_view(several).totals, "processes that crashed").level == "warn"


def test_a_process_of_which_nothing_is_known_yet() -> None:
    one = {**process(1, phase="starting"), "stats": None}
    view = make_view(document(one, supervisor=True))
    assert rows(view.processes)[0] == ["1", "starts", *["\u2013"] * 6]
    assert view.headline == "Starting"


def test_the_script_gets_json() -> None:
    decoded = json.loads(json.dumps(make_view(document()).as_json()))
    assert decoded["version"] == 1
    assert {"rows", "note"} == set(decoded["threads"])
    assert decoded["totals"]["rows"][0]["number"] == 0
