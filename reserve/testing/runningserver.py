"""A real server on a free port while a ``with`` block runs: with threads, sockets and, if the test wants it, TLS."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from typing import Any, Unpack, cast

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.application import Application
from reserve.engine.drivers.handler import Handle
from reserve.engine.hooks import Hooks
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import Poller
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.server import Descriptors, Server
from reserve.engine.settings import EngineSettings
from reserve.gateways.exchange import WSGIApplication
from reserve.gateways.wsgi import WSGIGateway
from reserve.keywords import ServerOptions
from reserve.paramtypes import shows_settings
from reserve.sockets.listeners import listen, release

__all__ = ["RunningServer", "running"]


class RunningServer:
    """A server on a free port, and what a test needs to connect to it. Made by :func:`running`."""

    def __init__(self, server: Server, *, tls: bool = False) -> None:
        self.server = server
        self.address: Any = server.addresses[0]
        """(host, port), or the path of a UNIX socket."""
        self.url = ""
        """``http://host:port`` of a TCP listener, with TLS ``https://host:port``; a path has none."""
        if isinstance(self.address, tuple):
            host, port = self.address = self.address[:2]
            scheme = "https" if tls else "http"
            self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """Open a client's connection.

        :param timeout: seconds that each of its calls may wait, so that a test that fails does not hang.
        """
        if isinstance(self.address, tuple):
            return socket.create_connection(self.address, timeout)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(timeout)
            client.connect(self.address)
        except BaseException:
            client.close()
            raise
        return client

    def exchange(self, data: bytes, timeout: float = 10.0) -> bytes:
        """Send bytes on a new connection. Returns everything that is received until the server closes it."""
        with self.connect(timeout) as client:
            if data:  # the server may have closed already, and sending nothing on a UNIX socket would be an error then
                client.sendall(data)
            return b"".join(iter(lambda: client.recv(65536), b""))


@shows_settings(EngineSettings)
@contextlib.contextmanager
def running(
    app: WSGIApplication | Handle | Application,
    *,
    wsgi: bool = True,
    http: HTTPSettings | None = None,
    address: str = "127.0.0.1:0",
    ssl_adapter: Any = None,
    without_tls: bool = False,
    extra: Iterable[tuple[Descriptors, Handle | Application]] = (),
    hooks: Hooks | None = None,
    settings: EngineSettings | None = None,
    clock: Clock | None = None,
    poller: Poller | None = None,
    policy: HandOff | None = None,
    **options: Unpack[ServerOptions],
) -> Iterator[RunningServer]:
    """Serve ``app`` while the ``with`` block runs.

    :param app: a WSGI application; with ``wsgi=False`` a plain handler; or an
        :class:`~reserve.engine.connections.application.Application`.
    :param http: settings of the HTTP application. Default: those of ``HTTPSettings()``, without an access log.
    :param address: as for :func:`reserve.listen`.
    :param ssl_adapter: speaks TLS there; see :attr:`reserve.Server.ssl_adapter`.
    :param without_tls: with an adapter, connections begin without TLS, for a handler that calls ``server.start_tls``.
    :param options: single settings of the engine, as for :class:`~reserve.engine.server.Server`: ``threads=1``. The
        other parameters are those of this class, too.
    """
    if wsgi and not isinstance(app, Application):
        http = http if http is not None else HTTPSettings(access_log=False)
        app = HTTPApp(WSGIGateway(cast(WSGIApplication, app)), http)
    listeners = listen(address)
    try:
        server = Server(
            listeners,
            cast("Handle | Application", app),
            without_tls=listeners if without_tls else (),
            extra=extra,
            hooks=hooks,
            settings=settings,
            clock=clock,
            poller=poller,
            policy=policy,
            **options,
        )
        server.ssl_adapter = ssl_adapter
    except BaseException:
        for listener in listeners:
            release(listener)
        raise
    with server:
        server.wait_ready()
        yield RunningServer(server, tls=ssl_adapter is not None and not without_tls)
