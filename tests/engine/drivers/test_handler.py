"""What the engine guarantees to a plain handler, on real sockets and with each poller."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import pytest

from reserve.engine.connections.states import NOTIFY, State
from reserve.engine.drivers.handler import HandlerApplication, Park
from reserve.engine.polling.poller import READ
from reserve.errors import ReserveError, UsageError
from reserve.testing import FakeClock
from tests.clients import close_with_reset, receive, receive_all
from tests.engine.conftest import Serve, echo, publishing, upper_lines
from tests.test_errors import ANYTHING, hostile
from tests.waiting import PATIENCE, eventually


class Echo:
    """A handler that parks and sends back what it receives; ``reasons`` has why each connection was closed."""

    def __init__(self, **park: Any) -> None:
        self.park = park
        self.reasons: SimpleQueue[str] = SimpleQueue()

    def __call__(self, sock: socket.socket, address: tuple[str, int], server: Any) -> Park:
        def resume() -> Park | None:
            data = sock.recv(65536)
            if not data:
                return None
            sock.sendall(data)
            return park()

        def park() -> Park:
            return Park(resume, on_close=self.reasons.put, **self.park)

        return park()


@pytest.mark.parametrize("early", [False, True])
def test_an_event_without_data_resumes_only_a_park_that_may_be_early(serve: Serve, early: bool) -> None:
    received: SimpleQueue[bytes] = SimpleQueue()

    def handle(sock: socket.socket, address: tuple[str, int], server: Any) -> Park:
        sock.setblocking(False)

        def resume() -> Park | None:
            try:
                data = sock.recv(100)
            except BlockingIOError:
                data = b"nothing"
            received.put(data)
            return parked if data else None

        parked = Park(resume, may_be_early=early)
        return parked

    running = serve(handle)
    client = running.connect()
    queue = running.server._runtime.queue
    eventually(lambda: [connection.state for connection in queue.connections.values()] == [State.PARKED])
    (connection,) = queue.connections.values()
    for event in (NOTIFY, READ):
        queue.notify(connection, event)
        eventually(lambda: connection.state is State.PARKED and not connection.pending)
    client.sendall(b"x")
    assert [received.get(timeout=PATIENCE) for _ in range(1 + early)] == [b"nothing", b"x"][not early :]


def test_many_connections_are_echoed(serve: Serve) -> None:
    running = serve(Echo(), threads=3)
    clients = [running.connect() for _ in range(60)]
    for turn in range(3):
        for number, client in enumerate(clients):
            client.sendall(b"%d-%d;" % (turn, number))
        for number, client in enumerate(clients):
            expected = b"%d-%d;" % (turn, number)
            assert receive(client, len(expected)) == expected
    stats = running.server.stats()
    assert stats.accepted == stats.connections == 60
    eventually(lambda: running.server.stats().handled >= 240)
    for client in clients:
        client.close()
    eventually(lambda: running.server.stats().connections == 0)
    assert running.log.errors == []


def test_bytes_in_the_buffer_of_a_makefile_count_as_readable(serve: Serve) -> None:
    client = serve(upper_lines).connect()
    client.sendall(b"one\ntwo\nthree\n")  # in one packet: the second and third are never seen by the poller
    assert receive(client, 14) == b"ONE\nTWO\nTHREE\n"
    client.sendall(b"four\n")
    assert receive(client, 5) == b"FOUR\n"
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b""


def test_resume_sees_a_reset_also_through_a_makefile(serve: Serve) -> None:
    seen: SimpleQueue[str] = SimpleQueue()
    parked = threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        file = sock.makefile("rb")

        def resume() -> None:
            try:
                seen.put(repr(file.read(1)))
            except OSError as error:
                seen.put(type(error).__name__)
            file.close()

        parked.set()
        return Park(resume, reader=file)

    client = serve(handle).connect()
    assert parked.wait(PATIENCE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    assert seen.get(timeout=PATIENCE) in ("ConnectionResetError", "b''")


def test_send_reaches_a_parked_connection_from_any_thread(serve: Serve) -> None:
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    echo = Echo()
    running = serve(publishing(sockets, echo))
    client = running.connect()
    sock = sockets.get(timeout=PATIENCE)
    threads = [
        threading.Thread(target=lambda: [running.server.send(sock, b"x" * 10) for _ in range(50)]) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert receive(client, 1500) == b"x" * 1500
    for thread in threads:
        thread.join(PATIENCE)
    client.sendall(b"still here")
    assert receive(client, 10) == b"still here"
    client.close()
    assert echo.reasons.get(timeout=PATIENCE) == "done"
    eventually(lambda: running.server.stats().connections == 0)
    with pytest.raises(UsageError, match="not \\(or no longer\\)"):
        running.server.send(sock, b"late")


def test_send_is_bounded_and_leaves_before_the_next_handler_runs(serve: Serve) -> None:
    """More is sent than the kernel takes; the handler that runs next must not overtake it."""
    sockets: SimpleQueue[socket.socket] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def resume() -> None:
            sock.recv(100)
            sock.sendall(b"end")

        sockets.put(sock)
        return Park(resume)

    running = serve(handle, max_output=3_000_000)
    client = running.connect()
    sock = sockets.get(timeout=PATIENCE)
    eventually(lambda: running.server.stats().parked == 1)
    running.server.send(sock, b"x" * 2_000_000)
    with pytest.raises(ReserveError, match="max-output 3000000"):
        running.server.send(sock, b"y" * 3_000_001)
    client.sendall(b"go")
    eventually(lambda: running.server.stats().flushing == 1)
    data = receive_all(client)
    assert len(data) == 2_000_003
    assert data.endswith(b"xend")


def test_a_slow_reader_is_flushed_while_the_one_worker_serves_others(serve: Serve) -> None:
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    echo = Echo()
    running = serve(publishing(sockets, echo), threads=1, max_output=20_000_000)
    slow = running.connect()
    running.server.send(sockets.get(timeout=PATIENCE), b"x" * 16_000_000)
    eventually(lambda: running.server.stats().flushing == 1)
    quick = running.connect()
    for _ in range(20):
        quick.sendall(b"ping")
        assert receive(quick, 4) == b"ping"
    assert running.server.stats().flushing == 1
    assert len(receive(slow, 16_000_000)) == 16_000_000
    eventually(lambda: running.server.stats().parked == 2)


# ---- time ----


def test_the_timeout_of_a_park_calls_on_timeout_or_closes(serve: Serve) -> None:
    clock = FakeClock()
    reasons: SimpleQueue[str] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        def late() -> Park:
            sock.sendall(b"late")
            return Park(lambda: None, timeout=5, on_close=reasons.put)

        return Park(lambda: None, timeout=10, on_timeout=late)

    running = serve(handle, clock=clock)
    client = running.connect()
    eventually(lambda: running.server.stats().parked == 1)
    clock.advance(9)
    assert running.server.stats().connections == 1
    clock.advance(1.1)
    assert receive(client, 4) == b"late"
    eventually(lambda: running.server.stats().parked == 1)
    clock.advance(5.1)
    assert receive_all(client) == b""
    assert reasons.get(timeout=PATIENCE) == "timeout"


def test_a_timer_of_an_earlier_park_closes_nothing(serve: Serve) -> None:
    """The handler parks with a timeout, then without one; the timer of the first park expires without effect."""
    clock = FakeClock()
    reasons: SimpleQueue[str] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        def resume() -> Park | None:
            data = sock.recv(10)
            if not data:
                return None
            sock.sendall(data)
            return Park(resume, timeout={b"s": 1, b"n": None, b"l": 5}[data[:1]], on_close=reasons.put)

        return Park(resume)

    running = serve(handle, clock=clock)
    patient, other = running.connect(), running.connect()
    for client, commands in ((patient, b"sn"), (other, b"l")):
        for command in commands:
            client.sendall(bytes([command]))
            assert receive(client, 1) == bytes([command])
    eventually(lambda: running.server.stats().parked == 2)
    clock.advance(1.5)
    patient.sendall(b"n")  # the leader is alive
    assert receive(patient, 1) == b"n"
    assert reasons.empty()
    eventually(lambda: running.server.stats().parked == 2)
    clock.advance(4.0)
    assert receive_all(other) == b""
    assert reasons.get(timeout=PATIENCE) == "timeout"
    patient.sendall(b"n")
    assert receive(patient, 1) == b"n"
    assert running.log.errors == []


def test_a_deadline_may_be_a_year_away(serve: Serve) -> None:
    """More milliseconds than an int holds, with the system's own clock."""
    running = serve(Echo(timeout=3e7), threads=1)
    client, other = running.connect(), running.connect()
    for _ in range(3):
        eventually(lambda: running.server.stats().parked == 2)
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    assert running.log.errors == []
    assert other.fileno() >= 0


def test_a_client_that_reads_nothing_is_reset_after_the_write_timeout(serve: Serve) -> None:
    clock = FakeClock()
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    echo = Echo()
    running = serve(publishing(sockets, echo), clock=clock, max_output=20_000_000, write_timeout=30.0)
    client = running.connect()
    running.server.send(sockets.get(timeout=PATIENCE), b"x" * 16_000_000)
    eventually(lambda: running.server.stats().flushing == 1)
    clock.advance(31)
    assert echo.reasons.get(timeout=PATIENCE) == "timeout"
    with pytest.raises(ConnectionResetError):  # the client sees that the data is incomplete
        receive_all(client)
    assert echo.reasons.empty()


def test_a_silent_client_that_has_to_speak_first_uses_no_worker_and_is_closed_in_time(serve: Serve) -> None:
    clock = FakeClock()
    calls: SimpleQueue[str] = SimpleQueue()

    class Handle:
        client_speaks_first = True

        def __call__(self, sock: socket.socket, address: Any, server: Any) -> None:
            calls.put(sock.recv(10).decode())

    running = serve(Handle(), clock=clock, threads=1, handler_timeout=60.0)
    silent = running.connect()
    client = running.connect()
    eventually(lambda: running.server.stats().parked == 2)
    assert running.server.stats().handled == 0
    client.sendall(b"hello")
    assert receive_all(client) == b""
    assert calls.get(timeout=PATIENCE) == "hello"
    clock.advance(61)
    assert receive_all(silent) == b""
    assert calls.empty()


def test_client_speaks_first_may_be_set_in_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        pass

    assert not HandlerApplication(handle, timeout=1, max_output=1).client_speaks_first
    monkeypatch.setattr(sys.modules[__name__], "client_speaks_first", True, raising=False)
    assert HandlerApplication(handle, timeout=1, max_output=1).client_speaks_first
    handle.client_speaks_first = False  # type: ignore[attr-defined]
    assert not HandlerApplication(handle, timeout=1, max_output=1).client_speaks_first


def test_a_handler_starts_with_the_handler_timeout_and_may_change_it(serve: Serve) -> None:
    seen: SimpleQueue[float | None] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        seen.put(sock.gettimeout())
        sock.settimeout(7)
        return Park(lambda: seen.put(sock.gettimeout()))

    client = serve(handle, handler_timeout=12.0).connect()
    client.sendall(b"x")
    assert receive_all(client) == b""
    assert [seen.get(timeout=PATIENCE), seen.get(timeout=PATIENCE)] == [12.0, 7]


def test_a_park_until_writable_is_resumed_when_there_is_room(serve: Serve) -> None:
    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        return Park(lambda: sock.sendall(b"there is room"), until="writable")

    assert receive_all(serve(handle).connect()) == b"there is room"


# ---- closing ----


@pytest.mark.parametrize(
    ("resume", "reason"),
    [
        (lambda: None, "done"),
        (lambda: 1 / 0, "error"),
        (lambda: sys.exit(3), "error"),
        (lambda: "neither None nor Park", "error"),
        (lambda: (_ for _ in ()).throw(ConnectionResetError("gone")), "lost"),
        (lambda: (_ for _ in ()).throw(TimeoutError("slow")), "lost"),
    ],
)
def test_on_close_is_called_once_with_the_reason(serve: Serve, resume: Callable[[], Any], reason: str) -> None:
    reasons: SimpleQueue[str] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        return Park(resume, on_close=reasons.put)

    running = serve(handle)
    client = running.connect()
    client.sendall(b"x")
    with contextlib.suppress(ConnectionResetError):
        assert receive_all(client) == b""
    assert reasons.get(timeout=PATIENCE) == reason
    running.server.stop()
    assert reasons.empty()


@pytest.mark.parametrize("timeout", [None, 0])
def test_on_close_is_called_by_a_stop(serve: Serve, timeout: float | None) -> None:
    echo = Echo()
    running = serve(echo)
    clients = [running.connect() for _ in range(5)]
    eventually(lambda: running.server.stats().parked == 5)
    running.server.stop(timeout)
    assert [echo.reasons.get(timeout=PATIENCE) for _ in range(5)] == ["stop"] * 5
    assert echo.reasons.empty()
    for client in clients:
        assert receive_all(client) == b""


def test_on_close_is_called_even_when_the_only_worker_is_stuck(serve: Serve) -> None:
    echo = Echo()
    inside, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        if sock.recv(1) == b"s":
            inside.set()
            go_on.wait(PATIENCE)
        return echo(sock, address, server)

    running = serve(handle, threads=1)
    running.connect().sendall(b"p")
    eventually(lambda: running.server.stats().parked == 1)
    running.connect().sendall(b"s")
    assert inside.wait(PATIENCE)
    running.server.stop(0)
    assert echo.reasons.get(timeout=PATIENCE) == "stop"
    go_on.set()
    assert echo.reasons.get(timeout=PATIENCE) == "stop"  # the worker has returned from the stuck handler
    assert echo.reasons.empty()


def test_a_later_park_replaces_on_close(serve: Serve) -> None:
    called: SimpleQueue[str] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        second = Park(lambda: None, on_close=lambda reason: called.put("second " + reason))
        return Park(lambda: (sock.recv(1), second)[1], on_close=lambda reason: called.put("first"))

    running = serve(handle)
    running.connect().sendall(b"ab")
    assert called.get(timeout=PATIENCE) == "second done"
    running.server.stop()
    assert called.empty()


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, BaseException, StopIteration]
)
def test_no_exception_ends_a_worker(serve: Serve, kind: type[BaseException]) -> None:
    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        if sock.recv(1) == b"!":
            raise kind("on purpose")
        sock.sendall(b"fine")

    running = serve(handle, threads=1)
    for _ in range(3):
        bad = running.connect()
        bad.sendall(b"!")
        assert receive_all(bad) == b""
    good = running.connect()
    good.sendall(b".")
    assert receive_all(good) == b"fine"
    assert "on purpose" in running.log.wait(kind.__name__)
    assert running.server.stats().threads == 1


@pytest.mark.parametrize("kind", ANYTHING)
def test_no_exception_that_cannot_be_described_ends_a_worker(serve: Serve, kind: type[BaseException]) -> None:
    class Lost(ConnectionError):
        def __str__(self) -> str:
            raise kind

        __class__ = property(__str__)  # type: ignore[assignment]

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        match sock.recv(1):
            case b"!":
                raise hostile(kind)
            case b"?":
                raise Lost
        sock.sendall(b"fine")

    running = serve(handle, threads=1)
    for first in (b"!", b"?", b"!", b"?"):
        bad = running.connect()
        bad.sendall(first)
        assert receive_all(bad) == b""
    good = running.connect()
    good.sendall(b".")
    assert receive_all(good) == b"fine"
    assert __file__ in running.log.wait("Hostile: (its text cannot be shown)")
    assert running.log.wait("Lost: (its text cannot be shown)")
    assert running.server.stats().threads == 1


def test_the_socket_is_closed_although_a_makefile_of_it_is_open(serve: Serve) -> None:
    kept = []

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        kept.append(sock.makefile("rb"))

    assert receive_all(serve(handle).connect()) == b""
    kept[0].close()


@pytest.mark.parametrize("parked_before", [False, True])
@pytest.mark.parametrize("on_close", [False, True])
def test_a_handler_may_close_its_socket_itself(serve: Serve, parked_before: bool, on_close: bool) -> None:
    reasons: SimpleQueue[str] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Any:
        def resume() -> None:
            sock.close()

        if parked_before:
            return Park(resume, on_close=reasons.put if on_close else None)
        return resume()

    running = serve(handle)
    for _ in range(3):
        client = running.connect()
        client.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            assert receive_all(client) == b""
    eventually(lambda: running.server.stats().connections == 0)
    if parked_before and on_close:
        assert [reasons.get(timeout=PATIENCE) for _ in range(3)] == ["done"] * 3
    assert running.log.errors == []


# ---- detach ----


@pytest.mark.parametrize("how", ["none", "park", "raise", "after a park with on_close"])
def test_a_detached_socket_belongs_to_the_application(serve: Serve, how: str) -> None:
    taken: SimpleQueue[socket.socket] = SimpleQueue()
    reasons: SimpleQueue[str] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Any:
        def take() -> Any:
            assert server.detach(sock) is sock
            taken.put(sock)
            if how == "raise":
                raise ValueError("after the detach")
            return Park(lambda: None) if how == "park" else None

        return Park(take, on_close=reasons.put) if how.startswith("after") else take()

    running = serve(handle)
    client = running.connect()
    client.sendall(b"go")
    with taken.get(timeout=PATIENCE) as sock:
        eventually(lambda: running.server.stats().busy == 0)
        if how.startswith("after"):
            assert reasons.get(timeout=PATIENCE) == "done"
        with pytest.raises(UsageError):
            running.server.send(sock, b"x")
        running.server.stop()
        sock.setblocking(True)
        sock.sendall(b"mine")
        assert receive(client, 4) == b"mine"
        assert sock.recv(2) == b"go"


# ---- addresses ----


def test_a_v4_mapped_address_is_shown_as_ipv4(serve: Serve) -> None:
    seen: SimpleQueue[Any] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        seen.put((address, server.peer(sock)))

    try:
        running = serve(handle, "[::]:0")
    except ReserveError:
        pytest.skip("this machine has no IPv6")
    with socket.create_connection(("127.0.0.1", running.server.addresses[0][1])) as client:
        address, peer = seen.get(timeout=PATIENCE)
        assert address == client.getsockname()
    assert peer.address[0] == "::ffff:127.0.0.1"
    assert (peer.pid, peer.uid, peer.gid) == (None, None, None)


def test_a_unix_socket_has_the_credentials_of_its_client(serve: Serve, short_path: Path) -> None:
    seen: SimpleQueue[Any] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        seen.put((address, server.peer(sock)))

    running = serve(handle, f"unix:{short_path}/s")
    running.connect()
    address, peer = seen.get(timeout=PATIENCE)
    running.server.stop()
    assert address == ("", 0)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())


def test_a_server_may_have_several_listeners_of_several_kinds(serve: Serve, short_path: Path) -> None:
    running = serve(Echo(), "127.0.0.1:0", f"unix:{short_path}/s", "127.0.0.1:0")
    for number in (0, 1, 2, 1, 0):
        client = running.connect(number)
        client.sendall(b"hello")
        assert receive(client, 5) == b"hello"
    running.server.stop()


# ---- usage ----


def test_a_park_with_invalid_arguments_is_refused() -> None:
    with pytest.raises(UsageError, match="until='sometimes'"):
        Park(print, until="sometimes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no peek"):
        Park(print, reader=object())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="timeout=-1"):
        Park(print, timeout=-1)
    for name, value in ("resume", None), ("resume", 3), ("on_close", 3), ("on_timeout", b"x"):
        with pytest.raises(UsageError, match=f"{name}={value!r}"):
            Park(**{"resume": print, name: value})
    for seconds in (float("nan"), "5", True, 10**400, [], 5j):
        with pytest.raises(UsageError, match="timeout="):
            Park(print, timeout=seconds)  # type: ignore[arg-type]
    assert Park(print, timeout=float("inf"), on_timeout=print, on_close=print).resume is print


def test_send_takes_bytes_only(serve: Serve) -> None:
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    running = serve(publishing(sockets, Echo()))
    client = running.connect()
    sock = sockets.get(timeout=PATIENCE)
    for data in (5, True, None, "text", [1, 2], object()):
        with pytest.raises(UsageError, match=f"takes bytes, not {type(data).__name__}"):
            running.server.send(sock, data)  # type: ignore[arg-type]
    buffer = bytearray(b"two")
    for piece in (b"one", buffer, memoryview(b"t.h.r.")[::2]):
        running.server.send(sock, piece)
    buffer[:] = b"???"
    assert receive(client, 9) == b"onetwothr"


def test_a_socket_that_is_no_connection_of_the_server_is_refused(serve: Serve) -> None:
    running = serve(Echo())
    client = running.connect()
    for call in (
        lambda: running.server.peer(client),
        lambda: running.server.detach(client),
        lambda: running.server.detach(cast("Any", 5)),
        lambda: running.server.send(cast("Any", None), b"x"),
    ):
        with pytest.raises(UsageError):
            call()
    closed = socket.socket()
    closed.close()
    with pytest.raises(UsageError):
        running.server.send(closed, b"x")


# ---- the budget of memory ----


def test_what_send_leaves_waiting_is_counted_and_refused_when_the_memory_is_used_up(serve: Serve) -> None:
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    entered, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        def resume() -> None:
            entered.set()
            assert go_on.wait(PATIENCE)

        sockets.put(sock)
        return Park(resume)

    running = serve(handle)
    server = running.server
    client = running.connect()
    sock = sockets.get(timeout=PATIENCE)
    client.sendall(b"go")
    assert entered.wait(PATIENCE)  # while the handler runs, what is sent waits in the outbox
    server._runtime.budget.memory_limit = 100_000
    for _ in range(1000):
        server.send(sock, b"x" * 90)
    assert 90_000 <= server.stats().buffered <= 95_000  # few objects
    with pytest.raises(ReserveError, match="buffer-memory"):
        server.send(sock, b"y" * 20_000)
    server._runtime.budget.memory_limit = 0
    with pytest.raises(ReserveError, match="buffer-memory"):
        server.send(sock, b"y")
    go_on.set()
    assert receive_all(client) == b"x" * 90_000
    eventually(lambda: server.stats().connections == 0)
    assert server.stats().buffered == 0


def test_send_takes_a_little_while_the_memory_is_used_up(serve: Serve) -> None:
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    running = serve(publishing(sockets, echo))
    client = running.connect()
    sock = sockets.get(timeout=PATIENCE)
    running.server._runtime.budget.memory_limit = -1
    running.server.send(sock, b"x" * 4096)
    assert receive(client, 4096) == b"x" * 4096
    with pytest.raises(ReserveError, match="buffer-memory"):
        running.server.send(sock, b"x" * 4097)


@pytest.mark.parametrize("end", [socket.socket.close, close_with_reset])
def test_what_send_queued_is_freed_when_the_connection_ends(serve: Serve, end: Callable[[socket.socket], None]) -> None:
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    entered, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> Park:
        def resume() -> None:
            entered.set()
            assert go_on.wait(PATIENCE)
            raise ValueError("the handler fails, and nothing is sent")

        sockets.put(sock)
        return Park(resume)

    running = serve(handle)
    client = running.connect()
    sock = sockets.get(timeout=PATIENCE)
    client.sendall(b"go")
    assert entered.wait(PATIENCE)
    running.server.send(sock, b"x" * 50_000)
    assert running.server.stats().buffered >= 50_000
    end(client)
    go_on.set()
    eventually(lambda: running.server.stats().connections == 0)
    assert running.server.stats().buffered == 0
