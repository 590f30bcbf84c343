"""The server: listeners, the accept thread, the queue, the workers, the monitor; started, watched and stopped as one.

Its methods may be called from any thread. The orderly end runs on the accept thread, which has nothing else to do by
then, so that a stop needs no lock, can come from a worker or a signal handler, and never waits for itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import heapq
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
from reserve.engine.budget import Budget
from reserve.engine.clock import Clock, SystemClock
from reserve.engine.connection import NUDGE, RECLAIM, Connection, State, wait_for
from reserve.engine.driver import DriverFactory
from reserve.engine.handler import Handle, HandlerDriver, HandlerFactory
from reserve.engine.handoff import HandOff, default_policy
from reserve.engine.listeners import adopt, release
from reserve.engine.logs import ErrorHook, Logs
from reserve.engine.monitor import Monitor
from reserve.engine.overdue import Overdue
from reserve.engine.poller import WRITE, Poller, new_poller
from reserve.engine.readyqueue import ReadyQueue
from reserve.engine.settings import EngineSettings
from reserve.engine.signaldoor import SignalDoor
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
        self.budget = Budget(self.settings.buffer_memory, self.settings.spool_disk)
        """What all connections hold together."""
        self.stopping = False
        """The server is coming to its end: drivers close what is idle, and announce it in what they still answer."""
        self._poller = poller if poller is not None else new_poller()
        policy = policy if policy is not None else default_policy()
        self._monitor = Monitor(policy, self.logs, self.clock)
        self._queue = ReadyQueue(self._poller, self.clock, policy, self._monitor, self.settings)
        self._stepper = Stepper(self._queue, self.clock, self.settings, self.logs)
        self._pool = WorkerPool(
            self.settings,
            self._queue,
            self._stepper,
            self.logs,
            self.hooks.on_thread_start,
            self.hooks.on_thread_stop,
            self.clock,
        )
        self._overdue = (
            Overdue(self._pool, self._stepper, self.clock, self.settings, self.logs)
            if self.settings.request_timeout > 0
            else None
        )
        self._acceptor = Acceptor(
            self._listeners,
            self._admit,
            self._end,
            self.logs,
            may_accept=self._may_accept,
            reclaim=self._reclaim_idle,
        )
        self._not_started = deque((True,))
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._stop_deadline: float | None = None
        self._blocked_in_start: int | None = None
        self._launching: int | None = None
        self._door: SignalDoor | None = None
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
        self._begin()
        with SignalDoor(self._finished) as door:
            self._door = door
            self._blocked_in_start = threading.get_ident()
            try:
                self._launch()
                door.wait()
            except BaseException:  # KeyboardInterrupt, or whatever a signal handler of the program raises
                self.request_stop()
                try:
                    door.wait()
                except BaseException:
                    self.request_stop(0)
                    door.wait()
                self._wait_finished()
                raise
            finally:
                self._blocked_in_start = None
        self._wait_finished()

    def serve_in_background(self) -> None:
        """Serve on threads of its own and return at once. Raises UsageError when it was started before."""
        self._begin()
        self._launch()

    def _begin(self) -> None:
        if not self._claim_start():
            raise UsageError("this server was started before; a stopped one cannot be used again: make another")

    def _launch(self) -> None:
        """Start all threads, the accept thread last: once it runs, the end is its affair."""
        fork.watch(self)
        self._launching = threading.get_ident()
        try:
            self.logs.start()
            start = getattr(self._factory, "start", None)
            if start is not None:
                start(self)
            self._call_hook(self.hooks.on_worker_start, "on_worker_start")
            self._monitor.start(self._queue, self._stepper, self._pool, self._overdue)
            self._pool.start()
            self._acceptor.thread.start()
            self._ready.set()
        except BaseException:  # no thread to be had, the application could not start, or a KeyboardInterrupt
            if self._acceptor.thread in threading.enumerate():
                self.request_stop()
            else:
                self._give_up()
            raise
        finally:
            self._launching = None

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

        :param timeout: see :meth:`request_stop`; 0: at once. Called on a thread of the server itself, or while this
            thread is inside :meth:`start` or :meth:`serve_in_background` (by a signal handler, or the hook
            ``on_worker_start``), it does not wait. On a server that was never started it closes the listeners.
        """
        self.request_stop(timeout)
        if self._claim_start():
            self._dispose()
            self._finished.set()
            return
        me = threading.get_ident()
        ours = {self._acceptor.thread.ident, self._monitor.thread.ident, *(w.thread.ident for w in self._pool.workers)}
        if me not in ours and me not in (self._blocked_in_start, self._launching):
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
            handled=self._pool.handled(),
            timed_out=self._overdue.count if self._overdue is not None else 0,
            stuck=self._pool.stuck(),
            buffered=self.budget.memory,
            spooled=self.budget.disk,
            steals=self._monitor.steals,
            refused=self._stepper.refused,
        )

    @property
    def healthy(self) -> bool:
        """Fit for new requests: not stopping, and not too many threads are stuck. What a health check is told."""
        return not self.stopping and self._pool.stuck() <= self.settings.max_stuck

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
        settings = self.settings
        assert connection.output is not None, "what is lent has something to flush"
        deadline = connection.output.deadline(self.clock.now(), 0, settings.write_timeout, settings.write_rate)
        connection.settle()
        if self._queue.closed:
            raise OSError("the server has stopped")
        self._queue.park(connection, WRITE, deadline, "write", State.FLUSHING)

    def _find(self, sock: socket.socket) -> Connection:
        connection = self._queue.connections.get(sock.fileno())
        if connection is None or connection.sock is not sock:
            raise UsageError("this socket is not (or no more) a connection of this server")
        return connection

    # ---- on the accept thread ----

    def _may_accept(self) -> bool:
        """Say whether one more connection is within the limit."""
        return len(self._queue.connections) < self.settings.max_connections

    def _reclaim_idle(self, count: int) -> None:
        """Have the connections that have been idle longest closed, ``count`` of them at most."""
        idle = [
            connection
            for connection in list(self._queue.connections.values())
            if connection.state is State.PARKED and connection.wait_kind == "keep-alive"
        ]
        for connection in heapq.nsmallest(count, idle, key=lambda connection: connection.deadline):
            self._queue.nudge(connection, RECLAIM)

    def _admit(self, sock: socket.socket, peer: Any) -> None:
        """Put a connection that has just been accepted onto the queue."""
        try:
            sock.setblocking(False)
            connection = Connection(self, sock, peer)
            connection.driver = self._factory.make_driver(connection)
            self._queue.admit(connection)
        except Exception as error:  # one connection must not end the accept thread
            with contextlib.suppress(OSError):
                sock.close()
            self.logs.failure("no driver could be made for a connection; it is closed", error)
            return
        self._queue.put(connection)

    def _call_hook(self, hook: Callable[[], None], name: str) -> None:
        try:
            hook()
        except Exception as error:
            self.logs.failure(f"the hook {name} failed", error)

    def _guarded(self, step: Callable[[], None], failure: str) -> None:
        try:
            step()
        except BaseException as error:  # what follows it must happen all the same
            self.logs.failure(failure, error)

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

    def _end(self) -> None:
        """Conduct the orderly end; the accept loop is over. A step that fails does not stop those after it."""
        self.stopping = True  # also when the accept loop itself failed
        try:
            for step in (self._close_listeners, self._drain, self._queue.close, self._monitor.close, self._cut):
                self._guarded(step, f"a step of the end failed: {step.__name__}")
            self._guarded(self.hooks.on_worker_stop, "the hook on_worker_stop failed")
        finally:
            try:
                self._dispose()
            finally:
                self._finish()

    def _finish(self) -> None:
        self._finished.set()
        if self._door is not None:
            self._door.knock()

    def _give_up(self) -> None:
        """By the thread that could not start everything: undo what was started."""
        self.stopping = True
        self._queue.close()
        self._monitor.close()
        for thread in (self._monitor.thread, *(worker.thread for worker in self._pool.workers)):
            if thread.ident is not None:
                thread.join()
        self._dispose()
        self._finish()

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
        workers = self._pool.workers
        for thread in (self._monitor.thread, *(worker.thread for worker in workers)):
            if thread.ident is not None:  # the monitor may be about to start one more; that one goes home at once
                thread.join(max(0.0, until - time.monotonic()))
        for connection in self._queue.take_all():  # READY: nobody leads any more
            if connection.lent:
                # Its worker, which is stuck, would wait for the token for ever.
                connection.lost = True
                connection.give_back()
            else:
                self._stepper.bury(connection, "stop")
        somebody_leads = self._monitor.thread.is_alive() or any(
            worker.thread.is_alive() and worker.connection is None for worker in workers
        )
        for connection in list(self._queue.connections.values()):
            # The rest waits, or belongs to a worker that is stuck: it buries it should it ever come back.
            if connection.lent:
                connection.lost = True
                if not somebody_leads:
                    connection.give_back()  # a token that went down with its leader would be waited for for ever
            elif connection.take():
                self._stepper.bury(connection, "stop")

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
            self._guarded(lambda: finish(self), "the application failed at the end of the server")
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
    for wakeup in (server._poller.wakeup, server._acceptor.wakeup):
        wakeup.disown()
    server.logs.disown()
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
