"""The thread that asks the server, and the stacks that it gets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reserve.control.top.model import Sample, Thread, make_view
from reserve.control.top.source import Failed, Fetched, Fetcher, StackOf, stack_lines
from reserve.errors import ReserveError
from tests.control.top.documents import document, process, stats, worker
from tests.waiting import PATIENCE

THREAD = make_view(Sample.of(document(2e6, process(5, stats(workers=[worker(1, "GET /a", 2.0)]))), 0.0)).threads[0]


class Server:
    """A control socket without a socket: what it answers, and how often it was connected to."""

    def __init__(self) -> None:
        self.is_down = self.ends_once = False
        self.connections = self.closed = 0
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def connect(self) -> Server:
        if self.is_down:
            raise ReserveError("no server listens there")
        self.connections += 1
        return self

    def call(self, command: str, **arguments: Any) -> Any:
        self.calls.append((command, arguments))
        if self.is_down or self.ends_once:
            self.ends_once = False
            raise ReserveError("the server has ended")
        return document() if command == "status" else _stacks()

    def close(self) -> None:
        self.closed += 1


def _stacks(**row: Any) -> dict[str, Any]:
    frames = [{"file": f"/app/{name}.py", "line": 3, "function": name} for name in ("serve", "view", "query")]
    return {
        "processes": [
            {"pid": 5, "threads": [{"ident": THREAD.ident, "request": "GET /a", "frames": frames, "skip": 1, **row}]}
        ]
    }


def _fetching(server: Server, interval: float = 3600.0) -> tuple[Fetcher, Callable[[], Any]]:
    woken = threading.Event()
    fetcher = Fetcher(server.connect, interval, woken.set)
    fetcher.start()

    def next_result() -> Any:
        assert woken.wait(PATIENCE)
        return fetcher.results.get(timeout=PATIENCE)

    return fetcher, next_result


def test_documents_come_and_the_stack_that_was_asked_for() -> None:
    server = Server()
    fetcher, next_result = _fetching(server)
    assert isinstance(next_result(), Fetched)
    fetcher.ask_stack(THREAD)
    result = next_result()
    assert isinstance(result, StackOf)
    assert result.lines[0] == 'query  in "/app/query.py", line 3'
    assert server.calls == [("status", {}), ("stacks", {"pid": 5})]
    fetcher.close(PATIENCE)
    assert (server.connections, server.closed) == (1, 1)


def test_it_connects_again_when_the_server_is_back() -> None:
    server = Server()
    fetcher, next_result = _fetching(server, interval=0.001)
    assert isinstance(next_result(), Fetched)
    server.is_down = True
    while not isinstance(result := next_result(), Failed):
        pass
    assert result.reason == "no server listens there"
    server.is_down = False
    while not isinstance(next_result(), Fetched):
        pass
    fetcher.close(PATIENCE)
    assert server.connections == 2
    assert server.closed == 2


def test_a_connection_that_a_reload_has_ended_is_made_again_at_once() -> None:
    server = Server()
    fetcher, next_result = _fetching(server)
    next_result()
    server.ends_once = True
    fetcher.ask_stack(THREAD)
    assert next_result().error == ""
    fetcher.close(PATIENCE)
    assert (server.connections, server.closed) == (2, 2)


def test_a_stack_that_cannot_be_had_is_an_error_to_show() -> None:
    server = Server()
    fetcher, next_result = _fetching(server)
    next_result()
    server.is_down = True
    fetcher.ask_stack(THREAD)
    assert next_result() == StackOf(THREAD, (), "no server listens there")
    fetcher.close(PATIENCE)


def test_a_stack_has_the_lines_of_the_source_and_not_the_frames_of_the_server(tmp_path: Path) -> None:
    file = tmp_path / "view.py"
    file.write_text("def view():\n    wait()\n")
    frames = [
        {"file": "/reserve/worker.py", "line": 9, "function": "run"},
        {"file": str(file), "line": 2, "function": "view"},
        {"file": str(tmp_path / "missing.py"), "line": 1, "function": "wait"},
        {"file": "", "line": 0, "function": "... 7 frames ..."},
    ]
    assert stack_lines(_stacks(frames=frames), THREAD) == (
        "... 7 frames ...",
        f'wait  in "{tmp_path}/missing.py", line 1',
        f'view  in "{file}", line 2',
        "    wait()",
    )


def test_a_thread_that_does_something_else_by_now_says_so() -> None:
    assert stack_lines(_stacks(request="GET /other"), THREAD)[0] == "(by now: GET /other)"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"processes": []}, "process 5 has ended"),
        (None, "process 5 has ended"),
        ({"processes": [{"pid": 5, "responding": False}]}, "process 5 does not respond"),
        ({"processes": [{"pid": 5, "threads": []}]}, "reserve-worker-1 of process 5 has ended"),
        (_stacks(frames=[], skip=0), "the thread runs no Python code"),
        ({"processes": [{**_stacks(frames=[])["processes"][0], "note": "this Python has no GIL"}]}, "no GIL"),
    ],
)
def test_why_there_is_no_stack(result: Any, expected: str) -> None:
    with pytest.raises(ReserveError, match=expected):
        stack_lines(result, THREAD)


def test_a_thread_is_told_from_one_with_the_same_name() -> None:
    assert isinstance(THREAD, Thread)
    with pytest.raises(ReserveError, match="has ended"):
        stack_lines(_stacks(ident=THREAD.ident + 1), THREAD)
