"""``ReserveWSGIServer``: one WSGI application on one server, for programs that embed it."""

from __future__ import annotations

import dataclasses
from typing import Any

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.redirect import RedirectApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Descriptors, Server
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.gateways.exchange import WSGIApplication
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import Limits
from reserve.suggest import suggestion

__all__ = ["ReserveWSGIServer"]

_ENGINE_OPTIONS = {field.name for field in dataclasses.fields(EngineSettings)}
_HTTP_OPTIONS = ({field.name for field in dataclasses.fields(HTTPSettings)} - {"limits"}) | {
    field.name for field in dataclasses.fields(Limits)
}
_SERVER_PARAMETERS = {"own", "hooks", "clock", "poller", "policy", "without_tls", "extra"}


class ReserveWSGIServer(Server):
    """Serves a WSGI application (PEP 3333) over HTTP.

    The program makes it, starts and stops it, as every :class:`~reserve.engine.server.Server`.

    :param fds: listening descriptors or sockets, as for :class:`~reserve.engine.server.Server`.
    :param app: the application.
    :param threads: how many requests run at the same time.
    :param ssl_adapter: speaks TLS on ``fds``: ``reserve.ssl.BuiltinSSLAdapter("cert.pem", "key.pem")``. The attribute
        of this name can be set instead, before the start.
    :param redirect: listeners of plain HTTP whose clients are sent to https.
    :param redirect_port: the TCP port of https for those clients; None: the first TCP port of ``fds`` that has TLS.
    :param options: everything else by the name that the option has on the command line, with underscores:
        ``keep_alive=5, max_body=10_000_000, access_log=True``. The access log is off unless this turns it on.

    Raises UsageError for an option that does not exist.
    """

    def __init__(
        self,
        fds: Descriptors,
        app: WSGIApplication,
        threads: int = 16,
        *,
        ssl_adapter: Any = None,
        redirect: Descriptors = (),
        redirect_port: int | None = None,
        **options: Any,
    ) -> None:
        known = _ENGINE_OPTIONS | _HTTP_OPTIONS | _SERVER_PARAMETERS
        for name in options:
            if name not in known:
                raise UsageError(f"no option is named {name!r}{suggestion(name, known)}")
        if redirect_port is not None and not 1 <= redirect_port <= 65535:
            raise UsageError(f"redirect_port (--redirect-port) is a port from 1 to 65535, not {redirect_port!r}")
        if redirect_port is not None and redirect in ((), []):
            raise UsageError(
                "redirect_port (--redirect-port) is for listeners of redirects, and there are none: redirect="
            )
        http = HTTPApp(WSGIGateway(app))
        http_options = {name: value for name, value in options.items() if name in _HTTP_OPTIONS}
        http.configure({"access_log": False, **http_options})
        arguments = {name: value for name, value in options.items() if name not in _HTTP_OPTIONS}
        redirects = RedirectApp(http, 443)
        arguments["extra"] = [*arguments.get("extra", ()), (redirect, redirects)]
        super().__init__(fds, http, threads=threads, **arguments)
        self.ssl_adapter = ssl_adapter
        secure = [listener.getsockname() for listener, (_, tls) in self._endpoints.by_listener.items() if tls]
        redirects.port = redirect_port or next((address[1] for address in secure if isinstance(address, tuple)), 443)
