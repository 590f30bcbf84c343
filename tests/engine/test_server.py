"""The life of a server, on real sockets and with each poller."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from reserve.engine.acceptor import Acceptor
from reserve.engine.connection import Connection
from reserve.engine.driver import CLOSE, LINGER, RUN, Action, Wait
from reserve.engine.handler import HandlerDriver, Park
from reserve.engine.listeners import listen
from reserve.engine.logs import Logs
from reserve.engine.poller import READ
from reserve.engine.server import Hooks, Server
from reserve.errors import ClientDisconnected, UsageError
from reserve.testing import FakeClock
from tests.engine.conftest import MakePoller, Serve, receive, receive_all
from tests.waiting import eventually

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


def echo(sock: socket.socket, address: Any, server: Any) -> Any:
    def resume() -> Any:
        data = sock.recv(65536)
        if not data:
            return None
        sock.sendall(data)
        return Park(resume)

    return Park(resume)


def _in_child(program: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, stdin=subprocess.PIPE, **options,
    )  # fmt: skip


def _result(program: str, *arguments: str) -> str:
    with _in_child(program, *arguments) as child:
        out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert err == ""
    return out


# ---- start ----


def test_start_twice_or_after_the_stop_is_an_error(serve: Serve) -> None:
    server = serve(echo).server
    with pytest.raises(UsageError, match="started before"):
        server.serve_in_background()
    with pytest.raises(UsageError, match="started before"):
        server.start()
    server.stop()
    with pytest.raises(UsageError, match="make another"):
        server.start()
    server.stop()


def test_a_server_that_was_never_started_gives_everything_back(make_poller: MakePoller) -> None:
    [listener] = listen("127.0.0.1:0")
    server = Server(listener, echo, poller=make_poller())
    server.stop()
    assert listener.fileno() == -1
    with pytest.raises(UsageError):
        server.serve_in_background()


@pytest.mark.parametrize("arguments", [{"thread": 3}, {"handler_timeouts": 3}])
def test_an_unknown_setting_is_refused(arguments: dict[str, Any]) -> None:
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener, pytest.raises(UsageError, match="did you mean"):
        Server(listener, echo, **arguments)


def test_no_listeners_and_no_application_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        Server([], echo)
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener, pytest.raises(UsageError, match="not callable"):
        Server(listener, "echo")  # type: ignore[arg-type]


@pytest.mark.parametrize("failing", ["worker", "application"])
def test_a_start_that_fails_leaves_nothing_half_started(
    make_poller: MakePoller, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    class Application:
        def make_driver(self, connection: Connection) -> Any:
            raise AssertionError("never called")

        def start(self, server: Server) -> None:
            if failing == "application":
                raise RuntimeError("cannot start")

    [listener] = listen("127.0.0.1:0")
    server = Server(listener, Application(), poller=make_poller(), threads=3)
    if failing == "worker":

        def start() -> None:
            raise RuntimeError("cannot start")

        monkeypatch.setattr(server._pool.workers[1].thread, "start", start)
    with pytest.raises(RuntimeError, match="cannot start"):
        server.serve_in_background()
    server.stop()
    assert listener.fileno() == -1


def test_the_context_manager_leaves_no_thread_and_no_descriptor(make_poller: MakePoller) -> None:
    threads, fds = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    with Server(listen("127.0.0.1:0"), echo, poller=make_poller(), threads=3) as server:
        assert server.wait_ready(20)
        with socket.create_connection(server.addresses[0]) as client:
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
    assert set(threading.enumerate()) == threads
    assert len(os.listdir("/proc/self/fd")) == fds
    assert server.addresses[0][1] > 0


@pytest.mark.parametrize("as_number", [False, True])
def test_listeners_that_are_not_its_own_stay_usable(make_poller: MakePoller, as_number: bool) -> None:
    with contextlib.closing(listen("127.0.0.1:0")[0]) as listener:
        for _ in range(2):
            with (
                Server(listener.fileno() if as_number else listener, echo, own=False, poller=make_poller()) as server,
                socket.create_connection(server.addresses[0]) as client,
            ):
                client.sendall(b"x")
                assert receive(client, 1) == b"x"


def test_many_cycles_leave_nothing(make_poller: MakePoller) -> None:
    def cycle() -> None:
        with (
            Server(listen("127.0.0.1:0"), echo, poller=make_poller(), threads=2) as server,
            socket.create_connection(server.addresses[0]) as client,
        ):
            client.sendall(b"x")
            receive(client, 1)

    def count() -> tuple[int, int]:
        gc.collect()
        ours = sum(type(one).__module__.startswith("reserve.") for one in gc.get_objects())
        return ours, len(os.listdir("/proc/self/fd"))

    cycle()
    before = count()
    for _ in range(50):
        cycle()
    assert count() == before


def test_the_hooks_are_called_in_order_and_their_failures_are_logged(serve: Serve) -> None:
    calls: list[tuple[str, str]] = []
    lines: list[str] = []

    def hook(name: str) -> Any:
        def run() -> None:
            calls.append((name, threading.current_thread().name.rstrip("0123456789")))
            raise (SystemExit if "thread" in name else ValueError)(name)

        return run

    names = ["on_worker_start", "on_thread_start", "on_thread_stop", "on_worker_stop"]
    hooks = Hooks(**{name: hook(name) for name in names}, error_log=lambda level, text: lines.append(text))
    server = serve(echo, threads=1, hooks=hooks).server
    server.stop()
    here = threading.current_thread().name
    assert calls == [
        ("on_worker_start", here), ("on_thread_start", "reserve-worker-"), ("on_thread_stop", "reserve-worker-"),
        ("on_worker_stop", "reserve-accept"),
    ]  # fmt: skip
    assert [line.split("\n")[0] for line in lines] == [f"the hook {name} failed" for name in names]


def test_a_driver_that_cannot_be_made_costs_one_connection(serve: Serve) -> None:
    made: list[Connection] = []

    class Application:
        def make_driver(self, connection: Connection) -> Any:
            made.append(connection)
            if len(made) == 1:
                raise ValueError("not the first")
            return Lines(connection)

    running = serve(Application())
    assert receive_all(running.connect()) == b""
    client = running.connect()
    client.sendall(b"bye\n")
    assert receive_all(client) == b"bye\n"
    running.log.wait("not the first")
    made.clear()


# ---- stop ----


def test_a_stop_lets_requests_in_flight_finish_and_accepts_no_more(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> Any:
        if sock.recv(1) == b"w":
            inside.set()
            go_on.wait(20)
            sock.sendall(b"finished")
            return None
        return Park(lambda: None)

    running = serve(handle)
    idle, busy = running.connect(), running.connect()
    idle.sendall(b"i")
    busy.sendall(b"w")
    assert inside.wait(20)
    eventually(lambda: running.server.stats().parked == 1)
    stopper = threading.Thread(target=running.server.stop)
    stopper.start()
    assert receive_all(idle) == b""
    with pytest.raises(ConnectionRefusedError):
        running.connect()
    go_on.set()
    assert receive_all(busy) == b"finished"
    stopper.join(20)
    assert not stopper.is_alive()
    running.server.stop()
    running.server.stop(0)


def test_what_the_kernel_has_accepted_is_served(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def make_driver(self, connection: Connection) -> Any:
            inside.set()
            go_on.wait(20)
            return Lines(connection)

    running = serve(Slow())
    clients = [running.connect() for _ in range(5)]
    assert inside.wait(20)
    for client in clients:
        client.sendall(b"bye\n")
    running.server.request_stop()
    go_on.set()
    assert [receive_all(client) for client in clients] == [b"bye\n"] * 5


def test_a_handler_may_stop_the_server(serve: Serve) -> None:
    def handle(sock: socket.socket, address: Any, server: Server) -> None:
        server.stop()
        sock.sendall(b"stopping")

    running = serve(handle)
    assert receive_all(running.connect()) == b"stopping"
    running.server.stop()
    assert running.log.errors == []


def test_a_stuck_handler_is_reported_with_its_name_and_stack(serve: Serve) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def a_handler_that_hangs(sock: socket.socket, address: Any, server: Any) -> None:
        inside.set()
        go_on.wait(20)

    running = serve(a_handler_that_hangs)
    client = running.connect()
    assert inside.wait(20)
    running.server.stop(timeout=0)
    text = running.log.wait("is still busy")
    assert text.startswith("reserve-worker-")
    assert "in a_handler_that_hangs" in text
    assert receive_all(client) == b""
    assert running.server.stats().connections == 1
    go_on.set()
    eventually(lambda: running.server.stats().connections == 0)


def test_a_stop_waits_as_long_as_the_clock_says(serve: Serve) -> None:
    clock = FakeClock()
    inside, go_on = threading.Event(), threading.Event()

    def handle(sock: socket.socket, address: Any, server: Any) -> None:
        inside.set()
        go_on.wait(20)

    running = serve(handle, clock=clock, stop_timeout=30.0)
    running.connect()
    assert inside.wait(20)
    running.server.request_stop()
    stopper = threading.Thread(target=running.server.stop)
    stopper.start()
    eventually(lambda: clock._wakes.__len__() == 2)  # the drain waits
    clock.advance(29)
    assert not any("still busy" in text for _, text in running.log.lines)
    clock.advance(2)
    running.log.wait("still busy")
    stopper.join(20)
    go_on.set()
    eventually(lambda: running.server.stats().connections == 0)


_SERVING = """
import os, signal, socket, sys, threading
from reserve import Server, listen, Park
reasons = []
def handle(sock, address, server):
    return Park(lambda: None, on_close=reasons.append)
server = Server(listen("127.0.0.1:0"), handle, threads=2)
"""
_CLIENT = """
def visit():
    server.wait_ready()
    with socket.create_connection(server.addresses[0]) as client:
        while not server.stats().parked:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        assert client.recv(10) == b""
thread = threading.Thread(target=visit)
thread.start()
"""


def test_a_keyboard_interrupt_drains_and_is_raised_again() -> None:
    program = f"""{_SERVING}{_CLIENT}
try:
    server.start()
except KeyboardInterrupt:
    thread.join()
    print("interrupted", reasons, threading.active_count(), server.stats().connections)
"""
    assert _result(program) == "interrupted ['stop'] 1 0\n"


def test_a_signal_handler_may_stop_the_server_it_interrupts() -> None:
    program = f"""{_SERVING}{_CLIENT}
signal.signal(signal.SIGINT, lambda number, frame: (server.stop(), server.stop()))
server.start()
thread.join()
print("stopped", reasons, threading.active_count())
"""
    assert _result(program) == "stopped ['stop'] 1\n"


# ---- drivers of their own ----


class Lines:
    """Sends each line back; ``bye`` ends, ``linger`` ends while the peer may still send, ``run`` runs."""

    def __init__(self, connection: Connection, on_read: Any = None) -> None:
        self.connection = connection
        self.wait = Wait("line", READ)
        self.on_read = on_read

    def step(self, events: int, now: float) -> Action:
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:
            return CLOSE if self.connection.server.stopping else self.wait
        if self.on_read is not None:
            self.on_read(data)
        if data:
            self.connection.write(data)
        if data.startswith(b"run"):
            return RUN
        if data.startswith(b"linger"):
            return LINGER
        return CLOSE if data in (b"", b"bye\n") else self.wait

    def run(self) -> None: ...

    def expired(self, kind: str, now: float) -> Action:
        return CLOSE

    def refuse(self, reason: str) -> bytes | None:
        return None

    def closed(self, reason: str) -> bool:
        return False


class LinesApp:
    def __init__(self, run: Any = None, on_read: Any = None) -> None:
        self.run = run
        self.on_read = on_read

    def make_driver(self, connection: Connection) -> Lines:
        driver = Lines(connection, self.on_read)
        if self.run is not None:
            driver.run = self.run  # type: ignore[method-assign]
        return driver


def test_the_monitor_leads_while_every_worker_is_busy(serve: Serve) -> None:
    inside, go_on, threads = threading.Event(), threading.Event(), set()

    def run() -> None:
        inside.set()
        go_on.wait(20)

    running = serve(LinesApp(run, lambda data: threads.add(threading.current_thread().name)), threads=1)
    busy = running.connect()
    busy.sendall(b"run\n")
    assert inside.wait(20)
    threads.clear()
    others = [running.connect() for _ in range(5)]
    for _ in range(3):
        for other in others:
            other.sendall(b"hello\n")
            assert receive(other, 6) == b"hello\n"
    assert threads == {"reserve-monitor"}
    assert running.server.stats().steals == 1
    busy.sendall(b"again\n")
    others[0].sendall(b"run\n")  # waits for the worker
    assert receive(others[0], 4) == b"run\n"
    eventually(lambda: running.server.stats().queued == 1)
    go_on.set()
    assert receive(busy, 10) == b"run\nagain\n"
    threads.clear()
    others[0].sendall(b"and on\n")
    assert receive(others[0], 7) == b"and on\n"


def test_a_worker_that_waits_for_its_lent_connection_is_set_free_by_the_stop(serve: Serve) -> None:
    lent, failed = SimpleQueue[Connection](), SimpleQueue[Exception]()

    class Application:
        def make_driver(self, connection: Connection) -> Lines:
            def run() -> None:
                connection.write(b"x" * 16_000_000)
                connection.lend()
                eventually(connection.take)  # as a leader that goes home before it has stepped it
                lent.put(connection)
                try:
                    connection.reclaim()
                except ClientDisconnected as error:
                    failed.put(error)
                    raise

            driver = Lines(connection)
            driver.run = run  # type: ignore[method-assign]
            return driver

    running = serve(Application())
    running.connect().sendall(b"run\n")
    connection = lent.get(timeout=20)
    eventually(lambda: connection.claimant is not None)
    running.server.stop(0)
    failed.get(timeout=20)
    eventually(lambda: running.server.stats().connections == 0)


def test_lingering_is_bounded_in_octets(serve: Serve) -> None:
    running = serve(LinesApp(), linger_bytes=1000)
    client = running.connect()
    client.sendall(b"linger\n")
    assert receive_all(client) == b"linger\n"  # the answer arrives, then the end
    eventually(lambda: running.server.stats().lingering == 1)
    client.sendall(b"x" * 900)
    assert running.server.stats().lingering == 1
    client.sendall(b"x" * 100)
    eventually(lambda: running.server.stats().connections == 0)


def test_lingering_is_bounded_in_time(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(LinesApp(), clock=clock, linger_timeout=2.0)
    client = running.connect()
    client.sendall(b"linger\n")
    assert receive_all(client) == b"linger\n"
    eventually(lambda: running.server.stats().lingering == 1)
    clock.advance(2.1)
    eventually(lambda: running.server.stats().connections == 0)


def test_lingering_is_bounded_in_number_and_ends_with_the_peer(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(LinesApp(), clock=clock, max_lingering=3)
    clients = [running.connect() for _ in range(6)]
    for client in clients:
        client.sendall(b"linger\n")
        assert receive_all(client) == b"linger\n"
    eventually(lambda: running.server.stats().connections == 3)
    for client in clients:
        client.close()
    eventually(lambda: running.server.stats().connections == 0)


def test_an_idle_server_makes_no_wake_ups(serve: Serve, make_poller: MakePoller) -> None:
    poller = make_poller()
    inner, polls = poller.poll, SimpleQueue[object]()

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        polls.put(timeout)
        return inner(timeout)

    poller.poll = poll  # type: ignore[method-assign]
    running = serve(echo, poller=poller)
    clients = [running.connect() for _ in range(5)]
    for client in clients:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    monitor = running.server._monitor
    eventually(lambda: monitor.asleep and running.server.stats().parked == 5)
    while not polls.empty():
        assert polls.get() is None  # it would wait for ever
    clients[0].sendall(b"y")
    assert receive(clients[0], 1) == b"y"
    eventually(lambda: running.server.stats().parked == 5)
    # The one that was waiting has returned with the event, and one waits now: nothing has turned in between.
    assert polls.qsize() <= 2


def test_a_half_closed_peer_that_does_not_read_is_waited_for_without_turning(
    serve: Serve, make_poller: MakePoller
) -> None:
    poller = make_poller()
    inner, polls = poller.poll, SimpleQueue[object]()

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        polls.put(timeout)
        return inner(timeout)

    poller.poll = poll  # type: ignore[method-assign]
    sockets: SimpleQueue[socket.socket] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Any:
        sockets.put(sock)
        return echo(sock, address, server)

    running = serve(handle, poller=poller, max_output=20_000_000)
    slow = running.connect()
    running.server.send(sockets.get(timeout=20), b"x" * 16_000_000)
    other = running.connect()
    eventually(lambda: running.server.stats().flushing == 1)
    slow.shutdown(socket.SHUT_WR)
    before = polls.qsize()
    for _ in range(10):
        other.sendall(b"ping")
        assert receive(other, 4) == b"ping"
    assert polls.qsize() - before <= 45  # two for each answer, and a few; a leader that turns makes thousands
    assert len(receive(slow, 16_000_000)) == 16_000_000


# ---- memory ----


def test_a_connection_leaves_no_cycle(serve: Serve) -> None:
    drivers: list[weakref.ref[Any]] = []

    def handle(sock: socket.socket, address: Any, server: Server) -> Any:
        connection = server._find(sock)
        drivers.append(weakref.ref(connection))
        return Park(lambda: sock.recv(1) and None, on_close=lambda reason: None)

    running = serve(handle)
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            client = running.connect()
            client.sendall(b"x")
            assert receive_all(client) == b""
            client.close()
        eventually(lambda: running.server.stats().connections == running.server.stats().busy == 0)
        eventually(lambda: sum(one() is not None for one in drivers) <= 2)  # the locals of the workers
        alive = [one for one in gc.get_objects() if isinstance(one, HandlerDriver)]
        assert len(alive) <= 2
    finally:
        gc.enable()


# ---- descriptors ----


def test_without_descriptors_it_pauses_says_so_once_and_goes_on() -> None:
    program = """
import os, resource, socket, threading
from reserve import Hooks, Server, listen
lines, full = [], threading.Event()
def log(level, text):
    lines.append(text)
    full.set()
held, release = threading.Semaphore(0), threading.Event()
def handle(sock, address, server):
    sock.sendall(b"served")
server = Server(listen("127.0.0.1:0"), handle, threads=2, hooks=Hooks(error_log=log))
clients = [socket.socket() for _ in range(8)]
fillers = []
with server:
    server.wait_ready()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            fillers.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for client in clients:
        client.settimeout(30)
        client.connect(server.addresses[0])
    assert full.wait(30)
    assert server.stats().accepted == 0
    for filler in fillers:
        os.close(filler)
    print({client.recv(10) for client in clients}, server.stats().accepted)
    print(len(lines), lines[0])
for client in clients:
    client.close()
"""
    out = _result(program).splitlines()
    assert out[0] == "{b'served'} 8"
    assert out[1].startswith("1 no new connections for now: Too many open files")
    assert "ulimit -n" in out[1]


def test_a_listener_that_somebody_else_closed_does_not_hang_the_stop(serve: Serve) -> None:
    running = serve(echo, "127.0.0.1:0", "127.0.0.1:0")
    gone, _ = running.server._listeners
    gone.shutdown(socket.SHUT_RDWR)
    running.log.wait("closed by somebody else")
    client = running.connect(1)
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    running.server.stop()


def test_errors_of_one_connection_are_not_those_of_the_listener() -> None:
    errors: Iterator[int] = iter([errno.ECONNABORTED, errno.EPROTO, errno.EPERM])

    class Listener:
        def accept(self) -> Any:
            for number in errors:
                raise OSError(number, os.strerror(number))
            raise BlockingIOError

    acceptor = Acceptor([], lambda sock, peer: None, lambda: None, Logs())
    assert acceptor._accept(Listener()) is False  # type: ignore[arg-type]
    assert next(errors, None) is None
    acceptor.wakeup.close()


# ---- fork ----


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("returns", [False, True])
def test_a_forked_child_holds_nothing_and_the_parent_goes_on(serve: Serve, returns: bool) -> None:
    read, write = os.pipe()
    parent = os.getpid()

    def told(reason: str = "") -> None:
        if os.getpid() != parent:
            os.write(write, b"told")

    def handle(sock: socket.socket, address: Any, server: Server) -> Any:
        def resume() -> Any:
            fds = {connection.fd for connection in server._queue.connections.values()}
            fds |= {one.fileno() for one in server._listeners}
            fds |= {server._acceptor.wakeup.fd, server._poller.wakeup.fd}
            epoll = getattr(server._poller, "_epoll", None)
            fds.add(-1 if epoll is None else epoll.fileno())
            if not sock.recv(10):
                return None
            pid = os.fork()
            if not pid:
                try:
                    left = [fd for fd in fds if fd >= 0 and os.path.exists(f"/proc/self/fd/{fd}")]
                    server.stop()
                    os.write(write, repr(sorted(left)).encode())
                finally:
                    if not returns:
                        os._exit(0)
                return Park(resume, on_close=told)
            os.waitpid(pid, 0)
            sock.sendall(b"parent")
            return Park(resume, on_close=told)

        return Park(resume, on_close=told)

    running = serve(handle, threads=1, hooks=Hooks(on_thread_stop=told, on_worker_stop=told))
    idle, client = running.connect(), running.connect()
    for _ in range(2):
        client.sendall(b"fork")
        assert receive(client, 6) == b"parent"
        assert os.read(read, 1000) == b"[]"
    client.close()
    idle.close()
    eventually(lambda: running.server.stats().connections == 0)
    running.server.stop()
    os.close(write)
    assert os.read(read, 1000) == b""  # nothing of the application's was called in the child
    os.close(read)


@needs_fork
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="Linux")
def test_a_child_of_the_main_thread_may_leave_the_with_block() -> None:
    program = """
import os, socket, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from reserve import Park, Server, listen
with Server(listen("127.0.0.1:0"), lambda *arguments: Park(lambda: None)) as server:
    server.wait_ready()
    client = socket.create_connection(server.addresses[0])
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        client.sendall(b"x")
        assert client.recv(1) == b""
        client.close()
print("child" if not child else "parent", flush=True)
"""
    assert _result(program).split() == ["child", "parent"]


# ---- other platforms ----


def test_it_works_without_what_other_platforms_lack() -> None:
    program = """
import sys
sys.modules["fcntl"] = None
import os, select, selectors, socket
for module, names in [
    (select, "epoll poll"), (selectors, "EpollSelector PollSelector"), (socket, "AF_UNIX SO_PEERCRED SO_REUSEPORT"),
    (os, "eventfd eventfd_read eventfd_write fork register_at_fork sendfile getuid"),
]:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
selectors.DefaultSelector = selectors.SelectSelector
def socketpair():  # what the standard library does where the system has none
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]
socket.socketpair = socketpair
import reserve
from reserve import Park, Server, listen
def handle(sock, address, server):
    def resume():
        data = sock.recv(100)
        sock.sendall(data.upper())
        return Park(resume, timeout=100) if data != b"bye" else None
    return Park(resume)
with Server(listen("127.0.0.1:0"), handle, threads=2) as server:
    clients = [socket.create_connection(server.addresses[0]) for _ in range(10)]
    for word in (b"hello", b"bye"):
        for client in clients:
            client.sendall(word)
            assert client.recv(10) == word.upper()
    for client in clients:
        assert client.recv(10) == b""
        client.close()
    print(type(server._poller).__name__, server._poller.wakeup._pair is not None)
"""
    assert _result(program) == "PortablePoller True\n"
