"""``ReserveWSGIServer``: one WSGI application on one server, for programs that embed it."""

from __future__ import annotations

import dataclasses
import difflib
import socket
from collections.abc import Iterable
from typing import Any

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Server
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.gateways.exchange import Application
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import Limits

__all__ = ["ReserveWSGIServer"]

_ENGINE = {field.name for field in dataclasses.fields(EngineSettings)}
_HTTP = ({field.name for field in dataclasses.fields(HTTPSettings)} - {"limits"}) | {
    field.name for field in dataclasses.fields(Limits)
}
_SERVER = {"own", "hooks", "clock", "poller", "policy"}


class ReserveWSGIServer(Server):
    """Serves a WSGI application (PEP 3333) over HTTP.

    :param fds: listening descriptors or sockets, as for :class:`~reserve.engine.server.Server`.
    :param app: the application.
    :param threads: how many requests run at the same time.
    :param options: everything else by the name that the option has on the command line, with underscores:
        ``keep_alive=5, max_body=10_000_000, access_log=True``. The access log is off unless it is asked for here.

    Raises UsageError for names that are no option.
    """

    def __init__(
        self,
        fds: int | socket.socket | Iterable[int | socket.socket],
        app: Application,
        threads: int = 16,
        **options: Any,
    ) -> None:
        for name in options:
            if name not in _ENGINE | _HTTP | _SERVER:
                near = difflib.get_close_matches(name, _ENGINE | _HTTP | _SERVER, 1)
                raise UsageError(f"no option is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        http = HTTPApp(WSGIGateway(app))
        http.configure({"access_log": False, **{name: value for name, value in options.items() if name in _HTTP}})
        others = {name: value for name, value in options.items() if name not in _HTTP}
        super().__init__(fds, http, threads=threads, **others)
