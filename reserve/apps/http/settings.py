"""The settings of the HTTP application: one frozen value, with a unit and a default for every field.

A field named ``head_timeout`` is the option ``--head-timeout``. Any thread may read them. A value that is out of bounds
raises UsageError. (``HTTPApp.configure`` checks the limits, because the parsers themselves work with any.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reserve.paramtypes import Choice, Count, Flag, Kind, Seconds, Size, Text, check_settings
from reserve.protocol.http1.limits import Limits

__all__ = ["HTTP_KINDS", "HTTPSettings"]


def _is_header(text: str) -> bool:
    return text == text.strip() and all(32 <= ord(letter) < 127 for letter in text)


def _is_path(text: str) -> bool:
    return text == "" or (text.startswith("/") and "?" not in text and "#" not in text)


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
    "health_path": Text("a path that begins with /, without ? and #, or nothing", _is_path, "PATH", "a path"),
    "access_log": Flag(),
    "server_header": Text("printable ASCII without blanks at its ends, or nothing", _is_header, "TEXT"),
    "root_path": Text("a path that begins with /, without ? and #, or nothing", _is_path, "PATH", "a path"),
}
"""The values that each field allows, for programs and for the command alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """Sizes are bytes, times are seconds on the monotonic clock.

    One value belongs to one HTTP application, which every connection of it reads.
    """

    limits: Limits = field(default_factory=Limits)
    """The sizes and counts that one request may have."""
    head_timeout: float = 10.0
    """From the first byte of a head (or the connection's start) to its last."""
    body_timeout: float = 20.0
    """How long a body may take at any rate; beyond that it must come at ``body_rate``."""
    body_rate: int = 500
    """Bytes a second that a body must keep up after ``body_timeout``. 0: no such rule, ``body_timeout`` is total."""
    keep_alive: float = 15.0
    """How long an idle connection waits for its next request. 0: every connection closes after one response."""
    body_memory: int = 65536
    """How much of a request body is kept in memory before it goes to a file."""
    spool_dir: str | None = None
    """The directory of such files, which have no name there (None: the system's directory for temporary files)."""
    response_memory: int = 262144
    """How far a response may be ahead of its client in memory before more of it goes to a file in ``spool_dir``."""
    max_response_spool: int = 67108864
    """How much of a response such a file may hold before the application has to wait for its client."""
    stream_bodies: bool = False
    """Run the application at the end of the head; it reads the body from the connection, on its own thread."""
    expect: str = "server"
    """When the 100 (Continue) is sent: ``server``, before the application runs; ``app``, on its first read."""
    underscores: str = "drop"
    """For a header field with an underscore in its name: ``drop`` the field, or ``refuse`` the request."""
    health_path: str = ""
    """A path that the server itself responds to, also while every worker is busy. Empty: none."""
    access_log: bool = True
    """Write one line for each request to standard output (combined format)."""
    server_header: str = "reserve"
    """The Server field of every response. Empty: none."""
    root_path: str = ""
    """The SCRIPT_NAME that everything is mounted under."""

    def __post_init__(self) -> None:
        check_settings(self, HTTP_KINDS)

    def body_allowance(self, received: int) -> float:
        """How many seconds a body may have taken when its next bytes arrive: ``body_timeout``, and as many as the bytes
        before them take at ``body_rate``.

        :param received: bytes of the body so far.
        """
        return self.body_timeout + (received / self.body_rate if self.body_rate else 0.0)
