"""Files from a server on sockets: which threads they need, what clients get, and what goes wrong with a disk."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.folder import Folder
from reserve.testing import running
from tests.apps.cgi.protocols import Protocol, each_protocol
from tests.apps.http.doubles import Gate, hello
from tests.apps.http.responses import receive, request, split
from tests.clients import until_closed
from tests.overload.site import over_both, serving
from tests.waiting import PATIENCE, eventually

BIG = bytes(range(256)) * 4096 * 8
"""More than the kernels of both sides take while the client does not read."""
CLOSE = "Connection: close"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "small.txt").write_text("small")
    (folder / "empty.txt").write_text("")
    (folder / "middle.bin").write_bytes(BIG[:100_000])
    (folder / "big.bin").write_bytes(BIG)
    return folder


def files(folder: Path, **settings: Any) -> HTTPSettings:
    return HTTPSettings(access_log=False, health_path="/health", static=(f"/files={folder}",), **settings)


@over_both
def test_files_are_sent_while_every_worker_is_stuck_and_the_queue_is_full(folder: Path, secure: bool) -> None:
    gate = Gate()
    with serving(gate, http=files(folder), threads=2, max_queued=1, secure=secure) as site:
        busy = [site.connect(request("GET", "/wait")) for _ in range(2)]
        gate.wait_entered(2)
        queued = site.connect(request())
        site.wait_queued(1)
        assert site.fetch().status == 503
        kept = site.connect()
        for name, content in (
            ("small.txt", b"small"),
            ("empty.txt", b""),
            ("big.bin", BIG),
            ("middle.bin", BIG[:100_000]),
        ):
            for _ in range(2):
                kept.sendall(request("GET", f"/files/{name}"))
                assert receive(kept).body == content
                kept.sendall(request("HEAD", f"/files/{name}"))
                response = receive(kept, head=True)
                assert (response.status, response.fields["content-length"]) == (200, str(len(content)))
        for target, status in (("/files/no", 404), ("/files/../x", 404), ("/files", 404)):
            kept.sendall(request("GET", target))
            assert receive(kept).status == status
        kept.sendall(request("OPTIONS", "/files/small.txt"))
        assert receive(kept, head=True).status == 204
        kept.sendall(request("DELETE", "/files/small.txt"))
        assert receive(kept).status == 405
        kept.sendall(request("GET", "/files/small.txt") * 20 + request("GET", "/files/small.txt", CLOSE))
        raw, reset = until_closed(kept)
        assert [response.text for response in split(raw)] == ["small"] * 21
        assert not reset
        gate.release()
        assert [receive(client).body for client in (*busy, queued)] == [b"served"] * 3


class Disk:
    """Opening a file of one name blocks until :meth:`release`."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[str] = []
        """The names of the threads that wait, or have waited."""
        self._released = threading.Event()
        openat = Folder.open

        def open_slowly(folder: Folder, names: Any) -> Any:
            if list(names) == [name]:
                self.waiting.append(threading.current_thread().name)
                assert self._released.wait(PATIENCE)
            return openat(folder, names)

        monkeypatch.setattr(Folder, "open", open_slowly)

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk("small.txt", monkeypatch)
    yield disk
    disk.release()


def test_a_disk_that_does_not_respond_holds_file_threads_and_nothing_else(folder: Path, disk: Disk) -> None:
    with serving(hello, http=files(folder), threads=1, file_threads=2, max_queued=3) as site:
        stuck = [site.connect(request("GET", "/files/small.txt")) for _ in range(2)]
        eventually(lambda: len(disk.waiting) == 2)
        assert all(name.startswith("reserve-file-") for name in disk.waiting)
        assert site.fetch(request("GET", "/health")).status == 200
        assert site.fetch().status == 200
        queued = [site.connect(request("GET", "/files/middle.bin")) for _ in range(4)]
        eventually(lambda: site.server._runtime.stepper.files.waiting == 4)
        refused = site.fetch(request("GET", "/files/middle.bin"))
        assert (refused.status, refused.fields["retry-after"]) == (503, "1")
        eventually(lambda: "--max-queued" in "".join(site.log))
        assert site.fetch(request("GET", "/health")).status == 200
        assert site.fetch().status == 200
        disk.release()
        assert [receive(client).body for client in stuck] == [b"small"] * 2
        assert {receive(client).body for client in queued} == {BIG[:100_000]}


def test_a_stop_does_not_wait_for_such_a_disk(folder: Path, disk: Disk) -> None:
    with running(hello, http=files(folder), threads=1, file_threads=1) as served, served.connect() as client:
        client.sendall(request("GET", "/files/small.txt"))
        eventually(lambda: len(disk.waiting) == 1)
        served.server.request_stop(0)
        assert until_closed(client)[0] == b""
        disk.release()


def test_what_is_missing_goes_to_the_application_if_asked(folder: Path) -> None:
    gate = Gate()
    with serving(gate, http=files(folder, static_missing="app")) as site:
        with site.connect() as client:
            for target, body in (("no", b"served"), ("small.txt", b"small"), ("..%2fx", b"served"), ("", b"served")):
                client.sendall(request("GET", f"/files/{target}"))
                assert receive(client).body == body
            client.sendall(request("POST", "/files/no", body=b"x"))
            assert receive(client).body == b"served"
            client.sendall(request("POST", "/files/small.txt", body=b"x"))
            assert receive(client).status == 405
        assert gate.paths == ["/files/no", "/files/../x", "/files/", "/files/no"]


def test_a_body_is_read_and_refused(folder: Path) -> None:
    with serving(hello, http=files(folder)) as site, site.connect() as client:
        for body in (b"x", b"x" * 500_000):
            client.sendall(request("POST", "/files/small.txt", body=body))
            assert receive(client).status == 405
        client.sendall(request("GET", "/files/small.txt", body=b"x", chunks=1))
        assert receive(client).body == b"small"


def test_a_file_that_becomes_shorter_is_never_taken_for_complete(folder: Path) -> None:
    with serving(hello, http=files(folder)) as site:
        client = site.connect(request("GET", "/files/big.bin", minor=0), window=65536)
        head = client.recv(1000)
        assert head.startswith(b"HTTP/1.1 200 ")
        os.truncate(folder / "big.bin", 10)
        raw, reset = until_closed(client)
        assert reset
        assert len(head) + len(raw) < len(BIG)


def test_a_file_that_grows_or_is_replaced_is_sent_as_it_was(folder: Path) -> None:
    with serving(hello, http=files(folder)) as site:
        client = site.connect(request("GET", "/files/big.bin", CLOSE), window=65536)
        start = client.recv(10)
        with open(folder / "big.bin", "ab") as file:
            file.write(b"more")
        (folder / "new").write_text("new")
        os.replace(folder / "new", folder / "big.bin")
        raw, reset = until_closed(client)
        assert (start + raw).partition(b"\r\n\r\n")[2] == BIG
        assert not reset
        assert site.fetch(request("GET", "/files/big.bin")).body == b"new"


def test_an_error_of_the_disk_is_a_500_that_is_logged_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Folder, "open", fail)
    with serving(hello, http=files(folder)) as site:
        with site.connect() as client:
            for _ in range(3):
                client.sendall(request("GET", "/files/small.txt"))
                assert receive(client).status == 500
        eventually(lambda: site.log)
        (line,) = [line for line in site.log if "static file" in line]
        assert "500: a static file cannot be sent: [Errno 5] Input/output error" in line


@each_protocol
def test_a_query_that_no_field_can_have_is_a_500_on_the_redirect(protocol: Protocol, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "index.html").write_text("x")
    with running(protocol.app(hello, files(folder)), threads=1) as served:
        for query, status in (("a=b", b"302"), ("a\x01b", b"500")):
            raw = protocol.decode(served.exchange(protocol.request("/files/sub", b"", {"QUERY_STRING": query})))
            assert status in raw.partition(b"\r\n\r\n")[0]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_many_ranges_need_one_descriptor(folder: Path) -> None:
    ranges = ",".join(f"{start}-{start + 499_999}" for start in range(0, 8_000_000, 500_000))
    with serving(hello, http=files(folder)) as site:
        site.fetch(request("GET", "/files/small.txt"))
        before = descriptors()
        client = site.connect(request("GET", "/files/big.bin", f"Range: bytes={ranges}", CLOSE), window=65536)
        head = client.recv(100)
        assert head.startswith(b"HTTP/1.1 206 ")
        eventually(lambda: descriptors() - before <= 3)  # both ends of the connection, and the file
        raw, reset = until_closed(client)
        assert not reset
        assert sum(len(BIG[at : at + 500_000]) for at in range(0, 8_000_000, 500_000)) < len(raw) + len(head)
        client.close()
        eventually(lambda: descriptors() <= before)


def test_a_client_that_goes_away_leaves_nothing_open(folder: Path) -> None:
    with serving(hello, http=files(folder)) as site:
        site.fetch(request("GET", "/files/small.txt"))
        before = descriptors()
        clients = [site.connect(request("GET", "/files/big.bin"), window=65536) for _ in range(5)]
        for client in clients:
            assert client.recv(10) == b"HTTP/1.1 2"
            client.close()
        eventually(lambda: descriptors() <= before)
        assert site.log == []


def test_the_access_log_has_status_and_size(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    http = HTTPSettings(static=(f"/files={folder}",))
    with running(hello, http=http) as served, served.connect() as client:
        for target in ("small.txt", "big.bin", "no"):
            client.sendall(request("GET", f"/files/{target}", "User-Agent: me"))
            receive(client)
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        '"GET /files/small.txt HTTP/1.1" 200 5 "-" "me"',
        f'"GET /files/big.bin HTTP/1.1" 200 {len(BIG)} "-" "me"',
        '"GET /files/no HTTP/1.1" 404 14 "-" "me"',
    ]


def test_the_health_path_comes_first(folder: Path) -> None:
    (folder / "health").write_text("file")
    http = HTTPSettings(access_log=False, health_path="/health", static=(f"/={folder}",), static_missing="app")
    with serving(hello, http=http) as site:
        assert site.fetch(request("GET", "/health")).text == "ok\n"


@each_protocol
def test_web_servers_get_the_same(protocol: Protocol, folder: Path) -> None:
    with running(protocol.app(hello, files(folder)), threads=1) as served:

        def ask(path: str, method: str = "GET", **variables: str) -> Any:
            raw = served.exchange(protocol.request(path, b"", variables, method))
            return protocol.read(raw, head=method == "HEAD")

        assert ask("/files/small.txt").body == b"small"
        assert ask("/files/big.bin").body == BIG
        part = ask("/files/big.bin", HTTP_RANGE="bytes=5-9,300000-900000")
        assert (part.status, BIG[300_000:900_001] in part.body) == (206, True)
        assert ask("/files/big.bin", "HEAD").fields["content-length"] == str(len(BIG))
        assert ask("/files/no").status == 404
        assert ask("/files/../site/small.txt").status == 404
        assert ask("/files/small.txt", "PUT").status == 405


@each_protocol
def test_web_servers_get_files_while_every_worker_is_stuck(protocol: Protocol, folder: Path) -> None:
    """Except by FastCGI, where a response is in records that a worker makes."""
    gate = Gate()
    with running(protocol.app(gate, files(folder)), threads=1) as served, served.connect() as stuck:
        stuck.sendall(protocol.request("/wait"))
        gate.wait_entered()
        if protocol.name == "fcgi":
            assert not protocol.make_app.codec.sends_files
        else:
            assert protocol.read(served.exchange(protocol.request("/files/small.txt"))).body == b"small"
        gate.release()
        assert stuck.recv(1)


def test_an_expecting_client_and_an_upgrade_get_the_file(folder: Path) -> None:
    with serving(hello, http=files(folder)) as site:
        assert site.fetch(request("GET", "/files/small.txt", "Connection: upgrade", "Upgrade: x")).body == b"small"
        assert site.fetch(request("GET", "/files/small.txt", "Expect: 100-continue")).body == b"small"


def test_without_a_file_thread_a_worker_sends_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*arguments: object, **options: object) -> None:
        raise RuntimeError("can't start new thread")

    with serving(hello, http=files(folder)) as site:
        monkeypatch.setattr(site.server._runtime.stepper.files, "_put", no_thread)
        assert site.fetch(request("GET", "/files/small.txt")).body == b"small"
        assert site.fetch(request("GET", "/files/big.bin")).body == BIG


def test_the_lane_is_closed_to_a_client_that_does_not_read(folder: Path) -> None:
    """Its deadline is that of every response, and other clients get files meanwhile."""
    with serving(hello, http=files(folder), write_timeout=30) as site:
        slow = site.connect(request("GET", "/files/big.bin"), window=65536)
        assert slow.recv(1, socket.MSG_PEEK)
        assert site.fetch(request("GET", "/files/big.bin")).body == BIG
        # More than once, because the deadline may be set only after the first time.
        eventually(lambda: site.clock.advance(31) or site.stats().connections == 0)
        assert until_closed(slow)[1]
