"""The listener of ``--metrics-bind``: what it has at which path, and about whom."""

from __future__ import annotations

import contextlib
import functools
import json
from types import SimpleNamespace
from typing import Any

import pytest

import reserve.apps.http.settings
from reserve.cli.control.monitoring import Monitoring, monitoring_application
from reserve.engine.hooks import Hooks
from reserve.sockets.listeners import listen
from reserve.testing import running
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import connect
from tests.waiting import eventually

OPTIONS = {
    "health_path": "", "live_path": "", "ready_path": "/ok", "metrics_path": "/numbers", "statsd": None,
    "statsd_interval": 10.0, "statsd_tags": False, "server_header": "reserve",
    "reload": False, "reload_include": (), "max_requests": None, "max_requests_jitter": None,
}  # fmt: skip


def process(phase: str = "serving", *, live: bool = True, reasons: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    stats = {"live": live, "unhealthy": reasons, "listeners": []}
    return {"pid": 5, "slot": 0, "generation": 1, "phase": phase, "responding": True, "stats": stats, **more}


def ask(path: str, *processes: dict[str, Any], method: str = "GET", query: str = "") -> tuple[str, bytes]:
    document = {"version": 1, "time": 0.0, "supervisor": None, "processes": list(processes), "former": None}
    server: Any = SimpleNamespace(collector=SimpleNamespace(collect=lambda timeout=2.0: document))
    application = monitoring_application(server, OPTIONS)
    statuses: list[str] = []
    environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": query}
    body = b"".join(application(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], body


@pytest.mark.parametrize("path", ["/health", "/ready", "/ok"])
def test_ready_is_about_all_processes(path: str) -> None:
    assert ask(path, process()) == ("200 OK", b"ok\n")
    assert ask(path, process(), process("retiring", reasons=("it retires",)))[0] == "200 OK"
    assert ask(path, process(), process(reasons=("no listener is open",)))[0].startswith("503")
    assert ask(path, process(), process(responding=False))[0].startswith("503")
    status, body = ask(path, process("starting"), query="json")
    assert status.startswith("503")
    assert json.loads(body)["reasons"] == ["no process serves"]


def test_live_fails_when_one_that_serves_needs_a_restart() -> None:
    assert ask("/live", process("starting")) == ("200 OK", b"ok\n")
    assert ask("/live", process(), process(live=False))[0].startswith("503")
    assert ask("/live", process(), process("stopping", live=False))[0] == "200 OK"


def test_there_is_nothing_else() -> None:
    for path in ("/", "", "/health/", "/metrics/x"):
        assert ask(path, process())[0].startswith("404")
    for path in ("/health", "/metrics", "/numbers"):
        assert ask(path, process(), method="POST")[0].startswith("405")
        assert ask(path, process(), method="HEAD") == ("200 OK", b"")


def test_it_has_threads_and_connections_of_its_own_and_retires_with_the_server() -> None:
    gate = Gate()
    values: Any = OPTIONS
    with running(gate, threads=1, max_connections=1) as served:
        (listener,) = listen("127.0.0.1:0")
        monitoring = Monitoring([listener], values, Hooks())
        assert monitoring.is_wanted
        monitoring.start(served.server)
        with connect(served.address) as busy, connect(listener.getsockname()) as client:
            busy.sendall(request("GET", "/wait"))
            gate.wait_entered()
            client.sendall(request("GET", "/metrics"))
            assert 'reserve_threads{state="busy"} 1\n' in receive(client).text
            assert served.server.stats().accepted == 1
            gate.release()
            receive(busy)
        companion = served.server.companion
        assert companion is not None
        served.server.retire()
        eventually(lambda: companion.retiring)
        monitoring.stop()


def test_connections_that_send_nothing_do_not_keep_a_scrape_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that have been there for longest give their places; the time for a request ends none of them here."""
    patient = functools.partial(reserve.apps.http.settings.HTTPSettings, head_timeout=3600.0)
    monkeypatch.setattr(reserve.apps.http.settings, "HTTPSettings", patient)
    values: Any = OPTIONS
    with running(Gate()) as served, contextlib.ExitStack() as open_ones:
        (listener,) = listen("127.0.0.1:0")
        monitoring = Monitoring([listener], values, Hooks())
        monitoring.start(served.server)
        companion = served.server.companion
        assert companion is not None
        silent = []
        for number in range(64):
            silent.append(open_ones.enter_context(connect(listener.getsockname())))
            eventually(lambda number=number: companion.stats().parked == number + 1)
        for path in ("/metrics", "/ready"):
            with connect(listener.getsockname()) as client:
                client.sendall(request("GET", path))
                assert receive(client).status == 200
        assert silent[0].recv(1) == b""
        silent[-1].sendall(request("GET", "/live"))
        assert receive(silent[-1]).status == 200
        monitoring.stop()


def test_without_options_nothing_is_made() -> None:
    values: Any = OPTIONS
    monitoring = Monitoring([], values, Hooks())
    assert not monitoring.is_wanted
    monitoring.stop()


def test_options_of_statsd_without_it_are_told() -> None:
    lines: list[str] = []
    server: Any = SimpleNamespace(log=SimpleNamespace(warning=lines.append))
    values: Any = {**OPTIONS, "statsd_interval": 5.0, "statsd_tags": True}
    monitoring = Monitoring([], values, Hooks())
    assert monitoring.is_wanted
    monitoring.start(server)
    monitoring.stop()
    assert lines == [
        "--statsd-interval has no effect without --statsd: no metrics are sent",
        "--statsd-tags has no effect without --statsd: no metrics are sent",
    ]
