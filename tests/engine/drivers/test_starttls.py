"""``server.start_tls``, and what the engine guarantees to a handler on a TLS socket, with real sockets and sessions."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.engine.connections.backpressure import TooSlow
from reserve.engine.drivers import starttls
from reserve.engine.drivers.handler import Park
from reserve.errors import UsageError
from reserve.ssl.tlssocket import TLSSocket
from reserve.testing import FakeClock
from tests import tls
from tests.clients import receive, receive_all
from tests.engine.conftest import Serve, upper_lines
from tests.waiting import PATIENCE, eventually

each_way = pytest.mark.parametrize("blocking", [True, False], ids=["on the worker", "off the workers"])


class StartTLS:
    """A protocol like SMTP: a greeting, a line that asks for TLS, then the version of TLS and an echo."""

    def __init__(self, blocking: bool) -> None:
        self.blocking = blocking
        self.reasons: SimpleQueue[str] = SimpleQueue()
        self.failed: SimpleQueue[BaseException] = SimpleQueue()

    def __call__(self, sock: socket.socket, address: Any, server: Any) -> Any:
        sock.sendall(b"hello\n")

        def asked() -> Any:
            assert sock.recv(9) == b"STARTTLS\n"
            sock.sendall(b"go on\n")
            if not self.blocking:
                return server.start_tls(sock, lambda secure: self.secured(secure, address, server))
            try:
                secure = server.start_tls(sock)
            except BaseException as error:
                self.failed.put(error)
                raise
            return self.secured(secure, address, server)

        return Park(asked, on_close=self.reasons.put)

    def secured(self, secure: Any, address: Any, server: Any) -> Any:
        assert server._find(secure).tls is secure
        secure.sendall(secure.environ()["SSL_PROTOCOL"].encode() + b"\n")

        def resume() -> Any:
            data = secure.recv(65536)
            if not data:
                return None
            secure.sendall(data)
            return Park(resume, on_close=self.reasons.put)

        return Park(resume, on_close=self.reasons.put)


def begin(client: socket.socket) -> None:
    """Be the client until the server waits for a ClientHello."""
    assert receive(client, 6) == b"hello\n"
    client.sendall(b"STARTTLS\n")
    assert receive(client, 6) == b"go on\n"


@each_way
def test_a_plain_connection_is_upgraded(serve: Serve, blocking: bool) -> None:
    handle = StartTLS(blocking)
    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True)
    for version in ("1.2", "1.3"):
        client = running.connect()
        begin(client)
        with tls.wrap_client(client, context=tls.client_context(version)) as secure:
            assert receive(secure, 8) == f"TLSv{version}\n".encode()
            for size in (1, 16384, 100_000):
                data = os.urandom(size)
                secure.sendall(data)
                assert receive(secure, size) == data
            secure.unwrap()  # close_notify both ways
        assert handle.reasons.get(timeout=PATIENCE) == "done"
    stats = running.server.stats()
    assert (stats.tls_handshakes, stats.tls_failed) == (2, 0)
    assert running.log.lines == []


@each_way
def test_a_connection_without_an_upgrade_stays_plain(serve: Serve, blocking: bool) -> None:
    running = serve(StartTLS(blocking), ssl_adapter=tls.adapter(), upgrades=True)
    client = running.connect()
    assert receive(client, 6) == b"hello\n"
    assert running.server.stats().tls_handshakes == 0


@each_way
def test_a_handshake_that_fails_closes_the_connection(serve: Serve, blocking: bool) -> None:
    handle = StartTLS(blocking)
    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True)
    client = running.connect()
    begin(client)
    client.sendall(b"this is no ClientHello\n")
    client.shutdown(socket.SHUT_WR)
    receive_all(client)
    assert handle.reasons.get(timeout=PATIENCE) == "lost"
    if blocking:
        assert isinstance(handle.failed.get(timeout=PATIENCE), ConnectionError)
    eventually(lambda: running.server.stats().connections == 0)
    assert (running.server.stats().tls_handshakes, running.server.stats().tls_failed) == (0, 1)
    running.log.wait("wrong version number")
    assert len(running.log.lines) == 1
    assert running.log.errors == []


def test_a_client_that_stalls_holds_no_worker(serve: Serve) -> None:
    """More stalled clients than workers; the deadline closes them all."""
    clock = FakeClock()
    handle = StartTLS(False)
    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True, clock=clock)
    stalled = [running.connect() for _ in range(10)]
    for number, client in enumerate(stalled):
        begin(client)
        client.sendall(tls.MemoryTLSClient().flight()[: number * 20])
    honest = running.connect()
    begin(honest)
    with tls.wrap_client(honest) as secure:
        assert receive(secure, 8) == b"TLSv1.3\n"
        eventually(lambda: (now := running.server.stats()).parked == 11 and not now.busy)
        clock.advance(5.1)
        for client in stalled:
            receive_all(client)
        assert [handle.reasons.get(timeout=PATIENCE) for _ in stalled] == ["timeout"] * 10
        assert running.server.stats().tls_failed == 10
        secure.sendall(b"still here")
        assert receive(secure, 10) == b"still here"


def test_a_handshake_on_the_worker_ends_at_the_deadline_too(serve: Serve) -> None:
    handle = StartTLS(True)
    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True, handshake_timeout=0.05)
    client = running.connect()
    begin(client)
    assert isinstance(handle.failed.get(timeout=PATIENCE), TimeoutError)
    assert receive_all(client) == b""
    assert running.server.stats().tls_failed == 1


def test_bytes_sent_before_the_handshake_are_not_taken_for_content(serve: Serve) -> None:
    """Commands in the packet of STARTTLS (CVE-2011-0411): bytes that the kernel still has are no ClientHello, and bytes
    that the handler has read never reach the session.
    """
    handle = StartTLS(True)
    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True)
    client = running.connect()
    assert receive(client, 6) == b"hello\n"
    client.sendall(b"STARTTLS\nRSET\n")
    assert receive(client, 6) == b"go on\n"
    assert isinstance(handle.failed.get(timeout=PATIENCE), ConnectionError)


def test_data_sent_during_a_handshake_does_not_leave_in_plain_text(serve: Serve) -> None:
    begun: SimpleQueue[Any] = SimpleQueue()

    def handle(sock: Any, address: Any, server: Any) -> Any:
        def then(secure: Any) -> Park:
            return Park(lambda: None)

        begun.put(upgrade := server.start_tls(sock, then))
        return upgrade

    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True)
    client = running.connect()
    secure = begun.get(timeout=PATIENCE).tls
    eventually(lambda: running.server.stats().parked == 1)
    running.server.send(secure, b"secret")
    hand = tls.MemoryTLSClient()
    hand.handshake(client)  # whatever else came would break it
    assert hand.receive(client) == b"secret"
    client.sendall(hand.encrypt(b"quit"))


@each_way
def test_data_sent_before_an_upgrade_leaves_before_the_handshake(serve: Serve, blocking: bool) -> None:
    def handle(sock: Any, address: Any, server: Any) -> Any:
        server.send(sock, b"go on\n")
        if not blocking:
            return server.start_tls(sock, lambda secure: None)
        server.start_tls(sock)
        return None

    client = serve(handle, ssl_adapter=tls.adapter(), upgrades=True).connect()
    assert receive(client, 6) == b"go on\n"
    hand = tls.MemoryTLSClient()
    hand.handshake(client)
    assert hand.receive(client) == b""


@each_way
def test_a_handshake_waits_until_all_earlier_data_has_left(serve: Serve, blocking: bool) -> None:
    """More than the socket takes at once: none of the handshake's bytes gets in between."""
    begun = threading.Event()
    size = 20_000_000

    def handle(sock: Any, address: Any, server: Any) -> Any:
        server.send(sock, b"x" * size)
        begun.set()
        if not blocking:
            return server.start_tls(sock, lambda secure: None)
        server.start_tls(sock)
        return None

    client = serve(handle, ssl_adapter=tls.adapter(), upgrades=True, max_output=size).connect()
    hand = tls.MemoryTLSClient()
    client.sendall(hand.flight())
    assert begun.wait(PATIENCE)
    data = b""
    while len(data) < size:
        data += client.recv(min(1 << 20, size - len(data)))
    assert data == b"x" * size
    while not hand.done:
        client.sendall(hand.flight(client.recv(65536)))
    assert hand.receive(client) == b""


def test_data_sent_after_a_failed_handshake_does_not_leave_in_plain_text(serve: Serve) -> None:
    reasons: SimpleQueue[str] = SimpleQueue()

    def handle(sock: Any, address: Any, server: Any) -> Park:
        driver = server._find(sock).driver  # as a sender on another thread that has already looked it up
        with pytest.raises(ConnectionError):
            server.start_tls(sock)
        driver.post(b"secret")
        return Park(lambda: None, on_close=reasons.put)

    client = serve(handle, ssl_adapter=tls.adapter(), upgrades=True).connect()
    client.sendall(b"this is no ClientHello")
    assert b"secret" not in receive_all(client)
    assert reasons.get(timeout=PATIENCE) == "lost"


def failing(call: Callable[[Any, Any], Any]) -> tuple[Callable[..., None], SimpleQueue[BaseException]]:
    found: SimpleQueue[BaseException] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        try:
            call(sock, server)
        except BaseException as error:
            found.put(error)

    return handle, found


def test_a_second_upgrade_is_an_error(serve: Serve) -> None:
    def twice(sock: Any, server: Any) -> None:
        server.start_tls(server.start_tls(sock))

    handle, found = failing(twice)
    client = serve(handle, ssl_adapter=tls.adapter(), upgrades=True).connect()
    with tls.wrap_client(client):
        error = found.get(timeout=PATIENCE)
    assert isinstance(error, UsageError)
    assert "TLS already" in str(error)


def test_an_upgrade_under_tls_or_without_an_adapter_or_of_a_foreign_socket_is_an_error(serve: Serve) -> None:
    handle, found = failing(lambda sock, server: server.start_tls(sock))
    with tls.wrap_client(serve(handle, ssl_adapter=tls.adapter()).connect()):
        assert "TLS already" in str(found.get(timeout=PATIENCE))
    serve(handle).connect()
    assert "--tls-cert" in str(found.get(timeout=PATIENCE))
    handle, found = failing(lambda sock, server: server.start_tls(socket.socket.__new__(socket.socket)))
    serve(handle, ssl_adapter=tls.adapter(), upgrades=True).connect()
    assert isinstance(found.get(timeout=PATIENCE), UsageError)


def test_an_upgrade_that_goes_on_with_no_function_is_an_error(serve: Serve) -> None:
    handle, found = failing(lambda sock, server: server.start_tls(sock, 5))
    serve(handle, ssl_adapter=tls.adapter(), upgrades=True).connect()
    error = found.get(timeout=PATIENCE)
    assert isinstance(error, UsageError)
    assert "then=5" in str(error)


# ---- handlers on a TLS socket ----


def test_bytes_that_tls_or_a_makefile_has_buffered_count_as_readable(serve: Serve) -> None:
    lines = [b"%d-line\n" % number for number in range(300)]
    with tls.wrap_client(serve(upper_lines, ssl_adapter=tls.adapter()).connect()) as client:
        client.sendall(b"".join(lines))  # one record: the poller reports it once
        assert receive(client, sum(map(len, lines))) == b"".join(lines).upper()
        client.sendall(b"more\n")
        assert receive(client, 5) == b"MORE\n"


def test_a_record_may_be_read_one_byte_at_a_time(serve: Serve) -> None:
    """Without a makefile: the remaining bytes of the record are in the session."""

    def handle(sock: Any, address: Any, server: Any) -> Park:
        def resume() -> Park | None:
            byte = sock.recv(1)
            if not byte:
                return None
            sock.sendall(byte.upper())
            return Park(resume)

        return Park(resume)

    with tls.wrap_client(serve(handle, ssl_adapter=tls.adapter()).connect()) as client:
        client.sendall(b"abcdefghij" * 20)
        assert receive(client, 200) == b"ABCDEFGHIJ" * 20


def test_half_a_record_resumes_no_handler(serve: Serve) -> None:
    resumed: list[bytes] = []

    def handle(sock: Any, address: Any, server: Any) -> Park:
        def resume() -> Park | None:
            resumed.append(sock.recv(65536))
            return Park(resume) if resumed[-1] else None

        return Park(resume)

    running = serve(handle, ssl_adapter=tls.adapter())
    client = running.connect()
    hand = tls.MemoryTLSClient()
    hand.handshake(client)
    record = hand.encrypt(b"content")
    client.sendall(record[:10])
    with tls.wrap_client(running.connect()) as other:
        other.sendall(b"x")
        eventually(lambda: resumed == [b"x"])
    eventually(lambda: resumed == [b"x"])
    client.sendall(record[10:])
    eventually(lambda: b"content" in resumed)
    assert running.server.stats().handled <= 6


def test_a_park_until_writable_is_resumed_when_there_is_room(serve: Serve) -> None:
    written = threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> Park:
        sock.setblocking(False)
        sent = 0
        data = b"x" * 16384
        try:
            while True:
                sent += sock.send(data)
        except BlockingIOError:
            pass

        def resume() -> None:
            sock.settimeout(PATIENCE)
            sock.sendall(data)  # the record that was begun is sent first
            sock.sendall(b"%d\n" % (sent + len(data)))
            written.set()

        return Park(resume, until="writable")

    with tls.wrap_client(serve(handle, ssl_adapter=tls.adapter()).connect()) as client:
        got = receive_all(client)
    assert written.is_set()
    count = got.lstrip(b"x")
    assert int(count) == len(got) - len(count)


def test_send_reaches_a_parked_connection_from_any_thread(serve: Serve) -> None:
    sockets: SimpleQueue[Any] = SimpleQueue()

    def handle(sock: Any, address: Any, server: Any) -> Park:
        sockets.put(sock)

        def resume() -> Park | None:
            data = sock.recv(100)
            sock.sendall(data)
            return Park(resume) if data else None

        return Park(resume)

    running = serve(handle, ssl_adapter=tls.adapter())
    with tls.wrap_client(running.connect()) as client:
        sock = sockets.get(timeout=PATIENCE)
        assert isinstance(sock, TLSSocket)
        pushes = [threading.Thread(target=running.server.send, args=(sock, b"%d" % n * 5000)) for n in range(5)]
        for push in pushes:
            push.start()
        got = receive(client, 25000)
        assert sorted(set(got)) == list(b"01234")
        assert {len(part) for part in (bytes([digit]) * 5000 for digit in b"01234") if part in got} == {5000}
        for push in pushes:
            push.join()
        client.sendall(b"echo")
        assert receive(client, 4) == b"echo"


def test_a_detached_tls_socket_belongs_to_the_application(serve: Serve) -> None:
    taken: SimpleQueue[Any] = SimpleQueue()

    def handle(sock: Any, address: Any, server: Any) -> None:
        taken.put(server.detach(sock))

    running = serve(handle, ssl_adapter=tls.adapter())
    with tls.wrap_client(running.connect()) as client:
        with taken.get(timeout=PATIENCE) as sock:
            eventually(lambda: running.server.stats().connections == 0)
            running.server.stop()
            sock.settimeout(PATIENCE)
            client.sendall(b"ping")
            assert sock.recv(4) == b"ping"
            sock.sendall(b"pong")
            assert receive(client, 4) == b"pong"
        assert client.recv(1) == b""  # close_notify


@pytest.mark.parametrize("how", ["returns", "raises", "closes"])
def test_a_handler_that_ends_sends_close_notify(serve: Serve, how: str) -> None:
    def handle(sock: Any, address: Any, server: Any) -> None:
        sock.sendall(b"bye")
        if how == "raises":
            raise ValueError("handler")
        if how == "closes":
            sock.close()

    with tls.wrap_client(serve(handle, ssl_adapter=tls.adapter()).connect()) as client:
        assert receive_all(client) == b"bye"  # an end without close_notify would raise


def test_an_end_without_close_notify_is_an_error_for_a_handler(serve: Serve) -> None:
    seen: SimpleQueue[Any] = SimpleQueue()

    def handle(sock: Any, address: Any, server: Any) -> None:
        try:
            while data := sock.recv(100):
                seen.put(data)
            seen.put("end")
        except ConnectionAbortedError:
            seen.put("cut")

    running = serve(handle, ssl_adapter=tls.adapter())
    with tls.wrap_client(running.connect()) as client:
        client.sendall(b"data")
        assert seen.get(timeout=PATIENCE) == b"data"
        client.unwrap()
    assert seen.get(timeout=PATIENCE) == "end"
    with tls.wrap_client(running.connect()) as client:
        client.sendall(b"data")
        assert seen.get(timeout=PATIENCE) == b"data"
        client.shutdown(socket.SHUT_WR)  # of the socket itself: without close_notify
        assert seen.get(timeout=PATIENCE) == "cut"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_sends_nothing_on_tls_connections(serve: Serve) -> None:
    """Neither close_notify nor anything else: the sessions belong to the parent."""
    pids: SimpleQueue[int] = SimpleQueue()
    forking = threading.Event()

    def handle(sock: Any, address: Any, server: Any) -> Any:
        def resume() -> Any:
            data = sock.recv(100)
            if data == b"fork":
                pid = os.fork()
                if not pid:
                    code = 1
                    try:
                        server.stop(0)
                        code = 0 if sock.fileno() == -1 else 2
                        sock.close()
                    finally:
                        os._exit(code)
                pids.put(pid)
                forking.set()
            sock.sendall(data)
            return Park(resume) if data else None

        return Park(resume)

    running = serve(handle, ssl_adapter=tls.adapter())
    stalled = running.connect()
    stalled.sendall(tls.MemoryTLSClient().flight()[:100])
    with tls.wrap_client(running.connect()) as idle, tls.wrap_client(running.connect()) as client:
        idle.sendall(b"before")
        assert receive(idle, 6) == b"before"
        client.sendall(b"fork")
        pid = pids.get(timeout=PATIENCE)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert receive(client, 4) == b"fork"
        for one in (idle, client):
            one.sendall(b"after")
            assert receive(one, 5) == b"after"
    assert isinstance(client, ssl.SSLSocket)


def test_a_client_that_takes_no_output_before_tls_counts_like_any_that_went_away(
    monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    def drain(connection: Any, memory: int, timeout: float) -> None:
        raise TooSlow("the client took too little")

    monkeypatch.setattr(starttls, "drain", drain)

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        server.start_tls(sock)

    running = serve(handle, ssl_adapter=tls.adapter(), upgrades=True)
    running.connect().sendall(b"x")
    running.log.wait("ClientDisconnected: the client took too little")
