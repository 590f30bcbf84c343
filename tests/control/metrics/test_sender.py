"""Which process sends the metrics to StatsD, and what of which interval."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from reserve.control.metrics.sender import StatsDSender
from reserve.control.metrics.target import StatsDTarget
from reserve.testing import running
from tests.apps.http.doubles import hello
from tests.apps.http.responses import receive, request
from tests.clients import connect
from tests.waiting import PATIENCE, eventually

OWN = os.getpid()


class Documents:
    """A collector whose documents the test makes."""

    def __init__(self) -> None:
        self.processes: list[dict[str, Any]] = []
        self.accepted = 0

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        return {
            "version": 1,
            "time": 0.0,
            "supervisor": {"pid": 1, "wanted": 2, "generation": 1, "uptime": 1.0, "restarts": {}},
            "processes": self.processes,
            "former": {"accepted": self.accepted},
        }


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, kind: str = "") -> None:
        self.lines.append(text)


def process(pid: int, slot: int, **more: Any) -> dict[str, Any]:
    return {"pid": pid, "slot": slot, "generation": 1, "phase": "serving", "responding": True, "stats": None, **more}


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE)
        yield sock


def sender_to(receiver: socket.socket, collector: Any, interval: float = 3600.0) -> StatsDSender:
    host, port = receiver.getsockname()
    return StatsDSender(collector, StatsDTarget(host, port, "reserve"), interval, Log())


def received(receiver: socket.socket) -> list[str]:
    """The lines that have arrived by now; on the loopback interface that is when they are sent."""
    receiver.setblocking(False)
    lines: list[str] = []
    try:
        while True:
            lines += receiver.recv(65535).decode().splitlines()
    except BlockingIOError:
        return lines


def accepted(lines: list[str]) -> list[str]:
    return [line for line in lines if "accepted" in line]


@pytest.mark.parametrize(
    ("processes", "sends"),
    [
        ([process(OWN, 0), process(1, 1)], True),
        ([process(1, 0), process(OWN, 1)], False),
        ([process(1, 0, responding=False), process(OWN, 1)], True),
        ([process(1, 0, phase="retiring"), process(OWN, 1)], True),
        ([process(1, 0, phase="starting"), process(OWN, 1)], True),
        ([process(1, 0, generation=2), process(OWN, 0, phase="retiring")], False),
        ([process(OWN, 0, phase="stopping")], True),
        ([], False),
    ],
)
def test_the_first_process_that_serves_sends(
    receiver: socket.socket, processes: list[dict[str, Any]], sends: bool
) -> None:
    documents = Documents()
    documents.processes = processes
    sender = sender_to(receiver, documents)
    sender.send()
    documents.accepted = 7
    sender.send()
    assert accepted(received(receiver)) == (["reserve.connections_accepted:7|c"] if sends else [])


def test_a_process_that_takes_over_sends_what_was_counted_since_the_last_moment(receiver: socket.socket) -> None:
    documents = Documents()
    documents.processes = [process(1, 0), process(OWN, 1)]
    sender = sender_to(receiver, documents)
    sender.send()
    documents.accepted = 100  # which the other process sends
    sender.send()
    documents.processes = [process(OWN, 1)]
    documents.accepted = 105
    sender.send()
    assert accepted(received(receiver)) == ["reserve.connections_accepted:5|c"]


def test_a_process_that_was_stopped_for_a_while_sends_nothing_twice(
    receiver: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = Documents()
    documents.processes = [process(OWN, 0), process(1, 1)]
    sender = sender_to(receiver, documents, 10.0)
    times = iter([0.0, 18.0, 28.0])
    monkeypatch.setattr("reserve.control.metrics.sender.time.monotonic", lambda: next(times))
    sender.send()
    documents.accepted = 50
    sender.send()
    assert received(receiver) == []
    documents.accepted = 52
    sender.send()
    assert accepted(received(receiver)) == ["reserve.connections_accepted:2|c"]


def test_what_cannot_be_sent_is_logged() -> None:
    log = Log()
    documents = Documents()
    documents.processes = [process(OWN, 0)]
    sender = StatsDSender(documents, StatsDTarget("name.invalid", 8125, ""), 10.0, log)
    sender.send()
    sender.send()
    (line,) = log.lines
    assert line.startswith("--statsd: nothing can be sent to name.invalid:8125: ")


def test_the_last_counts_are_sent_at_the_end(receiver: socket.socket) -> None:
    from reserve.control.collector import LocalCollector

    with running(hello) as served:
        sender = sender_to(receiver, LocalCollector(served.server))
        begun = sender._collector.collect  # the thread has looked once before the request
        looked: list[object] = []

        def collect(timeout: float = 2.0) -> dict[str, Any]:
            looked.append(timeout)
            return begun(timeout)

        sender._collector.collect = collect  # type: ignore[method-assign]
        sender.start()
        eventually(lambda: sender._before is not None)
        with connect(served.address) as client:
            client.sendall(request())
            receive(client)
        # A client has its response before it is counted.
        eventually(lambda: served.server.stats().requests.responses)
        sender.stop()
        assert "reserve.requests.GET.200:1|c" in received(receiver)
        assert not sender._thread.is_alive()


def test_a_host_that_no_name_can_be_is_reported_and_the_thread_goes_on() -> None:
    log = Log()
    documents = Documents()
    documents.processes = [process(OWN, 0)]
    sender = StatsDSender(documents, StatsDTarget("a..b", 8125, "reserve"), 3600.0, log)
    for _ in range(2):
        sender.send()
    assert log.lines[0].startswith("--statsd: nothing can be sent to a..b:8125: ")
