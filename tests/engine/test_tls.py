"""The server's use of its adapter: when the certificate files are checked, and on which thread."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.tls import ServerTLS
from reserve.errors import StartupError, UsageError
from reserve.ssl.adapter import SSLAdapter
from reserve.testing import FakeClock
from tests.engine.conftest import Log, Serve
from tests.engine.sessions import ClearAdapter
from tests.waiting import PATIENCE

INTERVAL = 10.0


class Files(SSLAdapter):
    """An adapter whose files change when the test says so."""

    def __init__(self) -> None:
        self.new = False
        self.bad: Exception | None = None
        self.looked = self.loaded = 0
        self.may_look = threading.Event()
        self.may_look.set()
        self.loads = threading.Semaphore(0)
        """Released by each load as it begins."""
        self.may_load = threading.Event()
        self.may_load.set()
        self.threads: list[str] = []

    def changed(self) -> bool:
        assert self.may_look.wait(PATIENCE)
        self.looked += 1
        self.threads.append(threading.current_thread().name)
        return self.new

    def reload(self) -> None:
        self.loads.release()
        assert self.may_load.wait(PATIENCE)
        self.new = False
        if self.bad is not None:
            raise self.bad
        self.loaded += 1


class World:
    """The TLS of a server with its clock, its log and its adapter."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.clock = FakeClock()
        self.logged = Log()
        self.log = ErrorLog(self.logged)
        self.files = Files()
        self.tls = ServerTLS(self.clock, self.log, interval)
        self.tls.adopt(self.files)

    def check(self) -> None:
        """A client connects; the check that follows is over when this returns."""
        self.tls.check_files()
        self.tls.close()

    def reload(self) -> None:
        """The same for a check that is requested."""
        self.tls.reload_in_background()
        self.tls.close()

    def lines(self, level: int = 0) -> list[str]:
        self.log.stop()  # the log was never started: its lines are written here
        return [text for at, text in self.logged.lines if at >= level]


def test_files_are_checked_while_clients_connect_and_not_too_often() -> None:
    world = World()
    world.check()
    assert world.files.looked == 0  # they were read at the start
    for _ in range(5):
        world.clock.advance(INTERVAL)
        world.check()
        world.check()
    assert (world.files.looked, world.files.loaded) == (5, 0)
    assert set(world.files.threads) == {"reserve-tls-reload"}
    assert world.lines() == []


def test_new_files_are_loaded_once() -> None:
    world = World()
    world.files.new = True
    for _ in range(3):
        world.clock.advance(INTERVAL)
        world.check()
    assert (world.files.looked, world.files.loaded) == (3, 1)
    assert world.lines() == ["the certificates were loaded again; new connections get them"]


@pytest.mark.parametrize("error", [StartupError("the key does not fit"), ValueError("broken")])
def test_files_that_cannot_be_used_are_logged_once_and_the_next_ones_are_loaded(error: Exception) -> None:
    world = World()
    world.files.new, world.files.bad = True, error
    for _ in range(3):
        world.clock.advance(INTERVAL)
        world.check()
    assert world.files.loaded == 0
    world.files.new, world.files.bad = True, None
    world.clock.advance(INTERVAL)
    world.check()
    assert world.files.loaded == 1
    (line,) = world.lines(logging.ERROR)
    assert "the new certificates are not taken, the old ones stay" in line
    assert str(error) in line
    assert ("Traceback" in line) == isinstance(error, ValueError)


def test_without_an_interval_the_files_are_not_checked() -> None:
    world = World(interval=0.0)
    world.clock.advance(1e6)
    world.check()
    assert world.files.looked == 0


def test_checks_of_a_slow_disk_follow_each_other_and_only_close_waits_for_them() -> None:
    world = World()
    world.files.may_look.clear()
    for _ in range(3):
        world.clock.advance(INTERVAL)
        world.tls.check_files()
    assert world.files.looked == 0
    closed = threading.Event()
    closer = threading.Thread(target=lambda: (world.tls.close(), closed.set()))
    closer.start()
    assert not closed.is_set()
    world.files.may_look.set()
    closer.join(PATIENCE)
    assert closed.is_set()
    assert world.files.looked == 2  # once more, because the first check may have seen the old files


def test_a_reload_that_is_requested_during_a_check_follows_it() -> None:
    """The check that is running may have read the old files."""
    world = World()
    world.files.may_load.clear()
    world.tls.reload_in_background()
    assert world.files.loads.acquire(timeout=PATIENCE)
    for _ in range(3):
        world.tls.reload_in_background()
    world.files.may_load.set()
    world.tls.close()
    assert world.files.loaded == 2
    world.reload()
    assert world.files.loaded == 3
    assert world.lines() == ["the certificates were loaded again; new connections get them"] * 3


def test_a_requested_reload_loads_unchanged_files_and_reports_errors() -> None:
    world = World()
    world.tls.reload()
    world.reload()
    assert (world.files.looked, world.files.loaded) == (0, 2)
    world.files.bad = StartupError("gone")
    with pytest.raises(StartupError, match="gone"):
        world.tls.reload()
    world.reload()
    assert world.lines(logging.ERROR) == ["the new certificates are not taken, the old ones stay: gone"]


def test_without_tls_there_is_nothing_to_load() -> None:
    tls = ServerTLS(FakeClock(), ErrorLog(), INTERVAL)
    tls.reload_in_background()
    tls.close()
    with pytest.raises(UsageError, match="no TLS"):
        tls.reload()


def test_a_check_that_gets_no_thread_is_logged_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.clock.advance(INTERVAL)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        world.check()
    world.clock.advance(INTERVAL)
    world.check()
    assert world.files.looked == 1
    (line,) = world.lines(logging.ERROR)
    assert "can't start new thread" in line


def test_a_certificate_that_cannot_be_used_fails_the_start(serve: Serve) -> None:
    class Bad(ClearAdapter):
        def prepare(self, protocols: Any) -> None:
            raise StartupError("no such file")

    with pytest.raises(StartupError, match="no such file"):
        serve(lambda *arguments: None, ssl_adapter=Bad())


def test_an_object_that_is_no_adapter_is_refused(serve: Serve) -> None:
    with pytest.raises(UsageError, match="no TLS adapter"):
        ServerTLS(FakeClock(), ErrorLog(), 1.0).adopt(object())
