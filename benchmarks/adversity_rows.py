"""The rows of the adversity table: which bad clients, which options of which server, what the honest client asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks import honest
from benchmarks.badclients import Script

CROWD = 200
THREADS = 2
Options = Mapping[str, tuple[str, ...]]


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _post(fields: str) -> bytes:
    return f"POST /upload HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n".encode()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of bad clients."""

    name: str
    about: str
    script: Script
    count: int = CROWD
    threads: int = THREADS
    options: Options = field(default_factory=dict)
    """By server; everything else is the server's default."""
    asks: bytes = field(default_factory=honest.request)
    """What the honest client sends."""
    asks_instead: Mapping[str, bytes] = field(default_factory=dict)
    """By server, where it is something else."""
    gate_ms: float = 50.0
    """What reserve promises for the slowest honest answer."""
    expect: str = "200"
    """The outcome that reserve promises; empty: none."""
    gate_from_ms: float = 0.0
    """What reserve promises as the least, where a deadline decides."""
    cpu_percent: float | None = None
    """Promised as the most of one core while the bad clients are just held."""
    per_client: float | None = None
    """Promised as the most resident memory for one bad client, in octets."""
    peak_mib: float | None = None
    """Promised as the most resident memory at any time."""
    recovery_ms: float | None = None
    """Promised for the first request after the bad clients have gone."""
    log_lines: int | None = None
    """Promised as the most lines in the error log."""
    goes_on: bool = False
    """The application is not done when the bad clients have gone: what is open then proves nothing."""
    flood_rate: int = 0
    """Not a crowd but a flood of so many connections a second."""
    descriptors: int | None = None
    """RLIMIT_NOFILE of the server."""
    settle: float = 0.0
    """Seconds between the moment that all are in place and the first honest request."""
    works: bool = False
    """The bad clients give the application work to do: what comes at first has to wait for that like for any other."""
    cap: float | None = None
    """A cap of its own, when it is lower than the general one."""
    requests: int | None = None
    """Honest requests in each batch, when they are fewer than in general: all must be over while the application
    still sleeps.
    """


_HALF_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: y"
_IDLE: Options = {
    "reserve": ("--keep-alive", "600"),
    "cheroot": ("--timeout", "600"),
    "waitress": ("--channel-timeout=600",),
    "gunicorn": ("--keep-alive", "600"),
}
_BUDGET = 256.0 + 64.0
"""--buffer-memory, and the interpreter with the application."""
_SLEEPERS = Script(first=_get("/sleep/30"))

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(name="silent", about="connect and say nothing", script=Script()),
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
            works=True,
            peak_mib=_BUDGET,
            cap=5.0,
        ),
        Row(
            name="unread-generator",
            about="40 MB never read: generator",
            script=Script(first=_get("/generator"), reads=False),
            works=True,
            peak_mib=_BUDGET,
            cap=5.0,
        ),
        Row(
            name="unread-file",
            about="40 MB never read: file",
            script=Script(first=_get("/file"), reads=False),
            works=True,
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
            gate_ms=200.0,
        ),
        Row(
            name="busy-health",
            about="both threads in an application that sleeps 30 s: the health path",
            script=_SLEEPERS,
            goes_on=True,
            count=THREADS,
            options={"reserve": ("--health-path", "/healthz")},
            asks_instead={"reserve": honest.request(path="/healthz")},
            settle=0.5,
            cap=5.0,
        ),
        Row(
            name="busy-others",
            about="both threads in an application that sleeps 30 s: other requests, queue timeout 2 s",
            script=_SLEEPERS,
            goes_on=True,
            count=THREADS,
            options={"reserve": ("--queue-timeout", "2")},
            gate_ms=2500.0,
            gate_from_ms=1900.0,
            expect="503",
            settle=0.5,
            cap=5.0,
            requests=3,
        ),
        Row(
            name="queue-full",
            about="queue full (at most 100 wait)",
            script=_SLEEPERS,
            goes_on=True,
            options={
                "reserve": ("--max-queued", "100", "--queue-timeout", "60"),
                "cheroot": ("--accepted-queue-size", "100"),
            },
            expect="503",
            settle=0.5,
            cap=5.0,
        ),
        Row(
            name="memory-full",
            about="budget for memory and disk used up by half uploads; the honest client uploads 100 KB",
            script=Script(first=_post("Content-Length: 60001") + b"x" * 60000),
            options={"reserve": ("--buffer-memory", "2m", "--spool-disk", "2m")},
            asks=honest.request("POST", "/upload", b"x" * 100_000),
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
