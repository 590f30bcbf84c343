"""The counts of a running server at one moment, for users, tests and metrics."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The counts that :meth:`~reserve.engine.server.Server.stats` returns; owned by its caller.

    The other threads go on while the counts are collected, so the counts may be of slightly different moments.
    """

    threads: int
    """Worker threads."""
    busy: int
    """Worker threads that run an application, or a function after its response."""
    waiting: int
    """Those of them that only wait, and do not count against the maximum of ``--threads``. See ``--max-waiting``."""
    upgraded: int
    """Threads that each serve one connection that its application has taken over, beside those of ``threads``. See
    ``--max-upgraded``.
    """
    upgraded_threads: tuple[str, ...]
    """The same threads, each with the request that it serves: ``reserve-worker-3: GET /chat from 192.0.2.1:50000``."""
    file_threads: int
    """Threads that wait for disks, or have done so in the last 30 seconds. See ``--file-threads``."""
    queued: int
    """Connections that wait for the leader or for a worker."""
    connections: int
    """Connections that are open; the next four count some of them by their state."""
    parked: int
    """Connections that wait in the poller until their client sends bytes, or their deadline passes."""
    flushing: int
    """Connections whose output the leader sends as their client reads it."""
    lingering: int
    """Connections that have sent their last response, and read until the client closes. See ``--linger-timeout``."""
    owned: int
    """Connections that a thread of the server steps, runs or closes at this moment."""
    retiring: bool
    """The server accepts no new connections: it retires (``server.retire()``) or is shutting down."""
    accepted: int
    """Connections accepted since the start."""
    reclaimed: int
    """Idle connections told to close since the start, because new clients needed their places
    (``--max-connections``).
    """
    handled: int
    """Runs of handlers that ended since the start (for HTTP: requests)."""
    buffered: int
    """Bytes of bodies, responses and heads that wait in memory."""
    spooled: int
    """Bytes of bodies and responses that wait in files."""
    spooled_responses: int
    """Those of them that belong to responses. See ``--spool-disk``."""
    timed_out: int
    """Requests interrupted since the start because their response did not begin within ``--request-timeout``."""
    stuck: int
    """Threads that were given up after an interrupted request and have not returned."""
    refused: int
    """Requests refused since the start: no worker was free in time, or the response did not begin in time."""
    client_connections_refused: int
    """Connections closed since the start, because their client had as many as ``--max-connections-per-client``."""
    client_requests_refused: int
    """Requests refused since the start, because as many of their client ran and waited as ``--max-running-per-client``
    allows. They do not count as ``refused``.
    """
    tls_handshakes: int
    """TLS handshakes completed since the start."""
    tls_resumed: int
    """Handshakes among them that resumed an earlier session of the client."""
    tls_failed: int
    """TLS handshakes that failed, took too long, or began with bytes that are not TLS."""
    tls_kernel: int
    """TLS sessions whose output the kernel encrypts (kTLS); OpenSSL encrypts that of the others."""
    steals: int
    """How often the monitor took the lead from a worker whose handler stalled."""
