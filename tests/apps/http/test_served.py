"""HTTP on a running server: clients that do not read, refusals that arrive, stops, resets, UNIX sockets."""

from __future__ import annotations

import errno
import os
import random
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.http1.limits import Limits
from reserve.testing import FakeClock, running
from tests.apps.http.doubles import QUIET, STREAM, failing, generated, hello, hooks_logging_to, returning
from tests.apps.http.responses import CONTINUE, fetch, receive, request, take
from tests.waiting import PATIENCE, eventually

LARGE = 16_000_000
"""Bytes, more than the buffers of two sockets hold."""


# ---- clients that do not read ----


@pytest.mark.parametrize("kind", ["one piece", "list", "file", "generator"])
def test_a_client_that_does_not_read_holds_no_thread(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"f" * LARGE)
    pieces = [b"f" * 200_000] * (LARGE // 200_000)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] != "/large":
            return [b"small"]
        if kind == "one piece":
            return [b"f" * LARGE]
        if kind == "list":
            return pieces
        if kind == "file":
            return environ["wsgi.file_wrapper"](open(path, "rb"))
        return iter(pieces)

    settings = HTTPSettings(access_log=False, spool_dir=str(tmp_path))
    with running(app, http=settings, threads=1) as served, served.connect() as slow:
        slow.sendall(request("GET", "/large"))
        slow.recv(1, socket.MSG_PEEK)  # the one thread has begun to respond
        for _ in range(3):
            assert fetch(served).text == "small"
        response = receive(slow)
        assert (len(response.body), response.whole, set(response.body)) == (LARGE, True, {ord("f")})
        slow.sendall(request("GET", "/small"))
        assert receive(slow).text == "small"
    assert list(tmp_path.iterdir()) == [path]


KERNEL_FILES = ["/proc/version", "/proc/filesystems", "/sys/kernel/uevent_seqnum", "/sys/class/net/lo/mtu"]


@pytest.mark.parametrize("path", KERNEL_FILES)
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("stated", [False, True])
def test_a_file_of_the_kernel_arrives_complete(path: str, minor: int, stated: bool) -> None:
    """Its size is 0 or a page, whatever it contains."""
    if not os.access(path, os.R_OK):
        pytest.skip(f"this system has no {path}")
    lines: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(os.stat(path).st_size))] if stated else [])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with running(app, http=QUIET, hooks=hooks_logging_to(lines)) as served, served.connect() as client:
        client.sendall(request("GET", "/", "Connection: close", minor=minor))
        response = receive(client)
    assert (response.status, response.body, response.whole) == (200, Path(path).read_bytes(), True)
    assert response.fields.get("transfer-encoding") == (None if minor == 0 else "chunked")
    assert len(lines) == stated


def test_a_file_of_a_file_system_without_sendfile_arrives_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"f" * 200_000)
    monkeypatch.setattr(os, "sendfile", failing(errno.EINVAL))

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    with running(app, http=QUIET) as served:
        response = fetch(served)
    assert (response.fields["content-length"], response.body) == ("200000", b"f" * 200_000)


def test_beyond_max_response_spool_the_worker_waits_for_its_client(tmp_path: Path) -> None:
    pieces = [bytes([n % 251]) * 100_000 for n in range(LARGE // 100_000)]
    done = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if environ["PATH_INFO"] != "/large":
            return [b"small"]
        return large()

    def large() -> Iterator[bytes]:
        yield from pieces
        done.set()

    settings = HTTPSettings(
        access_log=False, spool_dir=str(tmp_path), response_memory=100_000, max_response_spool=300_000
    )
    with running(app, http=settings, threads=1) as served, served.connect() as slow:
        slow.sendall(request("GET", "/large"))
        slow.recv(1, socket.MSG_PEEK)
        with served.connect() as other:
            other.sendall(request())
            assert not done.is_set()  # there is no room for the rest
            assert receive(slow).body == b"".join(pieces)
            assert done.is_set()
            assert receive(other).text == "small"


@pytest.mark.parametrize("seed", range(6))
def test_lending_the_output_loses_nothing(seed: int, tmp_path: Path) -> None:
    """A worker goes on writing while the leader flushes for it, many thousand times."""
    choose = random.Random(seed)
    pieces = [bytes([n % 256]) * choose.choice([1, 10, 900, 3000, 20_000]) for n in range(2000)]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return iter(pieces)

    memory = choose.choice([1000, 50_000, 262_144])
    disk = choose.choice([0, 200_000, 67_108_864])
    settings = HTTPSettings(access_log=False, spool_dir=str(tmp_path), response_memory=memory, max_response_spool=disk)
    expected = b"".join(pieces)
    with running(app, http=settings, threads=choose.choice([1, 2, 4])) as served:
        clients = [served.connect(60) for _ in range(2)]
        bodies: list[bytes] = [b"", b""]

        def read(number: int) -> None:
            raw = bytearray()
            while not raw.endswith(b"\r\n0\r\n\r\n"):
                raw += (data := clients[number].recv(choose.choice([100, 5000, 65_536])))
                assert data
            bodies[number] = take(bytes(raw))[0].body

        readers = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for client in clients:
            client.sendall(request())
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for client in clients:
            client.close()
        assert bodies == [expected, expected]


def test_a_client_that_disconnects_within_its_response_frees_the_worker(tmp_path: Path) -> None:
    ended = threading.Semaphore(0)

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * 50_000

        def close(self) -> None:
            ended.release()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Endless() if environ["PATH_INFO"] == "/endless" else [b"alive"]

    logged: list[str] = []
    settings = HTTPSettings(access_log=False, spool_dir=str(tmp_path), max_response_spool=1_000_000)
    with running(app, http=settings, threads=1, hooks=hooks_logging_to(logged)) as served:
        for _ in range(3):
            with served.connect() as client:
                client.sendall(request("GET", "/endless"))
                assert client.recv(10_000)
            ended.acquire()
            assert fetch(served).text == "alive"
        eventually(lambda: served.server.stats().connections == 0)
    assert logged == []


@pytest.mark.parametrize("pipelined", [b"", b"GET / HTTP/1.1\r\n"])
@pytest.mark.parametrize("first", [b"", b"x" * LARGE])
def test_an_application_that_waits_is_stopped_when_its_client_has_disconnected(first: bytes, pipelined: bytes) -> None:
    """Also when the next request hides the end of the connection, and after a piece that the leader has sent."""
    if pipelined and not hasattr(select, "POLLRDHUP"):
        pytest.skip("only Linux reports an end after unread bytes")
    clock = FakeClock()
    entered, gone, ended = threading.Event(), threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        if first:
            yield first
        entered.set()
        assert gone.wait(PATIENCE)
        try:
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                clock.advance(1)
                yield b""
        except GeneratorExit:
            ended.set()
            raise

    with running(app, http=QUIET, threads=1, clock=clock) as served:
        with served.connect() as client:
            client.sendall(request() + pipelined)
            assert entered.wait(PATIENCE)
            received = 0
            while received < len(first):
                received += len(client.recv(1_000_000))
        gone.set()
        assert ended.wait(PATIENCE)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HT",
        request("POST", body=b"x" * 10)[:-1],
        request("POST", body=b"x" * 600_000)[:-1],
        request("POST", body=b"x" * 600_000, chunks=70_000)[:-1],
    ],
)
def test_nothing_is_held_for_a_client_that_disconnects_within_its_request(sent: bytes, tmp_path: Path) -> None:
    settings = HTTPSettings(access_log=False, spool_dir=str(tmp_path))
    with running(hello, http=settings, threads=1) as served:
        for _ in range(3):
            with served.connect() as client:
                client.sendall(sent)
        assert fetch(served).text == "hello "
        eventually(lambda: served.server.stats().connections == 0)
        assert served.server.stats().busy == 0


# ---- refusals ----


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (request("GET", "/" + "x" * 400_000), 414),
        (request("GET", "/", *[f"X-{n}: {'y' * 900}" for n in range(400)]), 431),
        (request("POST", body=b"z" * 60_000), 413),
        (request("POST", body=b"z" * 60_000, chunks=1000), 413),
        (request("POST", chunks=5, body=b"12345")[:-5] + b"X\r\n" + b"a" * 50_000, 400),
    ],
)
def test_a_refusal_arrives_while_the_client_is_still_sending(raw: bytes, status: int) -> None:
    logged: list[str] = []
    settings = HTTPSettings(access_log=False, limits=Limits(max_body=5000, max_fields=20))
    with running(hello, http=settings, threads=1, hooks=hooks_logging_to(logged)) as served:
        for _ in range(5):
            with served.connect() as client:
                client.sendall(raw[:60_000])
                response = receive(client)
                assert (response.status, response.whole, response.fields["connection"]) == (status, True, "close")
                assert client.recv(1) == b""
        assert fetch(served).text == "hello "
    counts = [re.match(r"and (\d+) more like it", line) for line in logged]  # the log counts those of one second
    assert sum(int(count[1]) if count is not None else 1 for count in counts) == 5
    assert all(f": {status} " in line or line.endswith(f" refused with {status}") for line in logged)


def test_a_slow_head_and_a_slow_body_are_refused() -> None:
    clock = FakeClock()
    logged: list[str] = []
    with running(hello, http=QUIET, threads=1, clock=clock, hooks=hooks_logging_to(logged)) as served:
        with served.connect() as idle, served.connect() as head, served.connect() as body, served.connect() as silent:
            idle.sendall(request())
            assert receive(idle).status == 200
            head.sendall(b"GET / HT")
            body.sendall(request("POST", "/", "Expect: 100-continue", "Content-Length: 5"))
            assert body.recv(100) == CONTINUE
            assert fetch(served).text == "hello "
            eventually(lambda: served.server.stats().parked == 4)
            clock.advance(1000)
            assert [receive(client).status for client in (head, body)] == [408, 408]
            assert [client.recv(1) for client in (idle, silent)] == [b"", b""]
        assert fetch(served).text == "hello "
    assert len(logged) == 2


def test_the_response_to_an_upload_that_is_not_read_arrives() -> None:
    app = returning("403 Forbidden", [], b"no")
    with running(app, http=STREAM, threads=1) as served:
        for _ in range(10):
            with served.connect() as client:
                client.sendall(request("POST", body=b"x" * 10_000_000)[:110_000])
                assert receive(client).text == "no"


def test_a_response_until_close_that_fails_ends_with_a_reset() -> None:
    app = returning("200 OK", [], b"half", ValueError("the other half"), kind=generated)
    logged: list[str] = []
    with running(app, http=QUIET, threads=1, hooks=hooks_logging_to(logged)) as served:
        for _ in range(5):
            with served.connect() as client:
                client.sendall(request(minor=0))
                with pytest.raises(ConnectionResetError):
                    b"".join(iter(lambda: client.recv(1000), b""))
    assert len(logged) == 5


@pytest.mark.parametrize(
    ("fields", "body"),
    [([], b"\r\n4\r\nhalf\r\n"), ([("Content-Length", "8")], b"\r\n\r\nhalf")],
    ids=["chunked", "length"],
)
def test_a_response_that_shows_its_end_is_closed_after_what_was_sent_when_it_fails(
    fields: list[tuple[str, str]], body: bytes
) -> None:
    app = returning("200 OK", fields, b"half", ValueError("the other half"), kind=generated)
    logged: list[str] = []
    with running(app, http=QUIET, threads=1, hooks=hooks_logging_to(logged)) as served:
        for _ in range(5):
            with served.connect() as client:
                client.sendall(request())
                assert b"".join(iter(lambda: client.recv(1000), b"")).endswith(body)
    assert len(logged) == 5


def test_pipelined_requests_take_turns_with_others() -> None:
    with running(hello, http=QUIET, threads=1) as served, served.connect() as client:
        raw = b"".join(request("POST", body=b"%d" % n) if n % 2 else request() for n in range(300))
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        assert fetch(served).text == "hello "
        data = b"".join(iter(lambda: client.recv(65536), b""))
    responses = []
    while data:
        response, data = take(data)
        responses.append(response.text)
    assert responses == [f"hello {n if n % 2 else ''}" for n in range(300)]


# ---- the stop of the server ----


def test_a_stop_completes_the_response_in_flight_and_closes_idle_connections() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            go_on.wait(PATIENCE)
        start_response("200 OK", [])
        return [b"x" * 3_000_000]

    with running(app, http=QUIET, threads=2) as served:
        with served.connect() as idle, served.connect() as busy:
            idle.sendall(request())
            assert len(receive(idle).body) == 3_000_000
            busy.sendall(request("GET", "/slow"))
            entered.wait(PATIENCE)
            served.server.request_stop()
            assert idle.recv(1) == b""
            go_on.set()
            response = receive(busy)
            assert (len(response.body), response.whole, response.fields["connection"]) == (3_000_000, True, "close")
            assert busy.recv(1) == b""
        with pytest.raises(OSError, match="refused"):
            served.connect().close()


# ---- UNIX sockets ----


def test_the_environ_of_a_unix_connection(tmp_path: Path) -> None:
    environs: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environs.append(environ)
        start_response("200 OK", [])
        return []

    with running(app, http=QUIET, address=f"unix:{tmp_path}/socket") as served:
        assert served.url == ""
        assert fetch(served).status == 200
        with served.connect() as client:
            client.sendall(b"broken\r\n\r\n")
            assert receive(client).status == 400
    environ = environs[0]
    expected = {
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": "", "REMOTE_PORT": "",
        "X_REMOTE_PID": str(os.getpid()), "X_REMOTE_UID": str(os.getuid()), "X_REMOTE_GID": str(os.getgid()),
    }  # fmt: skip
    assert {key: environ[key] for key in expected} == expected


@pytest.mark.parametrize("quote", [str, lambda path: path.replace("/", "%2F"), "unix:{}".format])
def test_a_client_that_sends_the_path_of_the_unix_socket_as_its_host_is_served(quote: Any, short_path: Path) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [f"{environ['HTTP_HOST']} {environ['SERVER_NAME']} {environ['SERVER_PORT']}".encode()]

    path = str(short_path / "s")
    raw = f"GET / HTTP/1.1\r\nHost: {quote(path)}\r\n\r\n".encode()
    with running(app, http=QUIET, address=f"unix:{path}") as served, served.connect() as client:
        for _ in range(2):
            client.sendall(raw)
            response = receive(client)
            assert (response.status, response.body) == (200, b"localhost localhost 80")
    if "/" in quote(path):
        with running(app, http=QUIET) as served:
            assert fetch(served, raw).status == 400


def test_the_path_of_the_unix_socket_as_host_is_accepted_when_the_environ_is_made_again(short_path: Path) -> None:
    """That of a head with many fields is, when its body comes later."""
    hosts: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        hosts.append(environ["HTTP_HOST"])
        return hello(environ, start_response)

    path = short_path / "socket"
    raw = f"POST / HTTP/1.1\r\nHost: {path}\r\n" + "".join(f"X{n}: {n}\r\n" for n in range(60))
    with running(app, http=QUIET, address=f"unix:{path}") as served, served.connect() as client:
        client.sendall(f"{raw}Content-Length: 4\r\n\r\nbo".encode())
        eventually(lambda: (now := served.server.stats()).parked == now.accepted == 1)
        client.sendall(b"dy")
        assert receive(client).body == b"hello body"
    assert hosts == ["localhost"]


# ---- encoded slashes ----


def _echo_path(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode("latin-1")]


@pytest.mark.parametrize(("encoded_slashes", "path"), [("decode", "/a/b c"), ("keep", "/a%2Fb c")])
def test_the_setting_says_what_an_application_gets_for_an_encoded_slash(
    encoded_slashes: Literal["decode", "keep"], path: str
) -> None:
    http = HTTPSettings(access_log=False, encoded_slashes=encoded_slashes)
    with running(_echo_path, http=http, threads=1) as served, served.connect() as client:
        client.sendall(request("GET", "/a%2fb%20c"))
        assert receive(client).text == path
        # The environ of a head with many fields is made a second time when its body has come.
        fields = "".join(f"X-{number}: y\r\n" for number in range(40))
        client.sendall(f"POST /a%2fb%20c HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 3\r\n\r\n".encode())
        eventually(lambda: served.server.stats().parked == 1)
        client.sendall(b"abc")
        assert receive(client).text == path
