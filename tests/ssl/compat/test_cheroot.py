"""Adapters that were not made for reserve: what is taken, what is refused, what becomes of their errors."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL

from reserve import Server, listen
from reserve.errors import TLSError, UsageError, WantRead, WantWrite
from reserve.ssl import BuiltinSSLAdapter, SSLAdapter
from reserve.ssl.compat.cheroot import as_adapter
from tests.authority import Authority, Files


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
        tls = self.context.wrap_socket(sock, server_side=True)
        return tls, {"SSL_PROTOCOL": tls.version(), "SSL_NUMBER": 5, "SSL_NOTHING": None, "wsgi.url_scheme": "https"}


class PyOpenSSLWrapping:
    """One that returns a connection of pyOpenSSL."""

    def __init__(self, files: Files) -> None:
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate_chain_file(files.cert)
        self.context.use_privatekey_file(files.key)

    def wrap(self, sock: socket.socket) -> tuple[SSL.Connection, dict[str, str]]:
        timeout = sock.gettimeout()
        sock.setblocking(True)
        tls = SSL.Connection(self.context, sock)
        tls.set_accept_state()
        tls.do_handshake()
        sock.settimeout(timeout)
        return tls, {}


class Thin:
    """A TLS socket that has nothing but what has to be there."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        tls.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        self.recv, self.send, self.setblocking, self.close = tls.recv, tls.send, tls.setblocking, tls.close


class ThinWrapping(LibraryWrapping):
    def __init__(self, files: Files) -> None:
        super().__init__(files)
        self.context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF

    def wrap(self, sock: socket.socket) -> Any:
        tls, environ = super().wrap(sock)
        return Thin(tls), environ


ALL = [LibraryWrapping, PyOpenSSLWrapping, ThinWrapping]


@contextlib.contextmanager
def connected(adapter: SSLAdapter, authority: Authority) -> Iterator[tuple[Any, ssl.SSLSocket]]:
    """A session whose handshake a thread waits for, and its client."""
    one, two = socket.socketpair()
    one.settimeout(20)
    two.settimeout(20)
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(adapter.secure(two)))
    thread.start()
    client = authority.client().wrap_socket(one, server_hostname="localhost", suppress_ragged_eofs=False)
    thread.join()
    try:
        yield made[0], client
    finally:
        client.close()
        made[0].close()


def test_ours_stay_as_they_are(certificate: Files) -> None:
    adapter = BuiltinSSLAdapter(certificate.both)
    assert as_adapter(adapter) is adapter


@pytest.mark.parametrize("strange", [None, 5, "cert.pem", object(), LibraryWrapping, ssl.SSLContext])
def test_what_is_no_adapter_is_refused(strange: Any) -> None:
    with pytest.raises(UsageError, match="is no TLS adapter"):
        as_adapter(strange)


@pytest.mark.parametrize("kind", ALL)
def test_what_wrap_returns_never_blocks(kind: Any, certificate: Files, authority: Authority) -> None:
    adapter = as_adapter(kind(certificate))
    assert adapter.blocking
    adapter.prepare(())
    with connected(adapter, authority) as (server, client):
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


@pytest.mark.parametrize("kind", ALL)
def test_ends_of_what_wrap_returns(kind: Any, certificate: Files, authority: Authority) -> None:
    adapter = as_adapter(kind(certificate))
    adapter.prepare(())
    with connected(adapter, authority) as (server, client):
        client.sendall(b"x")
        server.settimeout(20)
        assert server.recv(1) == b"x"
        socket.socket.shutdown(client, socket.SHUT_RDWR)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                server.recv(1)
    with connected(adapter, authority) as (server, client):
        fd = server.fileno()
        server.settimeout(20)
        client.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        client.settimeout(20)
        assert server.recv(1) == b""
        server.close()
        assert server.fileno() == -1 != fd


def test_the_environ_has_texts_only(certificate: Files, authority: Authority) -> None:
    with connected(as_adapter(LibraryWrapping(certificate)), authority) as (server, _):
        assert server.environ() == {"HTTPS": "on", "SSL_PROTOCOL": "TLSv1.3", "SSL_NUMBER": "5"}


class StrangeError(Exception):
    """As cheroot's errors, which are no OSError."""


def _raising(error: BaseException) -> Callable[[socket.socket], Any]:
    def wrap(sock: socket.socket) -> Any:
        raise error

    return wrap


@pytest.mark.parametrize(
    ("wrap", "text"),
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
def test_every_error_of_wrap_becomes_one_kind(wrap: Any, text: str) -> None:
    one, two = socket.socketpair()
    with one, two:
        one.settimeout(20)
        with pytest.raises(TLSError, match=text):
            as_adapter(Wrapping(wrap)).secure(one)
        assert one.fileno() >= 0, "the descriptor that the engine watches is still its own"
        assert one.gettimeout() == 0


def test_a_server_says_at_its_start_that_handshakes_hold_workers(
    certificate: Files, authority: Authority, caplog: pytest.LogCaptureFixture
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
                    authority.client().wrap_socket(plain, server_hostname="localhost") as tls,
                ):
                    tls.sendall(b"echo")
                    assert tls.recv(100) == b"echo"
                    assert tls.recv(100) == b""
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
def test_a_goodbye_waits_only_for_what_it_says(error: OSError | None, waits: bool) -> None:
    """One that wants anything at all may wait for the client's close_notify: nobody waits for room that is there."""

    class Taciturn:
        def setblocking(self, flag: bool) -> None:
            """It never blocks."""

        recv = send = None

        def unwrap(self) -> None:
            if error is not None:
                raise error

        def close(self) -> None:
            """There is nothing to close."""

    one, two = socket.socketpair()
    with one, two:
        secure = as_adapter(Wrapping(lambda sock: (Taciturn(), {}))).secure(one)
        with secure:
            if waits:
                with pytest.raises(WantWrite):
                    secure.close_notify_now()
            else:
                secure.close_notify_now()
            assert secure.close_notify() is not waits
