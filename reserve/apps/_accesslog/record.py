"""What the access log knows of one request that is over. Threads that respond make records; its own thread reads them.

A record is a plain tuple of the values of :class:`Record`, because that costs least, or a :class:`DetailedRecord`. It
waits in a queue, and a client decides what is in it, so its texts are cut before: 8,192 records hold 26 MB at most, and
a format with header fields adds up to 4 KB for each field that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["CLIENT_CLOSED_REQUEST", "LONGEST_UNCUT", "MAX_FIELD", "DetailedRecord", "Details", "Record", "cut",
           "text_of"]  # fmt: skip

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client went away before the response began: the one that other servers write."""
MAX_FIELD = 1024
"""Characters of the request line, the referer and the user agent in a line; a longer one is cut and ends in ``...``."""


LONGEST_UNCUT = MAX_FIELD - 10
"""Characters of method, target, referer and user agent together up to which none of a record is cut: the request line
has the version, too.
"""


class Record(NamedTuple):
    """The values of one line of the access log, about one request that is over. The queue has them as a plain tuple."""

    timestamp: float
    """The wall clock, in seconds since the epoch."""
    host: str
    """The client's address; empty on a UNIX socket."""
    method: str
    """As it was sent. Empty: ``target`` is the request line as it came, because it is malformed, or longer than
    :data:`MAX_FIELD`, and then cut; ``version`` is empty, too.
    """
    target: str
    version: str
    """As ``HTTP/1.1``."""
    status: int
    bytes_sent: int
    """Bytes of the response's body that the application has sent and the connection has accepted."""
    referer: str
    user_agent: str

    @property
    def request(self) -> str:
        """The request line."""
        return _request_line(self.method, self.target, self.version)


class Details:
    """What only some formats show of a request. The driver makes it if the format needs any of it, and fills it until
    the record is put. Times are seconds; None: there was no such time.
    """

    __slots__ = ("app", "before", "called", "duration", "first_byte", "frontend", "head_sent", "queue", "received",
                 "request_id", "response_fields", "thread", "tls", "traceparent", "ttfb", "user", "variables",
                 "write")  # fmt: skip

    def __init__(self) -> None:
        self.queue: float | None = None
        """From the complete request to the call of the application."""
        self.app: float | None = None
        """From the call of the application to the end of its response."""
        self.ttfb: float | None = None
        """From the complete head to the first byte of the response."""
        self.write: float | None = None
        """From the first byte of the response until the last one has left the server."""
        self.duration: float | None = None
        """From the complete head until the response was handed over."""
        self.frontend: float | None = None
        """From X-Request-Start of a trusted frontend to the complete head."""
        self.called: float | None = None
        """When the application was called, on the engine's clock."""
        self.first_byte: float | None = None
        """When the first byte of the response was handed over, likewise."""
        self.received = 0
        """Bytes of the request: its head and the content of its body."""
        self.head_sent = 0
        """Bytes of the response's head."""
        self.tls = ""
        """The version of TLS, as ``TLSv1.3``; empty: the connection has none."""
        self.thread = ""
        """The name of the thread that responded."""
        self.request_id = ""
        self.traceparent = ""
        """The field of that name (W3C Trace Context), if it is valid."""
        self.user = ""
        """The user of HTTP authentication, as the client has sent it."""
        self.before: Mapping[str, str] = {}
        """Keys of the environ as they came, for the fields of the request."""
        self.variables: Mapping[str, str] = {}
        """Keys of the environ after the application."""
        self.response_fields: Mapping[str, str] = {}
        """Fields of the response, by their names in lower case."""


class DetailedRecord(NamedTuple):
    """A :class:`Record` with more, for formats that show it."""

    timestamp: float
    host: str
    method: str
    target: str
    version: str
    status: int
    bytes_sent: int
    referer: str
    user_agent: str
    details: Details

    @property
    def request(self) -> str:
        """The request line."""
        return _request_line(self.method, self.target, self.version)


def _request_line(method: str, target: str, version: str) -> str:
    return f"{method} {target} {version}" if method else target


def cut(text: str) -> str:
    """A field that is longer than :data:`MAX_FIELD`, as the log shows it."""
    return f"{text[:MAX_FIELD]}..."


def text_of(value: Any) -> str:
    """A value of an environ that an application may have set, cut; empty: it is no plain value. Runs no code of it."""
    if type(value) is not str:
        if type(value) not in (int, float, bool):
            return ""
        value = str(value) if type(value) is not int or -(10**15) < value < 10**15 else ""
    return cut(value) if len(value) > MAX_FIELD else value
