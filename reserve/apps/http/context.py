"""What the connections of one HTTP application share: settings, prepared lines, logs, and the base of every environ.

Made once for each application before the server starts, and read by every thread that serves one of its connections.
The settings are a frozen value, which is replaced as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reserve.apps._accesslog.formats import NOTHING
from reserve.apps._accesslog.log import SkippedPaths, log_format
from reserve.apps._accesslog.requestids import RequestIds
from reserve.apps._checks import check_paths
from reserve.engine.connections.application import Application
from reserve.engine.connections.peers import address_of, is_proxy, name_of_client, peer_of
from reserve.protocol.http1.codec import HTTP1Codec
from reserve.protocol.http1.response import http_date
from reserve.protocol.proxy.forwarded import PREFIX_KEY, ForwardedParser, forwarded_fields
from reserve.sockets.proxies import trusted_proxies

if TYPE_CHECKING:
    from reserve.apps._accesslog.log import AccessLog
    from reserve.apps._accesslog.record import Details
    from reserve.apps._static.page import Page
    from reserve.apps.http.settings import HTTPSettings
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext
    from reserve.engine.connections.driver import Driver
    from reserve.engine.connections.straightline import StraightLine
    from reserve.engine.hooks import RequestEnd
    from reserve.errors import RemoteError
    from reserve.gateways.exchange import Environ
    from reserve.gateways.staticsite import StaticMounts
    from reserve.gateways.wsgi import WSGIGateway
    from reserve.protocol.codec import Codec, Head

__all__ = ["DateCache", "HTTPContext", "Upgrades", "path_of"]


class DateCache:
    """Makes the Date line of responses once a second. One for each :class:`HTTPContext`; any thread may call it.

    Two threads may make the same line at the same time; both lines are right. When the wall clock is set, the next
    response follows it.
    """

    __slots__ = ("_cached",)

    def __init__(self) -> None:
        self._cached = (0, b"")

    def line(self) -> bytes:
        """``Date: …`` with its line end (RFC 9110 section 6.6.1)."""
        second = int(time.time())
        cached = self._cached
        if cached[0] != second:
            cached = self._cached = second, f"Date: {http_date(second)}\r\n".encode("ascii")
        return cached[1]


_MOST_BASES = 64
"""Local addresses whose environ is kept. A machine may have a whole network of them."""
_NO_ENVIRON: dict[str, Any] = {}


def path_of(environ: Environ) -> str:
    """The path of a request as it came, decoded."""
    path: str = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    # A frontend has removed the prefix, so it is no part of the path that came.
    return path.removeprefix(environ[PREFIX_KEY]) if PREFIX_KEY in environ else path


def _callables(server: ServerContext[Connection]) -> dict[str, Any]:
    """The keys of the environ with which an application asks something of its server. Those about a request are about
    the one that the calling thread runs.
    """

    def send_early_hints(headers: Iterable[tuple[str, str]]) -> None:
        connection = server.own_connection()
        if connection is not None:
            connection.driver.send_early_hints(headers)

    return {
        "wsgi.early_hints": send_early_hints,
        "reserve.stopping": lambda: server.stopping,
        "reserve.waiting": server.waiting,
        "reserve.deadline": server.extend_deadline,
        "reserve.after_response": server.call_after_run,
    }


class Upgrades:
    """The protocols that an application serves by ``Upgrade``, beside HTTP. A subclass implements :meth:`begin`."""

    def begin(
        self, context: HTTPContext, connection: Connection, head: Head, received: bytes, log: Callable[[int], None]
    ) -> Driver | Any:
        """Look at a request whose Connection and Upgrade fields ask for another protocol. By the thread that owns the
        connection; it must not block.

        :param received: what the client has sent after the request.
        :param log: writes the line of the access log, with status 101; the driver calls it at the end of the
            connection, with the bytes that were sent.
        :return: the driver that goes on with the connection and sends the response; a refusal: its ``status``,
            ``fields`` and ``message``; None: the HTTP application gets the request.
        """
        raise NotImplementedError


class HTTPContext(Application):
    """The part of an HTTP application that its drivers and exchanges use.

    :class:`~reserve.apps.http.app.HTTPApp` and :class:`~reserve.apps.http.redirect.RedirectApp` derive from it; the
    server owns those. Any thread may call every method.

    :param gateway: runs the WSGI application, and makes the base of the environ.
    :param settings: limits, timeouts and the rest; see :class:`~reserve.apps.http.settings.HTTPSettings`.
    """

    reports_requests = True
    codec: Codec = HTTP1Codec()
    """The protocol. An application of another protocol sets its own, before the server starts."""
    upgrades: Upgrades | None = None
    """Other protocols on the same connections; None: there are none. Set before the server starts."""
    static: StaticMounts | None = None
    """Folders whose files are served without a worker; None: there are none."""
    silent_is_idle = False
    """A connection that has sent nothing yet is idle like one that waits for its next request: without room, it
    gives its place to a new one. Otherwise it has --head-timeout. Set before the server starts.
    """
    pages: Mapping[str, Page] | None = None
    """What the server itself has at some paths, for every method, without a worker; None: nothing. Set before the
    server starts. Requests for it stand in no log and no count.
    """
    straight_line_maker: Callable[[HTTPContext], StraightLine[Connection]] | None = None
    """Makes the straight line for the present settings. Set when the server starts; None: all requests are stepped."""
    option_names: Mapping[str, str] = MappingProxyType({})
    """What the program calls an option, if not as the command line: ``{"--max-body": "max_body"}``. For the texts of
    refused requests; set before the server starts. Default: nothing.
    """

    def __init__(self, gateway: WSGIGateway, settings: HTTPSettings) -> None:
        self.gateway = gateway
        self.access_log: AccessLog | None = None
        """None: no request is logged. Set by the application when the server starts."""
        self.log_needs = NOTHING
        """What the format of the access log shows beside what every format does."""
        self.skipped: SkippedPaths | None = None
        """The paths whose requests are not logged; None: there are none."""
        self.request_ids: RequestIds | None = None
        """Makes the IDs of requests; None: nothing shows them."""
        self.on_request_end: Callable[[RequestEnd], None] | None = None
        """The hook of the server; None: there is none. Set by the application when the server starts."""
        self.date_line = DateCache().line
        self._callables: tuple[object, dict[str, Any]] = None, {}
        """A server, and the keys of the environ that are the same for all its connections."""
        self.use_settings(settings)

    def use_settings(self, settings: HTTPSettings) -> None:
        """Replace the settings. While the server runs, any thread may do it: times and what is decided for each request
        follow at the next request of a connection, limits and SERVER_SOFTWARE at the next connection.
        """
        self.settings = settings
        self._bases: dict[Any, tuple[object, dict[str, Any]]] = {}
        """By local address: a server, and the base environ of its connections that come to this address."""
        self.checks = check_paths(settings)
        """The paths of health checks."""
        self.keep_alive = settings.keep_alive
        self.skipped = SkippedPaths(settings.access_log_skip) if settings.access_log_skip else None
        if self.access_log is None:  # else its lines are made in the format that it has begun with
            self.log_needs = log_format(settings.access_log_format).needs if settings.access_log else NOTHING
        self.use_request_ids(needed=settings.request_id != "off" or self.log_needs.request_id)
        self.is_observed = self.log_needs.details or settings.server_timing or self.request_ids is not None
        """The driver collects more of a request than the usual line of the access log shows."""
        self.adds_fields = settings.server_timing or settings.request_id == "response"
        """Responses have fields that say something of their request."""
        header = settings.server_header
        self.server_line = f"Server: {header}\r\n".encode("latin-1") if header else b""
        """``Server: …`` with its line end; empty without ``--server-header``."""
        if self.straight_line_maker is not None:
            self.lay_straight_line()

    def lay_straight_line(self) -> None:
        """Make the straight line for what holds now, unless something makes every request unusual."""
        possible = (
            self.codec.has_straight_line
            and self.gateway.calling_thread is None
            and self.on_request_end is None
            and self.settings.keep_alive > 0
            and not (self.log_needs.details or self.settings.server_timing or self.settings.debug)
        )
        maker = self.straight_line_maker
        self.straight_line = maker(self) if possible and maker is not None else None

    @property
    def has_special_paths(self) -> bool:
        """Some paths are not for the application."""
        return bool(self.checks or self.pages or self.static)

    def is_special(self, environ: Environ) -> bool:
        """Whether a request may be for something else than the application, by its path."""
        path = path_of(environ)
        if (self.checks is not None and path in self.checks) or (self.pages is not None and path in self.pages):
            return True
        return self.static is not None and self.static.find(environ) is not None

    def use_request_ids(self, *, needed: bool) -> None:
        """Make the IDs of requests from now on, or, unless ``needed``, none."""
        if not needed:
            self.request_ids = None
        elif self.request_ids is None:
            self.request_ids = RequestIds()
            self.is_observed = True
        if self.straight_line_maker is not None:
            self.lay_straight_line()

    def own_fields(self, request_id: str, details: Details | None = None, now: float = 0.0) -> list[tuple[str, str]]:
        """The fields that a response has because the settings say so, if :attr:`adds_fields`.

        :param details: of a request that the application responds to; None: the server itself responds.
        :param now: when the head is made, on the engine's clock.
        """
        fields = []
        if self.settings.request_id == "response" and request_id:
            fields.append(("X-Request-ID", request_id))
        if self.settings.server_timing and details is not None and details.called is not None:
            queue, app = (details.queue or 0.0) * 1000, (now - details.called) * 1000
            fields.append(("Server-Timing", f"queue;dur={queue:.3f}, app;dur={app:.3f}"))
        return fields

    def text_of(self, error: RemoteError) -> str:
        """The text of a refused request, for its client and for the log, with :attr:`option_names`."""
        text = error.message
        for option, name in self.option_names.items():
            text = text.replace(option, name)
        return text

    def log_warning(self, connection: Connection, message: str, kind: str) -> None:
        """Write a warning about a client into the error log.

        :param kind: what the message has in common with others; the log counts repeated messages of one kind.
        """
        server = connection.server
        server.log.warning(f"{name_of_client(connection)}: {message}", kind)

    def head_parser(self, connection: Connection) -> ForwardedParser:
        """What parses the heads of ``connection`` if there are ``--trusted-proxies``: it also reads or removes the
        fields in which frontends say who their clients are.
        """
        proxies = trusted_proxies(connection.server.settings.trusted_proxies)
        fields = forwarded_fields(self.settings.forwarded_fields, proxies.trusts)
        # After a header of the PROXY protocol the fields may be the client's own, although the peer is a proxy.
        trusted = is_proxy(connection)
        return ForwardedParser(self.codec.parse_head, fields, address_of(connection.peer)[0], trusted=trusted)

    def callables(self, connection: Connection) -> dict[str, Any]:
        """The keys of the environ with which an application asks something of its server."""
        server = connection.server
        if self._callables[0] is not server:
            self._callables = server, _callables(server)
        return {"reserve.client_disconnected": connection.peer_closed, **self._callables[1]}

    def base_environ(self, connection: Connection) -> dict[str, Any]:
        """The part of the environ that is the same for every request of ``connection``."""
        is_usual = connection.tls is None and connection.proxy is None and isinstance(connection.peer, tuple)
        if not is_usual or not self.gateway.has_constant_environ:
            return self._make_base_environ(connection, None)
        try:
            address = connection.sock.getsockname()
        except OSError:  # some systems forget the address of a connection that the client has reset
            return self._make_base_environ(connection, "")
        bases, server = self._bases, connection.server
        known, base = bases.get(address, (None, _NO_ENVIRON))
        if known is not server:
            base = self._make_base_environ(connection, address)
            base["reserve.client_disconnected"] = None  # it refers to this connection
            if len(bases) >= _MOST_BASES:
                bases.clear()
            bases[address] = server, base
        environ = base.copy()
        host, port = address_of(connection.peer)
        environ["REMOTE_ADDR"] = host
        environ["REMOTE_PORT"] = str(port) if host else ""
        environ["reserve.client_disconnected"] = connection.peer_closed
        return environ

    def _make_base_environ(self, connection: Connection, address: Any) -> dict[str, Any]:
        """:meth:`base_environ`, without a look at what other connections have.

        :param address: the local one, as ``getsockname`` gave it; empty: it is not known; None: this method asks it.
        """
        host, port = address_of(connection.peer)
        extra = self.callables(connection)
        tls = connection.tls
        https = tls is not None
        if tls is not None:
            extra.update(tls.environ())
        header = connection.proxy
        if header is not None:
            extra["reserve.proxy_header"] = header
            address = header.destination
            https = https or (header.ssl is not None and header.ssl.encrypted)
        if address is None and not isinstance(connection.peer, tuple):
            address = ""  # a UNIX socket
        elif address is None:
            try:
                address = connection.sock.getsockname()
            except OSError:  # some systems forget the address of a connection that the client has reset
                address = ""
        if isinstance(address, tuple):
            name, server_port = address[0], str(address[1])
            name = name[7:] if name.startswith("::ffff:") and "." in name else name
            name = f"[{name}]" if ":" in name else name  # RFC 3875 section 4.1.14
        else:
            name, server_port = "localhost", ""
            peer = peer_of(connection)
            if peer.pid is not None and (header is None or header.local):
                # cheroot's names for these three.
                extra["X_REMOTE_PID"] = str(peer.pid)
                extra["X_REMOTE_UID"] = str(peer.uid)
                extra["X_REMOTE_GID"] = str(peer.gid)
        return self.gateway.base_environ(
            server_name=name,
            server_port=server_port,
            remote_addr=host,
            remote_port=str(port) if host else "",
            url_scheme="https" if https else "http",
            software=self.settings.server_header or "reserve",
            extra=extra,
        )
