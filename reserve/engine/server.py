"""The server: listeners, the accept thread, the queue, the workers, the monitor; started, watched and stopped as one.

Its methods may be called from any thread. The orderly end runs on the accept thread, which has nothing else to do by
then, so that a stop needs no lock, can come from a worker or a signal handler, and never waits for itself.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from reserve.engine import fork
from reserve.engine.acceptor import Acceptor
from reserve.engine.admission import Admission, Door, applications, factory_for
from reserve.engine.budget import Budget
from reserve.engine.clock import Clock, SystemClock
from reserve.engine.connection import NUDGE, Connection, State
from reserve.engine.driver import DriverFactory
from reserve.engine.ending import Ending
from reserve.engine.handler import Handle, HandlerDriver
from reserve.engine.handoff import HandOff, default_policy
from reserve.engine.hooks import Hooks
from reserve.engine.listeners import adopt, release
from reserve.engine.logs import Logs
from reserve.engine.monitor import Monitor
from reserve.engine.overdue import Overdue
from reserve.engine.peers import Peer, address_of, peer_of
from reserve.engine.poller import WRITE, Poller, new_poller
from reserve.engine.readyqueue import ReadyQueue
from reserve.engine.settings import EngineSettings, adjusted
from reserve.engine.signaldoor import SignalDoor
from reserve.engine.stats import Stats
from reserve.engine.stepper import Stepper
from reserve.engine.tls import TLS
from reserve.engine.upgrade import upgrade
from reserve.engine.workers import WorkerPool
from reserve.errors import UsageError

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["Descriptors", "Hooks", "Peer", "Server"]


Descriptors: TypeAlias = "int | socket.socket | Iterable[int | socket.socket]"
"""One listening descriptor or socket, or several."""


class Server:
    """Serves ``handle`` on listening sockets.

    :param fds: descriptors (int) or sockets, one or several; TCP and UNIX may be mixed. They must be listening already.
    :param handle: ``handle(socket, client_address, server)``, or an application with a driver of its own
        (``make_driver``).
    :param plain: those of ``fds``, and others, that stay without TLS when there is an :attr:`ssl_adapter`.
    :param beside: more listeners, each with an application of its own and without TLS: (fds, handle) pairs.
    :param own: close the listeners at the end (False: they stay open, and are the caller's).
    :param hooks: see :class:`Hooks`.
    :param settings: all settings at once; or give single ones by name (``threads=4``, see :class:`EngineSettings`).

    Raises UsageError for descriptors that are not listening stream sockets and for unknown settings.
    """

    def __init__(
        self,
        fds: Descriptors,
        handle: Handle | DriverFactory,
        *,
        plain: Descriptors = (),
        beside: Iterable[tuple[Descriptors, Handle | DriverFactory]] = (),
        own: bool = True,
        hooks: Hooks | None = None,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        poller: Poller | None = None,
        policy: HandOff | None = None,
        **single_settings: Any,
    ) -> None:
        self.settings = adjusted(settings, single_settings)
        self.hooks = hooks if hooks is not None else Hooks()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.logs = Logs(self.hooks.error_log, self.clock)
        self.tls = TLS(self.clock, self.logs, self.settings.tls_check)
        self._factory = factory_for(handle, self.settings)
        main, without = _several(fds), _several(plain)
        given = [*main, *(one for one in without if one not in main)]
        doors = [Door(self._factory, tls=one not in without) for one in given]
        for some, other in beside:
            door = Door(factory_for(other, self.settings), tls=False)
            for one in _several(some):
                given.append(one)
                doors.append(door)
        if not given:
            raise UsageError("a server needs at least one listening socket; reserve.listen('127.0.0.1:8080') opens one")
        self._listeners = [adopt(one) for one in given]
        self._doors = dict(zip(self._listeners, doors, strict=True))
        self._borrowed = (
            [] if own else [sock for sock, one in zip(self._listeners, given, strict=True) if isinstance(one, int)]
        )
        self._own = own
        for listener in self._listeners:
            if listener.family != getattr(socket, "AF_UNIX", None):
                # Accepted sockets inherit both, which saves two system calls for each.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
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
        admission = Admission(self, self._queue, self._doors)
        self._acceptor = Acceptor(
            self._listeners,
            admission.admit,
            self._end,
            self.logs,
            may_accept=admission.may_accept,
            reclaim=admission.reclaim_idle,
        )
        self._ending = Ending(
            self._queue, self._stepper, self._pool, self._monitor, self._acceptor.wakeup, self.clock, self.logs
        )
        self._not_started = deque((True,))
        self._ready = threading.Event()
        self._finished = threading.Event()
        self._blocked_in_start: int | None = None
        self._launching: int | None = None
        self._door: SignalDoor | None = None
        self._addresses = [listener.getsockname() for listener in self._listeners]

    # ---- life ----

    @property
    def addresses(self) -> list[Any]:
        """What the listeners are bound to, as ``getsockname`` says, in the order given (also after the stop)."""
        return list(self._addresses)

    @property
    def ssl_adapter(self) -> SSLAdapter | None:
        """What shakes hands with new clients; None: no TLS. An adapter of ours, or one of cheroot's.

        Set it before the start. Setting it raises UsageError for what is no adapter.
        """
        return self.tls.adapter

    @ssl_adapter.setter
    def ssl_adapter(self, adapter: Any) -> None:
        self.tls.adopt(adapter)

    def reload_tls(self) -> None:
        """Load the certificates from their files again; connections that are open keep what they have.

        Raises StartupError when they cannot be used (the old ones stay), UsageError without TLS. Any thread.
        """
        self.tls.reload()

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
            self.tls.prepare(getattr(self._factory, "alpn_protocols", ()))
            for factory in applications(self._doors.values()):
                start = getattr(factory, "start", None)
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
        self._ending.not_later_than(self.clock.now() + (self.settings.stop_timeout if timeout is None else timeout))
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
        others = (self._acceptor.thread, self._monitor.thread, self.logs.thread)
        ours = {thread.ident for thread in (*others, *(worker.thread for worker in self._pool.workers))}
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
            tls_handshakes=self.tls.handshakes,
            tls_resumed=self.tls.resumed,
            tls_failed=self.tls.failed,
            tls_kernel=self.tls.kernel,
        )

    @property
    def healthy(self) -> bool:
        """Fit for new requests: not stopping, and not too many threads are stuck. What a health check is told."""
        return not self.stopping and self._pool.stuck() <= self.settings.max_stuck

    @property
    def crowded(self) -> bool:
        """Others wait: a connection should be content with a small turn."""
        return len(self._queue) > 0

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

    def start_tls(self, sock: socket.socket, then: Callable[[Any], Any] | None = None) -> Any:
        """Called by a handler: upgrade the connection to TLS, as STARTTLS does in some protocols.

        :param sock: the handler's plain socket. It cannot be used any more. Nothing that the client sent before its
            ClientHello may still wait in a buffer of the handler's own: who lets it count as said under TLS lets
            anybody put words into the client's mouth.
        :param then: called on a worker, with the TLS socket, when the handshake is done; it may return what a handler
            may. The handler returns what ``start_tls`` returned, and no thread waits for the client.

        Without ``then`` the handshake happens here, on this thread, within the setting ``handshake_timeout``, and the
        TLS socket is returned. Raises UsageError without an adapter, for a strange socket and for one that has TLS;
        TLSError, TimeoutError or OSError when the handshake fails.
        """
        connection = self._find(sock)
        adapter = self.tls.adapter
        if adapter is None:
            raise UsageError("start_tls() needs server.ssl_adapter (--tls-cert)")
        if connection.secure is not None:
            raise UsageError("this connection has TLS already")
        if isinstance(connection.driver, HandlerDriver):
            connection.driver.push()  # what was sent before TLS belongs before it
        return upgrade(connection, adapter, then)

    # ---- for the engine's other parts and for drivers ----

    def peer_of(self, connection: Connection) -> Peer:
        """See :meth:`peer`."""
        return peer_of(connection)

    def address_of(self, connection: Connection) -> tuple[str, int]:
        """(host, port) of the client; a v4-mapped address as IPv4, a UNIX socket as ``("", 0)``."""
        return address_of(connection.peer)

    def connection_closed(self, connection: Connection) -> None:
        """By whoever closed it, when the descriptor is free again."""
        if self.stopping:
            self._acceptor.wakeup.signal()
        else:
            self.room()

    def room(self) -> None:
        """Newcomers may have a place now, or somebody who gives one up."""
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

    def _end(self) -> None:
        """The accept loop is over: conduct the orderly end."""
        self.stopping = True  # also when the accept loop itself failed
        try:
            self._ending.conduct(self._close_listeners)
            self._ending.guarded(self.hooks.on_worker_stop, "the hook on_worker_stop failed")
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

    def _close_listeners(self) -> None:
        if self._own:
            for listener in self._listeners:
                release(listener)

    def _dispose(self) -> None:
        """Give back what is left: descriptors, the log."""
        self._close_listeners()
        for listener in self._borrowed:
            listener.detach()  # only our wrapper around the number goes
        for factory in applications(self._doors.values()):
            finish = getattr(factory, "finish", None)
            if finish is not None:
                self._ending.guarded(partial(finish, self), "the application failed at the end of the server")
        self.tls.close()
        fork.forget(self)
        self._queue.closed = True
        self._poller.close()
        self._acceptor.wakeup.close()
        self.logs.stop()


def _several(fds: Descriptors) -> list[int | socket.socket]:
    return [fds] if isinstance(fds, (int, socket.socket)) else list(fds)
