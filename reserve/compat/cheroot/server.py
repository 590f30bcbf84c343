"""``HTTPServer``: cheroot's server with a gateway of the program, and the base of the one for WSGI.

The server opens its socket in ``prepare()`` and serves in ``serve()``, on the caller's thread, with a
:class:`reserve.Server` that it makes for each start; after ``stop()`` it may be started again. Any thread may call
``stop()``, a signal handler and an application among them.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from socket import socket as Socket
from traceback import format_exc
from typing import Any, ClassVar

import reserve
from reserve.apps.http.app import HTTPApp
from reserve.compat.cheroot.engine import CherootGateway, engine_options, http_settings, with_users
from reserve.compat.cheroot.listening import inherited, open_tcp, open_unix, resolve
from reserve.compat.cheroot.request import Gateway, HTTPConnection, HTTPRequest, run_gateway
from reserve.compat.cheroot.statistics import statistics_of
from reserve.compat.cheroot.workers.threadpool import ThreadPool
from reserve.engine.hooks import Hooks
from reserve.engine.server import Server
from reserve.errors import UsageError
from reserve.gateways.exchange import WSGIApplication
from reserve.sockets.listeners import BACKLOG, release

__all__ = [
    "Gateway",
    "HTTPConnection",
    "HTTPRequest",
    "HTTPServer",
    "ThreadPool",
    "get_ssl_adapter_class",
    "ssl_adapters",
]

_LIVE = frozenset(("max_request_body_size", "max_request_header_size", "protocol", "server_name", "timeout"))
"""The attributes that a program may change while the server runs."""

BindAddress = tuple[str, int] | str | bytes


class HTTPServer:
    """An HTTP server whose requests a gateway responds to; owned by the program that makes it.

    :param bind_addr: ``(host, port)``, or the name of a UNIX socket. Port 0: a free one, which :attr:`bind_addr` has
        after :meth:`prepare`. A socket from systemd (``LISTEN_PID``) has precedence.
    :param gateway: the class of gateways: a :class:`Gateway` is made for each request, and its ``respond()`` called.
    :param minthreads: threads that are always there.
    :param maxthreads: how many there may be while requests wait; -1: not more than ``minthreads``.
    :param server_name: the Server field of responses, and SERVER_NAME. Default: :attr:`version`, and the address.
    :param peercreds_enabled: the environ of clients on a UNIX socket says which process and user they are.
    :param peercreds_resolve_enabled: with the user's name.
    :param reuse_port: other processes may listen on the same port (SO_REUSEPORT).
    """

    gateway: Any = None
    """The class of gateways. It may be replaced at any time."""
    protocol = "HTTP/1.1"
    """``HTTP/1.0``: every connection closes after one response. Also ``ACTUAL_SERVER_PROTOCOL`` in the environ."""
    request_queue_size = 5
    """How many connections the kernel queues, but at least as many as with ``--backlog``: a shorter queue would only
    make clients repeat their attempt a second later.
    """
    shutdown_timeout: float | None = 5
    """Seconds that :meth:`stop` waits for requests in flight. None, or less than 0: as long as they take."""
    timeout: float | None = 10
    """Seconds: how long a head may take, how long an idle connection is kept, and for how long a client may read
    nothing (that one is read at the start). None: a week.
    """
    expiration_interval = 0.5
    """Seconds that one :meth:`tick` takes."""
    version = f"reserve/{reserve.__version__}"
    software: str | None = None
    """SERVER_SOFTWARE. None: :attr:`version` and the word ``Server``."""
    ready = False
    """The server listens."""
    max_request_header_size = 0
    """Bytes of a head. 0: the limits of reserve (``--max-head`` and others)."""
    max_request_body_size = 0
    """Bytes of a body. 0: no limit but the server's budgets (``--spool-disk``)."""
    nodelay = True
    """Not used: TCP_NODELAY is always set."""
    keep_alive_conn_limit: int | None = 10
    """Not used: an idle connection holds no thread. At ``--max-connections`` the oldest are closed."""
    ssl_adapter: Any = None
    """The TLS of the server: an adapter of cheroot, of this package, of :mod:`reserve.ssl`, or any object with
    ``wrap(socket)``. Read at the start.
    """
    peercreds_enabled = False
    peercreds_resolve_enabled = False
    reuse_port = False
    ConnectionClass: ClassVar[Any] = HTTPConnection

    requests: ThreadPool
    socket: Socket | None = None
    """The listening socket, from :meth:`prepare` to :meth:`stop`; the first one of several."""
    engine: Server | None = None
    """What serves, from :meth:`prepare` to :meth:`stop`. (cheroot has no such attribute.)"""
    _http: HTTPApp | None = None
    _serving = False
    _interrupt: Any = None
    _start_time: float | None = None
    _run_time = 0.0

    def __init__(
        self,
        bind_addr: BindAddress,
        gateway: Any,
        minthreads: int = 10,
        maxthreads: float = -1,
        server_name: str | None = None,
        peercreds_enabled: bool = False,
        peercreds_resolve_enabled: bool = False,
        reuse_port: bool = False,
    ) -> None:
        self.bind_addr = bind_addr
        self.gateway = gateway
        self.requests = ThreadPool(self, min=minthreads or 1, max=maxthreads)
        self.server_name = server_name or self.version
        self.peercreds_enabled = peercreds_enabled
        self.peercreds_resolve_enabled = peercreds_resolve_enabled and peercreds_enabled
        self.reuse_port = reuse_port
        self._stopped = threading.Event()
        self.clear_stats()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in _LIVE and self._http is not None:
            self._http.use_settings(http_settings(self))

    def __str__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}({self.bind_addr!r})"

    @property
    def bind_addr(self) -> BindAddress:
        """Where the server listens: ``(host, port)``, or the name of a UNIX socket.

        Setting it to a host that is empty or None raises ValueError, as in cheroot: the systems do not agree on what it
        means.
        """
        return self._bind_addr

    @bind_addr.setter
    def bind_addr(self, value: BindAddress) -> None:
        if isinstance(value, tuple) and value[0] in ("", None):
            raise ValueError(
                "the host of bind_addr is empty; '0.0.0.0' means all interfaces with IPv4, and '::' all of IPv6, too"
            )
        self._bind_addr = value

    # ---- start and stop ----

    def start(self) -> None:
        """Serve, and block until the server has stopped: :meth:`prepare`, then :meth:`serve`."""
        self.prepare()
        self.serve()

    def safe_start(self) -> None:
        """As :meth:`start`; an interrupt is kept in :attr:`interrupt`, too, and raised again."""
        try:
            self.start()
        except (KeyboardInterrupt, SystemExit) as error:
            if not self._interrupt:
                self.interrupt = error
            raise

    def prepare(self) -> None:
        """Listen: from now on clients can connect, and :meth:`serve` serves them.

        Raises OSError when the address cannot be used; StartupError (see :mod:`reserve.errors`) for a certificate that
        cannot be used; RuntimeError when the server is running.
        """
        if self.engine is not None:
            raise RuntimeError(f"{self} is running; stop() comes before the next start")
        self._interrupt = None
        if self.software is None:
            self.software = f"{self.version} Server"
        listeners = self._listen()
        try:
            http = HTTPApp(CherootGateway(self, self._make_application()), http_settings(self))
            engine = Server(listeners, http, hooks=Hooks(error_log=self._log), **engine_options(self))
        except BaseException:
            for listener in listeners:
                release(listener)
            self.socket = None
            raise
        try:
            engine.ssl_adapter = self.ssl_adapter
            if engine.ssl_adapter is not None:
                engine.ssl_adapter.prepare(http.alpn_protocols)  # so that a mistake is found by the caller
        except BaseException:
            engine.stop(0)
            self.socket = None
            raise
        self._stopped.clear()
        self._serving = False
        self.engine, self._http = engine, http
        self._start_time = time.monotonic()
        with contextlib.suppress(AttributeError):  # it exists where a program collects statistics
            logging.statistics[self._statistics_name] = self.stats  # type: ignore[attr-defined]
        self.ready = True

    def serve(self) -> None:
        """Serve, and block until the server has stopped. Raises :attr:`interrupt`, if there is one."""
        engine = self.engine
        if engine is not None:
            self._serving = True
            try:
                engine.start()
            except UsageError:
                if self.engine is engine:
                    raise
                # It was stopped between prepare() and here.
            except BaseException:
                self._release(engine)
                raise
            self._release(engine)
        if self._interrupt:
            raise self._interrupt

    @contextlib.contextmanager
    def _run_in_thread(self) -> Iterator[threading.Thread]:
        """Serve on another thread while a ``with`` block runs: tests of cheroot's users do it, despite the name."""
        self.prepare()
        thread = threading.Thread(target=self.serve, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            self.stop()

    def tick(self) -> None:
        """Serve for :attr:`expiration_interval` seconds: for programs with a loop of their own after :meth:`prepare`.

        The first call starts the threads of the server; between two calls they serve, too. Raises :attr:`interrupt`, if
        there is one.
        """
        engine = self.engine
        if engine is not None and not self._serving:
            self._serving = True
            engine.serve_in_background()
        self._stopped.wait(self.expiration_interval)
        if self._interrupt:
            raise self._interrupt

    def stop(self) -> None:
        """Stop listening, finish the requests in flight within :attr:`shutdown_timeout`, and return when that is done.

        Called by an application, or by a signal handler inside :meth:`serve`, it returns at once, and the server stops
        as soon as that has returned, too.
        """
        self.ready = False
        self.socket = None  # the engine closes it
        engine = self.engine
        if engine is not None:
            try:
                engine.stop(engine_options(self)["stop_timeout"])
            finally:
                self._release(engine)

    @property
    def interrupt(self) -> Any:
        """The exception that has ended the server, or will: :meth:`serve` raises it when the server has stopped.

        Setting it stops the server. The server itself sets it to the KeyboardInterrupt or SystemExit that an
        application raised.
        """
        return self._interrupt

    @interrupt.setter
    def interrupt(self, error: Any) -> None:
        self._interrupt = error
        if error is not None:
            name = error.__name__ if isinstance(error, type) else type(error).__name__
            self.error_log(f"{name}: the server stops")
        self.stop()

    def _release(self, engine: Server) -> None:
        """Forget an engine that has stopped, or is about to."""
        self.ready = False
        if self.engine is engine:
            self.socket = None
            self.engine = self._http = None
            self._run_time, self._start_time = self.runtime(), None
            with contextlib.suppress(AttributeError, KeyError):
                del logging.statistics[self._statistics_name]  # type: ignore[attr-defined]
            self._stopped.set()

    # ---- the socket ----

    def bind(self, family: int, type: int, proto: int = 0) -> Socket:
        """Listen on :attr:`bind_addr` with a socket of this family; :meth:`prepare` tries each family of the host.

        A derived class may set :attr:`socket` in another way.
        """
        assert isinstance(self.bind_addr, tuple), "a UNIX socket has bind_unix_socket()"
        host, port = self.bind_addr[:2]
        backlog = max(self.request_queue_size, BACKLOG)
        sock = open_tcp(host, port, family, type, proto, reuse_port=self.reuse_port, backlog=backlog)
        self.socket = sock
        self.bind_addr = self.resolve_real_bind_addr(sock)
        return sock

    def bind_unix_socket(self, bind_addr: str | bytes) -> Socket:
        """Listen on a UNIX socket. Every user may connect to it, as in cheroot."""
        self.socket = open_unix(bind_addr, max(self.request_queue_size, BACKLOG))
        return self.socket

    @staticmethod
    def resolve_real_bind_addr(sock: Socket) -> BindAddress:
        """The address that a socket is bound to: ``(host, port)``, or the name of a UNIX socket."""
        name: Any = sock.getsockname()
        address: BindAddress = name[:2] if isinstance(name, tuple) else name
        return address

    def _listen(self) -> list[Socket]:
        self.socket = None
        passed = inherited()
        if passed:
            self.socket = passed[0]
            return passed
        if isinstance(self.bind_addr, tuple):
            self._bind_first()
        else:
            self.bind_unix_socket(self.bind_addr)
        if self.socket is None:
            raise OSError(f"cannot listen on {self.bind_addr!r}: bind() has set no socket")
        return [self.socket]

    def _bind_first(self) -> None:
        """Bind to the first address of the host that this machine has."""
        assert isinstance(self.bind_addr, tuple), "checked by the caller"
        errors: list[OSError] = []
        for family, kind, protocol in resolve(*self.bind_addr[:2]):
            try:
                self.bind(family, kind, protocol)
                return
            except OSError as error:
                errors.append(error)
        reasons = "; ".join(dict.fromkeys(error.strerror or str(error) for error in errors))
        message = f"cannot listen on {self.bind_addr!r}: {reasons}"
        number = errors[0].errno if errors else None
        raise (OSError(message) if number is None else OSError(number, message)) from (errors[0] if errors else None)

    # ---- what a derived class may replace ----

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Write a line of the error log to standard error. The log's thread calls it; others may, too.

        :param msg: the line. Errors of applications come with their traceback in it.
        :param level: one of :mod:`logging`.
        :param traceback: add that of the exception that is being handled.
        """
        sys.stderr.write(f"{msg}\n{format_exc() if traceback else ''}")
        sys.stderr.flush()

    def _log(self, level: int, text: str) -> None:
        self.error_log(text, level)

    def _make_application(self) -> WSGIApplication:
        """What the engine serves: the gateway."""
        return self._with_users(partial(run_gateway, self))

    def _with_users(self, app: WSGIApplication) -> WSGIApplication:
        return with_users(app) if self.peercreds_resolve_enabled else app

    # ---- statistics ----

    @property
    def _statistics_name(self) -> str:
        return f"Cheroot HTTPServer {id(self)}"

    def clear_stats(self) -> None:
        """Begin anew with :attr:`stats`, and with :meth:`runtime`."""
        self._run_time = 0.0
        if self._start_time is not None:
            self._start_time = time.monotonic()
        self.stats: dict[str, Any] = statistics_of(self)
        """Numbers, and functions of this dictionary that return them, by cheroot's names; in ``logging.statistics``,
        too, if that exists, while the server runs.
        """

    def runtime(self) -> float:
        """Seconds in which the server was running."""
        start = self._start_time
        return self._run_time + (time.monotonic() - start if start is not None else 0.0)

    @property
    def can_add_keepalive_connection(self) -> bool:
        """Another idle connection may be kept: always, while the server runs."""
        return self.ready


ssl_adapters: dict[str, Any] = {
    "builtin": "reserve.compat.cheroot.ssl.builtin.BuiltinSSLAdapter",
    "pyopenssl": "reserve.compat.cheroot.ssl.pyopenssl.pyOpenSSLAdapter",
}
"""Classes of adapters, or their full names. A program may add others."""


def get_ssl_adapter_class(name: str = "builtin") -> Any:
    """The class of adapters with a name in :data:`ssl_adapters`. Raises KeyError for an unknown name."""
    adapter = ssl_adapters[name.lower()]
    if not isinstance(adapter, str):
        return adapter
    module, _, attribute = adapter.rpartition(".")
    return getattr(import_module(module), attribute)
