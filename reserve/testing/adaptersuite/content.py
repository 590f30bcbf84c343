"""The checks of a session after its handshake: reading, writing, close_notify, and ends without it."""

from __future__ import annotations

import contextlib
import random
import socket

from reserve.errors import TLSError, WantRead, WantWrite
from reserve.testing.adaptersuite.link import Link
from reserve.testing.adaptersuite.suite import AdapterSuite, check

_RECORD = 16384


@check()
def content_in_both_directions(suite: AdapterSuite) -> None:
    """What is sent arrives unchanged, in order and once; a session that has read everything waits to receive."""
    link = suite.link().handshake()
    for size in (1, 100, _RECORD - 1, _RECORD, _RECORD + 1):
        data = random.Random(size).randbytes(size)
        link.send(data)
        assert _read(link, size) == data
        _expect_want_read(link)
        sent = link.tls_socket.send_now(data)
        assert sent == size, f"there is room for {size} bytes, and {sent} were taken"
        assert link.receive() == data


def _fill(link: Link) -> None:
    """Send until there is no more room; then a record is begun and not finished."""
    with contextlib.suppress(WantWrite):
        while True:
            link.tls_socket.send_now(b"a" * _RECORD)


@check("encryption")
def content_byte_by_byte(suite: AdapterSuite) -> None:
    """A part of a record is not content, and the session does not block until the rest comes."""
    link = suite.link().handshake()
    record = link.encrypt(b"content")
    for position in range(len(record)):
        _expect_want_read(link)
        assert not link.tls_socket.readable_now(), "a part of a record is not content"
        link.wire.sendall(record[position : position + 1])
    assert link.tls_socket.readable_now()
    assert link.tls_socket.recv_now(100) == b"content"


@check("encryption")
def what_was_decrypted_is_pending(suite: AdapterSuite) -> None:
    """Content that was received with other content is pending: no event of the socket reports it."""
    link = suite.link().handshake()
    assert link.tls_socket.pending() == 0
    link.send(b"content")
    assert link.tls_socket.recv_now(3) == b"con"
    assert link.tls_socket.pending() == 4, "what is left of the record is pending"
    assert link.tls_socket.recv_now(100) == b"tent"
    assert link.tls_socket.pending() == 0


@check()
def readable_now_takes_nothing(suite: AdapterSuite) -> None:
    """``readable_now`` leaves the content for the next read."""
    link = suite.link().handshake()
    assert not link.tls_socket.readable_now()
    link.send(b"content")
    for _ in range(3):
        assert link.tls_socket.readable_now()
    assert link.tls_socket.pending() >= 1
    assert _read(link, 7) == b"content"
    assert not link.tls_socket.readable_now()


@check()
def writes_into_a_full_buffer(suite: AdapterSuite) -> None:
    """A client that does not read: the session takes what there is room for, raises WantWrite, and continues with the
    same bytes, which may be at another address by then.
    """
    link = suite.link().handshake()
    data = random.Random(7).randbytes(3_000_000)
    received = bytearray()
    sent = full = 0
    while sent < len(data):
        try:
            sent += link.tls_socket.send_now(memoryview(bytes(data[sent : sent + 500_000])))
        except WantWrite:
            full += 1
            assert link.tls_socket.cross == 0, "a send that waits to send needs no cross"
            received += link.receive()
    received += link.receive()
    assert full, "the buffer was never full"
    assert bytes(received) == data, "what arrived is not what was sent"


@check("encryption")
def other_bytes_after_a_full_buffer(suite: AdapterSuite) -> None:
    """A record that was begun cannot be changed: other bytes raise, and nothing of them arrives."""
    link = suite.link().handshake()
    _fill(link)
    try:
        link.tls_socket.send_now(b"b" * _RECORD)
    except ConnectionAbortedError:
        pass
    else:
        raise AssertionError("the session took other bytes than those it had begun to send")
    assert b"b" not in link.receive()


@check("encryption")
def reading_while_a_write_waits(suite: AdapterSuite) -> None:
    """A session whose write waits for room can be read."""
    link = suite.link().handshake()
    sent = 0
    try:
        while True:
            sent += link.tls_socket.send_now(b"a" * _RECORD)
    except WantWrite:
        pass
    link.send(b"content")
    assert link.tls_socket.recv_now(100) == b"content"
    received = link.receive()
    link.tls_socket.send_now(b"a" * _RECORD)
    received += link.receive()
    assert len(received) == sent + _RECORD
    assert set(received) == set(b"a")


@check("encryption")
def the_client_sends_close_notify(suite: AdapterSuite) -> None:
    """Every later read returns the end of the content; and what the server still sends arrives."""
    link = suite.link().handshake()
    link.wire.sendall(link.encrypt(b"last") + link.close_notify())
    link.wire.shutdown(socket.SHUT_WR)
    assert link.tls_socket.recv_now(100) == b"last"
    for _ in range(3):
        assert link.tls_socket.recv_now(100) == b""
    assert link.tls_socket.send_now(b"response") == 8
    link.tls_socket.close_notify()
    assert link.receive() == b"response"
    assert link.close_notify_came()


@check("encryption")
def the_server_sends_close_notify(suite: AdapterSuite) -> None:
    """The client gets it; nothing can be sent after it."""
    link = suite.link().handshake()
    link.tls_socket.send_now(b"last")
    assert not link.close_notify_came() or link.tls is None
    assert link.tls_socket.close_notify()
    assert link.tls_socket.close_notify(), "the second time it does nothing"
    link.receive()
    assert link.close_notify_came(), "the client has not got close_notify"
    try:
        link.tls_socket.send_now(b"more")
    except WantWrite:
        raise AssertionError("there is never room after close_notify") from None
    except OSError:
        return
    raise AssertionError("something was sent after close_notify")


@check("encryption")
def no_room_for_close_notify(suite: AdapterSuite) -> None:
    """``close_notify`` does not block, and returns False when it was not sent."""
    link = suite.link().handshake()
    _fill(link)
    assert not link.tls_socket.close_notify()


@check("encryption")
def an_end_without_close_notify_raises(suite: AdapterSuite) -> None:
    """Every read after it raises, whether the last record was complete or not."""
    link = suite.link()
    link.handshake()
    record = link.encrypt(b"content")
    for count in (0, 1, 5, len(record) - 1, len(record)):
        link = suite.link().handshake()
        link.wire.sendall(link.encrypt(b"content")[:count])
        link.wire.shutdown(socket.SHUT_WR)
        if count == len(record):
            assert link.tls_socket.recv_now(100) == b"content"
        _expect_failure(link, OSError, f"{count} of {len(record)} bytes of a record and then the end")


@check("encryption")
def garbage_after_the_handshake(suite: AdapterSuite) -> None:
    """Bytes that are no record of this session raise TLSError, and no later read returns the end of the content."""
    for garbage in (
        b"\x00" * 50,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x17\x03\x03\x00\x20" + b"\xaa" * 32,
        b"\x17\x03\x03\xff\xff" + b"\xaa" * 65535,
    ):
        link = suite.link().handshake()
        link.wire.sendall(garbage)
        _expect_failure(link, TLSError, f"{garbage[:8]!r}… after the handshake")


@check("encryption")
def a_changed_record(suite: AdapterSuite) -> None:
    """A record in which one byte was changed raises TLSError, and nothing of it is read."""
    link = suite.link().handshake()
    record = bytearray(link.encrypt(b"content"))
    record[-1] ^= 1
    link.wire.sendall(record)
    _expect_failure(link, TLSError, "a record that was changed")


@check()
def a_closed_socket(suite: AdapterSuite) -> None:
    """Its methods raise OSError, also when another connection has its descriptor; and the descriptor is closed."""
    link = suite.link().handshake()
    link.send(b"content")
    fd = link.tls_socket.fileno()
    link.tls_socket.close()
    assert link.tls_socket.fileno() == -1
    one, two = socket.socketpair()
    try:
        if fd in (one.fileno(), two.fileno()):
            (two if one.fileno() == fd else one).sendall(b"of another connection")
        for call in (lambda: link.tls_socket.recv_now(10), lambda: link.tls_socket.send_now(b"x")):
            try:
                result = call()
            except (WantRead, WantWrite) as want:
                raise AssertionError("a closed session waits") from want
            except OSError:
                continue
            raise AssertionError(f"a closed session returned {result!r}")
        assert link.tls_socket.pending() == 0
    finally:
        one.close()
        two.close()


def _read(link: Link, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = link.tls_socket.recv_now(size)
        assert piece, "the content ends too early"
        data += piece
    return data


def _expect_want_read(link: Link) -> None:
    try:
        data = link.tls_socket.recv_now(100)
    except WantRead:
        assert link.tls_socket.cross == 0, "a read that waits to receive needs no cross"
        return
    raise AssertionError(f"there is nothing to read, and {data!r} was")


def _expect_failure(link: Link, kind: type[OSError], where: str) -> None:
    for expected in (kind, OSError, OSError):
        try:
            data = link.tls_socket.recv_now(100)
        except (WantRead, WantWrite) as want:
            raise AssertionError(f"{where}: the session waits") from want
        except expected:
            continue
        raise AssertionError(f"{where}: the session has read {data!r}")
