"""The socket that applications get behaves as a socket, whatever the adapter."""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.errors import WantRead
from reserve.ssl import BuiltinSSLAdapter, PyOpenSSLAdapter, TLSSocket
from tests.authority import Files

_LIMIT = 20.0  # seconds; reached only by a test that fails


class Pair:
    """A client of the standard library and the server's socket, with the handshake done."""

    def __init__(self, adapter: Any) -> None:
        one, two = socket.socketpair()
        self.raw = one
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        two.setblocking(False)
        self.server: TLSSocket = adapter.secure(two)
        self.server.settimeout(_LIMIT)
        one.settimeout(_LIMIT)
        self.client: Any = None

        def connect() -> None:
            self.client = context.wrap_socket(one, suppress_ragged_eofs=False)

        with Thread(connect):
            self.server.do_handshake()

    def close(self) -> None:
        self.client.close()
        self.server.close()


class Thread(threading.Thread):
    """One that a ``with`` block waits for, and whose exception comes out there."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self._call = call
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.failure = error

    def __enter__(self) -> Thread:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()
        if self.failure is not None:
            raise self.failure


@pytest.fixture(params=[BuiltinSSLAdapter, PyOpenSSLAdapter])
def pair(request: pytest.FixtureRequest, certificate: Files) -> Iterator[Pair]:
    adapter = request.param(certificate.both)
    adapter.prepare(())
    made = Pair(adapter)
    yield made
    made.close()


def fill(server: TLSSocket) -> bytes:
    """Send until there is no room; what was taken."""
    timeout = server.gettimeout()
    server.settimeout(0)
    taken = b""
    try:
        while True:
            taken += b"f" * server.send(b"f" * 16384)
    except BlockingIOError:
        server.settimeout(timeout)
        return taken


def receive(client: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += client.recv(size - len(data))
    return data


# ---- receiving ----


def test_recv(pair: Pair) -> None:
    pair.client.sendall(b"content")
    assert pair.server.recv(3) == b"con"
    assert pair.server.recv(100) == b"tent"
    assert pair.server.recv(0) == b""
    with Thread(pair.client.unwrap):
        assert pair.server.recv(100) == b""
        pair.server.shutdown(socket.SHUT_WR)


def test_recv_waits_for_the_client(pair: Pair) -> None:
    with Thread(lambda: pair.client.sendall(b"late")):
        assert pair.server.recv(100) == b"late"


def test_recv_into(pair: Pair) -> None:
    pair.client.sendall(b"content")
    buffer = bytearray(10)
    assert pair.server.recv_into(buffer, 3) == 3
    assert pair.server.recv_into(memoryview(buffer)[3:]) == 4
    assert buffer == b"content\0\0\0"
    assert pair.server.recv_into(bytearray()) == 0
    for size in (-1, 11):
        with pytest.raises(ValueError, match="buffer of 10"):
            pair.server.recv_into(buffer, size)


@pytest.mark.parametrize("call", [lambda s: s.recv(1, 1), lambda s: s.recv_into(bytearray(1), 0, 2)])
@pytest.mark.parametrize("sending", [lambda s: s.send(b"x", 1), lambda s: s.sendall(b"x", 1)])
def test_flags_are_refused(pair: Pair, call: Any, sending: Any) -> None:
    for one in (call, sending):
        with pytest.raises(ValueError, match="flags"):
            one(pair.server)
    with pytest.raises(ValueError, match="negative"):
        pair.server.recv(-1)


# ---- sending ----


def test_send_and_sendall(pair: Pair) -> None:
    assert pair.server.send(b"") == 0
    pair.server.sendall(b"")
    assert pair.server.send(bytearray(b"one")) == 3
    pair.server.sendall(memoryview(b"two"))
    assert receive(pair.client, 6) == b"onetwo"


def test_sendall_of_more_than_the_buffers_hold(pair: Pair) -> None:
    data = os.urandom(3_000_000)
    with Thread(lambda: pair.server.sendall(data)):
        assert receive(pair.client, len(data)) == data


def test_send_may_take_a_part_only(pair: Pair) -> None:
    data = os.urandom(3_000_000)
    sent = pair.server.send(data)
    assert 0 < sent < len(data)
    assert receive(pair.client, sent) == data[:sent]


def test_a_buffer_is_the_callers_again_after_a_send_that_found_no_room(pair: Pair) -> None:
    taken = fill(pair.server)
    pair.server.settimeout(0)
    buffer = bytearray(b"f" * 16384)
    with pytest.raises(BlockingIOError):
        pair.server.send(buffer)
    buffer += b"more"  # a buffer that somebody still looks into cannot grow
    assert receive(pair.client, len(taken)) == taken
    assert pair.server.send(buffer) == len(buffer)
    assert receive(pair.client, len(buffer)) == buffer


# ---- time ----


def test_timeouts(pair: Pair) -> None:
    pair.server.settimeout(0.05)
    assert pair.server.gettimeout() == pair.server.timeout == 0.05
    with pytest.raises(TimeoutError, match=r"received for 0\.05 s"):
        pair.server.recv(1)
    taken = fill(pair.server)
    pair.server.settimeout(0.05)
    for call in (pair.server.send, pair.server.sendall):
        with pytest.raises(TimeoutError, match=r"sent for 0\.05 s"):
            call(b"f" * 16384)
    assert receive(pair.client, len(taken)) == taken
    pair.server.sendall(b"f" * 16384)
    assert len(receive(pair.client, 16384)) == 16384
    with pytest.raises(ValueError, match="negative"):
        pair.server.settimeout(-1)


def test_no_timeout_at_all(pair: Pair) -> None:
    pair.server.settimeout(None)
    assert pair.server.getblocking()
    with Thread(lambda: pair.client.sendall(b"late")):
        assert pair.server.recv(100) == b"late"


def test_non_blocking(pair: Pair) -> None:
    pair.server.setblocking(False)
    assert pair.server.gettimeout() == 0
    assert not pair.server.getblocking()
    with pytest.raises(WantRead):
        pair.server.recv(1)
    pair.server.setblocking(True)
    assert pair.server.gettimeout() is None


def test_the_timeout_of_a_sendall_is_that_of_the_whole(pair: Pair) -> None:
    """A client that takes a little at a time does not make it longer."""
    pair.server.settimeout(0.3)
    stop = threading.Event()

    def sip() -> None:
        while not stop.is_set():
            pair.client.recv(16384)
            stop.wait(0.02)

    with Thread(sip):
        with pytest.raises(TimeoutError):
            pair.server.sendall(b"x" * 100_000_000)
        stop.set()
        pair.client.settimeout(None)


# ---- ends ----


def test_both_ends_say_close_notify(pair: Pair) -> None:
    pair.server.sendall(b"last")
    pair.server.shutdown(socket.SHUT_WR)
    assert receive(pair.client, 4) == b"last"
    assert pair.client.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"more")
    with pytest.raises(OSError, match="tell nothing more"):
        pair.server.environ()


def test_shutdown_waits_for_room_within_the_timeout(pair: Pair) -> None:
    plain = pair.server._socket
    with contextlib.suppress(BlockingIOError):
        while True:
            socket.socket.send(plain, b"x" * 65536)
    pair.server.settimeout(0.05)
    with pytest.raises(TimeoutError):
        pair.server._until(pair.server._close_notify_now, "sent")
    pair.server.settimeout(_LIMIT)
    with Thread(lambda: pair.server.shutdown(socket.SHUT_WR)):
        wire = b"".join(iter(lambda: socket.socket.recv(pair.client, 65536), b""))
    assert wire[-24:-19] == b"\x17\x03\x03\x00\x13"  # a record of 19 octets: an alert


def test_what_was_begun_and_not_finished_ends_in_a_cut(pair: Pair) -> None:
    taken = fill(pair.server)
    pair.server.shutdown(socket.SHUT_WR)
    assert len(receive(pair.client, len(taken))) == len(taken)
    with pytest.raises(ssl.SSLError):
        pair.client.recv(1)


def test_closing_says_close_notify(pair: Pair) -> None:
    pair.server.close()
    pair.server.close()
    assert pair.client.recv(1) == b""
    assert pair.server.fileno() == -1
    for call in (lambda: pair.server.recv(1), lambda: pair.server.send(b"x"), lambda: pair.server.sendall(b"x")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_with_closes(pair: Pair) -> None:
    with pair.server as server:
        server.sendall(b"x")
    assert server.fileno() == -1


def test_a_cut_raises(pair: Pair) -> None:
    pair.client.sendall(b"x")
    os.close(pair.client.detach())
    assert pair.server.recv(1) == b"x"
    for _ in range(2):
        with pytest.raises(ConnectionError):
            pair.server.recv(1)


def test_detach_gives_the_descriptor_away(pair: Pair) -> None:
    fd = pair.server.fileno()
    assert pair.server.detach() == fd
    try:
        assert pair.server.fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            pair.server.recv(1)
        os.fstat(fd)
    finally:
        os.close(fd)


def test_a_reader_that_waits_is_woken_by_a_shutdown(pair: Pair) -> None:
    entered = threading.Event()

    def read() -> None:
        entered.set()
        with pytest.raises(ConnectionError):
            pair.server.recv(1)

    with Thread(read):
        entered.wait()
        pair.server.raw_shutdown(socket.SHUT_RDWR)


# ---- two threads ----


def test_one_thread_reads_while_another_writes(pair: Pair) -> None:
    there, back = os.urandom(2_000_000), os.urandom(2_000_000)
    got: list[bytes] = []
    with (
        pair.server.makefile("rb") as file,
        Thread(lambda: got.append(file.read(len(there)))),
        Thread(lambda: pair.server.sendall(back)),
    ):
        assert exchange(pair.client, there, len(back)) == back
    assert got == [there]


def exchange(client: ssl.SSLSocket, data: bytes, size: int) -> bytes:
    """Send and receive at the same time, in one thread: a socket of the standard library is not safe in two."""
    client.setblocking(False)
    left, got = memoryview(data), b""
    while left or len(got) < size:
        try:
            while left:
                left = left[client.send(left[:16384]) :]
        except ssl.SSLWantWriteError:
            pass
        try:
            while len(got) < size:
                got += client.recv(65536)
        except ssl.SSLWantReadError:
            pass
        reading = [client] if len(got) < size else []
        assert not (reading or left) or any(select.select(reading, [client] if left else [], [], _LIMIT))
    return got


# ---- files ----


def test_makefile_reads_bytes(pair: Pair) -> None:
    pair.client.sendall(b"one\ntwo\nthree")
    with Thread(pair.client.unwrap), pair.server.makefile("rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.readline() == b"one\n"
        assert file.read() == b"two\nthree"
        assert (file.raw.mode, file.raw.name) == ("rb", pair.server.fileno())
        pair.server.shutdown(socket.SHUT_WR)


def test_makefile_writes_bytes(pair: Pair) -> None:
    data = os.urandom(1_000_000)
    with Thread(lambda: _write(pair, "wb", data)):
        assert receive(pair.client, len(data)) == data


def _write(pair: Pair, mode: str, data: Any) -> None:
    with pair.server.makefile(mode) as file:
        file.write(data)


@pytest.mark.parametrize("mode", ["rwb", "rw", "wr"])
def test_makefile_does_both(pair: Pair, mode: str) -> None:
    text = "b" not in mode
    with pair.server.makefile(mode, encoding="utf-8" if text else None) as file:
        pair.client.sendall("grüß\n".encode())
        assert file.readline() == ("grüß\n" if text else "grüß\n".encode())
        file.write("Gott\n" if text else b"Gott\n")
        file.flush()
        assert receive(pair.client, 5) == b"Gott\n"


def test_makefile_of_text(pair: Pair) -> None:
    with pair.server.makefile("w", encoding="latin-1", newline="\r\n") as file:
        assert file.mode == "w"
        file.write("ü\n")
    assert receive(pair.client, 3) == b"\xfc\r\n"
    pair.client.sendall(b"\xfc\r\n")
    with pair.server.makefile(encoding="latin-1", errors="strict") as file:
        assert file.mode == "r"
        assert file.readline() == "ü\n"


def test_makefile_without_a_buffer(pair: Pair) -> None:
    with pair.server.makefile("rwb", 0) as file:
        assert (file.readable(), file.writable(), file.seekable()) == (True, True, False)
        assert file.fileno() == pair.server.fileno()
        assert file.write(b"out") == 3
        pair.client.sendall(b"in")
        assert file.read(2) == b"in"
        pair.server.settimeout(0)
        assert file.read(1) is None
        fill(pair.server)
        pair.server.settimeout(0)
        assert file.write(b"f" * 16384) is None
    for call in (lambda: file.read(1), lambda: file.write(b"x"), file.fileno, file.readable, file.writable):
        with pytest.raises(ValueError, match=r"closed (file|socket)"):
            call()


def test_makefile_refuses_what_a_socket_refuses(pair: Pair) -> None:
    for mode in ("a", "r+", "x"):
        with pytest.raises(ValueError, match="invalid mode"):
            pair.server.makefile(mode)
    with pytest.raises(ValueError, match="must be binary"):
        pair.server.makefile("r", 0)
    with pair.server.makefile("rb", 0) as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with pair.server.makefile("wb", 0) as file, pytest.raises(io.UnsupportedOperation):
        file.read(1)


def test_a_file_is_of_no_use_after_a_timeout(pair: Pair) -> None:
    with pair.server.makefile("rb") as file:
        pair.server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            file.read(10)
        with pytest.raises(OSError, match="timed out object"):
            file.read(10)


def test_a_socket_stays_open_under_its_files(pair: Pair) -> None:
    file = pair.server.makefile("rb")
    other = pair.server.makefile("wb")
    pair.server.close()
    pair.client.sendall(b"still\n")
    assert file.readline() == b"still\n"
    file.close()
    other.write(b"here")
    other.close()
    assert receive(pair.client, 4) == b"here"
    assert pair.client.recv(1) == b""
    assert pair.server.fileno() == -1


def test_a_file_of_a_socket_that_was_detached_fails(pair: Pair) -> None:
    with pair.server.makefile("rb") as file:
        fd = pair.server.detach()
        one, two = socket.socketpair()
        try:
            two.sendall(b"of another connection")
            with pytest.raises(OSError, match="Bad file descriptor"):
                file.read(1)
        finally:
            one.close()
            two.close()
            os.close(fd)


# ---- what it tells ----


def test_what_a_socket_tells(pair: Pair) -> None:
    server = pair.server
    assert (server.family, server.type, server.proto) == (socket.AF_UNIX, socket.SOCK_STREAM, 0)
    assert server.getpeername() == server.getsockname() == ""
    server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert len(server.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == 8
    assert repr(server) == f"<reserve.ssl.SecureSocket fd={server.fileno()}>"
    assert server.environ()["SSL_PROTOCOL"] == "TLSv1.3"
    assert server.details is not None
    assert not server.resumed
