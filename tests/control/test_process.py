"""What one process tells and does for the control socket, with a real server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import reserve.control.stacks
from reserve.control.collector import (
    LocalCollector,
    Recent,
    SharedCollector,
    SupervisedCollector,
    collector_of,
    own_collector_of,
)
from reserve.control.metrics.page import metrics_page
from reserve.control.page.statuspage import StatusPage
from reserve.control.process import Actions, LocalTarget, ProcessCommands
from reserve.control.protocol import Refusal, Request
from reserve.control.totals import totals
from reserve.engine.logs.logfile import Reopened
from reserve.engine.metrics.stats import Stats
from reserve.engine.polling.threads import all_frames
from reserve.errors import StartupError
from reserve.testing import RunningServer, running
from tests.waiting import PATIENCE, eventually


def get(server: RunningServer, path: str = "/") -> int:
    """The status of the response."""
    data = server.exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), PATIENCE)
    return int(data.split()[1])


class Gate:
    """A WSGI application whose requests for /hold wait until :meth:`open`."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.held = 0

    def open(self) -> None:
        self._open.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/hold":
            self.held += 1
            self.wait_here()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def wait_here(self) -> None:
        assert self._open.wait(PATIENCE)


@contextmanager
def holding(count: int, **options: Any) -> Iterator[tuple[RunningServer, Gate]]:
    """A server with so many requests that wait in the application."""
    gate = Gate()
    with running(gate, **options) as server:
        clients = [threading.Thread(target=get, args=(server, "/hold")) for _ in range(count)]
        for client in clients:
            client.start()
        try:
            eventually(lambda: gate.held == min(count, server.server.stats().max_threads))
            yield server, gate
        finally:
            gate.open()
            for client in clients:
                client.join()


def process_of(server: RunningServer) -> ProcessCommands:
    process = ProcessCommands(lambda level: None)
    process.server = server.server
    return process


def test_stacks_begin_with_the_threads_that_are_stuck() -> None:
    with holding(2, threads=2) as (server, _):
        result = process_of(server).run("stacks", {})
    assert result["pid"] == os.getpid()
    first, second, *others = result["threads"]
    assert first["seconds"] >= second["seconds"] > 0
    for row in (first, second):
        assert row["state"] == "running"
        assert row["request"] == "GET /hold"
        assert row["client"].startswith("127.0.0.1:")
        functions = [frame["function"] for frame in row["frames"]]
        assert "wait_here" in functions
        shown = row["frames"][row["skip"] :]
        assert shown[0]["function"] == "__call__"
        assert shown[0]["file"] == __file__
    assert "MainThread" in {row["name"] for row in others}
    assert all(row["seconds"] == 0 for row in others)


def test_the_stack_of_a_deep_recursion_has_both_ends() -> None:
    gate = Gate()

    def deep(environ: dict[str, Any], start_response: Any, depth: int = 300) -> list[bytes]:
        return deep(environ, start_response, depth - 1) if depth else gate(environ, start_response)

    with running(deep, threads=1) as server:
        client = threading.Thread(target=get, args=(server, "/hold"))
        client.start()
        eventually(lambda: gate.held)
        row = process_of(server).run("stacks", {})["threads"][0]
        gate.open()
        client.join()
    functions = [frame["function"] for frame in row["frames"][row["skip"] :]]
    assert functions[0] == "deep"
    assert "wait_here" in functions
    assert any("frames ..." in name for name in functions)
    assert len(functions) < 130


def test_without_a_gil_no_stack_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve.control.stacks, "all_frames", lambda: None)
    with holding(1, threads=1) as (server, _):
        result = process_of(server).run("stacks", {})
    assert result["threads"][0]["request"] == "GET /hold"
    assert not any(row["frames"] for row in result["threads"])
    assert f"py-spy dump --pid {os.getpid()}" in result["note"]


def test_frames_are_not_looked_at_without_a_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    assert all_frames() is None
    monkeypatch.setattr("sys._is_gil_enabled", lambda: True, raising=False)
    assert threading.get_ident() in (all_frames() or {})


def test_an_import_that_hangs_can_be_looked_at() -> None:
    """There is no server yet."""
    process = ProcessCommands(lambda level: None)
    result = process.run("stacks", {})
    (row,) = [row for row in result["threads"] if row["ident"] == threading.get_ident()]
    assert row["frames"][-1]["function"] in ("_stack", "thread_rows", "_current_frames", "all_frames")
    assert process.run("stats", {}) == {"phase": "starting", "stats": None}
    assert process.run("connections", {})["total"] == 0


def test_connections_say_what_they_wait_for() -> None:
    with holding(2, threads=1) as (server, _), server.connect() as idle:
        process = process_of(server)
        idle.sendall(b"GET /idle HTTP/1.1\r\nHost: x\r\n")

        def found() -> dict[str, dict[str, Any]]:
            return {row["waits_for"]: row for row in process.run("connections", {})["connections"]}

        eventually(lambda: {"", "worker", "head"} <= set(found()))
        rows = found()
        limited = process.run("connections", {"limit": 1})
    assert rows[""]["state"] == "owned"
    assert rows[""]["request"] == "GET /hold"
    assert rows["worker"]["request"] == "GET /hold"
    assert 0 < rows["head"]["seconds_left"] <= 10
    assert (limited["total"], len(limited["connections"]), limited["left_out"]) == (3, 1, 2)


def test_results_have_a_limit() -> None:
    with holding(2, threads=2) as (server, _):
        process = process_of(server)
        everything = process.run("stacks", {})
        limited = process.run("stacks", {"most": 3000})
    assert everything["left_out"] == 0
    assert 0 < len(limited["threads"]) < len(everything["threads"])
    assert len(limited["threads"]) + limited["left_out"] == len(everything["threads"])
    assert limited["threads"][0]["request"] == "GET /hold"


def test_threads_are_added_at_once_for_requests_that_wait() -> None:
    with holding(3, threads=1) as (server, gate):
        assert process_of(server).run("threads", {"min": 2, "max": 3}) == {"pid": os.getpid()}
        eventually(lambda: gate.held == 3)
        stats = server.server.stats()
        assert (stats.threads, stats.max_threads) == (3, 3)


def test_threads_end_when_they_are_idle() -> None:
    with running(Gate(), threads=8) as server:
        assert server.server.stats().threads == 8
        server.server.set_threads(2, 8)
        eventually(lambda: server.server.stats().threads == 2)
        assert get(server) == 200
        server.server.set_threads(5, 5)
        eventually(lambda: server.server.stats().threads == 5)
        server.server.set_threads(1, 1)
        eventually(lambda: server.server.stats().threads == 1)
        for _ in range(5):
            assert get(server) == 200


def test_busy_threads_end_after_their_request() -> None:
    with holding(4, threads=4) as (server, gate):
        server.server.set_threads(1, 1)
        assert server.server.stats().threads == 4
        gate.open()
        eventually(lambda: server.server.stats().threads == 1)
        assert get(server) == 200


def test_numbers_of_threads_have_bounds() -> None:
    with running(Gate(), threads=1) as server, pytest.raises(Refusal, match="threads are 1:5000"):
        process_of(server).run("threads", {"min": 1, "max": 5000})


def test_threads_cannot_change_before_the_server_serves() -> None:
    with pytest.raises(Refusal, match=f"process {os.getpid()} does not serve"):
        ProcessCommands(lambda level: None).run("threads", {"min": 1, "max": 2})


def test_the_log_level_is_set() -> None:
    levels: list[str] = []
    ProcessCommands(levels.append).run("log-level", {"level": "debug"})
    assert levels == ["debug"]


# ---- the target of a server with one process ----


class Calls:
    """Notes the actions."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def actions(self) -> Actions:
        return Actions(lambda: self.seen.append("reload"), self.seen.append, self._reopen)

    def _reopen(self) -> list[Reopened]:
        self.seen.append("reopen")
        return [Reopened("/a.log", None), Reopened("/b.log", OSError(13, "Permission denied"))]


def perform(target: LocalTarget, command: str, **arguments: Any) -> Any:
    results: list[Any] = []
    target.perform(Request(command, arguments), results.append)
    (result,) = results
    return result


def test_the_commands_of_a_server_with_one_process() -> None:
    calls = Calls()
    with running(Gate(), threads=2) as server:
        target = LocalTarget(process_of(server), calls.actions())
        document = perform(target, "status")
        assert document["supervisor"] is None
        assert document["processes"][0]["phase"] == "serving"
        assert totals(document).threads == 2
        assert totals(document).healthy
        assert perform(target, "stacks")["processes"][0]["pid"] == os.getpid()
        assert perform(target, "connections", pid=os.getpid())["processes"][0]["total"] == 0
        with pytest.raises(Refusal, match="there is no process 1 of this server"):
            perform(target, "stacks", pid=1)
        assert perform(target, "threads", min=1, max=3) == {"min": 1, "max": 3, "processes": [os.getpid()]}
        assert perform(target, "reload") == {"reloading": True}
        files = [{"path": "/a.log", "error": ""}, {"path": "/b.log", "error": "Permission denied"}]
        assert perform(target, "log-reopen") == {"processes": [{"pid": os.getpid(), "files": files}]}
        assert perform(target, "stop") == {"stopping": True}
        assert perform(target, "stop", now=True) == {"stopping": True}
        with pytest.raises(Refusal, match="one process and no supervisor"):
            perform(target, "processes", count=3)
        assert "watch" in perform(target, "version")["commands"]
    assert calls.seen == ["reload", "reopen", False, True]


def test_a_server_that_starts_is_not_reloaded() -> None:
    calls = Calls()
    target = LocalTarget(ProcessCommands(lambda level: None), calls.actions())
    assert perform(target, "status")["processes"][0]["phase"] == "starting"
    with pytest.raises(Refusal, match="starting still"):
        perform(target, "reload")
    assert calls.seen == []


# ---- collectors ----


def test_the_collector_of_a_server_on_its_own() -> None:
    with running(Gate(), threads=2) as server:
        collector = collector_of(server.server)
        assert isinstance(collector, LocalCollector)
        assert collector.collect()["processes"][0]["stats"]["threads"] == 2
        server.server.collector = other = LocalCollector()
        assert collector_of(server.server) is other


def test_all_readers_of_a_server_share_one_document_for_a_moment() -> None:
    with running(Gate()) as served:
        server, now = served.server, [100.0]
        server.collector = collector = SharedCollector(server, lambda: now[0])
        page, metrics = StatusPage(collector_of(server)), metrics_page(server)
        process = ProcessCommands(str)
        process.server = server
        target = LocalTarget(process, Actions(int, bool, int))
        asked = []
        stats = server.stats

        def noting() -> Stats:
            asked.append(1)
            return stats()

        server.stats = noting  # type: ignore[method-assign]
        for number in (1, 2):
            for query in ("", "json", "view"):
                assert page.respond({"REQUEST_METHOD": "GET", "QUERY_STRING": query}).status == 200
            assert metrics.respond({"REQUEST_METHOD": "GET"}).status == 200
            assert perform(target, "status") == collector.collect()
            assert len(asked) == number
            now[0] += 0.2
        assert isinstance(own_collector_of(server), LocalCollector)
        own_collector_of(server).collect()
        own_collector_of(server).collect()
        assert len(asked) == 4


def test_an_error_is_shared_as_a_document_is() -> None:
    outcomes: list[Any] = [{"time": 1}, StartupError("gone"), {"time": 2}]
    now, timeouts = [100.0], []

    def make(timeout: float) -> dict[str, Any]:
        timeouts.append(timeout)
        outcome = outcomes.pop(0)
        if isinstance(outcome, StartupError):
            raise outcome
        return dict(outcome)

    recent = Recent(make, lambda: now[0])
    assert [recent.get(2.0), recent.get(2.0)] == [{"time": 1}] * 2
    now[0] += 0.25
    for _ in range(2):
        with pytest.raises(StartupError, match="gone"):
            recent.get(2.0)
    now[0] += 0.25
    assert recent.get(2.0) == {"time": 2}
    assert timeouts == [2.0] * 3


class Supervisor:
    """The other end of a worker's collector: notes the questions, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.count = 0
        self.collector = SupervisedCollector(self)

    def send(self, kind: str, **values: Any) -> None:
        assert kind == "collect"
        self.count += 1
        self.asked.release()

    def answer(self, document: Any) -> None:
        self.collector.receive({"type": "document", "document": document})


def test_a_worker_asks_its_supervisor_once_for_several_that_look() -> None:
    supervisor, results = Supervisor(), []
    threads = [
        threading.Thread(target=lambda: results.append(supervisor.collector.collect(PATIENCE))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert supervisor.asked.acquire(timeout=PATIENCE)
    supervisor.answer({"time": 7})
    for thread in threads:
        thread.join()
    assert results == [{"time": 7}] * 4
    assert supervisor.count == 1


def test_without_a_response_the_document_is_about_this_process() -> None:
    supervisor = Supervisor()
    document = supervisor.collector.collect(0.0)
    assert [process["pid"] for process in document["processes"]] == [os.getpid()]
    supervisor.answer({"time": 8})
    assert supervisor.collector.collect(0.0) == {"time": 8}


def test_a_supervisor_that_reads_nothing_is_not_asked_for_ever() -> None:
    """Each question would stay in the socket, and with no room there the thread that asks would wait for ever."""
    supervisor = Supervisor()
    for _ in range(100):
        supervisor.collector.collect(0.0)
    assert 1 <= supervisor.count <= 10
    supervisor.answer({"time": 8})
    before = supervisor.count
    assert supervisor.collector.collect(0.0) == {"time": 8}
    assert supervisor.count == before + 1


def test_a_supervisor_that_ends_keeps_no_thread_waiting() -> None:
    supervisor, results = Supervisor(), []
    thread = threading.Thread(target=lambda: results.append(supervisor.collector.collect(PATIENCE)))
    thread.start()
    assert supervisor.asked.acquire(timeout=PATIENCE)
    supervisor.collector.end()
    thread.join()
    assert results[0]["processes"][0]["pid"] == os.getpid()
