"""Plain HTTP that sends every client to https (``--redirect-http``). Only health checks get their own response.

The thread that steps the connection responds, and no body is read: redirects work while every worker is busy, and no
client can fill a disk through them. Requests are received and checked like all others, with the same limits, and stand
in the same access log.

GET and HEAD get a 301, which every client follows; some older clients know no 308 (RFC 7538), among them urllib before
Python 3.11. All other methods get a 308, because a client may turn a POST into a GET without its body after a 301
(RFC 9110 section 15.4.2). Browsers remember a permanent redirect, so that the next visit sends nothing in the clear.
They remember it for an hour only, so that a site that stops using TLS can be reached again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from reserve.apps.http.basedriver import HTTPBaseDriver
from reserve.apps.http.context import HTTPContext

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.engine.connections.driver import Action
    from reserve.protocol.http1.head import Head

__all__ = ["RedirectApp", "https_url"]

_BODY = b"This site speaks https; its address is in the field Location.\n"
_PORT = re.compile(r":[0-9]*$")  # an IPv6 address ends in a bracket
_ORIGIN = re.compile(r"[^:/?]+://[^/?]*")
_FIELDS = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "max-age=3600")]


def https_url(environ: dict[str, Any], port: int) -> str:
    """The address of the same resource under https.

    :param environ: of a request that passed the checks: its Host is ``host[:port]``, its target printable ASCII.
    :param port: the TCP port of https.

    The host is the one of the request's Host field, or, without that, the address that the client has connected to;
    never a part of the path. ``OPTIONS *`` is about the server as a whole, which a URI expresses without a path
    (RFC 9112 section 3.3).
    """
    host = _PORT.sub("", environ.get("HTTP_HOST") or environ["SERVER_NAME"])
    target = environ["REQUEST_URI"]
    if environ["PATH_INFO"] == "*":
        target = ""
    elif not target.startswith("/"):
        target = _ORIGIN.sub("", target, count=1)
        target = target if target.startswith("/") else f"/{target}"
    return f"https://{host}{'' if port == 443 else f':{port}'}{target}"


class RedirectApp(HTTPContext):
    """Redirects every request to https. A server has it beside an HTTP application and owns both.

    :param main: the HTTP application: its settings and its access log are used.
    :param port: the TCP port of https.
    """

    def __init__(self, main: HTTPContext, port: int) -> None:
        super().__init__(main.gateway, main.settings)
        self._main = main
        self.port = port

    def start(self, server: ServerContext[Connection]) -> None:
        """Share the access log; the server has started the main application before."""
        main = self._main
        self.access_log = main.access_log
        self.request_ids, self.is_observed = main.request_ids, main.is_observed

    def finish(self, server: ServerContext[Connection]) -> None:
        """Do nothing: the main application stops the log."""

    def make_driver(self, connection: Connection) -> RedirectDriver:
        """Make the driver of a connection, on the accept thread, or on the thread that completed its TLS handshake."""
        return RedirectDriver(self, connection, self.port)


class RedirectDriver(HTTPBaseDriver):
    """Drives one connection: responds to every request with a redirect to https, and to health checks as on the other
    listeners: a load balancer that checks this port takes a redirect for a failure, or cannot speak TLS.

    :class:`RedirectApp` makes it, the connection owns it, and the thread that owns the connection calls it.

    :param port: the TCP port of https.
    """

    __slots__ = ("_port",)

    def __init__(self, context: HTTPContext, connection: Connection, port: int) -> None:
        super().__init__(context, connection)
        self._port = port

    def _begin_request(self, head: Head, now: float) -> Action:
        check = self._check_at(head)
        if check:
            return self._respond_to_check(check, head, now)
        fields = [("Location", https_url(head.environ, self._port)), *_FIELDS]
        status = "301 Moved Permanently" if head.method in ("GET", "HEAD") else "308 Permanent Redirect"
        self._log_response(
            head,
            int(status[:3]),
            0 if head.method == "HEAD" else len(_BODY),
            head.environ.get("HTTP_REFERER", ""),
            head.environ.get("HTTP_USER_AGENT", ""),
        )
        return self._respond_immediately(head, now, status, fields, _BODY)
