"""The threads that wait for disks: when they start, how many there are, and how they end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import FLUSHING, OWNED
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.scheduler import filethreads
from reserve.engine.scheduler.filethreads import LARGE, FileThreads
from reserve.errors import RequestTimeout
from reserve.testing import MemorySocket
from tests.waiting import PATIENCE, eventually


class Fixture:
    """Two threads at most; each connection waits in :attr:`gate`, and is noted when it is flushed."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.begun: SimpleQueue[Connection] = SimpleQueue()
        self.flushed: SimpleQueue[Connection] = SimpleQueue()
        self.log: list[str] = []
        log = ErrorLog()
        log.failure = lambda text, error, kind="": self.log.append(f"{text}: {error}")  # type: ignore[method-assign]
        self.files = FileThreads(2, self._flush, self._flush, log)

    def _flush(self, connection: Connection) -> None:
        self.begun.put(connection)
        assert self.gate.acquire(timeout=PATIENCE)
        self.flushed.put(connection)
        if connection.closing is not None:
            raise ValueError("it failed")

    def submit(self, *, at_once: bool = False) -> Connection:
        connection = Connection(cast(Any, SimpleNamespace()), cast(Any, MemorySocket()), ("127.0.0.1", 1))
        connection.state = OWNED
        self.files.submit(connection, at_once=at_once)
        return connection


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    fixture.gate.release(100)
    for own in (*fixture.files.stop()[1], *fixture.files.close()):
        own.thread.join(PATIENCE)


def test_threads_start_when_they_are_needed_and_not_more_than_the_limit(fixture: Fixture) -> None:
    files = fixture.files
    assert files.threads == ()
    first = fixture.submit()
    assert fixture.begun.get(timeout=PATIENCE) is first
    assert (first.state, len(files.threads), files.busy()) == (FLUSHING, 1, list(files.threads))
    others = [fixture.submit() for _ in range(3)]
    assert fixture.begun.get(timeout=PATIENCE) is others[0]
    assert len(files.threads) == 2
    fixture.gate.release(4)
    assert {fixture.flushed.get(timeout=PATIENCE) for _ in range(4)} == {first, *others}
    eventually(lambda: not files.busy())
    fixture.gate.release()
    fixture.submit()
    fixture.flushed.get(timeout=PATIENCE)
    assert len(files.threads) == 2, "an idle thread takes it"


def test_what_needs_no_disk_does_not_wait_for_a_thread_that_does(fixture: Fixture) -> None:
    first, second = (fixture.submit(at_once=True) for _ in range(2))
    assert {fixture.begun.get(timeout=PATIENCE) for _ in range(2)} == {first, second}
    with pytest.raises(RuntimeError, match="no thread is free"):
        fixture.submit(at_once=True)
    fixture.gate.release(1)
    fixture.flushed.get(timeout=PATIENCE)
    eventually(lambda: len(fixture.files.busy()) == 1)
    eventually(lambda: fixture.files._unfinished == 1)
    third = fixture.submit(at_once=True)
    assert fixture.begun.get(timeout=PATIENCE) is third


def test_a_thread_goes_on_after_a_failure(fixture: Fixture) -> None:
    fixture.gate.release(2)
    connection = Connection(cast(Any, SimpleNamespace()), cast(Any, MemorySocket()), ("127.0.0.1", 1))
    connection.closing = cast(Any, "fails")
    fixture.files.submit(connection)
    fixture.flushed.get(timeout=PATIENCE)
    eventually(lambda: fixture.log == ["reserve-file-1 failed and goes on: it failed"])
    fixture.submit()
    fixture.flushed.get(timeout=PATIENCE)
    assert len(fixture.files.threads) == 1


def test_a_thread_ends_when_it_has_been_idle(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filethreads, "_IDLE", 0.001)
    fixture.gate.release(2)
    for _ in range(2):
        fixture.submit()
        fixture.flushed.get(timeout=PATIENCE)
        eventually(lambda: fixture.files.threads == ())


def test_large_files_are_closed_on_a_thread_and_small_ones_at_once(fixture: Fixture) -> None:
    closed: SimpleQueue[threading.Thread] = SimpleQueue()

    def close() -> None:
        closed.put(threading.current_thread())

    fixture.files.close_file(close, LARGE - 1)
    assert closed.get_nowait() is threading.current_thread()
    fixture.files.close_file(close, LARGE)
    assert closed.get(timeout=PATIENCE).name == "reserve-file-1"


def test_without_threads_a_large_file_is_closed_at_once(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    closed: list[int] = []
    fixture.files.close_file(lambda: closed.append(1), LARGE)
    assert closed == [1]
    with pytest.raises(RuntimeError):
        fixture.submit()
    assert fixture.files.threads == ()


def test_a_stop_returns_what_has_not_begun_and_still_closes_files(fixture: Fixture) -> None:
    files, closed = fixture.files, SimpleQueue[int]()
    close: Callable[[], None] = lambda: closed.put(1)  # noqa: E731
    begun = [fixture.submit() for _ in range(2)]
    for _ in begun:
        fixture.begun.get(timeout=PATIENCE)
    waiting = [fixture.submit() for _ in range(3)]
    files.close_file(close, LARGE)
    left, threads = files.stop()
    assert left == waiting
    assert {own.connection for own in threads} == set(begun)
    with pytest.raises(RuntimeError):
        fixture.submit()
    files.close_file(close, LARGE)  # by a third thread: these two may hang
    closed.get(timeout=PATIENCE)
    for own in files.close():
        own.thread.join(PATIENCE)
    files.close_file(close, LARGE)
    closed.get_nowait()
    fixture.gate.release(2)
    closed.get(timeout=PATIENCE)  # the file that waited for the two
    for own in threads:
        own.thread.join(PATIENCE)
        assert not own.thread.is_alive()


def test_a_file_whose_close_is_interrupted_does_not_keep_later_files_from_a_thread(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filethreads, "_IDLE", 0.001)
    files, closed = fixture.files, threading.Event()
    interrupts = [RequestTimeout()]

    class Interrupted(SimpleQueue[Any]):
        """The run is interrupted (``--request-timeout``) at the moment at which its file is in the queue."""

        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            super().put(item)
            if interrupts:
                raise interrupts.pop()

    files._jobs = Interrupted()
    with pytest.raises(RequestTimeout):
        files.close_file(closed.set, LARGE)
    assert closed.wait(PATIENCE)
    eventually(lambda: files.threads == ())
    fixture.submit()
    assert len(files.threads) == 1
    fixture.gate.release()
    fixture.flushed.get(timeout=PATIENCE)
