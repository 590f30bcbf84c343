"""What a running server says of itself at one moment, for users, tests, metrics and the control socket.

Values only. Another program may read them as JSON (:func:`dataclasses.asdict`), so :attr:`Stats.version` grows when a
field gets another meaning or goes; a new field does not change it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HistogramStats", "ListenerStats", "RequestStats", "Stats", "ThreadStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramStats:
    """How many of something took how long; owned by the stats that it is a part of."""

    bounds: tuple[float, ...]
    """Seconds: the upper bound of each part but the last, which has none."""
    counts: tuple[int, ...]
    """How many are in each part alone: one more than there are bounds."""
    sum: float
    """Seconds of all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStats:
    """The requests of an HTTP application since the start; owned like :class:`HistogramStats`.

    Requests for ``--health-path`` and the other paths of the server's own do not count.
    """

    responses: tuple[tuple[str, int, int], ...]
    """(method, status, how many), also of refusals and files. The method is ``other`` for those that RFC 9110 and RFC
    5789 do not define. Status 499: the client reset its connection while the request waited,
    or stopped in its body.
    """
    bytes_received: int
    """Bytes of their heads and bodies."""
    bytes_sent: int
    """Bytes of the responses' bodies."""
    duration: HistogramStats
    """The sum of the next two, for each request that an application was called for."""
    queue: HistogramStats
    """How long those have waited for a worker, from their last byte to the call of the application."""
    application: HistogramStats
    """From the call of the application to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStats:
    """One worker thread; owned like :class:`HistogramStats`."""

    name: str
    ident: int
    """As :func:`threading.get_ident` names it; 0: it has not begun."""
    native_id: int
    """As the system names it; 0: unknown."""
    state: str
    """``idle``; ``leading``, it waits for events of all connections; ``running`` an application; ``waiting`` in one for
    something that is not the processor; ``finishing``, it calls functions after the response; ``upgraded``, it serves
    one connection that its application has taken over; ``stuck``, it was given up after ``--request-timeout``.
    """
    request: str
    """What it runs: ``GET /path``. Empty: nothing, or a protocol without requests."""
    client: str
    """The address of that client; empty: none, or unknown."""
    seconds: float
    """For how long it has been running that; 0: unknown."""
    handled: int
    """Runs that it has finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStats:
    """One listening socket; owned like :class:`HistogramStats`."""

    address: str
    backlog: int
    """Connections that the system has accepted and the server has not; -1: the system does not say (only Linux does,
    for TCP).
    """
    backlog_limit: int
    """How many the system accepts for the server; it drops the others. -1 likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The counts that :meth:`~reserve.engine.server.Server.stats` returns; owned by its caller.

    The other threads go on while the counts are collected, so the counts may be of slightly different moments.
    """

    version: int = 1
    """Of this structure."""
    software: str
    """``reserve 1.0``."""
    python: str
    """``CPython 3.13.1``; of a free-threaded build also whether it has the GIL: ``CPython 3.14.0, no GIL``."""
    straight_line: str
    """In which language the straight line is that serves ordinary requests, ``C`` or ``Python``; empty: none does."""
    pid: int
    """The process ID."""
    started: float
    """When the server was made, in seconds since the epoch."""
    uptime: float
    """Seconds since then."""
    rss: int
    """Bytes of the resident memory of the process; 0: unknown."""
    healthy: bool
    """See :attr:`~reserve.engine.server.Server.healthy`."""
    unhealthy: tuple[str, ...]
    """Why it is not, as clauses; empty: it is healthy."""
    live: bool
    """The server can get healthy again, or ends as it was told to. False: only a restart helps."""
    workers: tuple[ThreadStats, ...]
    """Each worker thread, also those that are upgraded or stuck."""
    listeners: tuple[ListenerStats, ...]
    """Each listening socket."""
    requests: RequestStats
    """The requests, if the application is an HTTP application."""
    max_threads: int
    """The most worker threads (``--threads``)."""
    max_queued: int
    """The most requests that wait for a worker (``--max-queued``)."""
    max_connections: int
    """The most connections (``--max-connections``)."""
    buffer_limit: int
    """The most bytes of ``buffered`` (``--buffer-memory``)."""
    spool_limit: int
    """The most bytes of ``spooled`` (``--spool-disk``)."""
    waiting_requests: int
    """Requests that wait for a worker, a part of ``queued``."""
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
    hand_overs: int
    """How often a thread passed the lead on to another one."""
    log_lines_dropped: int
    """Lines of the logs that were lost, because they could not be written fast enough."""
    steals: int
    """How often the monitor took the lead from a worker whose handler stalled."""
