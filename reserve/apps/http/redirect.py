"""Plain HTTP that sends everybody to https: what stands behind ``--redirect-http``.

Answers off the workers, by whoever leads, and reads no body: it works while every worker is busy, and nobody can fill
a disk through it. The request is read and checked as all others are, with the same limits, and stands in the same
access log.

GET and HEAD get a 301, which every client follows; some older ones know no 308 (RFC 7538), among them the urllib of
Python 3.10. All other methods get a 308, because a client may turn a POST into a GET without its body after a 301
(RFC 9110 section 15.4.2). Browsers remember a permanent redirect, so that the next visit says nothing in the clear any
more; for an hour, so that whoever gives TLS up again does not lose them for good.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from reserve.apps.http.basedriver import HTTPBaseDriver
from reserve.apps.http.context import HTTPContext

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.driver import Action
    from reserve.engine.server import Server
    from reserve.protocol.http1.head import Head

__all__ = ["RedirectApp", "https_url"]

_BODY = b"This site speaks https; its address is in the field Location.\n"
_PORT = re.compile(r":[0-9]*$")  # an IPv6 address ends in a bracket
_ORIGIN = re.compile(r"[^:/?]+://[^/?]*")
_FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "max-age=3600")]


def https_url(environ: dict[str, Any], port: int) -> str:
    """Where the same resource is under https.

    :param environ: of a request that passed the checks: its Host is ``host[:port]``, its target printable ASCII.
    :param port: where TLS is spoken.

    The host is the one that the client asked for, or, without any, the address that it has connected to; never a
    part of the path. ``OPTIONS *`` asks the server as a whole, which a URI says without a path (RFC 9112 section 3.3).
    """
    name = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
    host = _PORT.sub("", name)
    target = environ["REQUEST_URI"]
    if environ["PATH_INFO"] == "*":
        target = ""
    elif not target.startswith("/"):
        target = _ORIGIN.sub("", target, count=1)
        target = target if target.startswith("/") else f"/{target}"
    return f"https://{host}{'' if port == 443 else f':{port}'}{target}"


class RedirectApp(HTTPContext):
    """Stands beside an HTTP application, with its settings.

    :param main: the application; its access log is shared.
    :param port: where clients find TLS.
    """

    def __init__(self, main: HTTPContext, port: int) -> None:
        super().__init__(main.gateway, main.settings)
        self._main = main
        self.port = port

    def start(self, server: Server) -> None:
        self.access_log = self._main.access_log  # the main application has been started before

    def finish(self, server: Server) -> None:
        """Nothing: the log is the main application's."""

    def make_driver(self, connection: Connection) -> RedirectDriver:
        return RedirectDriver(self, connection, self.port)


class RedirectDriver(HTTPBaseDriver):
    """One connection."""

    __slots__ = ("_port",)

    def __init__(self, context: HTTPContext, connection: Connection, port: int) -> None:
        super().__init__(context, connection)
        self._port = port

    def _begin(self, head: Head, now: float) -> Action:
        fields = [("Location", https_url(head.environ, self._port)), *_FIELDS]
        status = "301 Moved Permanently" if head.method in ("GET", "HEAD") else "308 Permanent Redirect"
        self._record(
            f"{head.method} {head.target} HTTP/1.{head.minor}",
            int(status[:3]),
            0 if head.method == "HEAD" else len(_BODY),
            head.environ.get("HTTP_REFERER", ""),
            head.environ.get("HTTP_USER_AGENT", ""),
        )
        return self.answer_at_once(head, now, status, fields, _BODY)
