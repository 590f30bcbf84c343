"""The server: listeners, the accept thread, the queue, the workers, the monitor; started, watched and stopped as one.

Its methods may be called from any thread. The orderly end runs on the accept thread, which has nothing else to do by
then, so that a stop needs no lock, can come from a worker or a signal handler, and never waits for itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import socket
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from reserve.engine import fork
from reserve.engine.acceptor import Acceptor
from reserve.engine.clock import Clock, SystemClock
from reserve.engine.connection import NUDGE, Connection, State, wait_for
from reserve.engine.driver import DriverFactory
from reserve.engine.handler import Handle, HandlerDriver, HandlerFactory
from reserve.engine.handoff import AdaptiveHandOff, HandOff
from reserve.engine.listeners import adopt, release
from reserve.engine.logs import ErrorHook, Logs
from reserve.engine.monitor import Monitor
from reserve.engine.poller import WRITE, Poller, new_poller
from reserve.engine.readyqueue import ReadyQueue
from reserve.engine.settings import EngineSettings
from reserve.engine.stats import Stats
from reserve.engine.stepper import Stepper
from reserve.engine.workers import WorkerPool
from reserve.errors import UsageError

__all__ = ["Hooks", "Peer", "Server"]

_GRACE = 1.0
"""Seconds that all workers together have to come home after the cut; one that is stuck in an application is left
behind.
"""


def _nothing() -> None:
    """The hook that is not set."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """Called by the server; what they raise is logged and changes nothing else."""

    on_worker_start: Callable[[], None] = _nothing
    """Once in this process, before the first connection is accepted."""
    on_worker_stop: Callable[[], None] = _nothing
    """Once in this process, when the last connection is closed."""
    on_thread_start: Callable[[], None] = _nothing
    """On each worker thread before its first request: the place for a database connection of its own."""
    on_thread_stop: Callable[[], None] = _nothing
    """On each worker thread after its last."""
    error_log: ErrorHook | None = None
    """Takes (level, text) instead of the logger ``reserve``."""


class Peer(NamedTuple):
    """The other end of a connection, as the system knows it."""

    address: Any
    """As ``accept`` gave it: a tuple for TCP, a path (mostly empty) for UNIX sockets."""
    pid: int | None
    """The three of SO_PEERCRED: UNIX sockets on Linux only."""
    uid: int | None
    gid: int | None


class Server:
    """Serves ``handle`` on listening sockets.

    :param fds: descriptors (int) or sockets, one or several; TCP and UNIX may be mixed. They must be listening already.
    :param handle: ``handle(socket, client_address, server)``, or an application with a driver of its own
        (``make_driver``).
    :param own: close the listeners at the end (False: they stay open, and are the caller's).
    :param hooks: see :class:`Hooks`.
    :param settings: all settings at once; or give single ones by name (``threads=4``, see :class:`EngineSettings`).

    Raises UsageError for descriptors that are not listening stream sockets and for unknown settings.
    """

    def __init__(
        self,
        fds: int | socket.socket | Iterable[int | socket.socket],
        handle: Handle | DriverFactory,
        *,
        own: bool = True,
        hooks: Hooks | None = None,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        poller: Poller | None = None,
        policy: HandOff | None = None,
        **single_settings: Any,
    ) -> None:
        self.settings = _settings(settings, single_settings)
        self.hooks = hooks if hooks is not None else Hooks()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.logs = Logs(self.hooks.error_log)
        several = [fds] if isinstance(fds, (int, socket.socket)) else list(fds)
        if not several:
            raise UsageError("a server needs at least one listening socket; reserve.listen('127.0.0.1:8080') opens one")
        self._listeners = [adopt(one) for one in several]
        self._borrowed = (
            [] if own else [sock for sock, one in zip(self._listeners, several, strict=True) if isinstance(one, int)]
        )
        self._own = own
        for listener in self._listeners:
            if listener.family != getattr(socket, "AF_UNIX", None):
                # Accepted sockets inherit both, which saves two system calls for each.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(handle, "make_driver"):
            self._factory = handle
        else:
            if not callable(handle):
                raise UsageError(f"the application is not callable: {handle!r}")
            self._factory = HandlerFactory(
                handle, timeout=self.settings.handler_timeout, max_output=self.settings.max_output
            )
        self.stopping = False
        """The server is coming to its end: drivers close what is idle, and announce it in what they still answer."""
        self._poller = poller if poller is not None else new_poller()
        policy = policy if policy is not None else AdaptiveHandOff()
        self._monitor = Monitor(policy, self.logs)
        self._queue = ReadyQueue(self._poller, self.clock, policy, self._monitor)
        self._stepper = Stepper(self._queue, self.clock, self.settings, self.logs)
        self._pool = WorkerPool(
            self.settings.threads,
            self._queue,
            self._stepper,
            self.logs,
            self.hooks.on_thread_start,
            self.hooks.on_thread_stop,
        )
        self._acceptor = Acceptor(self._listeners, self._admit, self._end, self.logs)
        self._not_started = deque((True,))
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._stop_deadline: float | None = None
        self._blocked_in_start: int | None = None
        self._addresses = [listener.getsockname() for listener in self._listeners]

    # ---- life ----

    @property
    def addresses(self) -> list[Any]:
        """What the listeners are bound to, as ``getsockname`` says, in the order given (also after the stop)."""
        return list(self._addresses)

    def start(self) -> None:
        """Serve, and block until the server has stopped.

        On the main thread a KeyboardInterrupt stops it as :meth:`stop` does and is raised again. Raises UsageError
        when it was started before.
        """
        self.serve_in_background()
        self._blocked_in_start = threading.get_ident()
        try:
            self._wait_finished()
        except BaseException:  # KeyboardInterrupt, or whatever a signal handler of the program raises
            self.request_stop()
            try:
                self._wait_finished()
            except BaseException:
                self.request_stop(0)
                self._wait_finished()
            raise
        finally:
            self._blocked_in_start = None

    def serve_in_background(self) -> None:
        """Serve on threads of its own and return at once. Raises UsageError when it was started before."""
        if not self._claim_start():
            raise UsageError("this server was started before; a stopped one cannot be used again: make another")
        fork.watch(self)
        try:
            self.logs.start()
            start = getattr(self._factory, "start", None)
            if start is not None:
                start(self)
            self._call_hook(self.hooks.on_worker_start, "on_worker_start")
            self._monitor.start(self._queue, self._stepper, self._pool.workers)
            self._pool.start()
            self._acceptor.thread.start()
        except BaseException:  # no thread to be had, or the application could not start
            self._give_up()
            raise
        self._ready.set()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Block until the server accepts connections; False when ``timeout`` seconds passed first."""
        return self._ready.wait(timeout)

    def request_stop(self, timeout: float | None = None) -> None:
        """Begin to stop and return at once. Any thread, any signal handler, any number of times.

        :param timeout: seconds that requests in flight may still take (None: the setting ``stop_timeout``); a later
            call with an earlier end counts.
        """
        deadline = self.clock.now() + (self.settings.stop_timeout if timeout is None else timeout)
        if self._stop_deadline is None or deadline < self._stop_deadline:
            self._stop_deadline = deadline
        self.stopping = True
        self._acceptor.stop()

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting, finish the requests in flight, close idle connections, and return when all is over.

        :param timeout: see :meth:`request_stop`; 0: at once. Called on a thread of the server itself, or from a
            signal handler while this thread is inside :meth:`start`, it does not wait. On a server that was never
            started it closes the listeners.
        """
        self.request_stop(timeout)
        if self._claim_start():
            self._dispose()
            self._finished.set()
            return
        me = threading.get_ident()
        ours = {self._acceptor.thread.ident, self._monitor.thread.ident, *(w.thread.ident for w in self._pool.workers)}
        if me not in ours and me != self._blocked_in_start:
            self._wait_finished()

    def __enter__(self) -> Server:
        self.serve_in_background()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # ---- for handlers and embedding programs ----

    def stats(self) -> Stats:
        """A frozen picture of now."""
        connections = list(self._queue.connections.values())
        states = Counter(connection.state for connection in connections)
        workers = self._pool.workers
        return Stats(
            threads=len(workers),
            busy=len(self._pool.busy()),
            queued=len(self._queue),
            connections=len(connections),
            parked=states[State.PARKED],
            flushing=states[State.FLUSHING],
            lingering=states[State.LINGERING],
            owned=states[State.OWNED],
            accepted=self._acceptor.accepted,
            handled=sum(worker.handled for worker in workers),
            steals=self._monitor.steals,
        )

    def peer(self, sock: socket.socket) -> Peer:
        """The raw address of the other end and, on a UNIX socket, whose process it was. Raises UsageError for a
        strange socket.
        """
        return self.peer_of(self._find(sock))

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send octets on a connection of this server that is parked, from any thread and without waiting.

        Raises UsageError when the connection is not (or no more) one of this server, ReserveError when more than
        the setting ``max_output`` would wait for its peer.
        """
        connection = self._find(sock)
        driver = getattr(connection, "driver", None)
        if driver is None:  # its owner closes it at this moment
            raise UsageError("this socket is no more a connection of this server")
        if not isinstance(driver, HandlerDriver):
            raise UsageError("send() is for connections of a plain handler")
        driver.post(bytes(data))
        self._queue.nudge(connection, NUDGE)

    def detach(self, sock: socket.socket) -> socket.socket:
        """Called by a handler: from now on the socket is the application's; the server neither reads nor closes it."""
        connection = self._find(sock)
        connection.detached = True
        self._queue.forget(connection)
        return sock

    # ---- for the engine's other parts and for drivers ----

    def peer_of(self, connection: Connection) -> Peer:
        """See :meth:`peer`."""
        pid = uid = gid = None
        if connection.sock.family == getattr(socket, "AF_UNIX", None) and hasattr(socket, "SO_PEERCRED"):
            raw = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            pid, uid, gid = (int.from_bytes(raw[at : at + 4], sys.byteorder, signed=True) for at in (0, 4, 8))
        return Peer(connection.peer, pid, uid, gid)

    def address_of(self, connection: Connection) -> tuple[str, int]:
        """(host, port) of the client; a v4-mapped address as IPv4, a UNIX socket as ``("", 0)``."""
        peer = connection.peer
        if not isinstance(peer, tuple):
            return "", 0
        host = peer[0]
        return (host[7:] if host.startswith("::ffff:") and "." in host else host), peer[1]

    def connection_closed(self, connection: Connection) -> None:
        """By whoever closed it, when the descriptor is free again."""
        if self.stopping:
            self._acceptor.wakeup.signal()
        else:
            self._acceptor.room()

    def flush_meanwhile(self, connection: Connection) -> None:
        """Have the leader flush the output of a connection whose worker goes on. See :meth:`Connection.lend`."""
        deadline = self.clock.now() + self.settings.write_timeout
        if self._queue.closed:
            raise OSError("the server has stopped")
        self._queue.park(connection, WRITE, deadline, "write", State.FLUSHING)

    def _find(self, sock: socket.socket) -> Connection:
        connection = self._queue.connections.get(sock.fileno())
        if connection is None or connection.sock is not sock:
            raise UsageError("this socket is not (or no more) a connection of this server")
        return connection

    def _admit(self, sock: socket.socket, peer: Any) -> None:
        """On the accept thread."""
        sock.setblocking(False)
        connection = Connection(self, sock, peer)
        try:
            connection.driver = self._factory.make_driver(connection)
        except Exception as error:  # one connection's driver must not end the accept thread
            self.logs.failure("no driver could be made for a connection; it is closed", error)
            connection.close_socket()
            return
        self._queue.admit(connection)
        self._queue.put(connection)

    def _call_hook(self, hook: Callable[[], None], name: str) -> None:
        try:
            hook()
        except Exception as error:
            self.logs.failure(f"the hook {name} failed", error)

    def _claim_start(self) -> bool:
        """True for the first caller only. A pop, not a lock: a signal handler may come in between."""
        try:
            return self._not_started.pop()
        except IndexError:
            return False

    def _wait_finished(self) -> None:
        self._finished.wait()
        if self._acceptor.thread.ident is not None:
            self._acceptor.thread.join()

    # ---- the end, on the accept thread ----

    def _end(self) -> None:
        try:
            self.stopping = True  # also when the accept loop itself failed
            self._close_listeners()
            self._drain()
            self._queue.close()
            self._monitor.close()
            self._cut()
            self._call_hook(self.hooks.on_worker_stop, "on_worker_stop")
        finally:
            try:
                self._dispose()
            finally:
                self._finished.set()

    def _give_up(self) -> None:
        """By the thread that could not start everything: undo what was started."""
        self.stopping = True
        self._queue.close()
        self._monitor.close()
        for thread in (self._monitor.thread, *(worker.thread for worker in self._pool.workers)):
            if thread.ident is not None:
                thread.join()
        self._dispose()
        self._finished.set()

    def _drain(self) -> None:
        """Close what is idle; wait, until the deadline, for what is not."""
        wakeup = self._acceptor.wakeup
        self.clock.subscribe(wakeup.signal)
        try:
            for connection in list(self._queue.connections.values()):
                self._queue.nudge(connection, NUDGE)
            while self._queue.connections:
                deadline = self._stop_deadline if self._stop_deadline is not None else self.clock.now()
                if self.clock.now() >= deadline:
                    self._report_stuck()
                    return
                wait_for(wakeup.fd, self.clock.timeout(deadline))
                wakeup.clear()
        finally:
            self.clock.unsubscribe(wakeup.signal)

    def _report_stuck(self) -> None:
        frames = sys._current_frames()
        for worker in self._pool.busy():
            frame = frames.get(cast(int, worker.thread.ident))
            stack = "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "(no stack)"
            self.logs.warning(
                f"{worker.thread.name} is still busy at the end of the stop; it is left behind in\n{stack}"
            )

    def _cut(self) -> None:
        """Every worker that is not inside an application goes home; the connections that are left are cut."""
        for connection in list(self._queue.connections.values()):
            connection.shut(socket.SHUT_RDWR)  # a worker that is blocked on it is set free
        until = time.monotonic() + _GRACE
        for thread in (self._monitor.thread, *(worker.thread for worker in self._pool.workers)):
            thread.join(max(0.0, until - time.monotonic()))
        for connection in list(self._queue.connections.values()):
            if not any(worker.connection is connection for worker in self._pool.workers):
                self._stepper.bury(connection, "stop")
            elif connection.lent:
                # Its worker may be waiting for the token, and nobody leads any more who could bring it back.
                connection.lost = True
                connection.give_back()

    def _close_listeners(self) -> None:
        if self._own:
            for listener in self._listeners:
                release(listener)

    def _dispose(self) -> None:
        """Give back what is left: descriptors, the log."""
        self._close_listeners()
        for listener in self._borrowed:
            listener.detach()  # only our wrapper around the number goes
        finish = getattr(self._factory, "finish", None)
        if finish is not None:
            finish(self)
        fork.forget(self)
        self._queue.closed = True
        self._poller.close()
        self._acceptor.wakeup.close()
        self.logs.stop()


def close_copies(server: Server) -> None:
    """In a forked child: close its copies of every descriptor of the server. Takes no lock, shuts nothing down.

    Each is closed through the object that holds it, which forgets the number: one that remembered it would close, when
    it is collected, whatever the child has opened meanwhile. The server has ended for the child: a handler that
    returns there finds no queue, and a stop has nothing to wait for.
    """
    sockets = [*server._listeners, *(connection.sock for connection in server._queue.connections.values())]
    for sock in sockets:
        fd = sock.detach()
        if fd >= 0:
            with contextlib.suppress(OSError):
                socket.close(fd)
    server.stopping = server._queue.closed = server._queue.abandoned = True
    server._poller.close()
    server._acceptor.wakeup.close()
    server._finished = threading.Event()  # the lock in the old one may belong to a thread that is not here
    server._finished.set()


def _settings(settings: EngineSettings | None, single: dict[str, Any]) -> EngineSettings:
    names = [field.name for field in dataclasses.fields(EngineSettings)]
    for name in single:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            raise UsageError(f"no setting is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return dataclasses.replace(settings if settings is not None else EngineSettings(), **single)
