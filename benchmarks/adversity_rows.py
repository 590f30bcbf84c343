"""The rows of the adversity table: the bad clients, the options of each server, and the honest client's request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks import honest
from benchmarks.badclients import Script

CROWD = 200
THREADS = 2
Options = Mapping[str, tuple[str, ...]]
"""By server: its command line options."""


def _get(path: str) -> bytes:
    return honest.request(path=path, keep_alive=True)


def _post(fields: str) -> bytes:
    return f"POST /upload HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n".encode()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of bad clients, and what reserve promises for the honest requests meanwhile."""

    name: str
    about: str
    script: Script
    count: int = CROWD
    threads: int = THREADS
    options: Options = field(default_factory=dict)
    """Everything else is the default of the server."""
    request: bytes = field(default_factory=honest.request)
    """The request of the honest client."""
    request_for: Mapping[str, bytes] = field(default_factory=dict)
    """By server: another request, for servers that have an option for this row."""
    max_ms: float = 50.0
    """The slowest honest response that reserve promises, in milliseconds."""
    expect: str = "200"
    """The outcome that reserve promises; empty: none."""
    min_ms: float = 0.0
    """The fastest honest response that reserve promises, where a timeout decides, in milliseconds."""
    cpu_percent: float | None = None
    """The most of one core that reserve promises to use while it only holds the bad clients."""
    per_client: float | None = None
    """The most resident memory that reserve promises for one bad client, in bytes."""
    peak_mib: float | None = None
    """The most resident memory that reserve promises at any time, in MiB."""
    recovery_ms: float | None = None
    """The slowest first response that reserve promises after the bad clients have closed, in milliseconds."""
    log_lines: int | None = None
    """The most lines in the error log that reserve promises."""
    still_busy: bool = False
    """The application is still busy when the bad clients have closed: open descriptors and threads prove nothing then.
    """
    flood_rate: int = 0
    """A flood of so many connections a second instead of a crowd."""
    descriptors: int | None = None
    """RLIMIT_NOFILE of the server."""
    settle: float = 0.0
    """Seconds between the moment when all bad clients are in place and the first honest request."""
    gives_work: bool = False
    """The bad clients give the application work, for which the first honest requests have to wait."""
    cap: float | None = None
    """Seconds that an honest request may take, where that is less than in the other rows."""
    requests: int | None = None
    """Honest requests in each batch, where they are fewer than in the other rows, so that the batch is over while the
    application still sleeps.
    """


_HALF_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: y"
_IDLE: Options = {
    "reserve": ("--keep-alive", "600"),
    "cheroot": ("--timeout", "600"),
    "waitress": ("--channel-timeout=600",),
    "gunicorn": ("--keep-alive", "600"),
}
_BUDGET = 256.0 + 64.0
"""MiB: --buffer-memory, and the interpreter with the application."""
_ELSEWHERE = "127.0.0.2"
"""Another client than the honest one."""
_SLEEPERS = Script(first=_get("/sleep/30"))

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(name="silent", about="connect and send nothing", script=Script()),
        Row(name="half-head", about="half a head", script=Script(first=_HALF_HEAD)),
        Row(name="drip-head", about="one head byte every 3 s", script=Script(first=_HALF_HEAD, drip=b"y", every=3.0)),
        Row(
            name="half-body",
            about="half a Content-Length body",
            script=Script(first=_post("Content-Length: 1000") + b"x" * 500),
        ),
        Row(
            name="half-chunked",
            about="half a chunked body",
            script=Script(first=_post("Transfer-Encoding: chunked") + b"1f4\r\n" + b"x" * 250),
        ),
        Row(
            name="drip-body",
            about="a body of 1 byte/s",
            script=Script(first=_post("Content-Length: 1000"), drip=b"x", every=1.0),
        ),
        Row(
            name="expect",
            about="`Expect: 100-continue` and then nothing",
            script=Script(first=_post("Content-Length: 1000\r\nExpect: 100-continue")),
        ),
        Row(
            name="unread-list",
            about="40 MB never read: list",
            script=Script(first=_get("/list"), reads=False),
            gives_work=True,
            peak_mib=_BUDGET,
            cap=5.0,
        ),
        Row(
            name="unread-generator",
            about="40 MB never read: generator",
            script=Script(first=_get("/generator"), reads=False),
            gives_work=True,
            peak_mib=_BUDGET,
            cap=5.0,
        ),
        Row(
            name="unread-file",
            about="40 MB never read: file",
            script=Script(first=_get("/file"), reads=False),
            gives_work=True,
            peak_mib=_BUDGET,
            cap=5.0,
        ),
        Row(
            name="idle",
            about="idle keep-alive, 16 threads",
            script=Script(first=_get("/"), awaits=True),
            count=1000,
            threads=16,
            options=_IDLE,
            cpu_percent=1.0,
            per_client=6 * 1024,
        ),
        Row(
            name="reset-flood",
            about="5,000 connections a second opened and reset",
            script=Script(),
            flood_rate=5000,
            max_ms=200.0,
        ),
        Row(
            name="busy-health",
            about="both threads in an application that sleeps 30 s: requests of the health path",
            script=_SLEEPERS,
            still_busy=True,
            count=THREADS,
            options={"reserve": ("--health-path", "/healthz")},
            request_for={"reserve": honest.request(path="/healthz")},
            settle=0.5,
            cap=5.0,
        ),
        Row(
            name="busy-others",
            about="both threads in an application that sleeps 30 s: other requests, queue timeout 2 s",
            script=_SLEEPERS,
            still_busy=True,
            count=THREADS,
            options={"reserve": ("--queue-timeout", "2")},
            max_ms=2500.0,
            min_ms=1900.0,
            expect="503",
            settle=0.5,
            cap=5.0,
            requests=3,
        ),
        Row(
            name="queue-full",
            about="the queue is full (at most 100 requests wait)",
            script=_SLEEPERS,
            still_busy=True,
            options={
                "reserve": ("--max-queued", "100", "--queue-timeout", "60"),
                "cheroot": ("--accepted-queue-size", "100"),
            },
            expect="503",
            settle=0.5,
            cap=5.0,
        ),
        Row(
            name="scanner",
            about="200 silent connections from another address, 100 are allowed for all",
            script=Script(source=_ELSEWHERE),
            options={
                "reserve": ("--max-connections", "100", "--max-connections-per-client", "20"),
                "waitress": ("--connection-limit=100",),
                "gunicorn": ("--worker-connections", "100"),
            },
            settle=0.5,
            cap=5.0,
            log_lines=3,
        ),
        Row(
            name="greedy-client",
            about="200 requests from another address to an application that sleeps 30 s",
            script=Script(first=_get("/sleep/30"), source=_ELSEWHERE),
            still_busy=True,
            options={"reserve": ("--max-running-per-client", "1")},
            settle=0.5,
            cap=5.0,
        ),
        Row(
            name="memory-full",
            about="budgets for memory and disk used up by half uploads; the honest client uploads 100 KB",
            script=Script(first=_post("Content-Length: 60001") + b"x" * 60000),
            options={"reserve": ("--buffer-memory", "2m", "--spool-disk", "2m")},
            request=honest.request("POST", "/upload", b"x" * 100_000),
            expect="503 or 507",
            settle=0.5,
            cap=5.0,
        ),
        Row(
            name="no-descriptors",
            about="no descriptors: 64 allowed, 150 connections",
            script=Script(),
            count=150,
            descriptors=64,
            expect="",
            cpu_percent=5.0,
            recovery_ms=1000.0,
            log_lines=1,
            settle=0.5,
            cap=2.0,
        ),
    )
}
