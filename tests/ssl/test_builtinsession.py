"""The session of the standard library: received data and data to be sent, in every order."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import TLSError, WantRead, WantWrite
from reserve.ssl.builtinsession import _MAX_OUTGOING, _RECEIVES_PER_HANDSHAKE, translate_error
from reserve.testing.adaptersuite.link import Link
from tests import tls
from tests.ssl.links import linked as linked_to
from tests.ssl.links import prepared
from tests.ssl.pair import Thread
from tests.tlsrecords import handshake_with_keys
from tests.waiting import PATIENCE


@contextlib.contextmanager
def linked(version: str = "1.3") -> Iterator[Link]:
    with linked_to(prepared(tls.adapter()), tls.client_context(version), "localhost") as link:
        yield link


def no_room(data: memoryview) -> int:
    """``send`` of a socket whose buffer is full."""
    raise BlockingIOError


def last_flight(link: Link) -> bytes:
    """Do the handshake of TLS 1.3 up to the client's last flight, which is returned."""
    link.wire.sendall(link.client_flight())
    assert link.server_step() == "read"
    link.feed_client()
    return link.client_flight()


@tls.each_version
def test_the_peers_close_notify_is_the_end_also_after_our_own(version: str) -> None:
    """The standard library raises an error then."""
    with linked(version) as link:
        link.handshake()
        assert link.tls_socket.close_notify()
        assert link.close_notify_came()
        link.wire.sendall(link.encrypt(b"last") + link.close_notify())
        assert link.tls_socket.recv_now(100) == b"last"
        assert link.tls_socket.pending() == 1
        assert link.tls_socket.recv_now(100) == b""
        assert link.tls_socket.recv_now(100) == b""
        assert link.tls_socket.pending() == 0


@pytest.mark.parametrize("ends", [False, True], ids=["open", "ended"])
def test_our_close_notify_does_not_lose_what_came_with_the_handshake(ends: bool) -> None:
    """OpenSSL looks for the peer's, and takes content for an error."""
    with linked() as link:
        flight = last_flight(link) + link.encrypt(b"early")
        link.wire.sendall(flight + (link.close_notify() if ends else b""))
        assert link.server_step() == "done"
        assert link.tls_socket.pending() >= 5
        assert link.tls_socket.close_notify()
        if not ends:
            assert link.close_notify_came()
        assert link.tls_socket.recv_now(100) == b"early"
        if ends:
            assert link.tls_socket.recv_now(100) == b""


def test_an_error_after_content_that_came_with_the_handshake_is_raised_after_it() -> None:
    with linked() as link:
        link.wire.sendall(last_flight(link) + link.encrypt(b"early") + b"\x17\x03\x03\0\x20" + bytes(32))
        assert link.server_step() == "done"
        assert link.tls_socket.recv_now(100) == b"early"
        assert link.tls_socket.pending() == 1
        for _ in range(2):
            with pytest.raises(TLSError):
                link.tls_socket.recv_now(100)


def unexpected_eof() -> ssl.SSLError:
    """The error of CPython 3.11.2 for an end without close_notify."""
    error = ssl.SSLError(1, "[SSL: UNEXPECTED_EOF_WHILE_READING] unexpected eof while reading (_ssl.c:2546)")
    error.library, error.reason = "SSL", "UNEXPECTED_EOF_WHILE_READING"
    return error


@pytest.mark.parametrize("error", [unexpected_eof(), ssl.SSLEOFError(8, "EOF occurred in violation of protocol")])
def test_an_end_without_close_notify_is_the_same_error_with_every_release_of_cpython(error: ssl.SSLError) -> None:
    def fail(size: int) -> bytes:
        raise error

    with linked() as link:
        link.handshake()
        link.wire.shutdown(socket.SHUT_WR)
        link.tls_socket._session._read = fail  # type: ignore[attr-defined]
        with pytest.raises(ConnectionAbortedError, match="without the close_notify"):
            link.tls_socket.recv_now(100)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (ssl.SSLWantReadError(), WantRead, ""),
        (ssl.SSLWantWriteError(), WantWrite, ""),
        (ssl.SSLEOFError(8, "EOF"), ConnectionAbortedError, "the connection ended without the close_notify of TLS"),
        (unexpected_eof(), ConnectionAbortedError, "the connection ended without the close_notify of TLS"),
        (ssl.SSLError(1, "Bad record"), TLSError, "bad record"),
        (ssl.SSLError("no reason"), TLSError, "no reason"),
    ],
)
def test_errors_of_the_library_are_translated(error: ssl.SSLError, expected: type[OSError], message: str) -> None:
    translated = translate_error(error)
    assert type(translated) is expected
    assert message in str(translated)


def test_a_refused_client_stays_refused() -> None:
    """Whatever else it sends, and however often the session is called."""
    with linked() as link:
        link.tls = tls.client_context().wrap_bio(link._incoming, link._outgoing, server_hostname="x.example")
        link.wire.sendall(link.client_flight().replace(b"x.example", b"\xff.example"))
        with pytest.raises(TLSError, match="ASCII"):
            link.server_step()
        for more in (b"", b"\x14\x03\x03\0\1\1", b"\x16\x03\x01\0\0"):
            link.wire.sendall(more)
            with pytest.raises(TLSError, match="is not done"):
                link.server_step()
        assert not link.tls_socket.close_notify()


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError])
def test_tickets_that_cannot_be_sent_do_not_undo_the_handshake(error: type[OSError]) -> None:
    """First there is no room, then the client has closed; the handshake was done, and the client's content is valid."""
    with linked() as link:
        session: Any = link.tls_socket._session
        link.wire.sendall(last_flight(link) + link.encrypt(b"the whole request"))

        def fail(data: memoryview) -> int:
            raise error

        session._send = no_room
        assert link.server_step() == "write"
        assert link.server_step() == "write"
        session._send = fail
        assert link.server_step() == "done"
        assert not link.tls_socket.resumed
        assert link.tls_socket.recv_now(100) == b"the whole request"
        with pytest.raises(error):
            link.tls_socket.send_now(b"response")


def test_a_client_that_resets_before_the_handshake_is_done_has_none() -> None:
    with linked() as link:
        session: Any = link.tls_socket._session

        def fail(data: memoryview) -> int:
            raise ConnectionResetError

        session._send = no_room
        link.wire.sendall(link.client_flight())
        assert link.server_step() == "write"
        session._send = fail
        with pytest.raises(ConnectionResetError):
            link.server_step()


def test_a_close_notify_that_was_begun_is_finished_and_sent_once(connection: Connection) -> None:
    connection.room = 10
    for _ in range(2):
        with pytest.raises(WantWrite):
            connection.tls_socket.close_notify_now()
        assert not connection.tls_socket.close_notify()
    connection.room = 1 << 30
    connection.tls_socket.close_notify_now()
    assert connection.tls_socket.close_notify()
    connection.tls_socket.close_notify_now()
    assert connection.client.receive(connection.wire) == b""
    connection.wire.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.wire.recv(1)


@pytest.mark.parametrize("pieces", range(_RECEIVES_PER_HANDSHAKE - 2, _RECEIVES_PER_HANDSHAKE + 3))
def test_a_handshake_in_pieces_never_waits_while_the_socket_is_readable(pieces: int) -> None:
    with linked() as link:
        session: Any = link.tls_socket._session
        hello = link.client_flight()
        size = -(-len(hello) // pieces)
        session._receive = lambda _: link.tls_socket.raw_recv(size)
        link.wire.sendall(hello)
        received = 0
        for _ in range(pieces + 1):
            assert link.server_step() == "read"
            received += link.feed_client()
            try:
                link.tls_socket.raw_recv(1, socket.MSG_PEEK)
            except BlockingIOError:  # nothing would wake it
                break
        assert received


class Connection:
    """A TLS 1.3 client whose keys the test has, and the server's session, whose socket takes ``room`` more bytes."""

    def __init__(self, folder: Path) -> None:
        self.wire, server = socket.socketpair()
        self.wire.settimeout(PATIENCE)
        self.tls_socket = prepared(tls.adapter()).secure(server)
        self.tls_socket.settimeout(PATIENCE)
        with Thread(self.tls_socket.do_handshake):
            self.keys, self.client = handshake_with_keys(self.wire, folder)
        self.session: Any = self.tls_socket._session
        self.room = 1 << 30
        self._send = self.session._send
        self.session._send = self._limited

    def _limited(self, data: memoryview) -> int:
        if not self.room:
            raise BlockingIOError
        sent: int = self._send(data[: self.room])
        self.room -= sent
        return sent

    def close_and_receive(self) -> bytes:
        """Close the server's side; all content up to its close_notify."""
        self.tls_socket.close()
        return self.client.receive_all(self.wire)

    def close(self) -> None:
        self.wire.close()
        self.tls_socket.close()


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    made = Connection(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("room", [0, 50])
def test_a_write_that_a_read_has_flushed_is_not_sent_twice(connection: Connection, room: int) -> None:
    """A write finds no room; the response to a key update flushes it; then the write is called again."""
    connection.room = room
    with pytest.raises(WantWrite):
        connection.tls_socket.send_now(b"x" * 1000)
    connection.room = 1 << 30
    # OpenSSL keeps the last response back.
    connection.wire.sendall(
        connection.keys.key_update(requested=True)
        + connection.keys.key_update(requested=True)
        + connection.keys.record(b"question")
    )
    assert connection.tls_socket.recv_now(100) == b"question"
    assert connection.tls_socket.send_now(b"x" * 1000) == 1000
    assert connection.tls_socket.send_now(b"end") == 3
    assert connection.close_and_receive() == b"x" * 1000 + b"end"


def test_responses_to_key_updates_go_before_the_next_content(connection: Connection) -> None:
    connection.room = 10
    for number in range(3):
        connection.wire.sendall(connection.keys.key_update(requested=True) + connection.keys.record(b"%d" % number))
        assert connection.tls_socket.recv_now(100) == b"%d" % number
    with pytest.raises(WantWrite):
        connection.tls_socket.send_now(b"content")
    connection.room = 1 << 30
    assert connection.tls_socket.send_now(b"content") == 7
    assert connection.close_and_receive() == b"content"


def test_responses_that_the_client_does_not_read_are_limited(connection: Connection) -> None:
    """The limit for records without content does not end a client that sends content between its key updates."""
    connection.room = 0

    def send_key_updates() -> None:
        for _ in range(2 * _MAX_OUTGOING // (27 * 100)):
            connection.wire.sendall(
                b"".join(connection.keys.key_update(requested=True) + connection.keys.record(b"x") for _ in range(100))
            )
            with contextlib.suppress(WantRead):
                while connection.tls_socket.recv_now(65536):
                    pass

    with pytest.raises(TLSError, match="reads nothing"):
        send_key_updates()
    assert connection.session._outgoing.pending < 2 * _MAX_OUTGOING


def test_a_part_of_a_record_is_kept_as_it_came_and_counted() -> None:
    """OpenSSL would take 37 KiB for it."""
    with linked() as link:
        link.handshake()
        session: Any = link.tls_socket._session
        record = link.encrypt(b"x" * 16384)
        link.wire.sendall(record[:100])
        with pytest.raises(WantRead):
            link.tls_socket.recv_now(10)
        assert (link.tls_socket.held, session._incoming.pending) == (100, 0)
        link.wire.sendall(record[100:] + record[:3])
        assert link.tls_socket.recv_now(100) == b"x" * 100
        assert link.tls_socket.held == 16284  # nothing of the next record
        assert link.tls_socket.recv_now(16384) == b"x" * 16284
        assert link.tls_socket.held == 0


def test_output_that_the_socket_has_not_taken_is_counted() -> None:
    with linked() as link:
        link.handshake()
        session: Any = link.tls_socket._session
        session._send = no_room
        with pytest.raises(WantWrite):
            link.tls_socket.send_now(b"x" * 1000)
        assert link.tls_socket.held >= 2000  # encrypted, and what a retry has to repeat


@pytest.mark.parametrize("size", [1, 4, 5, 1000, 20000])
def test_openssl_gets_every_record_whole_whatever_its_length(size: int) -> None:
    """Also those that only TLS 1.2 has, with the most padding."""
    with linked() as link:
        session: Any = link.tls_socket._session
        data = b"".join(b"\x17\x03\x03" + length.to_bytes(2, "big") + bytes(length) for length in (0, 18432, 7, 16640))
        ends = {0, 5, 18442, 18454, len(data)}
        for start in range(0, len(data), size):
            session._feed_records(data[start : start + size])
            assert session._incoming.pending in ends
            assert session._incoming.pending + len(session._part) == min(len(data), start + size)
        assert session._incoming.read() == data


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_library_without_the_private_object_serves_with_the_public_one(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = served(version)
    assert usual["SSL_PROTOCOL"] == f"TLSv{version}"
    monkeypatch.setattr("reserve.ssl.builtinsession._library_of", lambda details: details)
    assert served(version) == usual


def served(version: str) -> dict[str, str]:
    """Serve one client to the end, and return its variables."""
    with linked(version) as link:
        link.handshake()
        assert isinstance(link.tls_socket.details, ssl.SSLObject)
        assert not link.tls_socket.resumed
        variables = link.tls_socket.environ()
        link.tls_socket.send_now(b"content")
        link.tls_socket.close_notify_now()
        assert link.receive() == b"content"
        assert link.close_notify_came()
    return variables
