"""Adapters that have only ``wrap(socket)``: what their sockets do, what becomes of their errors, and what they cost."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL

from reserve import Server, listen
from reserve.errors import TLSError, WantRead, WantWrite
from reserve.ssl import SSLAdapter, TLSSocket
from reserve.ssl.compat.cheroot import as_adapter
from tests import tls
from tests.authority import Files
from tests.ssl.links import prepared
from tests.ssl.pair import Thread
from tests.waiting import PATIENCE


class Wrapping:
    """The least that is an adapter."""

    def __init__(self, wrap: Callable[[socket.socket], Any]) -> None:
        self.wrap = wrap


class LibraryWrapping:
    """One with a context of the standard library."""

    def __init__(self, files: Files) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(files.both)

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, Any]]:
        wrapped = self.context.wrap_socket(sock, server_side=True)
        variables = {"SSL_PROTOCOL": wrapped.version(), "SSL_NUMBER": 5, "SSL_NOTHING": None}
        return wrapped, {**variables, "wsgi.url_scheme": "https"}


class PyOpenSSLWrapping:
    """One that returns a connection of pyOpenSSL."""

    def __init__(self, files: Files) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate_chain_file(files.cert)
        self.context.use_privatekey_file(files.key)

    def wrap(self, sock: socket.socket) -> tuple[SSL.Connection, dict[str, str]]:
        timeout = sock.gettimeout()
        sock.setblocking(True)
        connection = SSL.Connection(self.context, sock)
        connection.set_accept_state()
        connection.do_handshake()
        sock.settimeout(timeout)
        return connection, {}


class MinimalSocket:
    """A TLS socket that has only the methods that reserve requires."""

    def __init__(self, wrapped: ssl.SSLSocket) -> None:
        self._wrapped = wrapped
        wrapped.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        self.recv, self.send, self.setblocking, self.close = (
            wrapped.recv,
            wrapped.send,
            wrapped.setblocking,
            wrapped.close,
        )


class MinimalWrapping(LibraryWrapping):
    """One that returns such a socket."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self.context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF

    def wrap(self, sock: socket.socket) -> Any:
        wrapped, variables = super().wrap(sock)
        return MinimalSocket(wrapped), variables


each_kind = pytest.mark.parametrize("kind", [LibraryWrapping, PyOpenSSLWrapping, MinimalWrapping])


@contextlib.contextmanager
def connected(adapter: SSLAdapter) -> Iterator[tuple[TLSSocket, ssl.SSLSocket]]:
    """The server's socket, whose handshake a thread waits for, and its client's."""
    one, two = socket.socketpair()
    one.settimeout(PATIENCE)
    two.settimeout(PATIENCE)
    servers: list[TLSSocket] = []
    with Thread(lambda: servers.append(adapter.secure(two))):
        client = tls.wrap_client(one)
    try:
        yield servers[0], client
    finally:
        client.close()
        servers[0].close()


@each_kind
def test_the_socket_that_wrap_returns_never_blocks(kind: Any, certificate: Files) -> None:
    adapter = prepared(as_adapter(kind(certificate)))
    assert adapter.blocking
    with connected(adapter) as (server, client):
        server.handshake_now()
        with pytest.raises(WantRead):
            server.recv_now(10)
        client.sendall(b"content")
        assert server.recv_now(100) == b"content"
        sent = 0
        with contextlib.suppress(WantWrite):
            while True:
                sent += server.send_now(b"f" * 16384)
        while sent:
            sent -= len(client.recv(sent))
        assert server.send_now(b"f" * 16384) == 16384
        assert server.environ()["HTTPS"] == "on"
        assert server.pending() == 0
        assert not server.resumed


@each_kind
def test_an_end_without_close_notify_raises(kind: Any, certificate: Files) -> None:
    with connected(prepared(as_adapter(kind(certificate)))) as (server, client):
        client.sendall(b"x")
        server.settimeout(PATIENCE)
        assert server.recv(1) == b"x"
        socket.socket.shutdown(client, socket.SHUT_RDWR)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                server.recv(1)


@each_kind
def test_close_notify_is_the_end_of_the_content(kind: Any, certificate: Files) -> None:
    with connected(prepared(as_adapter(kind(certificate)))) as (server, client):
        fd = server.fileno()
        server.settimeout(PATIENCE)
        client.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        client.settimeout(PATIENCE)
        assert server.recv(1) == b""
        server.close()
        assert server.fileno() == -1 != fd


def test_the_environ_has_text_values_only(certificate: Files) -> None:
    with connected(as_adapter(LibraryWrapping(certificate))) as (server, _):
        assert server.environ() == {"HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3", "SSL_NUMBER": "5"}


class StrangeError(Exception):
    """Like cheroot's errors, which are no OSError."""


def _raising(error: BaseException) -> Callable[[socket.socket], Any]:
    def wrap(sock: socket.socket) -> Any:
        raise error

    return wrap


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (_raising(StrangeError("an HTTP request")), "StrangeError: an HTTP request"),
        (_raising(ssl.SSLError(1, "bad")), "SSLError.*bad"),
        (_raising(TimeoutError("timed out")), r"within 20.0 s \(--handshake-timeout\)"),
        (_raising(TLSError("as it is")), "^as it is$"),
        (lambda sock: (None, {}), "refused the client"),
        (lambda sock: None, "TypeError"),
        (lambda sock: sock.close() or _raising(OSError("closed"))(sock), "OSError: closed"),  # type: ignore[func-returns-value]
    ],
)
def test_every_error_of_wrap_becomes_a_tls_error(wrap: Any, message: str) -> None:
    one, two = socket.socketpair()
    with one, two:
        one.settimeout(20)
        with pytest.raises(TLSError, match=message):
            as_adapter(Wrapping(wrap)).secure(one)
        assert one.fileno() >= 0, "the descriptor that the engine watches was closed"
        assert one.gettimeout() == 0


def test_a_server_logs_at_its_start_that_handshakes_hold_workers(
    certificate: Files, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(sock: Any, address: Any, server: Any) -> None:
        sock.sendall(sock.recv(100))

    with caplog.at_level(logging.WARNING, "reserve"):
        server = Server(listen("127.0.0.1:0"), handle, threads=2)
        server.ssl_adapter = LibraryWrapping(certificate)  # type: ignore[assignment]
        with server:
            server.wait_ready()
            for _ in range(3):
                with (
                    socket.create_connection(server.addresses[0][:2], 20) as plain,
                    tls.wrap_client(plain) as client,
                ):
                    client.sendall(b"echo")
                    assert client.recv(100) == b"echo"
                    assert client.recv(100) == b""
            with socket.create_connection(server.addresses[0][:2], 20) as plain:
                plain.sendall(b"\x16\x03\x01\x00\x05garbage, and no more")
                with contextlib.suppress(ConnectionError):
                    while plain.recv(100):
                        pass
            stats = server.stats()
    assert (stats.tls_handshakes, stats.tls_failed) == (3, 1)
    assert [record for record in caplog.records if "can only wrap() a socket" in record.getMessage()]


@pytest.mark.parametrize(
    ("error", "waits"),
    [(BlockingIOError(), False), (ssl.SSLWantReadError(), False), (ssl.SSLWantWriteError(), True), (None, False)],
)
def test_close_notify_waits_for_room_only_if_unwrap_asks_for_it(error: OSError | None, waits: bool) -> None:
    """BlockingIOError may mean a wait for the client's close_notify: a wait for room that is there would not end."""

    class Unwrapping:
        def setblocking(self, flag: bool) -> None:
            """It never blocks."""

        recv = send = None

        def unwrap(self) -> None:
            if error is not None:
                raise error

        def close(self) -> None:
            """There is nothing to close."""

    one, two = socket.socketpair()
    with one, two, as_adapter(Wrapping(lambda sock: (Unwrapping(), {}))).secure(one) as tls_socket:
        if waits:
            with pytest.raises(WantWrite):
                tls_socket.close_notify_now()
        else:
            tls_socket.close_notify_now()
        assert tls_socket.close_notify() is not waits


@pytest.mark.parametrize(
    ("reason", "expected", "message"),
    [
        ("UNEXPECTED_EOF_WHILE_READING", ConnectionAbortedError, "without the close_notify"),
        ("WRONG_VERSION_NUMBER", TLSError, "wrong version number"),
        (None, TLSError, "bad"),
    ],
)
def test_errors_of_a_socket_mean_what_they_mean_of_the_library(
    reason: str | None, expected: type[OSError], message: str
) -> None:
    """A plain SSLError with OpenSSL's reason is what CPython 3.11.2 raises; made by others it has no reason."""
    error = ssl.SSLError(1, "bad")
    if reason is not None:
        error.reason = reason

    class Failing:
        def setblocking(self, flag: bool) -> None:
            """It never blocks."""

        def fail(self, _: Any) -> Any:
            raise error

        recv = send = fail

        def close(self) -> None:
            """There is nothing to close."""

    one, two = socket.socketpair()
    with one, two, as_adapter(Wrapping(lambda sock: (Failing(), {}))).secure(one) as tls_socket:
        with pytest.raises(expected, match=message) as caught:
            tls_socket.recv_now(10)
        assert type(caught.value) is expected
