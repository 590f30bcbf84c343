"""The driver that a connection has until its TLS handshake is done."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reserve.engine.polling.poller import WRITE
from reserve.errors import TLSError, UsageError, WantRead, WantWrite
from reserve.ssl import BuiltinSSLAdapter
from reserve.ssl.tlssocket import TLSSocket
from reserve.testing import FakeClock
from tests import tls
from tests.clients import close_with_reset, receive, receive_all
from tests.engine.conftest import MakePoller, Serve, echo
from tests.engine.sessions import BlockingAdapter, ClearAdapter
from tests.waiting import PATIENCE, eventually


def closed_silently(client: socket.socket) -> bool:
    """The server closes without sending a byte; with a reset if it has not read what the client sent."""
    with contextlib.suppress(ConnectionResetError):
        return receive_all(client) == b""
    return True


@pytest.mark.parametrize("want", [WantWrite, WantRead])
def test_a_connection_waits_for_what_its_session_wants(
    serve: Serve, make_poller: MakePoller, want: type[OSError]
) -> None:
    armed: list[int] = []
    poller = make_poller()

    def spy(original: Callable[[int, int], None]) -> Any:
        return lambda fd, mask: (armed.append(mask), original(fd, mask))

    poller.add, poller.arm = spy(poller.add), spy(poller.arm)  # type: ignore[method-assign]

    def decide(name: str, number: int) -> None:
        if name == "handshake" and number <= 3 and want is WantWrite:
            raise want

    adapter = ClearAdapter(decide, hello=1 if want is WantWrite else 4)
    running = serve(echo, ssl_adapter=adapter, poller=poller)
    client = running.connect()
    client.sendall(b"\x16")
    if want is WantRead:
        for number in range(1, 4):
            eventually(lambda wanted=number: adapter.sessions and adapter.sessions[0].calls["handshake"] >= wanted)
            eventually(
                lambda: running.server.stats().parked == 1
            )  # otherwise that call could receive the next byte, too
            client.sendall(b"\x16")
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    assert (WRITE in armed) == (want is WantWrite)
    assert adapter.sessions[0].calls["handshake"] == 4, "the leader spins"
    assert running.server.stats().tls_handshakes == 1


def test_the_handler_begins_only_after_the_handshake(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=ClearAdapter())
    silent, client = running.connect(), running.connect()
    client.sendall(b"\x16hello")
    assert receive(client, 5) == b"hello"
    eventually(lambda: running.server.stats().parked == 2)
    stats = running.server.stats()
    assert (stats.connections, stats.tls_handshakes, stats.tls_failed) == (2, 1, 0)
    assert stats.handled == 2  # the handler, and the resume of its park
    silent.close()
    eventually(lambda: running.server.stats().connections == 1)
    client.sendall(b"\0")  # close_notify
    assert receive_all(client) == b"\0"
    assert running.server.stats().tls_failed == 0
    assert running.log.lines == []


def test_the_deadline_holds_for_the_whole_handshake(serve: Serve) -> None:
    clock = FakeClock()
    adapter = ClearAdapter(hello=100)
    running = serve(echo, ssl_adapter=adapter, clock=clock, handshake_timeout=7.0)
    client = running.connect()
    for number in range(1, 7):
        client.sendall(b"\x16")
        eventually(lambda wanted=number: adapter.sessions and adapter.sessions[0].calls["handshake"] >= wanted)
        eventually(lambda: running.server.stats().parked == 1)
        clock.advance(1)
    clock.advance(1.1)
    assert receive_all(client) in (b"", b"\0")
    running.log.wait("the TLS handshake was not done within 7 s (--handshake-timeout)")
    assert running.server.stats().tls_failed == 1


@pytest.mark.parametrize("error", [TLSError("wrong version number"), OSError(104, "Connection reset by peer")])
def test_a_failed_handshake_is_logged_and_counted(serve: Serve, error: OSError) -> None:
    def decide(name: str, number: int) -> None:
        raise error

    running = serve(echo, ssl_adapter=ClearAdapter(decide), clock=FakeClock())
    client = running.connect()
    client.sendall(b"\x16")
    assert receive_all(client) == b"\0"
    text = "wrong version number" if isinstance(error, TLSError) else "Connection reset by peer"
    assert f"the TLS handshake failed: {text}" in running.log.wait("handshake failed")
    eventually(lambda: running.server.stats().lingering == 1)  # the alert is on its way
    client.close()
    eventually(lambda: running.server.stats().connections == 0)
    stats = running.server.stats()
    assert (stats.tls_failed, stats.tls_handshakes, stats.handled) == (1, 0, 0)


def test_a_session_that_cannot_be_made_closes_only_its_connection(serve: Serve) -> None:
    class Broken(ClearAdapter):
        def session(self, sock: socket.socket) -> Any:
            if not self.sessions:
                self.sessions.append(None)  # type: ignore[arg-type]
                raise ValueError("broken")
            return super().session(sock)

    running = serve(echo, ssl_adapter=Broken())
    first, second = running.connect(), running.connect()
    first.sendall(b"\x16")
    assert closed_silently(first)
    assert "ValueError: broken" in running.log.wait("a protocol driver failed")
    second.sendall(b"\x16hello")
    assert receive(second, 5) == b"hello"


ERRORS = [OSError(5, "broken"), TLSError("broken"), MemoryError("broken"), UsageError("broken"), ValueError("broken")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", ["closes it", "takes it over and closes it", "leaves it"])
def test_a_session_that_cannot_be_made_does_not_harm_a_connection_that_reuses_its_number(
    serve: Serve, how: str, error: Exception
) -> None:
    """The adapter closes the socket, and raises after another connection has got its number."""
    numbers: list[int] = []
    newer = socket.socket()  # made now: inside the adapter it would get that number itself
    newer.settimeout(PATIENCE)

    class Broken(ClearAdapter):
        def session(self, sock: socket.socket) -> Any:
            numbers.append(sock.fileno())
            if len(numbers) > 1:
                return super().session(sock)
            if how == "takes it over and closes it":
                with socket.socket(fileno=sock.detach()):
                    pass
            elif how == "closes it":
                sock.close()
            newer.connect(running.server.addresses[0])
            newer.sendall(b"\x16hello")
            # Not stats(): it opens a file for a moment, which would get the number.
            eventually(lambda: running.server._runtime.acceptor.accepted == 2)
            raise error

    with newer:
        running = serve(echo, ssl_adapter=Broken())
        first = running.connect()
        first.sendall(b"\x16")
        if how == "leaves it":
            assert closed_silently(first)
        running.log.wait(
            "the TLS handshake failed: broken" if isinstance(error, OSError) else "a protocol driver failed"
        )
        assert receive(newer, 5) == b"hello"
        assert (numbers[0] == numbers[1]) == (how != "leaves it"), "the numbers are not those that the test needs"
        newer.sendall(b"again")
        assert receive(newer, 5) == b"again"
        stats = running.server.stats()
        assert (stats.tls_failed, stats.tls_handshakes, stats.connections) == (1, 1, 1)
        newer.close()
        eventually(lambda: running.server.stats().connections == 0)


@pytest.mark.parametrize("silent", [True, False], ids=["says nothing", "has begun"])
def test_a_stop_does_not_wait_for_a_handshake(serve: Serve, silent: bool) -> None:
    running = serve(echo, ssl_adapter=ClearAdapter(hello=2), clock=FakeClock())  # no deadline passes
    client = running.connect()
    if not silent:
        client.sendall(b"\x16")
    eventually(lambda: running.server.stats().parked == 1)
    running.server.stop()
    assert running.server.stats().tls_failed == 0


def test_a_plain_client_of_an_application_without_a_refusal_is_closed(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=ClearAdapter())
    client = running.connect()
    client.sendall(b"GET / HTTP/1.1\r\n")
    assert closed_silently(client)
    running.log.wait("no TLS on a port of TLS; it began with b'GET /'")
    eventually(lambda: running.server.stats().connections == 0)
    assert (running.server.stats().tls_failed, running.server.stats().handled) == (1, 0)


def test_a_client_that_connects_and_closes_is_neither_counted_nor_logged(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=ClearAdapter())
    for end in (socket.socket.close, close_with_reset):
        for _ in range(20):
            end(running.connect())
    eventually(lambda: (now := running.server.stats()).accepted >= 20 and not now.connections)
    assert running.server.stats().tls_failed == 0
    assert running.log.lines == []


# ---- blocking adapters ----


def test_a_blocking_adapter_gets_a_worker_and_a_warning(serve: Serve) -> None:
    adapter = BlockingAdapter()
    running = serve(echo, ssl_adapter=adapter, handshake_timeout=50.0)
    assert "each TLS handshake holds a worker" in running.log.wait("wrap()")
    client = running.connect()
    client.sendall(b"\x16\x16hello")
    assert receive(client, 5) == b"hello"
    assert adapter.timeouts == [50.0]
    assert running.server.stats().tls_handshakes == 1


def test_a_blocking_adapter_does_not_hold_the_leader(serve: Serve) -> None:
    """Of two workers one waits for the client of the adapter; meanwhile other clients are served."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(BlockingAdapter):
        def session(self, sock: socket.socket) -> Any:
            if not entered.is_set():
                entered.set()
                assert go_on.wait(PATIENCE)
            return super().session(sock)

    running = serve(echo, ssl_adapter=Slow())
    first, second = running.connect(), running.connect()
    first.sendall(b"\x16\x16first")
    assert entered.wait(PATIENCE)
    second.sendall(b"\x16\x16second")
    assert receive(second, 6) == b"second"
    second.close()
    go_on.set()
    assert receive(first, 5) == b"first"


def test_a_failed_handshake_of_a_blocking_adapter_is_logged_and_counted(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=BlockingAdapter())
    client = running.connect()
    client.sendall(b"\x16!")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b""
    assert "no handshake" in running.log.wait("the TLS handshake failed")
    eventually(lambda: running.server.stats().connections == 0)
    assert (running.server.stats().tls_failed, running.server.stats().tls_handshakes) == (1, 0)


def test_the_time_of_a_blocking_adapter_is_limited(serve: Serve) -> None:
    running = serve(echo, ssl_adapter=BlockingAdapter(), handshake_timeout=0.05)
    client = running.connect()
    client.sendall(b"\x16")  # the other half never comes
    running.log.wait("the TLS handshake failed: timed out")
    assert receive_all(client) == b""
    assert running.server.stats().tls_failed == 1


def test_a_blocking_adapter_that_fails_leaves_no_worker_waiting(serve: Serve) -> None:
    """The adapter leaves its socket blocking, and the client sends nothing more."""

    class Failing(BlockingAdapter):
        def session(self, sock: socket.socket) -> Any:
            if not self.timeouts:
                self.timeouts.append(sock.gettimeout())
                sock.settimeout(None)
                raise TLSError("no")
            return super().session(sock)

    running = serve(echo, ssl_adapter=Failing(), clock=FakeClock(), threads=1)
    first, second = running.connect(), running.connect()
    first.sendall(b"\x16")
    running.log.wait("the TLS handshake failed: no")
    second.sendall(b"\x16\x16hello")
    assert receive(second, 5) == b"hello"
    assert running.server.stats().lingering == 1


class Taking(BuiltinSSLAdapter):
    """Keeps what the engine has received before the session."""

    takes_received = True
    taken: list[bytes]

    def secure(self, sock: socket.socket, received: bytes = b"") -> TLSSocket:
        self.taken.append(received)
        return super().secure(sock, received)


@pytest.fixture
def taking() -> Taking:
    adapter = Taking([tls.issued()])
    adapter.taken = []
    return adapter


def test_the_first_bytes_are_received_once_and_given_to_the_session(serve: Serve, taking: Taking) -> None:
    running = serve(echo, ssl_adapter=taking)
    with tls.client_context().wrap_socket(running.connect(), server_hostname="localhost") as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    assert [first[:2] for first in taking.taken] == [b"\x16\x03"]
    assert len(taking.taken[0]) > 100
    assert running.server.stats().tls_handshakes == 1


def test_a_hello_byte_by_byte_is_received_by_its_session(serve: Serve, taking: Taking) -> None:
    running = serve(echo, ssl_adapter=taking)
    sock = running.connect()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    sock.sendall(hello[:1])
    eventually(lambda: taking.taken)
    sock.sendall(hello[1:])
    assert taking.taken == [b"\x16"]
    assert receive(sock, 3) == b"\x16\x03\x03"


def test_an_adapter_that_takes_the_first_bytes_refuses_plain_text_and_counts_no_silent_client(
    serve: Serve, taking: Taking
) -> None:
    running = serve(echo, ssl_adapter=taking)
    running.connect().close()
    eventually(lambda: running.server.stats().connections == 0)
    client = running.connect()
    client.sendall(b"HEAD / HTTP/1.1\r\n\r\n")
    assert closed_silently(client)
    assert "it began with b'HEAD '" in running.log.wait("no TLS on a port of TLS")
    assert taking.taken == []
    assert running.server.stats().tls_failed == 1


def test_an_adapter_with_sessions_of_its_own_gets_nothing_before_them() -> None:
    class Own(BuiltinSSLAdapter):
        def session(self, sock: socket.socket) -> Any:
            raise NotImplementedError

    assert BuiltinSSLAdapter.takes_received
    assert Taking.takes_received
    assert not Own.takes_received


def test_an_adapter_whose_secure_takes_only_the_socket_gets_nothing_before_the_session(serve: Serve) -> None:
    class Counting(BuiltinSSLAdapter):
        secured = 0

        def secure(self, sock: socket.socket) -> TLSSocket:  # type: ignore[override]
            self.secured += 1
            return super().secure(sock)

    adapter = Counting([tls.issued()])
    running = serve(echo, ssl_adapter=adapter)
    with tls.client_context().wrap_socket(running.connect(), server_hostname="localhost") as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    assert adapter.secured == 1
