"""The settings of the HTTP application: one frozen value, with a unit and a default for every field.

A field named ``head_timeout`` is the option ``--head-timeout``. Any thread may read them. A value that is out of bounds
raises UsageError. (``HTTPApp.configure`` checks the limits, because the parsers themselves work with any.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reserve.apps._accesslog.destinations import is_destination
from reserve.apps._accesslog.formats import is_format
from reserve.errors import Correction, UsageError
from reserve.paramtypes import Choice, Count, Flag, Kind, Need, Seconds, Size, Text, check_settings
from reserve.protocol.http1.limits import Limits
from reserve.protocol.proxy.forwarded import USUAL_FIELDS, is_choice_of_fields
from reserve.sockets.allowedclients import LOOPBACK, PRIVATE, is_list_of_clients

__all__ = ["EMBEDDED", "HTTP_KINDS", "HTTP_NEEDS", "OWN_PATHS", "HTTPSettings", "check_paths"]


def _is_header(text: str) -> bool:
    return text == text.strip() and all(32 <= ord(letter) < 127 for letter in text)


def _is_path(text: str) -> bool:
    return text == "" or (text.startswith("/") and "?" not in text and "#" not in text)


def _is_skipped(text: str) -> bool:
    return text.startswith("/") and "?" not in text and "#" not in text and "*" not in text[:-1]


def _is_origins(text: str) -> bool:
    return text in ("same", "any") or all(_is_origin(origin.strip()) for origin in text.split(","))


def _is_origin(text: str) -> bool:
    """Whether a browser may send this Origin: it has no path and not the default port (RFC 6454 section 6.2)."""
    scheme, separator, host = text.lower().partition("://")
    is_default = (scheme, host.rpartition(":")[2]) in (("http", "80"), ("https", "443"))
    return text == "null" or bool(scheme and separator and host and not set(host) & set("/?#@ ") and not is_default)


def _is_static(text: str) -> bool:
    prefix, equals, folder = text.partition("=")
    return prefix.startswith("/") and equals != "" and folder != ""


_CLIENTS = Text(
    "any, or loopback, private, addresses, networks (192.0.2.0/24) and the word unix, with commas between them",
    is_list_of_clients,
    "LIST",
    "a list",
)
_PATH = Text("a path that begins with /, without ? and #, or nothing", _is_path, "PATH", "a path")

HTTP_KINDS: Mapping[str, Kind] = {
    "head_timeout": Seconds(0.001),
    "body_timeout": Seconds(0.001),
    "body_rate": Count(0, 10**9, "N", "bytes a second"),
    "keep_alive": Seconds(0),
    "body_memory": Size(0, 1024**3),
    "spool_dir": Text("a directory", bool, "DIR", "a path"),
    "response_memory": Size(0, 1024**3),
    "max_response_spool": Size(0, 1024**4),
    "stream_bodies": Flag(),
    "expect": Choice(("server", "app")),
    "underscores": Choice(("drop", "refuse")),
    "encoded_slashes": Choice(("decode", "keep")),
    "health_path": _PATH,
    "live_path": _PATH,
    "ready_path": _PATH,
    "metrics_path": _PATH,
    "metrics_allow": _CLIENTS,
    "status_path": _PATH,
    "status_allow": _CLIENTS,
    "forwarded_fields": Text(
        "forwarded alone, or some of x-forwarded-for, x-forwarded-proto, x-forwarded-host, x-forwarded-port and "
        "x-forwarded-prefix, with commas between them, or nothing",
        is_choice_of_fields,
        "LIST",
        "names of header fields",
    ),
    "access_log": Flag(),
    "access_log_format": Text(
        "common, combined, json, or a pattern with atoms, as '%(h)s \"%(r)s\" %(s)s %(queue)s'",
        is_format,
        "FORMAT",
        "a format",
    ),
    "access_log_file": Text(
        "- (standard output), a path, syslog:, syslog:HOST:PORT, syslog:/PATH or logger:NAME",
        is_destination,
        "DESTINATION",
        "a destination",
    ),
    "access_log_skip": Text("a path that begins with /, and may end in *", _is_skipped, "PATH", "a path"),
    "request_id": Choice(("off", "environ", "response")),
    "server_timing": Flag(),
    "server_header": Text("printable ASCII without blanks at its ends, or nothing", _is_header, "TEXT"),
    "ws_max_message": Size(1, 1024**3),
    "ws_ping": Seconds(0),
    "ws_pong_timeout": Seconds(0.001),
    "ws_close_timeout": Seconds(0.001),
    "ws_compression": Flag(),
    "ws_origins": Text(
        "same, any, or origins without path and default port (https://a.example) with commas between them", _is_origins
    ),
    "static": Text("/PREFIX=DIR, as /assets=build/assets", _is_static, "/PREFIX=DIR", "a path and a directory"),
    "static_missing": Choice(("404", "app")),
    "static_listing": Flag(),
    "static_immutable": Flag(),
    "debug": Flag(),
    "root_path": _PATH,
}
"""The values that each field allows, for programs and for the command alike."""

HTTP_NEEDS = (
    Need(("access_log_format", "access_log_file", "access_log_skip"), ("access_log",), "no line is written"),
    Need(("forwarded_fields",), ("trusted_proxies",), "no field is read or removed"),
    Need(("metrics_allow",), ("metrics_path",), "there is no page of metrics"),
    Need(("status_allow",), ("status_path",), "there is no status page"),
    Need(("static_missing", "static_listing", "static_immutable"), ("static",), "no files are served"),
    Need(("ws_pong_timeout",), ("ws_ping",), "no ping is sent"),
)
"""Which fields have no effect while others, or fields of the engine's settings, are off; the application says it when
the server starts.
"""

EMBEDDED: Mapping[str, object] = {"access_log": False}
"""The defaults of :class:`~reserve.apps.http.server.ReserveWSGIServer` that are not those of the command: standard
output belongs to the embedding program.
"""

OWN_PATHS = ("health_path", "ready_path", "live_path", "metrics_path", "status_path")
"""The fields with paths of the server's own. The first two may be the same path: it has one response for both."""


def check_paths(values: Mapping[str, object], sources: Mapping[str, str] | None = None) -> None:
    """Refuse two purposes of one path.

    :param values: all fields of ``OWN_PATHS``, and maybe others.
    :param sources: where the values come from, for the message, by field. Default: their options.
    :raises UsageError: two of them are one path.
    """
    used: dict[object, str] = {}
    for name in OWN_PATHS:
        path, source = values[name], (sources or {}).get(name) or f"--{name}".replace("_", "-")
        if path and path in used and name != "ready_path":
            right = f"{path}{name.removesuffix('_path')}" if path == "/" else f"{path}-{name.removesuffix('_path')}"
            raise UsageError(
                f"{source} and {used[path]} are both {path}; give each its own path",
                correction=Correction(option=f"--{name}".replace("_", "-"), wrong=(str(path),), right=(right,)),
            )
        used[path] = source


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """Sizes are bytes, times are seconds on the monotonic clock.

    One value belongs to one HTTP application, which every connection of it reads.
    """

    limits: Limits = field(default_factory=Limits)
    """The sizes and counts that one request may have. Read by :class:`~reserve.apps.http.basedriver.HTTPBaseDriver`."""
    head_timeout: float = 10.0
    """From the first byte of a head (or the connection's start) to its last. Read by
    :class:`~reserve.apps.http.basedriver.HTTPBaseDriver`.
    """
    body_timeout: float = 20.0
    """How long a body may take, whatever its rate; after that it must arrive at ``body_rate``. Read by
    :class:`~reserve.apps.http.bufferedbody.BufferedBody` and :class:`~reserve.apps.http.streamedbody.RawBodyReader`.
    """
    body_rate: int = 500
    """Bytes a second that a body must keep up after ``body_timeout``. 0: no such rule, ``body_timeout`` is total. Read
    by :class:`~reserve.apps.http.bufferedbody.BufferedBody` and :class:`~reserve.apps.http.streamedbody.RawBodyReader`.
    """
    keep_alive: float = 15.0
    """How long an idle connection waits for its next request. 0: every connection closes after one response. Read by
    :class:`~reserve.apps.http.basedriver.HTTPBaseDriver` and :class:`~reserve.apps.http.exchange.HTTPExchange`.
    """
    body_memory: int = 65536
    """How much of a request body is kept in memory before it goes to a file. More than that may be in memory while data
    keeps arriving: up to 256 KiB are gathered before they are written. Read by
    :class:`~reserve.apps.http.bufferedbody.BodyStore`.
    """
    spool_dir: str | None = None
    """The directory for files with bodies and responses, which have no name there. None: the system's directory for
    temporary files. Read by :class:`~reserve.apps.http.bufferedbody.BodyStore` and
    :func:`~reserve.engine.connections.backpressure.make_room`.
    """
    response_memory: int = 262144
    """How far a response may be ahead of its client in memory before more of it goes to a file in ``spool_dir``. Read
    by :class:`~reserve.apps.http.exchange.HTTPExchange` and :func:`~reserve.apps.http.spoolerrors.store_response`.
    """
    max_response_spool: int = 67108864
    """How much of a response such a file may hold before the application has to wait for its client; less if that is
    more than one response may use of ``spool_disk``. Read by :class:`~reserve.apps.http.exchange.HTTPExchange`.
    """
    stream_bodies: bool = False
    """Run the application at the end of the head; it reads the body from the connection, on its own thread. Read by
    :class:`~reserve.apps.http.driver.HTTPDriver`.
    """
    expect: Literal["server", "app"] = "server"
    """When the 100 (Continue) is sent: ``server``, before the application runs; ``app``, on its first read. Read by
    :class:`~reserve.apps.http.driver.HTTPDriver`.
    """
    underscores: Literal["drop", "refuse"] = "drop"
    """For a header field with an underscore in its name: ``drop`` the field, or ``refuse`` the request. Read by
    :func:`~reserve.protocol.http1.head.parse_head`.
    """
    encoded_slashes: Literal["decode", "keep"] = "decode"
    """What PATH_INFO has for ``%2F``: ``decode``, a slash (PEP 3333); ``keep``, ``%2F``, as in cheroot. Read by
    :func:`~reserve.protocol.http1.head.parse_head`.
    """
    health_path: str = ""
    """A path that the server itself responds to, also while every worker is busy: 200 while it takes new clients, else
    503. Empty: none. Read by :class:`~reserve.apps.http.context.HTTPContext`.
    """
    live_path: str = ""
    """Likewise for a check whether the process has to be started again: 503 only if nothing else helps. Empty: none.
    Read by :class:`~reserve.apps.http.context.HTTPContext`.
    """
    ready_path: str = ""
    """Another name for ``health_path``. Empty: none. Read by :class:`~reserve.apps.http.context.HTTPContext`."""
    metrics_path: str = ""
    """A path at which the server itself has the metrics of all its processes, in the format of Prometheus. Empty: none.
    Read by :class:`~reserve.apps.http.app.HTTPApp`.
    """
    metrics_allow: str = f"{LOOPBACK},{PRIVATE}"
    """Which clients may read them: see :class:`~reserve.sockets.allowedclients.AllowedClients`. Read by
    :class:`~reserve.apps.http.app.HTTPApp`.
    """
    status_path: str = ""
    """A path at which the server itself shows what all its processes do, also while every worker is busy. Empty: none.
    Read by :class:`~reserve.apps.http.app.HTTPApp`.
    """
    status_allow: str = LOOPBACK
    """Which clients may see it: see :class:`~reserve.sockets.allowedclients.AllowedClients`. Read by
    :class:`~reserve.apps.http.app.HTTPApp`.
    """
    forwarded_fields: str = USUAL_FIELDS
    """The header fields about clients that the proxies in ``trusted_proxies`` set themselves: names in lower case with
    commas between them. No effect without ``trusted_proxies``. Read by :class:`~reserve.apps.http.context.HTTPContext`.
    """
    access_log: bool = True
    """Write one line for each request. Read by :class:`~reserve.apps.http.app.HTTPApp`."""
    access_log_format: str = "combined"
    """``common``, ``combined``, ``json``, or a pattern with atoms as ``%(h)s``: see ``reserve/docs/logs.md``. Read by
    :class:`~reserve.apps.http.context.HTTPContext` and :class:`~reserve.apps.http.app.HTTPApp`.
    """
    access_log_file: str = "-"
    """``-`` (standard output), a path, ``syslog:``, ``syslog:HOST:PORT``, ``syslog:/PATH`` or ``logger:NAME``. Read by
    :class:`~reserve.apps.http.app.HTTPApp`.
    """
    access_log_skip: tuple[str, ...] = ()
    """Paths whose requests have no line, as they are sent: whole, or their beginning with ``*`` at the end. Read by
    :class:`~reserve.apps.http.context.HTTPContext`.
    """
    request_id: Literal["off", "environ", "response"] = "off"
    """Give each request an ID: in the environ, as ``reserve.request_id``, or also in the field X-Request-ID of the
    response. ``off``: only if the format of the access log or ``slow_request`` shows it. Read by
    :class:`~reserve.apps.http.context.HTTPContext`.
    """
    server_timing: bool = False
    """Send the field Server-Timing with each response of the application. Read by
    :class:`~reserve.apps.http.context.HTTPContext`.
    """
    server_header: str = "reserve"
    """The Server field of every response. Empty: none. Read by :class:`~reserve.apps.http.context.HTTPContext`."""
    ws_max_message: int = 1048576
    """The size of a WebSocket message from a client, after it is decompressed; a larger one closes the connection with
    1009. Read by :class:`~reserve.apps.websocket.routes.WebSocketRoutes`.
    """
    ws_ping: float = 20.0
    """How long a WebSocket connection may be silent before the server sends a ping. 0: it sends none. Read by
    :class:`~reserve.apps.websocket.driver.WebSocketDriver`.
    """
    ws_pong_timeout: float = 20.0
    """How long the client may take to send anything after a ping; then the connection is closed with 1011. Read by
    :class:`~reserve.apps.websocket.driver.WebSocketDriver`.
    """
    ws_close_timeout: float = 10.0
    """How long the client may take for its close frame after the server's. Read by
    :class:`~reserve.apps.websocket.driver.WebSocketDriver`.
    """
    ws_compression: bool = True
    """Compress WebSocket messages for clients that offer permessage-deflate (RFC 7692). Read by
    :class:`~reserve.apps.websocket.routes.WebSocketRoutes`.
    """
    ws_origins: str = "same"
    """Which pages may open a WebSocket: ``same``, those whose Origin has the host of the request; ``any``; or the
    origins themselves, with commas between them. Clients without Origin, which are no browsers, always may. Read by
    :class:`~reserve.apps.websocket.routes.WebSocketRoutes`.
    """
    static: tuple[str, ...] = ()
    """Folders whose files the server sends, each as ``/PREFIX=DIR``. Read by :class:`~reserve.apps.http.app.HTTPApp`.
    """
    static_missing: Literal["404", "app"] = "404"
    """Who responds when such a folder does not have the file: the server, with 404, or the application. Read by
    :class:`~reserve.apps.http.app.HTTPApp`.
    """
    static_listing: bool = False
    """List the files of a folder that has no ``index.html``. Read by :class:`~reserve.apps.http.app.HTTPApp`."""
    static_immutable: bool = True
    """Send Cache-Control with files: a year for hashed names, no-cache for all others. Read by
    :class:`~reserve.apps.http.app.HTTPApp`.
    """
    debug: bool = False
    """Show the traceback of an exception of the application to clients on this machine. Read by
    :class:`~reserve.apps.http.exchange.HTTPExchange`.
    """
    root_path: str = ""
    """The SCRIPT_NAME that everything is mounted under. Read by :class:`~reserve.gateways.wsgi.WSGIGateway`."""

    def __post_init__(self) -> None:
        check_settings(self, HTTP_KINDS)

    def body_allowance(self, received: int) -> float:
        """How many seconds a body may have taken when its next bytes arrive: ``body_timeout``, plus the time in which
        the bytes received so far arrive at ``body_rate``.

        :param received: bytes of the body so far.
        """
        return self.body_timeout + (received / self.body_rate if self.body_rate else 0.0)
