"""The server, as embedding programs and handlers use it. Any thread may call its methods.

:class:`~reserve.engine.endpoints.Endpoints` has its listeners and their applications,
:class:`~reserve.engine.runtime.Runtime` its threads and what connections, drivers and applications use of it, and
:class:`~reserve.engine.lifecycle.Lifecycle` starts and stops both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from reserve.engine.collect import collect_stats
from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import NO_DRIVER, Connection
from reserve.engine.connections.peers import Peer, peer_of
from reserve.engine.connections.snapshot import ConnectionStats, describe_open
from reserve.engine.connections.states import NOTIFY
from reserve.engine.drivers.handler import Handle, HandlerDriver
from reserve.engine.drivers.starttls import start_tls
from reserve.engine.endpoints import Descriptors, Endpoints
from reserve.engine.hooks import Hooks, RequestEnd
from reserve.engine.lifecycle import Lifecycle
from reserve.engine.logs.errorlog import Log
from reserve.engine.logs.logfile import reopen_log_files
from reserve.engine.metrics.stats import Stats
from reserve.engine.polling.clock import Clock, SystemClock
from reserve.engine.polling.patching import refuse_green_threads
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.threads import THREAD_PREFIX
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.scoreboard import Slot
from reserve.engine.settings import ENGINE_KINDS, EngineSettings, with_changes
from reserve.errors import ServerFailed, UsageError, short_repr, type_name
from reserve.keywords import ServerOptions
from reserve.paramtypes import keyword_names, shows_settings

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["Descriptors", "Hooks", "Peer", "RequestEnd", "Server"]


class Collector(Protocol):
    """See :class:`reserve.control.collector.Collector`."""

    def collect(self, timeout: float = 2.0) -> dict[str, Any]: ...


class Server:
    """Serves ``handle`` on listening sockets; owned by the program that makes it, and started and stopped once.

    :param fds: descriptors (int) or sockets, one or several; TCP and UNIX may be mixed. They must be listening already.
    :param handle: ``handle(socket, client_address, server)``, or an
        :class:`~reserve.engine.connections.application.Application` with drivers of its own.
    :param without_tls: sockets, in ``fds`` or additional, that do not use TLS although there is an :attr:`ssl_adapter`.
    :param extra: more listeners, each with an application of its own and without TLS: (fds, handle) pairs.
    :param own: close the listeners at the shutdown (False: they stay open, and belong to the caller).
    :param hooks: functions that the server calls when it starts and stops; None: none. See :class:`Hooks`.
    :param settings: see :class:`EngineSettings`; None: the defaults.
    :param clock: None: the system's monotonic clock.
    :param poller: None: the best one of this platform.
    :param policy: decides which thread polls while a handler runs; None: the one that fits this interpreter.
    :param balance: the slot of this process on the :class:`~reserve.engine.scoreboard.Scoreboard` of the processes that
        share the listeners, so that each takes its part of the connections; it belongs to the caller, who closes the
        scoreboard after the stop. None: there are no others.
    :param thread_prefix: what the names of its threads begin with, so that those of two servers in one process can be
        told apart: ``reserve`` makes ``reserve-worker-1``.
    :param options: single settings by name (``threads=4``), which have precedence over ``settings``: a field of
        :class:`EngineSettings` each. :class:`~reserve.keywords.ServerOptions` describes them.

    Its log lines (warnings, refusals, tracebacks of handlers) go to the logger ``reserve`` of :mod:`logging`, or to the
    hook ``error_log``.

    Raises UsageError for descriptors that are not listening stream sockets and for unknown settings; StartupError,
    here and at the start, when gevent or eventlet has replaced the threads or sockets of the process.
    """

    @shows_settings(EngineSettings)
    def __init__(
        self,
        fds: Descriptors,
        handle: Handle | Application,
        *,
        without_tls: Descriptors = (),
        extra: Iterable[tuple[Descriptors, Handle | Application]] = (),
        own: bool = True,
        hooks: Hooks | None = None,
        settings: EngineSettings | None = None,
        clock: Clock | None = None,
        poller: Poller | None = None,
        policy: HandOff | None = None,
        balance: Slot | None = None,
        thread_prefix: str = THREAD_PREFIX,
        **options: Unpack[ServerOptions],
    ) -> None:
        refuse_green_threads()  # before the listeners are checked, whose class may be another one
        settings = with_changes(settings, options, keyword_names(Server.__init__))
        hooks = hooks if hooks is not None else Hooks()
        clock = clock if clock is not None else SystemClock()
        self._endpoints = Endpoints(fds, handle, without_tls, extra, settings, own=own)
        self._lifecycle = Lifecycle(self, settings, hooks, clock, self._endpoints, poller, policy, balance)
        self._runtime = self._lifecycle.runtime
        self._runtime.name_threads(thread_prefix)
        self._queue = self._runtime.queue
        self._companion: Server | None = None
        self._collector: Collector | None = None

    # ---- start and stop ----

    @property
    def addresses(self) -> list[Any]:
        """The addresses of the listeners, as ``getsockname`` returns them, in the order given (also after the stop)."""
        return list(self._endpoints.addresses)

    @property
    def ssl_adapter(self) -> SSLAdapter | None:
        """The adapter that makes the TLS sessions of new clients, one of reserve's or of cheroot's; None: no TLS.

        Set it before the start. Setting it raises UsageError for an object that is not one.
        """
        return self._runtime.tls.adapter

    @ssl_adapter.setter
    def ssl_adapter(self, adapter: Any) -> None:
        self._runtime.tls.adopt(adapter)

    @property
    def collector(self) -> Collector | None:
        """Makes the document about all processes of this server, for its metrics and its status page. The command sets
        it before the start; None: this process is the only one.
        """
        return self._collector

    @collector.setter
    def collector(self, collector: Collector | None) -> None:
        self._collector = collector

    @property
    def companion(self) -> Server | None:
        """A server that retires with this one, because another process shares its listeners, too, as that of
        ``--metrics-bind``; None: there is none.
        """
        return self._companion

    @companion.setter
    def companion(self, companion: Server | None) -> None:
        self._companion = companion

    def reload_tls(self, *, wait: bool = True) -> None:
        """Load the certificates from their files again; connections that are open keep the old ones. Any thread.

        :param wait: False: another thread loads them, logs a failure, and this method returns at once.

        Raises StartupError when they cannot be used (the old ones stay), UsageError without TLS.
        """
        tls = self._runtime.tls
        if wait or tls.adapter is None:
            tls.reload()
        else:
            tls.reload_in_background()

    def start(self) -> None:
        """Serve, and block until the server has stopped.

        On the main thread a KeyboardInterrupt stops the server as :meth:`stop` does and is raised again. Raises
        UsageError when the server was started before, and ServerFailed, after the server has stopped, when it could not
        go on because another part of the program has closed its descriptors: see :attr:`failure`.
        """
        self._lifecycle.start()

    def serve_in_background(self) -> None:
        """Serve on threads of the server and return at once. Raises UsageError when the server was started before."""
        self._lifecycle.serve_in_background()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Block until the server accepts connections; False when ``timeout`` seconds passed first."""
        return self._lifecycle.ready.wait(timeout)

    def request_stop(self, timeout: float | None = None) -> None:
        """Begin to stop and return at once. Any thread, any signal handler, any number of times.

        :param timeout: seconds that requests in flight may still take, from now on. None: the setting
            ``stop_timeout``, and before it the server serves on as usual for the setting ``drain_delay``. After several
            calls the earliest deadline counts.
        """
        self._lifecycle.request_stop(timeout)

    def retire(self) -> None:
        """Begin to leave the clients to another process that shares the listeners, and return at once. Any thread, any
        signal handler, any number of times.

        From now on the server accepts no connection. What waits in the backlogs stays there, for the other process;
        without one, those clients are reset when the listener is closed. Open connections go on: a response to HTTP or
        FastCGI says that its connection closes after it. The server stops, as by :meth:`request_stop`, when no
        connection is open any more, or when every idle client had the setting ``keep_alive`` to send its next request
        (15 seconds with other protocols). Connections that wait for something else, such as a WebSocket, are left
        alone until that stop. Until then :attr:`stopping` is False. A call of :meth:`request_stop` does not wait for
        all that. After the server has begun to stop this method does nothing.
        """
        self._lifecycle.retire()
        if self._companion is not None:
            self._companion.retire()

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting, finish the requests in flight, close idle connections, and return when that is done.

        The method returns at once when a thread of the server calls it, or a thread that is inside :meth:`start` or
        :meth:`serve_in_background` (from a signal handler, or from the hook ``on_worker_start``). For a server that was
        never started it closes the listeners.

        It returns soon after the deadline, whatever hangs: a handler, a hook, ``on_close`` or a thread that has not
        ended by then is logged, counted in :attr:`aborted`, and left running.

        :param timeout: see :meth:`request_stop`; 0: no request is waited for.
        """
        self._lifecycle.stop(timeout)

    def __enter__(self) -> Server:
        self.serve_in_background()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # ---- for handlers and embedding programs ----

    @property
    def settings(self) -> EngineSettings:
        """The settings of the server, with the options that were given by name."""
        return self._runtime.settings

    @property
    def log(self) -> Log:
        """The error log, for lines of handlers: no method of it blocks. Lines go where those of the server go, by
        default to the logger ``reserve``.
        """
        return self._runtime.log

    @property
    def stopping(self) -> bool:
        """The server is shutting down: a handler that goes on for long should end."""
        return self._runtime.stopping

    @property
    def retiring(self) -> bool:
        """The server accepts no new connections: it retires (:meth:`retire`), or is shutting down."""
        return self._runtime.retiring

    def reopen_logs(self) -> None:
        """Open the log files of this process again, because another program has renamed them. Any thread.

        A file that cannot be opened stays the one that was open, and the error log says why.
        """
        for path, error in reopen_log_files():
            if error is not None:
                self.log.warning(
                    f"{path} cannot be opened again, so lines go on into the file that was open: "
                    f"{error.strerror or error}"
                )

    def stats(self) -> Stats:
        """Return the counts of this moment. Any thread."""
        return collect_stats(self._runtime, self._endpoints)

    def set_threads(self, lowest: int, highest: int) -> None:
        """Change the number of worker threads (the setting ``threads``) while the server runs. Any thread.

        New threads start at once. Threads above the minimum end when they are idle, and those above the maximum when
        they have ended their request.

        Raises UsageError for numbers out of bounds, and for an application whose code runs on one thread only.
        """
        kind = ENGINE_KINDS["threads"]
        if not kind.accepts((lowest, highest)):
            raise UsageError(f"threads are {lowest}:{highest}; allowed: {kind.allowed}")
        reason = self._endpoints.main.single_thread
        if reason and highest > 1:
            raise UsageError(f"{reason}, so there can be one thread only")
        self._runtime.pool.resize(lowest, highest)

    def open_connections(self) -> tuple[ConnectionStats, ...]:
        """Return each connection that is open at this moment. Any thread."""
        now = self._runtime.clock.now()
        return tuple(describe_open(connection, now) for connection in list(self._queue.connections.values()))

    def _runs_for(self, ident: int) -> int:
        """The thread that runs the application for a worker at this moment, which is another one if the application
        runs on the thread inside :meth:`start` only. Any thread.

        :param ident: of the worker's thread, as :func:`threading.get_ident` names it.
        """
        thread = self._runtime.start_thread.running_for(ident)
        return ident if thread is None or thread.ident is None else thread.ident

    @property
    def healthy(self) -> bool:
        """The server takes new clients: it does not drain, retire or stop, a listener is open, and at most
        ``max_stuck`` threads are stuck.
        """
        return self._runtime.healthy

    @property
    def failure(self) -> ServerFailed | None:
        """Why the server has ended, or ends, although nobody asked for it; None: it has not.

        Another part of the program has closed the descriptor with which the server waits for its connections, or its
        last listening socket. The error log has one line about it, requests in flight are finished as by :meth:`stop`,
        :meth:`start` raises this error afterwards, and :meth:`stop` returns as always.
        """
        return self._lifecycle.failure

    @property
    def aborted(self) -> int:
        """Requests that the shutdown aborted at its deadline, and threads that still run. 0: a clean shutdown."""
        return self._lifecycle.shutdown.aborted

    def waiting(self) -> AbstractContextManager[bool]:
        """``with server.waiting():`` a handler only waits in this block, for a message of another thread, say.

        Meanwhile its thread does not count as one of ``threads``: another thread serves other connections in its place,
        unless ``max_waiting`` threads wait already. At the end of the block the handler goes on at once, and the number
        of threads decreases when handlers return. The value of ``as`` is False when the thread counts as before:
        because of that limit, or because it is no worker of this server. A block within such a block changes nothing.
        """
        return self._runtime.waiting()

    def peer(self, sock: socket.socket) -> Peer:
        """The raw address of the peer, on a UNIX socket the process that connected, and after a header of the PROXY
        protocol what it says (:attr:`Peer.proxy`).

        Raises UsageError for a socket that is not a connection of this server.
        """
        return peer_of(self._find(sock))

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send bytes on a connection of a plain handler that is parked. Any thread; does not block.

        :param data: bytes, or an object with the bytes of one (bytearray, memoryview), which are copied.

        Raises UsageError when the socket is not (or no longer) a connection of this server, or the data is not bytes;
        ReserveError when more bytes would wait for the peer than the setting ``max_output`` allows.
        """
        connection = self._find(sock)
        if type(data) is not bytes:  # bytes(5) would be five NULs
            try:
                data = memoryview(data).tobytes()
            except TypeError:
                raise UsageError(f"send() takes bytes, not {type_name(data)}") from None
        driver = connection.driver
        if driver is NO_DRIVER:  # the owner disposes of the connection at this moment
            raise UsageError("this socket is no longer a connection of this server")
        if not isinstance(driver, HandlerDriver):
            raise UsageError("send() is for connections of a plain handler")
        driver.post(bytes(data))
        self._queue.notify(connection, NOTIFY)

    def detach(self, sock: socket.socket) -> socket.socket:
        """Called by a handler: from now on the application owns the socket, which the server neither reads nor closes.

        Raises UsageError for a socket that is not a connection of this server.
        """
        connection = self._find(sock)
        connection.detached = True
        self._queue.registry.remove(connection)
        return sock

    def start_tls(self, sock: socket.socket, then: Callable[[Any], Any] | None = None) -> Any:
        """Called by a handler: upgrade the connection to TLS, as STARTTLS does in some protocols.

        :param sock: the handler's plain socket, which cannot be used any more. The handler must have discarded every
            byte that it received before the ClientHello. An attacker can insert such bytes into the plain connection; a
            handler that kept them and read them as part of the TLS session would execute the attacker's commands as the
            client's.
        :param then: called on a worker, with the TLS socket, when the handshake is complete; it returns what a handler
            returns. The handler returns the result of ``start_tls``, and no thread waits for the client. None: the
            handshake is made by this call.

        Without ``then`` the handshake is made on the caller's thread, within the setting ``handshake_timeout``, and the
        TLS socket is returned. Raises UsageError without an adapter, for a socket that is not a connection of this
        server, for one that has TLS, and for a ``then`` that cannot be called; TLSError, TimeoutError or OSError when
        the handshake fails.
        """
        connection = self._find(sock)
        adapter = self._runtime.tls.adapter
        if adapter is None:
            raise UsageError("start_tls() needs server.ssl_adapter (--tls-cert)")
        if connection.tls is not None:
            raise UsageError("this connection has TLS already")
        if then is not None and not callable(then):
            raise UsageError(f"start_tls(then={short_repr(then)}): it is a function of the TLS socket, or None")
        if isinstance(connection.driver, HandlerDriver):
            connection.driver.push()  # the plain output has to leave before the handshake
        return start_tls(connection, adapter, then)

    def _find(self, sock: socket.socket) -> Connection:
        fileno = getattr(sock, "fileno", None)
        connection = self._queue.connections.get(fileno()) if callable(fileno) else None
        if connection is None or connection.sock is not sock:
            raise UsageError("this socket is not (or no longer) a connection of this server")
        return connection
