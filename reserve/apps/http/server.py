"""``ReserveWSGIServer``: one WSGI application on one server, for programs that embed it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Unpack, cast

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.redirect import RedirectApp
from reserve.apps.http.settings import EMBEDDED, HTTPSettings
from reserve.engine.connections.application import Application
from reserve.engine.drivers.handler import Handle
from reserve.engine.hooks import Hooks
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.poller import Poller
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.server import Descriptors, Server
from reserve.engine.settings import EngineSettings, instead_of
from reserve.errors import UsageError
from reserve.gateways.exchange import WSGIApplication
from reserve.gateways.wsgi import WSGIGateway
from reserve.keywords import ServerOptions, WSGIServerOptions
from reserve.paramtypes import keyword_names, shows_settings
from reserve.protocol.http1.limits import Limits

__all__ = ["ReserveWSGIServer"]

_ENGINE_OPTIONS = {field.name for field in dataclasses.fields(EngineSettings)}


class ReserveWSGIServer(Server):
    """Serves a WSGI application (PEP 3333) over HTTP.

    The program makes it, starts and stops it, as every :class:`~reserve.engine.server.Server`.

    :param fds: listening descriptors or sockets, as for :class:`~reserve.engine.server.Server`.
    :param app: the application.
    :param threads: how many requests run at the same time: a number, or the minimum and the maximum.
    :param ssl_adapter: speaks TLS on ``fds``: ``reserve.ssl.BuiltinSSLAdapter("cert.pem", "key.pem")``. The attribute
        of this name can be set instead, before the start.
    :param websockets: WebSocket handlers by path, ``{"/chat": handle}``: requests there that ask for WebSocket do not
        reach ``app``. See :mod:`reserve.apps.websocket.handlers`; needs ``reserve[websocket]``.
    :param redirect: listeners of plain HTTP whose clients are sent to https.
    :param redirect_port: the TCP port of https for those clients; None: the first TCP port of ``fds`` that has TLS.
    :param options: everything else by the name that the option has on the command line, with underscores:
        ``keep_alive=5, max_body=10_000_000, access_log=True``. :class:`~reserve.keywords.WSGIServerOptions` describes
        them. The access log is off unless this turns it on.

    The other parameters are those of :class:`~reserve.engine.server.Server`. So is the error log: the logger
    ``reserve``, to which the tracebacks of the application go, too.

    Raises UsageError for an option that does not exist.
    """

    @shows_settings(EngineSettings, HTTPSettings, Limits, **EMBEDDED)
    def __init__(
        self,
        fds: Descriptors,
        app: WSGIApplication,
        threads: int | tuple[int, int] = 16,
        *,
        ssl_adapter: Any = None,
        websockets: Mapping[str, Any] | None = None,
        redirect: Descriptors = (),
        redirect_port: int | None = None,
        without_tls: Descriptors = (),
        extra: Iterable[tuple[Descriptors, Handle | Application]] = (),
        own: bool = True,
        hooks: Hooks | None = None,
        clock: Clock | None = None,
        poller: Poller | None = None,
        policy: HandOff | None = None,
        **options: Unpack[WSGIServerOptions],
    ) -> None:
        given: Mapping[str, object] = options
        known = keyword_names(ReserveWSGIServer.__init__)
        for name in given:
            if name not in known:
                raise UsageError(f"no option is named {name!r}{instead_of(name, known)}")
        if redirect_port is not None and not 1 <= redirect_port <= 65535:
            raise UsageError(f"redirect_port (--redirect-port) is a port from 1 to 65535, not {redirect_port!r}")
        if redirect_port is not None and redirect in ((), []):
            raise UsageError(
                "redirect_port (--redirect-port) is for listeners of redirects, and there are none: redirect="
            )
        http = HTTPApp(WSGIGateway(app))
        if websockets:
            from reserve.apps.websocket.routes import WebSocketRoutes

            http.upgrades = WebSocketRoutes(websockets)
        engine_options = {name: value for name, value in given.items() if name in _ENGINE_OPTIONS}
        http_options = {name: value for name, value in given.items() if name not in _ENGINE_OPTIONS}
        http.configure({**EMBEDDED, **http_options})
        redirects = RedirectApp(http, 443)
        super().__init__(
            fds,
            http,
            without_tls=without_tls,
            extra=[*extra, (redirect, redirects)],
            own=own,
            hooks=hooks,
            clock=clock,
            poller=poller,
            policy=policy,
            **cast(ServerOptions, {"threads": threads, **engine_options}),
        )
        self.ssl_adapter = ssl_adapter
        secure = [listener.getsockname() for listener, (_, tls) in self._endpoints.by_listener.items() if tls]
        redirects.port = redirect_port or next((address[1] for address in secure if isinstance(address, tuple)), 443)
