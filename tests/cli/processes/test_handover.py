"""What is told of a server with one process while a successor takes over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import reserve.control.collector
from reserve.cli.processes import handover
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.handover import GENERATION, HandOver
from reserve.control.collector import collector_of, own_collector_of
from reserve.control.commands import check
from reserve.control.document import COUNTERS
from reserve.control.protocol import Refusal, Request
from reserve.control.totals import totals
from reserve.testing import running
from reserve.wait import wait_for
from tests.engine.conftest import echo
from tests.waiting import PATIENCE, eventually

PID = 7


class Successor:
    """The other end of the channel. Answers on a thread of its own, with the stats of so many requests."""

    def __init__(self) -> None:
        self.own, self.channel = Channel.pair()
        self.handled = 5
        self.is_silent = False
        self.asked: list[str] = []
        self.documents: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for message in self.channel.messages():
            if message["type"] == "document":
                self.documents.append(message["document"])
            elif message["type"] == "ask" and not self.is_silent:
                self.asked.append(message["command"])
                result = {"stats": self.stats()} if message["command"] == "stats" else {"pid": PID, "responding": True}
                self.channel.send("answer", id=message["id"], result=result)

    def stats(self) -> dict[str, Any]:
        return {**dict.fromkeys(COUNTERS, self.handled), "workers": [], "unhealthy": []}

    def end(self) -> None:
        self.channel.shutdown()
        self._thread.join(PATIENCE)
        self.channel.close()


class Both:
    """A server, its hand-over, and the thread that reads what the successor sends."""

    def __init__(self, server: Any, successor: Successor) -> None:
        self.server, self.successor = server, successor
        self.lines: list[str] = []
        self.hand_over = HandOver(server, self.lines.append)
        self.ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def begin(self, *unread: dict[str, Any]) -> None:
        self.hand_over.begin(PID, self.successor.own, unread)
        self._thread.start()

    def _run(self) -> None:
        while not self.ends.is_set():
            wait_for(self.successor.own.fileno(), 0.02)
            self.hand_over.read()

    def end(self) -> None:
        self.ends.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)
        self.successor.end()
        self.successor.own.close()

    def perform(self, command: str, **arguments: Any) -> Any:
        results: list[Any] = []
        request = check(Request(command, arguments), readonly=False)
        assert self.hand_over.perform(request, results.append)
        eventually(lambda: results)
        return results[0]

    def handled(self) -> int:
        return totals(self.hand_over.collect()).handled


@contextmanager
def _served() -> Iterator[Both]:
    with running(echo, threads=2) as server:
        both = Both(server.server, Successor())
        try:
            yield both
        finally:
            both.end()


@pytest.fixture
def both() -> Iterator[Both]:
    with _served() as made:
        yield made


def test_before_the_hand_over_there_is_one_process(both: Both) -> None:
    document = both.hand_over.collect()
    assert [one["pid"] for one in document["processes"]] == [os.getpid()]
    assert document["supervisor"] is None
    assert not both.hand_over.perform(Request("status", {}), lambda result: None)


def test_before_the_hand_over_all_readers_share_a_document(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve.control.collector, "FRESH", float("inf"))
    both.server.collector = both.hand_over
    document = collector_of(both.server).collect()
    assert collector_of(both.server).collect() is document
    assert own_collector_of(both.server).collect() is not document
    both.begin()
    assert len(collector_of(both.server).collect()["processes"]) == 2


def test_one_document_has_both(both: Both) -> None:
    events: list[str] = []
    both.hand_over.on_begin = lambda: events.append(str(len(both.hand_over.collect()["processes"])))
    both.begin()
    assert events == ["1"]
    both.server.retire()
    both.hand_over._relay._document = None  # type: ignore[union-attr]  # one made before that is used for a moment
    document = both.hand_over.collect()
    found = {one["pid"]: (one["phase"], one["generation"], one["responding"]) for one in document["processes"]}
    assert found[PID] == ("serving", GENERATION, True)
    assert found[os.getpid()] in (("retiring", 1, True), ("stopping", 1, True))
    assert (document["supervisor"]["pid"], document["supervisor"]["wanted"]) == (os.getpid(), 1)
    assert totals(both.perform("status")).handled == both.handled() == 5
    assert [one["pid"] for one in both.perform("stacks")["processes"]] == [PID, os.getpid()]
    assert [one["pid"] for one in both.perform("connections", pid=PID)["processes"]] == [PID]
    assert both.perform("threads", max=3)["processes"] == [PID]
    with pytest.raises(Refusal, match="the supervisor of this server starts when"):
        both.perform("processes", count=2)


def test_the_successor_gets_the_document_that_it_has_asked_for_with_its_first_messages(both: Both) -> None:
    both.begin({"type": "collect", "id": 1})
    eventually(lambda: len(both.successor.documents) >= 2)  # one is sent without a question
    assert len(both.successor.documents[-1]["processes"]) == 2


def test_counts_never_go_back(both: Both) -> None:
    both.begin()
    assert both.handled() == 5
    both.successor.is_silent = True
    both.hand_over._relay._document = None  # type: ignore[union-attr]  # it is used for a fraction of a second
    assert totals(both.hand_over.collect(0.0)).handled == 5
    assert both.handled() == 5  # and is told as not responding
    both.server.stop()
    both.hand_over.own_ended()
    both.hand_over.own_ended()
    eventually(lambda: len(both.hand_over.collect()["processes"]) == 1)
    assert both.handled() == 5
    assert both.hand_over.collect()["supervisor"]["restarts"]["reload"] == 1


def test_a_successor_that_is_replaced_is_counted(both: Both) -> None:
    both.begin()
    assert both.handled() == 5
    both.successor.handled = 6
    both.successor.channel.send("last", stats=both.successor.stats())
    both.hand_over.successor_ended()
    assert both.handled() == 6
    first, second = both.successor, Successor()
    second.handled = 0
    both.hand_over.replaced(8, second.own)
    both.successor = second
    first.end()
    eventually(lambda: totals(both.hand_over.collect()).states["starting"] == 1)
    second.channel.send("ready", banner="")
    eventually(lambda: totals(both.hand_over.collect()).states["serving"] == 2)  # this server was not told to retire
    first.own.close()
    assert both.handled() == 6
    assert both.hand_over.collect()["supervisor"]["restarts"]["crash"] == 1


def test_what_is_for_the_supervisor_is_kept_for_it(both: Both) -> None:
    both.begin()
    for _ in range(2):
        both.successor.channel.send("report", text="it hangs", about="hang")
    both.successor.channel.send("recycle", reason="it is old")
    eventually(lambda: both.hand_over.due == "it is old")
    assert both.lines == [f"worker process {PID}: it hangs"]
    both.handled()
    passed = both.hand_over.passed()
    assert passed["known"][str(PID)]["handled"] == 5
    assert passed["former"]["handled"] == 0
    assert passed["uptime"] > 0
    with pytest.raises(Refusal, match="becomes the supervisor"):
        both.hand_over.perform(Request("threads", {"min": 1, "max": 2}), lambda result: None)
    told: list[Any] = []
    assert both.hand_over.perform(Request("status", {}), told.append)  # the last that is known
    assert told[0]["processes"]
    assert both.handled() == 5


def test_no_message_is_cut_by_the_supervisor(both: Both) -> None:
    """The program that is executed goes on with the socket, and does not know what was read of it."""
    both.begin()
    both.handled()
    both.successor.is_silent = True  # an answer would be in the middle of the message
    both.successor.channel.sock.sendall(b'{"type": "recycle", ')
    eventually(lambda: not both.successor.own.is_between)
    threading.Timer(0.1, both.successor.channel.sock.sendall, [b'"reason": "it is old"}\n']).start()
    both.hand_over.passed()
    assert both.successor.own.is_between
    assert both.hand_over.due == "it is old"


def test_a_malformed_message_is_a_line_and_changes_nothing(both: Both) -> None:
    """As with the supervisor: see ``tests/supervisor/test_messages.py``."""
    both.begin({"type": "ready", "retires_within": "soon"}, {"type": "last"})
    channel = both.successor.channel
    channel.send("last", stats=7)
    channel.send("report", text="it hangs", about=[1])
    channel.send("answer", id=[], result=3)
    channel.send("recycle", reason="it is old")
    eventually(lambda: both.hand_over.due == "it is old")
    assert both.lines == [
        f"worker process {PID} has sent a message that cannot be read: retires_within is no number of seconds"
    ]
    assert both.handled() == 5


def test_a_malformed_answer_is_an_answer(both: Both) -> None:
    both.successor.handled = -1
    both.begin()
    document = both.hand_over.collect()
    assert [one["responding"] for one in document["processes"]] == [True, True]
    assert totals(document).handled == 0
    assert len(both.lines) == 1


@pytest.mark.parametrize("line", [b"3", b"[" * 100_000, b'{"type": "ready", "retires_within": "x"}'])
def test_a_successor_that_starts_with_a_malformed_message_is_killed(
    both: Both, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    monkeypatch.setattr(handover._Successor, "signal", lambda successor, number: signals.append(number))
    both.hand_over.begin(PID, both.successor.own)
    both.hand_over.successor_ended()
    first, both.successor = both.successor, Successor()
    both.hand_over.replaced(8, both.successor.own)
    both.successor.channel.sock.sendall(line + b"\n")
    eventually(lambda: both.hand_over.read() or both.lines)
    assert signals == [signal.SIGKILL]
    assert both.lines[0].startswith("worker process 8 has sent a message that cannot be read: ")
    first.end()
    first.own.close()


def test_what_was_reported_needs_no_memory_without_end(both: Both) -> None:
    reports = [{"type": "report", "about": f"kind {number}", "text": "text"} for number in range(600)]
    both.begin(*reports, reports[-1])
    assert len(both.lines) == len(reports)
    assert len(both.hand_over._reported) == handover._MOST_REPORTED


def test_the_last_counts_are_read_after_any_number_of_bytes(both: Both) -> None:
    both.hand_over.begin(PID, both.successor.own)
    both.successor.handled = 6
    both.successor.channel.send("report", about="long", text="x" * 150_000)
    both.successor.channel.send("last", stats=both.successor.stats())
    both.hand_over.successor_ended()
    assert both.handled() == 6


def test_a_stop_is_for_both(both: Both) -> None:
    both.begin()
    both.hand_over.stop()
    both.hand_over._relay._document = None  # type: ignore[union-attr]
    phases = {one["pid"]: one["phase"] for one in both.hand_over.collect()["processes"]}
    assert phases[PID] == "stopping"
    with pytest.raises(Refusal, match="stopping"):
        both.perform("threads", max=3)
