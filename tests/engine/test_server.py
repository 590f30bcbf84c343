"""The life of a server, on real sockets and with each poller."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
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
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action, Wait
from reserve.engine.drivers.handler import HandlerDriver, Park
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.poller import READ, EpollPoller
from reserve.engine.server import Hooks, Server
from reserve.errors import ClientDisconnected, UsageError
from reserve.sockets.listeners import listen
from reserve.testing import FakeClock
from tests.engine.conftest import Log, MakePoller, Serve, receive, receive_all
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
        try:
            out, err = child.communicate(timeout=60)
        except BaseException:  # it hangs: leaving the block would wait for it
            child.kill()
            raise
    assert child.returncode == 0, err
    assert err == ""
    return out


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

    def describe(self) -> str:
        return ""

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

        monkeypatch.setattr(server._runtime.pool.workers[1].thread, "start", start)
    with pytest.raises(RuntimeError, match="cannot start"):
        server.serve_in_background()
    server.stop()
    assert listener.fileno() == -1


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("timeout", [None, 0])
def test_a_stop_inside_on_worker_start_does_not_wait_for_itself(
    make_poller: MakePoller, blocking: bool, timeout: float | None
) -> None:
    calls: list[str] = []

    def on_worker_start() -> None:
        calls.append("start")
        server.stop(timeout)
        server.stop(timeout)

    hooks = Hooks(on_worker_start=on_worker_start, on_worker_stop=lambda: calls.append("stop"))
    [listener] = listen("127.0.0.1:0")
    server = Server(listener, echo, poller=make_poller(), hooks=hooks)
    thread = threading.Thread(target=server.start if blocking else server.serve_in_background, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for itself"
    server.stop()
    assert calls == ["start", "stop"]
    assert listener.fileno() == -1


def test_a_second_start_does_not_keep_the_first_from_its_end(make_poller: MakePoller) -> None:
    server = Server(listen("127.0.0.1:0"), echo, poller=make_poller())
    thread = threading.Thread(target=server.start, daemon=True)
    thread.start()
    assert server.wait_ready(20)
    with pytest.raises(UsageError, match="started before"):
        server.start()
    server.stop()
    thread.join(20)
    assert not thread.is_alive(), "nobody told it"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("moment", ["hook", "ready"])
def test_an_interrupt_during_the_start_stops_what_has_started(
    make_poller: MakePoller, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], moment: str
) -> None:
    def interrupt() -> None:
        raise kind("now")

    [listener] = listen("127.0.0.1:0")
    hooks = Hooks(on_worker_start=interrupt) if moment == "hook" else Hooks()
    server = Server(listener, echo, poller=make_poller(), hooks=hooks)
    if moment == "ready":  # the accept thread runs already
        monkeypatch.setattr(server._lifecycle.ready, "set", interrupt)
    with pytest.raises(kind):
        server.start()
    assert listener.fileno() == -1
    assert not server._runtime.acceptor.thread.is_alive()
    server.stop()


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
        ours = sum(str(type(one).__module__).startswith("reserve.") for one in gc.get_objects())
        return ours, len(os.listdir("/proc/self/fd"))

    cycle()
    objects, descriptors = count()
    for _ in range(50):
        cycle()
    # Fewer is no fault: what another test has left behind may go meanwhile. Of 50 cycles nothing is to be left.
    assert count()[0] <= objects
    assert count()[1] == descriptors


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


class Endless:
    """A listener that always has one more connection to accept."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.accepted = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    def accept(self) -> Any:
        self.accepted += 1
        assert self.accepted < 1_000_000, "for ever"
        return None, None


@pytest.mark.parametrize("count", [1, 2])
def test_a_flood_of_newcomers_does_not_put_off_the_end(count: int) -> None:
    ended, admitted = list[int](), list[Any]()
    with socket.socket() as one, socket.socket() as two:
        listeners = [Endless(sock) for sock in (one, two)[:count]]
        acceptor = Acceptor(
            listeners,  # type: ignore[arg-type]
            lambda sock, peer, listener: admitted.append(sock),
            lambda: ended.append(len(admitted)),
            ErrorLog(),
        )
        acceptor.stop()
        acceptor._main()
        acceptor.wakeup.close()
    assert ended == [len(admitted)] == [count * 64 * 64]


class Counting(LinesApp):
    """Counts how often each connection is told of its end; ``failing`` names what fails."""

    def __init__(self, run: Any = None, failing: str = "") -> None:
        super().__init__(run)
        self.failing = failing
        self.ends: SimpleQueue[tuple[int, str]] = SimpleQueue()

    def make_driver(self, connection: Connection) -> Lines:
        driver = super().make_driver(connection)
        run = driver.run

        def closed(reason: str) -> bool:
            self.ends.put((connection.fd, reason))
            if self.failing == "closed":
                raise ValueError("closed fails")
            return self.failing == "farewell"

        def farewell_or_run() -> None:
            if not connection.final_run:
                run()
            elif self.failing == "farewell":
                raise SystemExit("farewell fails")

        driver.closed = closed  # type: ignore[method-assign]
        driver.run = farewell_or_run  # type: ignore[method-assign]
        return driver


@pytest.mark.parametrize("failing", ["", "closed", "farewell"])
def test_the_cut_buries_each_connection_once_and_the_rest_of_the_end_follows(serve: Serve, failing: str) -> None:
    """One is in a stuck run, two wait for its worker, two are parked, one waits for room, one lingers."""
    inside, go_on, stopped = threading.Event(), threading.Event(), list[str]()

    def run() -> None:
        inside.set()
        go_on.wait(20)

    log = Log()
    hooks = Hooks(on_worker_stop=lambda: stopped.append("stop"), error_log=log)
    application = Counting(run, failing)
    running = serve(application, threads=1, hooks=hooks, linger_timeout=1000.0)
    server = running.server
    stuck = running.connect()
    stuck.sendall(b"run\n")
    assert inside.wait(20)
    clients = [running.connect() for _ in range(5)]
    for client, line in zip(clients, (b"run\n", b"run\n", b"p\n", b"p\n", b"linger\n"), strict=True):
        client.sendall(line)
        assert receive(client, len(line)) == line
    eventually(lambda: server.stats().queued == 2 and server.stats().parked == 2 and server.stats().lingering == 1)
    server.stop(0)
    assert stopped == ["stop"]
    assert server._runtime.acceptor.wakeup.fd == server._runtime.poller.wakeup.fd == -1
    ends = {application.ends.get(timeout=20)[0] for _ in range(5)}
    assert len(ends) == 5
    assert application.ends.empty()
    for client in clients:
        assert receive_all(client) == b""
    assert server.stats().connections == 1
    go_on.set()
    fd, reason = application.ends.get(timeout=20)
    assert reason == "stop"
    assert fd not in ends
    eventually(lambda: server.stats().connections == 0)
    assert application.ends.empty()


@pytest.mark.parametrize("step", ["close_listeners", "_drain", "_cut"])
def test_a_step_of_the_end_that_fails_does_not_take_the_others_along(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log, stopped = Log(), list[str]()
    hooks = Hooks(on_worker_stop=lambda: stopped.append("stop"), error_log=log)
    running = serve(echo, hooks=hooks)
    server = running.server
    place: Any = server._endpoints if step == "close_listeners" else server._runtime.shutdown
    inner = getattr(place, step)

    def fail() -> None:
        monkeypatch.setattr(place, step, inner)
        inner()
        raise RuntimeError("it fails")

    fail.__name__ = step
    monkeypatch.setattr(place, step, fail)
    client = running.connect()
    server.stop()
    assert receive_all(client) == b""
    assert stopped == ["stop"]
    assert "it fails" in log.wait(f"a step of the end failed: {step}")
    assert server.stats().connections == 0


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
    eventually(lambda: clock._wakes.__len__() == 3)  # the queue, the log, and the drain
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


def test_a_signal_that_another_thread_receives_is_not_slept_through() -> None:
    """Its C handler runs there; the main thread, which has to run ours, is blocked and no system call of its fails.

    The same happens to a signal that arrives on the main thread just before it blocks.
    """
    program = f"""{_SERVING}
def handler(number, frame):
    print("handled", flush=True)
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, handler)
import reserve.engine.polling.signalwakeup as module
waiting, inner = threading.Event(), module.wait_for
def wait_for(*arguments):
    waiting.set()
    return inner(*arguments)
module.wait_for = wait_for
def other():
    assert waiting.wait(20)
    while not blocked():
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
main = threading.get_native_id()
def blocked():
    with open(f"/proc/self/task/{{main}}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"
thread = threading.Thread(target=other)
thread.start()
try:
    server.start()
except KeyboardInterrupt:
    thread.join()
    print("stopped", threading.active_count(), signal.set_wakeup_fd(-1))
"""
    assert _result(program) == "handled\nstopped 1 -1\n"


def test_the_wakeup_descriptor_of_an_event_loop_is_left_alone() -> None:
    program = f"""{_SERVING}
one, two = socket.socketpair()
two.setblocking(False)
signal.set_wakeup_fd(two.fileno())
server.request_stop()
server.start()
print(signal.set_wakeup_fd(-1) == two.fileno())
one.close()
two.close()
"""
    assert _result(program) == "True\n"


# ---- drivers of their own ----


def test_a_signal_just_when_the_descriptor_is_tried_reaches_the_event_loop() -> None:
    program = f"""{_SERVING}
one, two = socket.socketpair()
one.setblocking(False)
two.setblocking(False)
signal.signal(signal.SIGUSR1, lambda number, frame: None)
signal.set_wakeup_fd(two.fileno())
real, calls = signal.set_wakeup_fd, []
def set_wakeup_fd(fd, **options):
    before = real(fd, **options)
    calls.append(fd)
    if len(calls) == 1:
        os.kill(os.getpid(), signal.SIGUSR1)
    return before
signal.set_wakeup_fd = set_wakeup_fd
server.request_stop()
server.start()
print(one.recv(10) == bytes([signal.SIGUSR1]), len(calls), real(-1) == two.fileno())
one.close()
two.close()
"""
    assert _result(program) == "True 2 True\n"


def test_a_descriptor_that_a_signal_handler_sets_meanwhile_stays() -> None:
    program = f"""{_SERVING}
one, two = socket.socketpair()
two.setblocking(False)
def handler(number, frame):
    signal.set_wakeup_fd(two.fileno())
    server.request_stop()
    server._lifecycle.signal_wakeup.signal()
signal.signal(signal.SIGUSR1, handler)
thread = threading.Thread(target=lambda: (server.wait_ready(), os.kill(os.getpid(), signal.SIGUSR1)))
thread.start()
server.start()
thread.join()
print(signal.set_wakeup_fd(-1) == two.fileno())
one.close()
two.close()
"""
    assert _result(program) == "True\n"


@needs_fork
@pytest.mark.parametrize("place", ["handler", "signal handler"])
def test_a_forked_child_holds_nothing_of_what_the_main_thread_waits_with(place: str) -> None:
    program = f"""
import os, signal, socket, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from reserve import Server, listen
def fork(*arguments):
    door = server._lifecycle.signal_wakeup
    fds = [door._reader.fileno(), door._writer.fileno()]
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        server.request_stop()
        return
    closed = [not os.path.exists(f"/proc/self/fd/{{fd}}") for fd in fds]
    print("child", closed, signal.set_wakeup_fd(-1), flush=True)
    if {place == "handler"}:
        os._exit(0)
server = Server(listen("127.0.0.1:0"), fork, threads=1)
signal.signal(signal.SIGUSR1, fork)
parent = os.getpid()
def visit():
    server.wait_ready()
    if {place == "handler"}:
        with socket.create_connection(server.addresses[0]) as client:
            client.recv(1)
    else:
        os.kill(parent, signal.SIGUSR1)
thread = threading.Thread(target=visit, daemon=True)
thread.start()
server.start()  # the child of the signal handler comes out of it, too
print("parent" if os.getpid() == parent else "returned", flush=True)
"""
    out = _result(program).splitlines()
    assert out == ["child [True, True] -1", *["returned"] * (place != "handler"), "parent"]


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
    eventually(lambda: connection.reclaim_waiter is not None)
    running.server.stop(0)
    failed.get(timeout=20)
    eventually(lambda: running.server.stats().connections == 0)


def test_lingering_is_bounded_in_octets(serve: Serve) -> None:
    clock = FakeClock()
    running = serve(LinesApp(), clock=clock, linger_bytes=1000, linger_timeout=2.0)
    client = running.connect()
    client.sendall(b"linger\n")
    assert receive_all(client) == b"linger\n"  # the answer arrives, then the end
    eventually(lambda: running.server.stats().lingering == 1)
    (connection,) = running.server._queue.connections.values()
    client.sendall(b"x" * 900)
    eventually(lambda: connection.linger_left == 100 and running.server.stats().lingering == 1)
    client.sendall(b"x" * 100)
    eventually(lambda: connection.linger_left == 0 and running.server.stats().lingering == 1)
    client.sendall(b"x" * 5000)  # nobody reads that, and nobody resets the connection for it before its time is over
    eventually(lambda: len(connection.sock.recv(10000, socket.MSG_PEEK)) == 5000)
    assert running.server.stats().lingering == 1
    clock.advance(2.1)
    eventually(lambda: running.server.stats().connections == 0)


def test_who_ends_behind_more_than_is_read_is_not_reset(serve: Serve, make_poller: MakePoller) -> None:
    poller = make_poller()
    clock = FakeClock()
    running = serve(LinesApp(), poller=poller, clock=clock, linger_bytes=10, linger_timeout=2.0)
    client = running.connect()
    client.sendall(b"linger\n")
    eventually(lambda: running.server.stats().lingering == 1)
    (connection,) = running.server._queue.connections.values()
    client.sendall(b"x" * 20000)
    eventually(lambda: connection.linger_left == 0)
    client.sendall(b"x" * 50000)
    client.shutdown(socket.SHUT_WR)
    if isinstance(poller, EpollPoller):
        eventually(lambda: running.server.stats().connections == 0)
        assert receive_all(client) == b"linger\n"
        client.setblocking(False)
        assert client.recv(1) == b""  # a reset would raise
    else:  # does not hear of an end behind what it does not read
        assert receive_all(client) == b"linger\n"
        assert running.server.stats().lingering == 1
        clock.advance(2.1)
        eventually(lambda: running.server.stats().connections == 0)


def test_who_has_lingered_for_longer_than_may_ends_also_when_an_event_hides_the_word(serve: Serve) -> None:
    running = serve(LinesApp(), clock=FakeClock())
    client = running.connect()
    client.sendall(b"linger\n")
    eventually(lambda: running.server.stats().lingering == 1)
    running.server._runtime.stepper._lingering.clear()  # as for the oldest; the deadline that tells it is lost
    client.sendall(b"x")
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
    inner, timeouts = poller.poll, list[object]()

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        timeouts.append(timeout)
        return inner(timeout)

    poller.poll = poll  # type: ignore[method-assign]
    running = serve(echo, poller=poller)
    clients = [running.connect() for _ in range(5)]
    for client in clients:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    monitor = running.server._runtime.monitor
    # It would wait for ever.
    eventually(lambda: monitor.asleep and running.server.stats().parked == 5 and timeouts[-1] is None)
    assert set(timeouts) <= {None, 0.0}  # 0: a look in passing, while there was something to do
    before = len(timeouts)
    clients[0].sendall(b"y")
    assert receive(clients[0], 1) == b"y"
    eventually(lambda: running.server.stats().parked == 5)
    # The one that was waiting has returned with the event, and one waits now: nothing has turned in between.
    assert len(timeouts) - before <= 2


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
    gone, _ = running.server._endpoints.listeners
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

    acceptor = Acceptor([], lambda sock, peer, listener: None, lambda: None, ErrorLog())
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
            fds |= {one.fileno() for one in server._endpoints.listeners}
            fds |= {server._runtime.acceptor.wakeup.fd, server._runtime.poller.wakeup.fd}
            epoll = getattr(server._runtime.poller, "_epoll", None)
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
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("how", ["return", "park", "raise", "lost"])
@pytest.mark.parametrize("request_timeout", [0.0, 1000.0])
def test_a_forked_child_that_returns_from_the_handler_needs_no_lock_and_calls_nothing(
    serve: Serve, how: str, request_timeout: float
) -> None:
    """Every lock of the server is held in the child, as if by threads that are not there."""
    read, write = os.pipe()
    parent = os.getpid()
    statuses: SimpleQueue[int] = SimpleQueue()

    def told(reason: str = "") -> None:
        if os.getpid() != parent:
            os.write(write, b"told")

    def handle(sock: socket.socket, address: Any, server: Server) -> Any:
        def resume() -> Any:
            if not sock.recv(10):
                return None
            signalling = [server._runtime.poller.wakeup._signalling, server._runtime.acceptor.wakeup._signalling]
            for one in signalling:  # another thread is inside of signal()
                one.append(True)
            pid = os.fork()
            if pid:
                for one in signalling:
                    one.pop()
                watchdog = threading.Timer(15, os.kill, (pid, signal.SIGKILL))
                watchdog.start()
                statuses.put(os.waitpid(pid, 0)[1])
                watchdog.cancel()
                watchdog.join()
                sock.sendall(b"parent")
                return Park(resume, on_close=told)
            queue = server._queue
            stepper = server._runtime.stepper
            for lock in (
                queue.registry._lock, queue.deadlines._lock, server.budget._lock, stepper._lock,
                server._runtime.pool._lock, server.log._writer._waiter,
            ):  # fmt: skip
                lock.acquire(blocking=False)
            os.write(write, b"held")
            server.stop()
            if how == "raise":
                raise ValueError("in the child")
            if how == "lost":
                raise ConnectionResetError("in the child")
            return Park(resume, on_close=told) if how == "park" else None

        return Park(resume, on_close=told)

    hooks = Hooks(on_thread_stop=told, on_worker_stop=told, error_log=lambda level, text: told())
    running = serve(handle, threads=1, hooks=hooks, request_timeout=request_timeout)
    client = running.connect()
    client.sendall(b"fork")
    assert receive(client, 6) == b"parent"
    assert statuses.get(timeout=20) == 0
    assert os.read(read, 1000) == b"held"
    client.close()
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
    print(type(server._runtime.poller).__name__, server._runtime.poller.wakeup._pair is not None)
"""
    assert _result(program) == "PortablePoller True\n"
