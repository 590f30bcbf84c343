"""The phases of a connection with HTTP requests, and which phase may follow which.

:class:`~reserve.apps.http.driver.HTTPDriver` keeps the phase of its connection. The connection may close in every
phase; closing changes no phase.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["BODY", "HEAD", "QUEUED", "RESPONDING", "REVOKED", "SPILL", "STATIC", "TRANSITIONS", "Phase"]


class Phase(IntEnum):
    """What the driver does next."""

    HEAD = 0
    """Between two requests, or receiving a head."""
    BODY = 1
    """Receiving a body that is buffered."""
    SPILL = 2
    """A worker is asked to write what has been received of the body to its file."""
    QUEUED = 3
    """The request is complete, or its body is streamed: a worker is asked to run the application."""
    RESPONDING = 4
    """A worker has called the application. The phase lasts until the last byte of the response has left."""
    STATIC = 5
    """The request is for a file: a file thread is asked to respond. Lasts until the last byte of the file has left."""
    REVOKED = 6
    """``--request-timeout`` has passed and the application did not end: the monitor has taken its connection."""


# Reading an enum attribute takes ten times as long as reading a module global; a request reads eight phases.
HEAD, BODY, SPILL, QUEUED, RESPONDING, STATIC, REVOKED = Phase

TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    # The head is complete: its body is buffered, or there is none or it is streamed. (The server responds to
    # --health-path at once; the phase stays HEAD.)
    HEAD: frozenset({BODY, QUEUED, STATIC}),
    # Enough of the body is in memory to write it, or the body is complete.
    BODY: frozenset({SPILL, QUEUED}),
    # The worker has written it.
    SPILL: frozenset({BODY}),
    # A worker calls the application.
    QUEUED: frozenset({RESPONDING}),
    # The response has left and the connection is kept, or the application did not end in time.
    RESPONDING: frozenset({HEAD, REVOKED}),
    # The file has left, or there is none and the application gets the request (--static-missing app).
    STATIC: frozenset({HEAD, QUEUED}),
    # Nothing: the connection closes.
    REVOKED: frozenset(),
}
"""Which phases may follow each phase."""
