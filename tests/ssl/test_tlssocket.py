"""The socket that applications get behaves as a ``socket.socket``, with each adapter."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from typing import Any

import pytest

from reserve.errors import WantRead
from reserve.ssl.certadapter import CertificateAdapter
from tests import tls
from tests.authority import Files
from tests.clients import receive
from tests.ssl.links import each_adapter, linked, prepared
from tests.ssl.pair import Pair, Thread, fill
from tests.waiting import PATIENCE

# ---- receiving ----


def test_recv_returns_what_has_come(pair: Pair) -> None:
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


def test_recv_into_fills_a_buffer(pair: Pair) -> None:
    pair.client.sendall(b"content")
    buffer = bytearray(10)
    assert pair.server.recv_into(buffer, 3) == 3
    assert pair.server.recv_into(memoryview(buffer)[3:]) == 4
    assert buffer == b"content\0\0\0"
    assert pair.server.recv_into(bytearray()) == 0
    for size in (-1, 11):
        with pytest.raises(ValueError, match="buffer of 10"):
            pair.server.recv_into(buffer, size)


@pytest.mark.parametrize("receiving", [lambda s: s.recv(1, 1), lambda s: s.recv_into(bytearray(1), 0, 2)])
@pytest.mark.parametrize("sending", [lambda s: s.send(b"x", 1), lambda s: s.sendall(b"x", 1)])
def test_flags_are_refused(pair: Pair, receiving: Any, sending: Any) -> None:
    for call in (receiving, sending):
        with pytest.raises(ValueError, match="flags"):
            call(pair.server)
    with pytest.raises(ValueError, match="negative"):
        pair.server.recv(-1)


# ---- sending ----


def test_send_and_sendall_take_any_buffer(pair: Pair) -> None:
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


def test_a_buffer_may_change_after_a_send_that_found_no_room(pair: Pair) -> None:
    taken = fill(pair.server)
    pair.server.settimeout(0)
    buffer = bytearray(b"f" * 16384)
    with pytest.raises(BlockingIOError):
        pair.server.send(buffer)
    buffer += b"more"  # a buffer with a memoryview of it cannot grow
    assert receive(pair.client, len(taken)) == taken
    assert pair.server.send(buffer) == len(buffer)
    assert receive(pair.client, len(buffer)) == buffer


# ---- timeouts ----


def test_a_timeout_ends_each_call(pair: Pair) -> None:
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


def test_without_a_timeout_calls_wait(pair: Pair) -> None:
    pair.server.settimeout(None)
    assert pair.server.getblocking()
    with Thread(lambda: pair.client.sendall(b"late")):
        assert pair.server.recv(100) == b"late"


def test_a_non_blocking_socket_raises(pair: Pair) -> None:
    pair.server.setblocking(False)
    assert pair.server.gettimeout() == 0
    assert not pair.server.getblocking()
    with pytest.raises(WantRead):
        pair.server.recv(1)
    pair.server.setblocking(True)
    assert pair.server.gettimeout() is None


def test_the_timeout_of_sendall_is_for_the_whole_call(pair: Pair) -> None:
    """A client that receives a little at a time does not extend it."""
    pair.server.settimeout(0.3)
    stop = threading.Event()

    def receive_slowly() -> None:
        while not stop.is_set():
            pair.client.recv(16384)
            stop.wait(0.02)

    with Thread(receive_slowly):
        with pytest.raises(TimeoutError):
            pair.server.sendall(b"x" * 100_000_000)
        stop.set()
        pair.client.settimeout(None)


# ---- shutdown and close ----


def test_shutdown_sends_close_notify(pair: Pair) -> None:
    pair.server.sendall(b"last")
    pair.server.shutdown(socket.SHUT_WR)
    assert receive(pair.client, 4) == b"last"
    assert pair.client.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"more")
    with pytest.raises(OSError, match="cannot be read any more"):
        pair.server.environ()


def test_shutdown_waits_for_room_within_the_timeout(pair: Pair) -> None:
    plain = pair.server._socket
    with contextlib.suppress(BlockingIOError):
        while True:
            socket.socket.send(plain, b"x" * 65536)
    pair.server.settimeout(0.05)
    with pytest.raises(TimeoutError):
        pair.server._wait_and_call(pair.server._send_close_notify, "sent")
    pair.server.settimeout(PATIENCE)
    with Thread(lambda: pair.server.shutdown(socket.SHUT_WR)):
        wire = b"".join(iter(lambda: socket.socket.recv(pair.client, 65536), b""))
    assert wire[-24:-19] == b"\x17\x03\x03\x00\x13"  # a record of 19 bytes: an alert


def test_no_close_notify_follows_a_record_that_was_begun_and_not_finished(pair: Pair) -> None:
    taken = fill(pair.server)
    pair.server.shutdown(socket.SHUT_WR)
    assert len(receive(pair.client, len(taken))) == len(taken)
    with pytest.raises(ssl.SSLError):
        pair.client.recv(1)


def test_close_sends_close_notify(pair: Pair) -> None:
    pair.server.close()
    pair.server.close()
    assert pair.client.recv(1) == b""
    assert pair.server.fileno() == -1
    for call in (lambda: pair.server.recv(1), lambda: pair.server.send(b"x"), lambda: pair.server.sendall(b"x")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


def test_a_with_block_closes(pair: Pair) -> None:
    with pair.server as server:
        server.sendall(b"x")
    assert server.fileno() == -1


def test_an_end_without_close_notify_raises(pair: Pair) -> None:
    pair.client.sendall(b"x")
    os.close(pair.client.detach())
    assert pair.server.recv(1) == b"x"
    for _ in range(2):
        with pytest.raises(ConnectionError):
            pair.server.recv(1)


def test_detach_returns_the_open_descriptor(pair: Pair) -> None:
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


@each_adapter
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_the_peer_sends_is_received_after_our_side_is_shut_down(
    adapter: type[CertificateAdapter[Any]], when: str, certificate: Files
) -> None:
    with linked(prepared(adapter(certificate.both)), tls.client_context(verify=False)) as link:
        link.handshake()
        record = link.encrypt(b"content")
        if when == "before":
            link.wire.sendall(record)
        link.tls_socket.shutdown(socket.SHUT_WR)
        assert link.close_notify_came()
        if when == "after":
            link.wire.sendall(record)
        assert link.tls_socket.recv_now(100) == b"content"


# ---- two threads ----


def test_one_thread_reads_while_another_writes(pair: Pair) -> None:
    request, response = os.urandom(2_000_000), os.urandom(2_000_000)
    received: list[bytes] = []
    with (
        pair.server.makefile("rb") as file,
        Thread(lambda: received.append(file.read(len(request)))),
        Thread(lambda: pair.server.sendall(response)),
    ):
        assert exchange(pair.client, request, len(response)) == response
    assert received == [request]


def exchange(client: ssl.SSLSocket, data: bytes, size: int) -> bytes:
    """Send and receive at the same time, in one thread: a socket of the standard library is not safe in two."""
    client.setblocking(False)
    unsent, received = memoryview(data), b""
    while unsent or len(received) < size:
        try:
            while unsent:
                unsent = unsent[client.send(unsent[:16384]) :]
        except ssl.SSLWantWriteError:
            pass
        try:
            while len(received) < size:
                received += client.recv(65536)
        except ssl.SSLWantReadError:
            pass
        reading = [client] if len(received) < size else []
        assert not (reading or unsent) or any(select.select(reading, [client] if unsent else [], [], PATIENCE))
    return received


# ---- attributes ----


def test_the_attributes_of_a_socket(pair: Pair) -> None:
    server = pair.server
    assert (server.family, server.type, server.proto) == (socket.AF_UNIX, socket.SOCK_STREAM, 0)
    assert server.getpeername() == server.getsockname() == ""
    server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert len(server.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)) == 8
    assert repr(server) == f"<reserve.ssl.TLSSocket fd={server.fileno()}>"
    assert server.environ()["SSL_PROTOCOL"] == "TLSv1.3"
    assert server.details is not None
    assert not server.resumed
