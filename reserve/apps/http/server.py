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
from reserve.gateways.exchange import Application
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import Limits
from reserve.suggest import suggestion

__all__ = ["ReserveWSGIServer"]

_ENGINE = {field.name for field in dataclasses.fields(EngineSettings)}
_HTTP = ({field.name for field in dataclasses.fields(HTTPSettings)} - {"limits"}) | {
    field.name for field in dataclasses.fields(Limits)
}
_SERVER = {"own", "hooks", "clock", "poller", "policy", "without_tls", "extra"}


class ReserveWSGIServer(Server):
    """Serves a WSGI application (PEP 3333) over HTTP.

    :param fds: listening descriptors or sockets, as for :class:`~reserve.engine.server.Server`.
    :param app: the application.
    :param threads: how many requests run at the same time.
    :param ssl_adapter: who speaks TLS on ``fds``: ``reserve.ssl.BuiltinSSLAdapter("cert.pem", "key.pem")``. The
        attribute of this name can be set instead, before the start.
    :param redirect: listeners of plain HTTP whose clients are sent to https.
    :param redirect_port: where those find it; None: on the first TCP port of ``fds`` that has TLS.
    :param options: everything else by the name that the option has on the command line, with underscores:
        ``keep_alive=5, max_body=10_000_000, access_log=True``. The access log is off unless it is asked for here.

    Raises UsageError for names that are no option.
    """

    def __init__(
        self,
        fds: Descriptors,
        app: Application,
        threads: int = 16,
        *,
        ssl_adapter: Any = None,
        redirect: Descriptors = (),
        redirect_port: int | None = None,
        **options: Any,
    ) -> None:
        for name in options:
            if name not in _ENGINE | _HTTP | _SERVER:
                raise UsageError(f"no option is named {name!r}{suggestion(name, _ENGINE | _HTTP | _SERVER)}")
        if redirect_port is not None and not 1 <= redirect_port <= 65535:
            raise UsageError(f"redirect_port (--redirect-port) is a port from 1 to 65535, not {redirect_port!r}")
        if redirect_port is not None and redirect in ((), []):
            raise UsageError(
                "redirect_port (--redirect-port) is for listeners of redirects, and there are none: redirect="
            )
        http = HTTPApp(WSGIGateway(app))
        http.configure({"access_log": False, **{name: value for name, value in options.items() if name in _HTTP}})
        others = {name: value for name, value in options.items() if name not in _HTTP}
        redirects = RedirectApp(http, 443)
        others["extra"] = [*others.get("extra", ()), (redirect, redirects)]
        super().__init__(fds, http, threads=threads, **others)
        self.ssl_adapter = ssl_adapter
        secure = [listener.getsockname() for listener, (_, tls) in self._endpoints.by_listener.items() if tls]
        redirects.port = redirect_port or next((name[1] for name in secure if isinstance(name, tuple)), 443)
