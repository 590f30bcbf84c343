"""The checks of what comes after a handshake: reading, writing, ends that are some and ends that are none."""

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
    """What is sent arrives, unchanged, in order, once; and a session that has read all waits to receive."""
    link = suite.link().shake()
    for size in (1, 100, _RECORD - 1, _RECORD, _RECORD + 1):
        data = random.Random(size).randbytes(size)
        link.send(data)
        assert _read(link, size) == data
        _expect_want_read(link)
        sent = link.secure.send_now(data)
        assert sent == size, f"there is room for {size} octets, and {sent} were taken"
        assert link.receive() == data


def _fill(link: Link) -> None:
    """Send until there is room for no more; a record is begun and not finished then."""
    with contextlib.suppress(WantWrite):
        while True:
            link.secure.send_now(b"a" * _RECORD)


@check("encryption")
def content_byte_by_byte(suite: AdapterSuite) -> None:
    """A part of a record is nothing to read, and the session does not block on the rest."""
    link = suite.link().shake()
    octets = link.encrypt(b"content")
    for at in range(len(octets)):
        _expect_want_read(link)
        assert not link.secure.readable_now(), "half a record is no content"
        link.wire.sendall(octets[at : at + 1])
    assert link.secure.readable_now()
    assert link.secure.recv_now(100) == b"content"


@check("encryption")
def what_was_decrypted_is_pending(suite: AdapterSuite) -> None:
    """Content that was received with other content is told of, because the socket will not tell."""
    link = suite.link().shake()
    assert link.secure.pending() == 0
    link.send(b"content")
    assert link.secure.recv_now(3) == b"con"
    assert link.secure.pending() == 4, "what is left of the record is pending"
    assert link.secure.recv_now(100) == b"tent"
    assert link.secure.pending() == 0


@check()
def a_look_takes_nothing(suite: AdapterSuite) -> None:
    """Looking whether there is something to read leaves it there."""
    link = suite.link().shake()
    assert not link.secure.readable_now()
    link.send(b"content")
    for _ in range(3):
        assert link.secure.readable_now()
    assert link.secure.pending() >= 1
    assert _read(link, 7) == b"content"
    assert not link.secure.readable_now()


@check()
def writes_into_a_full_buffer(suite: AdapterSuite) -> None:
    """A client that does not read: the session takes what there is room for, says WantWrite, and goes on unchanged
    with the same octets, which may be at another place by then.
    """
    link = suite.link().shake()
    data = random.Random(7).randbytes(3_000_000)
    got = bytearray()
    sent = full = 0
    while sent < len(data):
        try:
            sent += link.secure.send_now(memoryview(bytes(data[sent : sent + 500_000])))
        except WantWrite:
            full += 1
            assert link.secure.cross == 0, "a send that waits to send is no exception"
            got += link.receive()
    got += link.receive()
    assert full, "the buffer was never full"
    assert bytes(got) == data, "what arrived is not what was sent"


@check("encryption")
def other_octets_after_a_full_buffer(suite: AdapterSuite) -> None:
    """What was begun cannot be taken back: other octets raise, and nothing of them arrives."""
    link = suite.link().shake()
    _fill(link)
    try:
        link.secure.send_now(b"b" * _RECORD)
    except ConnectionAbortedError:
        pass
    else:
        raise AssertionError("the session took other octets than those it had begun to send")
    assert b"b" not in link.receive()


@check("encryption")
def reading_while_a_write_waits(suite: AdapterSuite) -> None:
    """The two directions do not disturb each other."""
    link = suite.link().shake()
    sent = 0
    try:
        while True:
            sent += link.secure.send_now(b"a" * _RECORD)
    except WantWrite:
        pass
    link.send(b"content")
    assert link.secure.recv_now(100) == b"content"
    got = link.receive()
    link.secure.send_now(b"a" * _RECORD)
    got += link.receive()
    assert len(got) == sent + _RECORD
    assert set(got) == set(b"a")


@check("encryption")
def the_client_says_close_notify(suite: AdapterSuite) -> None:
    """It is the end of the content, again and again; and what we still have to say arrives."""
    link = suite.link().shake()
    link.wire.sendall(link.encrypt(b"last") + link.close_notify())
    link.wire.shutdown(socket.SHUT_WR)
    assert link.secure.recv_now(100) == b"last"
    for _ in range(3):
        assert link.secure.recv_now(100) == b""
    assert link.secure.send_now(b"answer") == 6
    link.secure.close_notify()
    assert link.receive() == b"answer"
    assert link.ended()


@check("encryption")
def we_say_close_notify(suite: AdapterSuite) -> None:
    """The client sees the end, and not only that of the connection; nothing can be sent after it."""
    link = suite.link().shake()
    link.secure.send_now(b"last")
    assert not link.ended() or link.tls is None
    assert link.secure.close_notify()
    assert link.secure.close_notify(), "the second time it does nothing"
    link.receive()
    assert link.ended(), "the client has not got close_notify"
    try:
        link.secure.send_now(b"more")
    except WantWrite:
        raise AssertionError("there will never be room behind close_notify") from None
    except OSError:
        return
    raise AssertionError("something was sent behind close_notify")


@check("encryption")
def no_room_for_close_notify(suite: AdapterSuite) -> None:
    """It does not block and does not claim to have said what it has not said."""
    link = suite.link().shake()
    _fill(link)
    assert not link.secure.close_notify()


@check("encryption")
def a_cut_is_no_end(suite: AdapterSuite) -> None:
    """A connection that ends without close_notify raises, whole records or not, each time that it is read."""
    link = suite.link()
    link.shake()
    record = link.encrypt(b"content")
    for count in (0, 1, 5, len(record) - 1, len(record)):
        link = suite.link().shake()
        link.wire.sendall(link.encrypt(b"content")[:count])
        link.wire.shutdown(socket.SHUT_WR)
        if count == len(record):
            assert link.secure.recv_now(100) == b"content"
        _expect_failure(link, OSError, f"{count} of {len(record)} octets of a record and then the end")


@check("encryption")
def garbage_after_the_handshake(suite: AdapterSuite) -> None:
    """Octets that are no record of this session raise TLSError, and what follows is not taken for an end."""
    for garbage in (
        b"\x00" * 50,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x17\x03\x03\x00\x20" + b"\xaa" * 32,
        b"\x17\x03\x03\xff\xff" + b"\xaa" * 65535,
    ):
        link = suite.link().shake()
        link.wire.sendall(garbage)
        _expect_failure(link, TLSError, f"{garbage[:8]!r}… after the handshake")


@check("encryption")
def a_changed_record(suite: AdapterSuite) -> None:
    """A record in which one octet was changed raises TLSError, and nothing of it is read."""
    link = suite.link().shake()
    octets = bytearray(link.encrypt(b"content"))
    octets[-1] ^= 1
    link.wire.sendall(octets)
    _expect_failure(link, TLSError, "a record that was changed")


@check()
def a_closed_socket(suite: AdapterSuite) -> None:
    """It raises OSError, whatever connection has got its descriptor meanwhile; and it is closed."""
    link = suite.link().shake()
    link.send(b"content")
    fd = link.secure.fileno()
    link.secure.close()
    assert link.secure.fileno() == -1
    one, two = socket.socketpair()
    try:
        if fd in (one.fileno(), two.fileno()):
            (two if one.fileno() == fd else one).sendall(b"of another connection")
        for call in (lambda: link.secure.recv_now(10), lambda: link.secure.send_now(b"x")):
            try:
                found = call()
            except (WantRead, WantWrite) as want:
                raise AssertionError("a closed session waits") from want
            except OSError:
                continue
            raise AssertionError(f"a closed session gave {found!r}")
        assert link.secure.pending() == 0
    finally:
        one.close()
        two.close()


def _read(link: Link, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = link.secure.recv_now(size)
        assert piece, "the content ends before its end"
        data += piece
    return data


def _expect_want_read(link: Link) -> None:
    try:
        data = link.secure.recv_now(100)
    except WantRead:
        assert link.secure.cross == 0, "a read that waits to receive is no exception"
        return
    raise AssertionError(f"there is nothing to read, and {data!r} was")


def _expect_failure(link: Link, kind: type[OSError], where: str) -> None:
    for expected in (kind, OSError, OSError):
        try:
            data = link.secure.recv_now(100)
        except (WantRead, WantWrite) as want:
            raise AssertionError(f"{where}: the session waits") from want
        except expected:
            continue
        raise AssertionError(f"{where}: the session has read {data!r}")
