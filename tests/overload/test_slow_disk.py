"""A disk that does not respond: who waits for it, and who is served meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.spool import SpoolFile
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import Site, over_both, serving
from tests.waiting import PATIENCE, eventually

CONTENT = bytes(range(256)) * 4096 * 8
"""More than the kernels of both sides take while the client does not read."""
HTTP = HTTPSettings(access_log=False, health_path="/health")
HEALTH = request("GET", "/health", "Connection: close")


class Disk:
    """One file is not in the page cache, and its disk responds only after :meth:`release`."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.write_bytes(CONTENT)
        self.path = path
        self.threads: set[str] = set()
        """The names of the threads that waited for the disk."""
        self.waiting = 0
        """Calls that wait for the disk now."""
        self._number = path.stat().st_ino
        self._released = threading.Event()
        sendfile, pread, preadv = os.sendfile, os.pread, os.preadv

        def slow_sendfile(out: int, fd: int, offset: int, count: int) -> int:
            self._wait(fd)
            return sendfile(out, fd, offset, count)

        def slow_pread(fd: int, count: int, offset: int) -> bytes:
            self._wait(fd)
            return pread(fd, count, offset)

        def cached(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
            if os.fstat(fd).st_ino == self._number:
                raise BlockingIOError
            return preadv(fd, buffers, offset, flags)

        monkeypatch.setattr(os, "sendfile", slow_sendfile)
        monkeypatch.setattr(os, "pread", slow_pread)
        monkeypatch.setattr(os, "preadv", cached)

    def _wait(self, fd: int) -> None:
        if os.fstat(fd).st_ino == self._number:
            self.threads.add(threading.current_thread().name)
            self.waiting += 1
            self._released.wait(PATIENCE)
            self.waiting -= 1

    def release(self) -> None:
        self._released.set()

    def app(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](open(self.path, "rb"))
        return [b"served"]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    if not hasattr(os, "sendfile") or not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("this platform cannot tell what is in the page cache")
    disk = Disk(tmp_path / "file", monkeypatch)
    yield disk
    disk.release()


def download(site: Site) -> Any:
    return site.connect(request("GET", "/file", "Connection: close"))


def assert_serves(site: Site) -> None:
    assert site.fetch(HEALTH).text == "ok\n"
    assert site.fetch().body == b"served"


@over_both
def test_nobody_else_waits_for_a_slow_disk(disk: Disk, secure: bool) -> None:
    with serving(disk.app, http=HTTP, threads=1, file_threads=2, secure=secure) as site:
        clients = [download(site) for _ in range(5)]
        eventually(lambda: disk.waiting == 2 and site.stats().flushing == 5)
        for _ in range(3):
            assert_serves(site)
        site.wait_for_stats(busy=0, file_threads=2)
        site.clock.advance(1000)  # the clients are not to blame
        assert_serves(site)
        disk.release()
        for client in clients:
            raw, reset = until_closed(client)
            assert (raw.partition(b"\r\n\r\n")[2] == CONTENT, reset) == (True, False)
            client.close()
        site.wait_released()
    assert {name.rpartition("-")[0] for name in disk.threads} == {"reserve-file"}


def test_a_client_that_does_not_read_is_reset_although_its_file_is_on_a_slow_disk(disk: Disk) -> None:
    with serving(disk.app, http=HTTP, threads=1, write_timeout=30.0) as site:
        client = site.connect(request("GET", "/file"), window=2048)
        eventually(lambda: disk.waiting == 1)
        site.clock.advance(1000)
        disk.release()
        eventually(lambda: site.stats().parked + site.stats().flushing == 1 and disk.waiting == 0)
        assert_serves(site)
        site.time_writes_out(30)
        assert until_closed(client)[1]
        site.wait_released()


def test_a_stop_does_not_wait_for_a_disk_that_never_responds(disk: Disk) -> None:
    with serving(disk.app, http=HTTP, threads=1, file_threads=1) as site:
        clients = [download(site) for _ in range(3)]
        eventually(lambda: disk.waiting == 1 and site.stats().flushing == 3)
        site.server.stop(0)
        assert site.server.aborted == 3
        for client in clients:
            assert until_closed(client)[1]
        text = "\n".join(site.log)
        assert "reserve-file-1 is still busy with GET /file from 127.0.0.1:" in text
        assert site.stats().connections == 1, "the thread has it for as long as it hangs"
        disk.release()
        eventually(lambda: site.stats().connections == 0)


def test_a_stop_waits_for_a_slow_disk_until_its_deadline(disk: Disk) -> None:
    with serving(disk.app, http=HTTP, threads=1, file_threads=1) as site:
        clients = [download(site) for _ in range(3)]
        eventually(lambda: disk.waiting == 1 and site.stats().flushing == 3)
        stopper = threading.Thread(target=site.server.stop, args=(30.0,))
        stopper.start()
        eventually(lambda: site.server.stopping)
        disk.release()
        for client in clients:
            response = receive(client)
            assert (response.body == CONTENT, response.whole) == (True, True)
            client.close()
        stopper.join(PATIENCE)
        assert not stopper.is_alive()
        assert site.server.aborted == 0


def test_nobody_else_waits_while_bodies_are_written_to_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, release, threads = SpoolFile.append, threading.Event(), list[str]()

    def slow(file: SpoolFile, data: bytes | memoryview) -> None:
        threads.append(threading.current_thread().name)
        release.wait(PATIENCE)
        append(file, data)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(len(environ["wsgi.input"].read())).encode()]

    monkeypatch.setattr(SpoolFile, "append", slow)
    http = HTTPSettings(access_log=False, health_path="/health", spool_dir=str(tmp_path))
    with serving(app, http=http, threads=1, file_threads=2) as site:
        clients = [site.connect(request("POST", "/", "Connection: close", body=b"x" * 600_000)) for _ in range(4)]
        eventually(lambda: len(threads) == 2)
        for _ in range(3):
            assert site.fetch(HEALTH).text == "ok\n"
            assert site.fetch().body == b"0"
        site.wait_for_stats(busy=0, file_threads=2)
        release.set()
        for client in clients:
            assert receive(client).body == b"600000"
            client.close()
        site.wait_released()
    assert {name.rpartition("-")[0] for name in threads} == {"reserve-file"}


def test_a_stop_does_not_wait_for_a_disk_that_does_not_take_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    append, begun, release = SpoolFile.append, threading.Event(), threading.Event()

    def slow(file: SpoolFile, data: bytes | memoryview) -> None:
        begun.set()
        release.wait(PATIENCE)
        append(file, data)

    monkeypatch.setattr(SpoolFile, "append", slow)
    with serving(lambda environ, start_response: [], http=HTTP, threads=1, file_threads=1) as site:
        clients = [site.connect(request("POST", "/", body=b"x" * 600_000)) for _ in range(2)]
        assert begun.wait(PATIENCE)
        eventually(lambda: site.stats().connections == 2 and site.stats().buffered >= 500_000)
        site.server.stop(0)
        assert site.server.aborted == 2
        for client in clients:
            until_closed(client)
        release.set()
        site.wait_for_stats(connections=0, buffered=0, spooled=0)


def test_without_threads_the_file_is_sent_all_the_same(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.release()
    with serving(disk.app, http=HTTP, threads=1) as site:

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            response = site.fetch(request("GET", "/file", "Connection: close"))
        assert response.body == CONTENT
        assert site.stats().file_threads == 0


def test_the_spool_of_a_response_is_on_a_slow_disk(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read while its application goes on: the worker has lent the connection."""

    def uncached(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", uncached)
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/large":
            return disk.app(environ, start_response)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return large()

    def large() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000
        assert go_on.wait(PATIENCE)
        yield b"end"

    http = HTTPSettings(access_log=False, health_path="/health", response_memory=1000, spool_dir=str(tmp_path))
    with serving(app, http=http, threads=2) as site:
        client = site.connect(request("GET", "/large", "Connection: close"))
        eventually(lambda: site.stats().spooled > 0)
        head = b""
        while site.stats().file_threads == 0:
            head += client.recv(65536)
        assert_serves(site)
        go_on.set()
        raw, reset = until_closed(client)
        raw = head + raw
        assert (raw.count(b"x") >= 200 * 100_000, raw.endswith(b"end\r\n0\r\n\r\n"), reset) == (True, True, False)
        client.close()
        site.wait_released()
